//! Announcing what has landed to a consumer group, for lag monitors. It is never a position.
//!
//! Only a client whose `group.id` is that group can ask its coordinator by the calls that are used here; where this
//! process is a member of the group that is the member's client ([`super::membership`]), as the coordinator refuses
//! the offsets of anybody else then. The
//! admin API could for any group, but librdkafka aborts the process where the coordinator of such a request
//! goes away at the wrong moment (librdkafka#3663, #4605): nothing here may go through it.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::time::Duration;

use rdkafka_sys as sys;

use super::native::{Client, Event, Queue, c_string, code, describe, millis};
use super::partitions::{Partitions, Row, rows};
use super::{Kafka, KafkaError};

/// What a group holds for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    pub topic: String,
    pub partition: i32,
    /// `None` where nothing was ever announced, or it expired.
    pub offset: Option<i64>,
    pub metadata: String,
}

// The same functions as in the binding, but with the error code as the number that it is (see `native::code`).
unsafe extern "C" {
    #[link_name = "rd_kafka_commit_queue"]
    fn commit_queue(
        rk: *mut sys::rd_kafka_t,
        offsets: *const sys::rd_kafka_topic_partition_list_t,
        queue: *mut sys::rd_kafka_queue_t,
        callback: *const c_void,
        opaque: *mut c_void,
    ) -> c_int;
    #[link_name = "rd_kafka_committed"]
    fn committed(
        rk: *mut sys::rd_kafka_t,
        partitions: *mut sys::rd_kafka_topic_partition_list_t,
        timeout_ms: c_int,
    ) -> c_int;
}

const WAIT: Duration = Duration::from_secs(10);
/// How long an announcement waits inside librdkafka for a coordinator. Shorter than `WAIT`, so that it is never
/// left behind to be sent by itself later.
const COORDINATOR_WAIT: Duration = Duration::from_secs(6);

impl Kafka {
    /// Writes offsets, each with the same text beside it. Refused by the coordinator while the group has members, and
    /// this process is none of them.
    pub fn announce(&self, group: &str, offsets: &[(String, i32, i64)], metadata: &str) -> Result<(), KafkaError> {
        if offsets.is_empty() {
            return Ok(());
        }
        let mut list = Partitions::with_capacity(offsets.len());
        for (topic, partition, offset) in offsets {
            list.add_with_metadata(&c_string(topic)?, *partition, *offset, metadata);
        }
        let what = format!("announcing to the consumer group {group}");
        let client = self.of_group(group)?;
        let queue = Queue::new(&client);
        // SAFETY: client, list and queue are alive during the call; librdkafka copies the list. Without a
        // callback the answer comes to the queue as an event.
        let asked =
            unsafe { commit_queue(client.raw(), list.raw(), queue.raw(), std::ptr::null(), std::ptr::null_mut()) };
        if asked != 0 {
            return Err(KafkaError::sort(asked, format!("{what}: {}", describe(asked))));
        }
        let Some(event) = queue.event(WAIT) else {
            return Err(self.no_coordinator(&client, &what, WAIT));
        };
        let refused = answered(&event).into_iter().find(|row| row.code != 0);
        match (refused, event.error()) {
            (Some(row), _) => Err(self.row_error(&what, &row)),
            (None, None) => Ok(()),
            (None, Some((code::WAIT_COORD | code::TIMED_OUT, _))) => {
                Err(self.no_coordinator(&client, &what, COORDINATOR_WAIT))
            }
            (None, Some((code, text))) => Err(self.sorted(code, format!("{what}: {text}"))),
        }
    }

