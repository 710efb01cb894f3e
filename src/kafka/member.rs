//! The thread that is a member of a consumer group.
//!
//! Partitions are given to it at a number, since a stored offset would be looked for, and are paused before anything is
//! fetched; a member that does not take what it is given holds up everybody's rebalance. What librdkafka has to say
//! comes as events, so that nothing is called back from its threads.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use rdkafka_sys as sys;

use super::KafkaError;
use super::membership::Share;
use super::native::{Client, Event, Queue, c_string, code, describe, take_error, text};
use super::partitions::{Partitions, rows};

/// How long until a place that another member has is asked for again.
const PLACE: Duration = Duration::from_secs(3);
const TURN: Duration = Duration::from_millis(100);
/// How long leaving the group may take; who does not get away in time is missed at the end of the session.
pub(super) const LEAVING: Duration = Duration::from_secs(3);

/// Why a member no longer serves.
#[derive(PartialEq, Eq)]
pub(super) enum End {
    /// Nobody gives orders any more; it has left the group.
    Left,
    /// Another member has its place, and its client can never work again.
    Unreleased,
}

pub(super) struct Member {
    // The queue holds the client, which goes last.
    pub(super) queue: Queue,
    pub(super) client: Arc<Client>,
    pub(super) orders: Receiver<Vec<String>>,
    pub(super) topics: Vec<String>,
    pub(super) share: Share,
    pub(super) told: Share,
    pub(super) tell: Box<dyn Fn(Share) + Send>,
    pub(super) unreleased: bool,
}

