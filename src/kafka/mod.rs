//! The only door to Kafka: settings, metadata and identity, first and last offsets, reading ranges into
//! Arrow columns, and announcing what has landed to a consumer group.
//!
//! All calls block: they are made from plain threads, never from an async task. `unsafe` is allowed in this
//! room alone, in the files that talk to librdkafka.

#![allow(unsafe_code)]

mod columns;
mod cursor;
mod delivery;
mod describe;
mod error;
mod group;
mod log;
mod member;
mod members;
mod membership;
mod native;
mod offsets;
mod partitions;
pub mod playground;
mod reader;
mod settings;
#[cfg(test)]
mod tests;
mod topics;
mod wire;

use std::ffi::c_char;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use landfall_sink::Isolation;
use rdkafka_sys as sys;

pub use columns::{Columns, Constants};
pub use cursor::Position;
pub use error::KafkaError;
pub use group::Announced;
pub use members::GroupMember;
pub use membership::{Membership, Share};
pub use offsets::{At, OffsetAt};
pub use reader::{Event, Fault, Notice, Reader, ReaderLimits, Slot, Start, Turn};
pub use settings::{OWNED, Settings, SettingsError};
pub use topics::{MatchedBy, Selection, SelectionError, TopicId, TopicMeta};

use native::{Client, Event as AdminEvent, Queue, millis};

/// A cluster, as seen by one client. Clones share it.
#[derive(Clone)]
pub struct Kafka {
    inner: Arc<Inner>,
}

struct Inner {
    client: Arc<Client>,
    settings: Settings,
    /// When the brokers were last asked for topic ids and never answered.
    ids_asked_in_vain: Mutex<Option<Instant>>,
    ids_were_seen: AtomicBool,
    /// Rounds in a row that no broker answered.
    ids_vain_rounds: AtomicUsize,
    /// Of the group that was last asked for.
    group_client: Mutex<Option<group::Voice>>,
}

impl Kafka {
    /// Makes a client. Does not wait for a broker.
    pub fn connect(settings: &Settings) -> Result<Kafka, KafkaError> {
        let client = Client::new(settings.conf(&[])?, settings.brokers().to_owned())?;
        let inner = Inner {
            client,
            settings: settings.clone(),
            ids_asked_in_vain: Mutex::new(None),
            ids_were_seen: AtomicBool::new(false),
            ids_vain_rounds: AtomicUsize::new(0),
            group_client: Mutex::new(None),
        };
        Ok(Kafka { inner: Arc::new(inner) })
    }

    /// The id of the cluster that answers.
    pub fn cluster_id(&self, timeout: Duration) -> Result<String, KafkaError> {
        self.client().forget_troubles();
        // SAFETY: the client is alive; the string is copied, then freed the way librdkafka wants it.
        let id = unsafe {
            let id = sys::rd_kafka_clusterid(self.client().raw(), millis(timeout));
            if id.is_null() {
                return Err(self.client().unreachable("asking for the cluster's id", timeout));
            }
            let copy = native::text(id);
            sys::rd_kafka_mem_free(self.client().raw(), id.cast());
            copy
        };
        Ok(id)
    }

    /// A reader with a connection of its own, for one worker thread. Does not wait for a broker.
    pub fn reader(&self, isolation: Isolation, limits: ReaderLimits) -> Result<Reader, KafkaError> {
        Reader::connect(&self.inner.settings, isolation, limits)
    }

    fn client(&self) -> &Arc<Client> {
        &self.inner.client
    }

    fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    fn group_client(&self) -> MutexGuard<'_, Option<group::Voice>> {
        self.inner.group_client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ids_asked_in_vain(&self) -> MutexGuard<'_, Option<Instant>> {
        self.inner.ids_asked_in_vain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one call of the admin API and waits for its answer. Such calls only read, so an answer that is
    /// lost needs no reading back. None of them may be one that goes to a group's coordinator: see `group`.
    fn ask(
        &self,
        what: &str,
        operation: sys::RDKafkaAdminOp,
        broker: Option<i32>,
        isolation: Option<Isolation>,
        timeout: Duration,
        call: impl FnOnce(*mut sys::rd_kafka_t, *const sys::rd_kafka_AdminOptions_t, *mut sys::rd_kafka_queue_t),
    ) -> Result<AdminEvent, KafkaError> {
        self.client().forget_troubles();
        let queue = Queue::new(self.client());
        let mut reason: [c_char; 256] = [0; 256];
        // SAFETY: client and queue are alive, the options are destroyed after the call, which copies them. The
        // values are in range (a broker's id as librdkafka gave it, a positive time).
        unsafe {
            let options = sys::rd_kafka_AdminOptions_new(self.client().raw(), operation);
            let size = reason.len();
            sys::rd_kafka_AdminOptions_set_request_timeout(options, millis(timeout), reason.as_mut_ptr(), size);
            if let Some(broker) = broker {
                sys::rd_kafka_AdminOptions_set_broker(options, broker, reason.as_mut_ptr(), size);
            }
            if let Some(isolation) = isolation {
                let level = match isolation {
                    Isolation::ReadCommitted => sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED,
                    Isolation::ReadUncommitted => {
                        sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED
                    }
                };
                native::take_error(sys::rd_kafka_AdminOptions_set_isolation_level(options, level));
            }
            call(self.client().raw(), options, queue.raw());
            sys::rd_kafka_AdminOptions_destroy(options);
        }
        let Some(event) = queue.event(timeout + Duration::from_secs(1)) else {
            return Err(self.client().unreachable(what, timeout));
        };
        match event.error() {
            None => Ok(event),
            Some((native::code::TIMED_OUT, _)) => Err(self.client().unreachable(what, timeout)),
            Some((code, text)) => Err(KafkaError::sort(code, format!("{what}: {text}"))),
        }
    }
}
