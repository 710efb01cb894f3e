//! Reads partitions into columns: one consumer handle and one native queue, used by one plain thread.
//!
//! All partitions of the handle arrive in its consumer queue, which is emptied in batches: no poll and no
//! allocation of ours is made per record. A partition is assigned at an offset and
//! then, where the leader epoch of the record before is known, sought behind that record once more: only a seek is
//! validated by the broker, so that a log that was truncated is found instead of read.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use landfall_sink::Isolation;

use super::columns::Columns;
use super::cursor::{Cursor, Position};
use super::delivery::Delivery;
use super::native::{Client, Queue, Topic, c_string, code};
use super::partitions::Partitions;
use super::{KafkaError, Settings};

/// The engine's small number for a partition that it reads: dense, chosen by the engine.
pub type Slot = u32;

/// What one reader may hold and how it asks.
#[derive(Debug, Clone, Copy)]
pub struct ReaderLimits {
    /// Bytes of records that may wait in the reader's queue, over all its partitions. What is under way
    /// comes on top: up to `fetch_bytes` for each broker.
    pub queued_bytes: usize,
    /// Bytes of one answer of a broker. A single batch that is larger comes whole.
    pub fetch_bytes: usize,
    /// How long a broker waits with its answer where it has nothing. A range whose last offsets are never
    /// delivered ends that much later; shorter costs CPU where thousands of partitions are idle.
    pub idle_wait: Duration,
}

impl Default for ReaderLimits {
    fn default() -> ReaderLimits {
        ReaderLimits { queued_bytes: 16 << 20, fetch_bytes: 4 << 20, idle_wait: Duration::from_millis(100) }
    }
}

/// A partition to read, from an offset on.
#[derive(Debug, Clone)]
pub struct Start {
    pub slot: Slot,
    pub topic: Arc<str>,
    pub partition: i32,
    pub from: i64,
    /// The offset behind the last record that was read before, at or before `from`, and the leader epoch of that
    /// record, where known: validated by the broker.
    pub lineage: Option<(i64, i32)>,
    /// Rows from this offset on are not wanted.
    pub stop: Option<i64>,
}

/// What happened to a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The range up to `stop` has been read. Nothing more comes.
    Stop,
    /// All that there is has been read; the offset is the end of the partition (under read_committed the
    /// last stable offset). Records that follow come by themselves.
    End(i64),
    /// The attempt is void: nothing more comes until the partition is assigned anew.
    Fault(Fault),
}

/// Why an attempt is void. The text names topic and partition; offsets inside it are not to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The offset is not there: retention passed it, or the log was truncated. Which of the two, if any, is
    /// told by the broker's first and last offsets, never by this.
    #[error("{0}")]
    OutOfRange(String),
    /// A batch of the partition is damaged.
    #[error("{0}")]
    Corrupt(String),
    /// The topic or the partition is gone.
    #[error("{0}")]
    Missing(String),
    #[error("{0}")]
    NotAuthorized(String),
    #[error("{0}")]
    Other(String),
}

/// What happened to the connection as a whole: for a log line that says what we wait for. librdkafka
/// reconnects by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// No broker can be reached.
    BrokersDown(String),
    /// Records or ends of partitions arrive again.
    Recovered,
    /// One broker, or the group's coordinator, has trouble.
    Broker(String),
    /// The brokers refuse our credentials, or we theirs.
    Authentication(String),
    /// The reader can never work again: make a new one.
    Fatal(String),
}

/// What a poll brought. Reused between polls.
#[derive(Debug, Default)]
pub struct Turn {
    /// Slots that have new rows, each once.
    pub touched: Vec<Slot>,
    /// In the order in which they happened, after the rows that came before them.
    pub events: Vec<(Slot, Event)>,
    pub notices: Vec<Notice>,
}

impl Turn {
    pub fn clear(&mut self) {
        self.touched.clear();
        self.events.clear();
        self.notices.clear();
    }
}

/// A partition under way.
pub(super) struct Reading {
    pub topic: Arc<str>,
    pub partition: i32,
    pub address: usize,
    pub cursor: Cursor,
    pub columns: Columns,
    /// The poll that last touched it.
    pub turn: u64,
}

/// See the module. Not shared: `&mut self` throughout.
pub struct Reader {
    delivery: Delivery,
    // The order of these matters to nobody: a queue and a topic each hold the client.
    queue: Queue,
    topics: HashMap<Arc<str>, (CString, Topic)>,
    client: Arc<Client>,
}

/// How long an assignment may take on librdkafka's own threads; no broker is waited for.
const SEEK_PATIENCE: Duration = Duration::from_secs(10);

impl Reader {
    pub(super) fn connect(
        settings: &Settings,
        isolation: Isolation,
        limits: ReaderLimits,
    ) -> Result<Reader, KafkaError> {
        // A fetch may not be smaller than a message that the user allows for.
        let fetch = (limits.fetch_bytes as u64).max(settings.number("message.max.bytes").unwrap_or(1_000_000));
        let mut properties = vec![
            ("isolation.level", isolation.as_str().to_owned()),
            ("group.id", settings.group_id().unwrap_or("landfall").to_owned()),
            // Bytes are the bound, not counts. librdkafka compares it with the queue that a partition is
            // forwarded to, which is the consumer's: so this is the bound of the whole reader.
            ("queued.max.messages.kbytes", (limits.queued_bytes / 1024).clamp(1, 2_097_151).to_string()),
            ("queued.min.messages", "10000000".to_owned()),
            ("fetch.max.bytes", fetch.min(2_147_483_135).to_string()),
            // The default, a second, is what a partition sleeps when the queue was full for a moment.
            ("fetch.queue.backoff.ms", "2".to_owned()),
            ("fetch.wait.max.ms", limits.idle_wait.as_millis().clamp(1, 1000).to_string()),
        ];
        let unless_given = [("max.partition.fetch.bytes", "1048576"), ("fetch.error.backoff.ms", "100")];
        for (key, value) in unless_given {
            if !settings.gives(key) && !settings.gives("fetch.message.max.bytes") {
                properties.push((key, value.to_owned()));
            }
        }
        let client = Client::new(settings.conf(&properties)?, settings.brokers().to_owned())?;
        let queue = Queue::of_consumer(&client)?;
        Ok(Reader { delivery: Delivery::default(), queue, topics: HashMap::new(), client })
    }