    /// What the group holds for these partitions.
    pub fn announced(&self, group: &str, partitions: &[(String, i32)]) -> Result<Vec<Announced>, KafkaError> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let mut list = Partitions::with_capacity(partitions.len());
        for (topic, partition) in partitions {
            list.add(&c_string(topic)?, *partition, i64::from(sys::RD_KAFKA_OFFSET_INVALID), None);
        }
        let what = format!("reading the offsets of the consumer group {group}");
        let client = self.of_group(group)?;
        // SAFETY: client and list are alive; librdkafka works on a copy and writes what it found into the list.
        let answer = unsafe { committed(client.raw(), list.raw(), millis(WAIT)) };
        match answer {
            0 => {}
            code::TIMED_OUT | code::WAIT_COORD => return Err(self.no_coordinator(&client, &what, WAIT)),
            code => return Err(self.sorted(code, format!("{what}: {}", describe(code)))),
        }
        let found = list.rows().into_iter().map(|row| match row.code {
            0 => Ok(Announced {
                offset: (row.offset >= 0).then_some(row.offset),
                topic: row.topic,
                partition: row.partition,
                metadata: row.metadata,
            }),
            _ => Err(self.row_error(&what, &row)),
        });
        found.collect()
    }

    /// The client that speaks for the group: its member where this process has joined it, else one that never joins,
    /// made when it is first asked for, and kept.
    fn of_group(&self, group: &str) -> Result<Arc<Client>, KafkaError> {
        let mut kept = self.group_client();
        if let Some(voice) = kept.as_ref()
            && voice.group == group
        {
            voice.client.forget_troubles();
            return Ok(voice.client.clone());
        }
        let properties = [
            ("group.id", group.to_owned()),
            // Not of a session, as there is none: it bounds how long a commit waits for a coordinator.
            ("session.timeout.ms", COORDINATOR_WAIT.as_millis().to_string()),
            ("max.poll.interval.ms", "300000".to_owned()),
        ];
        let settings = self.settings();
        let client = Client::new(settings.conf(&properties)?, settings.brokers().to_owned())?;
        *kept = Some(Voice { group: group.to_owned(), client: client.clone(), is_member: false });
        Ok(client)
    }

    fn is_member(&self) -> bool {
        self.group_client().as_ref().is_some_and(|voice| voice.is_member)
    }

    /// While a group is being shared out anew its coordinator refuses the offsets of members: for a moment.
    fn sorted(&self, code: i32, text: String) -> KafkaError {
        if self.is_member() && SHARED_OUT_ANEW.contains(&code) {
            return KafkaError::Unreachable(text);
        }
        KafkaError::sort(code, text)
    }

    fn row_error(&self, what: &str, row: &Row) -> KafkaError {
        let (topic, partition) = (&row.topic, row.partition);
        self.sorted(row.code, format!("{what}: {topic}/{partition}: {}", describe(row.code)))
    }

    /// No coordinator was found in time: why, where the client was told. That it may not use the group comes as an
    /// error of the consumer, not as the answer of a call; a member hears it for itself.
    fn no_coordinator(&self, client: &Arc<Client>, what: &str, waited: Duration) -> KafkaError {
        let mut told = None;
        if !self.is_member()
            && let Ok(queue) = Queue::of_consumer(client)
        {
            while let Some(event) = queue.event(Duration::from_millis(1)) {
                told = event.error().or(told);
            }
        }
        match told {
            Some((code, text)) if code > 0 => KafkaError::sort(code, format!("{what}: {text}")),
            _ => client.unreachable(what, waited),
        }
    }
}

/// The client that speaks for a group.
pub(super) struct Voice {
    pub group: String,
    pub client: Arc<Client>,
    pub is_member: bool,
}

/// ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, REBALANCE_IN_PROGRESS, FENCED_MEMBER_EPOCH, STALE_MEMBER_EPOCH.
const SHARED_OUT_ANEW: &[i32] = &[22, 25, 27, 110, 113];

/// The partitions of the answer to a commit.
fn answered(event: &Event) -> Vec<Row> {
    // SAFETY: the event is alive; the list belongs to it and is copied, and is null where it has none.
    unsafe { rows(sys::rd_kafka_event_topic_partition_list(event.raw())) }
}