impl Member {
    /// Until nobody gives orders any more, or the client cannot go on.
    pub(super) fn serve(&mut self) -> End {
        self.subscribe();
        loop {
            match self.orders.try_recv() {
                Ok(topics) => {
                    self.topics = topics;
                    self.subscribe();
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => break,
            }
            if let Some(event) = self.queue.event(TURN) {
                self.hear(&event);
            }
            self.tell();
            if self.unreleased {
                return End::Unreleased;
            }
        }
        self.leave();
        End::Left
    }

    fn tell(&mut self) {
        if self.share != self.told {
            self.told = self.share.clone();
            (self.tell)(self.share.clone());
        }
    }

    pub(super) fn wait_for_the_place(&mut self) {
        let began = Instant::now();
        while began.elapsed() < PLACE {
            match self.orders.try_recv() {
                Ok(topics) => self.topics = topics,
                Err(TryRecvError::Empty) => std::thread::sleep(TURN),
                // The next member hears of it, too.
                Err(TryRecvError::Disconnected) => return,
            }
        }
    }

    fn subscribe(&mut self) {
        let topics = &self.topics;
        if topics.is_empty() {
            return;
        }
        let mut list = Partitions::with_capacity(topics.len());
        for topic in topics {
            match c_string(topic) {
                Ok(topic) => list.add(&topic, ANY_PARTITION, i64::from(sys::RD_KAFKA_OFFSET_INVALID), None),
                Err(error) => return self.share.trouble = Some(error),
            }
        }
        // SAFETY: client and list are alive during the call, which copies the list.
        let answer = unsafe { subscribe(self.client.raw(), list.raw()) };
        if answer != 0 {
            let text = format!("subscribing to {} topic(s): {}", topics.len(), describe(answer));
            self.share.trouble = Some(KafkaError::sort(answer, text));
        }
    }

    fn hear(&mut self, event: &Event) {
        match (event.kind(), event.error()) {
            (sys::RD_KAFKA_EVENT_REBALANCE, Some((code, text))) => self.rebalance(event, code, &text),
            (sys::RD_KAFKA_EVENT_ERROR, Some((code, text))) => match self.fatal() {
                Some(fatal) => self.share.trouble = Some(fatal),
                None => self.hear_of_trouble(code, text),
            },
            _ => {}
        }
    }

    /// What librdkafka mends by itself is no trouble of the group, nor are topics that are gone or forbidden: those are
    /// found, and told, where topics are looked for.
    fn hear_of_trouble(&mut self, code: i32, text: String) {
        let error = match code {
            code::TOPIC_AUTHORIZATION_FAILED => KafkaError::Missing(text),
            INCONSISTENT_GROUP_PROTOCOL => KafkaError::Config(format!("{text}; the group is of another application")),
            INVALID_SESSION_TIMEOUT => KafkaError::Config(format!("session.timeout.ms: {text}")),
            code => KafkaError::sort(code, text),
        };
        match error {
            KafkaError::Missing(_) | KafkaError::Unreachable(_) => tracing::debug!("the group: {error}"),
            error => self.share.trouble = Some(error),
        }
    }

    fn rebalance(&mut self, event: &Event, code: i32, text: &str) {
        // SAFETY: the event is alive, and the list belongs to it.
        let list = unsafe { sys::rd_kafka_event_topic_partition_list(event.raw()) };
        if list.is_null() {
            return;
        }
        // SAFETY: the list is alive.
        let changed = unsafe { rows(list) }.into_iter().map(|row| (row.topic, row.partition));
        match code {
            code::ASSIGN_PARTITIONS => {
                self.share.partitions.extend(changed);
                self.share.trouble = None;
                self.share.is_member = true;
                self.take(list);
            }
            code::REVOKE_PARTITIONS => {
                for partition in changed {
                    self.share.partitions.remove(&partition);
                }
                self.give_up(list);
            }
            _ => {
                tracing::debug!("the group is shared out anew: {text}");
                self.share.partitions.clear();
                // SAFETY: the client is alive; null gives everything up.
                let answer = unsafe { assign(self.client.raw(), std::ptr::null()) };
                self.refused(answer, "giving up all partitions");
            }
        }
    }

    /// Takes what it is given, and never reads it.
    fn take(&mut self, list: *mut sys::rd_kafka_topic_partition_list_t) {
        // SAFETY: client and list are alive; `cnt` rows are there. A number is set, because a stored offset would be
        // looked for and `auto.offset.reset` is "error". The error object is owned here.
        let (taken, paused) = unsafe {
            for at in 0..(*list).cnt as usize {
                (*(*list).elems.add(at)).offset = 0;
            }
            let rk = self.client.raw();
            if !self.is_cooperative() {
                (assign(rk, list), pause(rk, list))
            } else {
                let taken = take_error(sys::rd_kafka_incremental_assign(rk, list));
                (taken.map_or(0, |(code, _)| code), pause(rk, list))
            }
        };
        self.refused(taken, "taking partitions");
        self.refused(paused, "pausing partitions");
    }

    fn give_up(&mut self, list: *mut sys::rd_kafka_topic_partition_list_t) {
        // SAFETY: client and list are alive; the error object is owned here; null gives everything up.
        let given_up = unsafe {
            let rk = self.client.raw();
            if !self.is_cooperative() {
                assign(rk, std::ptr::null())
            } else {
                take_error(sys::rd_kafka_incremental_unassign(rk, list)).map_or(0, |(code, _)| code)
            }
        };
        self.refused(given_up, "giving up partitions");
    }

    fn is_cooperative(&self) -> bool {
        // SAFETY: the client is alive; the string is static or null.
        unsafe { text(sys::rd_kafka_rebalance_protocol(self.client.raw())) == "COOPERATIVE" }
    }

    fn refused(&mut self, code: i32, what: &str) {
        match code {
            0 => {}
            code::FATAL => self.share.trouble = self.fatal(),
            code => tracing::warn!("the group: {what}: {}", describe(code)),
        }
    }

    /// Why the client can never work again, where it is so.
    fn fatal(&mut self) -> Option<KafkaError> {
        let mut reason: [c_char; 512] = [0; 512];
        // SAFETY: the client is alive, the buffer's size is told, and it ends with zero.
        let (code, told) = unsafe {
            let code = fatal_error(self.client.raw(), reason.as_mut_ptr(), reason.len());
            (code, CStr::from_ptr(reason.as_ptr()).to_string_lossy().into_owned())
        };
        Some(match code {
            0 => return None,
            UNRELEASED_INSTANCE_ID => {
                self.unreleased = true;
                self.share.partitions.clear();
                self.share.is_member = false;
                KafkaError::Unreachable(format!("another process has this group.instance.id, or had it ({told})"))
            }
            FENCED_INSTANCE_ID => KafkaError::Config(format!(
                "another process has joined the group under the same group.instance.id: each needs its own ({told})"
            )),
            code => KafkaError::Fatal(format!("the group: {told} ({})", describe(code))),
        })
    }

    /// Gives everything back, so that the others need not wait for the end of the session.
    fn leave(&mut self) {
        // SAFETY: client and queue are alive; the error object is owned here.
        let refused = unsafe { take_error(sys::rd_kafka_consumer_close_queue(self.client.raw(), self.queue.raw())) };
        if refused.is_some() {
            return;
        }
        let began = Instant::now();
        // SAFETY: the client is alive.
        while unsafe { sys::rd_kafka_consumer_closed(self.client.raw()) } == 0 && began.elapsed() < LEAVING {
            if let Some(event) = self.queue.event(TURN) {
                self.hear(&event);
            }
        }
    }
}

/// Librdkafka's `RD_KAFKA_PARTITION_UA`.
const ANY_PARTITION: i32 = -1;
const INCONSISTENT_GROUP_PROTOCOL: i32 = 23;
const INVALID_SESSION_TIMEOUT: i32 = 26;
const FENCED_INSTANCE_ID: i32 = 82;
const UNRELEASED_INSTANCE_ID: i32 = 111;

// The same functions as in the binding, but with the error code as the number that it is (see `native::code`).
unsafe extern "C" {
    #[link_name = "rd_kafka_subscribe"]
    fn subscribe(rk: *mut sys::rd_kafka_t, topics: *const sys::rd_kafka_topic_partition_list_t) -> c_int;
    #[link_name = "rd_kafka_assign"]
    fn assign(rk: *mut sys::rd_kafka_t, partitions: *const sys::rd_kafka_topic_partition_list_t) -> c_int;
    #[link_name = "rd_kafka_pause_partitions"]
    fn pause(rk: *mut sys::rd_kafka_t, partitions: *mut sys::rd_kafka_topic_partition_list_t) -> c_int;
    #[link_name = "rd_kafka_fatal_error"]
    fn fatal_error(rk: *mut sys::rd_kafka_t, reason: *mut c_char, size: usize) -> c_int;
}