    /// Starts a wave of partitions. A slot that is being read starts anew; its rows are thrown away. What
    /// fails for one partition alone comes out of the next poll as its fault.
    pub fn assign(&mut self, starts: Vec<Start>) -> Result<(), KafkaError> {
        let held: Vec<Slot> = starts.iter().map(|start| start.slot).filter(|slot| self.delivery.holds(*slot)).collect();
        self.release(&held)?;
        let mut wave = Partitions::with_capacity(starts.len());
        let mut sought = Partitions::with_capacity(starts.len());
        let mut slots = Vec::with_capacity(starts.len());
        for start in starts {
            match self.admit(&start, &mut wave, &mut sought) {
                Ok(()) => slots.push(start.slot),
                Err(error) => {
                    self.delivery.forget(&slots);
                    return Err(error);
                }
            }
        }
        if wave.is_empty() {
            return Ok(());
        }
        if let Err(error) = super::wire::incremental_assign(&self.client, &wave) {
            self.delivery.forget(&slots);
            return Err(error);
        }
        self.seek(sought);
        Ok(())
    }

    /// Enters one start into the tables and the lists.
    fn admit(&mut self, start: &Start, wave: &mut Partitions, sought: &mut Partitions) -> Result<(), KafkaError> {
        if !self.topics.contains_key(&start.topic) {
            let name = c_string(&start.topic)?;
            let topic = Topic::new(&self.client, &name)?;
            self.topics.insert(start.topic.clone(), (name, topic));
        }
        let Some((name, topic)) = self.topics.get(&start.topic) else {
            return Err(KafkaError::Other(format!("topic {} is not known", start.topic)));
        };
        let reading = Reading {
            topic: start.topic.clone(),
            partition: start.partition,
            address: topic.address(),
            cursor: Cursor::new(start.from, start.stop),
            columns: Columns::default(),
            turn: 0,
        };
        self.delivery.enter(start.slot, reading)?;
        wave.add(name, start.partition, start.from, None);
        // Sought where that record ended, not at `from`: what lies between may be of a later epoch, and then the
        // broker ends this one before `from`. At offset 0 there is nothing before that could have been truncated.
        if let Some((at, epoch)) = start.lineage.filter(|(at, _)| *at > 0) {
            sought.add(name, start.partition, at, Some(epoch));
        }
        Ok(())
    }

    /// Seeks what has an epoch. The partitions are started by librdkafka's own thread, so a seek may come too
    /// early, and is repeated. Records that were fetched before a seek are dropped by librdkafka.
    fn seek(&mut self, mut sought: Partitions) {
        let deadline = Instant::now() + SEEK_PATIENCE;
        while !sought.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            let refused = super::wire::seek(&self.client, &sought, left.max(Duration::from_millis(1)));
            let mut again = Partitions::with_capacity(0);
            for row in refused {
                let Some((name, _)) = self.topics.get(row.topic.as_str()) else {
                    continue;
                };
                let early = matches!(row.code, code::STATE | code::PREV_IN_PROGRESS | code::UNKNOWN_PARTITION);
                if early && !left.is_zero() {
                    again.add(name, row.partition, row.offset, row.epoch);
                } else {
                    let why = super::native::describe(row.code);
                    let text = format!("{}/{}: the seek to {} failed: {why}", row.topic, row.partition, row.offset);
                    self.delivery.fault_later(&row.topic, row.partition, row.code, text);
                }
            }
            if !again.is_empty() {
                std::thread::sleep(Duration::from_millis(1));
            }
            sought = again;
        }
    }

    /// Stops reading these slots and throws their rows away. Slots that are not read are passed over.
    pub fn release(&mut self, slots: &[Slot]) -> Result<(), KafkaError> {
        let mut list = Partitions::with_capacity(slots.len());
        for slot in slots {
            if let Some(reading) = self.delivery.reading(*slot)
                && let Some((name, _)) = self.topics.get(&reading.topic)
            {
                list.add(name, reading.partition, 0, None);
            }
        }
        self.delivery.forget(slots);
        if list.is_empty() { Ok(()) } else { super::wire::incremental_unassign(&self.client, &list) }
    }

    /// Takes what has arrived; waits at most `wait` where nothing has. Returns the number of new rows.
    pub fn poll(&mut self, wait: Duration, turn: &mut Turn) -> usize {
        turn.clear();
        self.delivery.poll(&self.queue, &self.client, wait, turn)
    }

    /// Rows that were not taken yet. A slot that is not read has none.
    pub fn columns(&mut self, slot: Slot) -> &mut Columns {
        self.delivery.columns(slot)
    }

    /// Memory of the rows that were not taken yet.
    pub fn waiting(&self, slot: Slot) -> usize {
        self.delivery.reading(slot).map_or(0, |reading| reading.columns.memory())
    }

    /// Where the slot is read; a slot that is not read is at 0.
    pub fn position(&self, slot: Slot) -> Position {
        self.delivery.reading(slot).map(|reading| reading.cursor.position()).unwrap_or_default()
    }
}
