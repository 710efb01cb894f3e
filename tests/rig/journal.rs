//! What the producers know: every record that a broker acknowledged, and whether a reader may see it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// What a reader of committed records must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It must be there, once.
    Committed,
    /// Aborted, or in a transaction that nobody ended: it must not be there.
    Hidden,
    /// Retention or compaction may have taken it before it was read: once or not at all.
    Optional,
}

/// One acknowledged record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// CRC-32C of key, value and headers: [`content`].
    pub content: u32,
    /// CRC-32C of the key, for compacted topics.
    pub key: Option<u32>,
    /// Milliseconds, as the broker acknowledged it.
    pub timestamp: i64,
    pub fate: Fate,
}

pub type Offsets = BTreeMap<i64, Entry>;

/// What a producer was told of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub content: u32,
    /// The timestamp as it was sent. The acknowledgement of a batch that was sent twice shows another: the
    /// broker answers with the batch's, as if it were the time of the append.
    pub sent: i64,
    /// The timestamp as it was acknowledged.
    pub acknowledged: i64,
}

/// Shared by the producers of a test and its checker.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    partitions: Arc<Mutex<BTreeMap<(String, i32), Offsets>>>,
    told: Arc<Mutex<Vec<Told>>>,
    failures: Arc<Mutex<Vec<String>>>,
}

impl Journal {
    pub fn new() -> Journal {
        Journal::default()
    }

    pub fn tell(&self, told: Told) {
        self.told.lock().expect("journal").push(told);
    }

    pub fn acknowledged(&self, topic: &str, partition: i32, offset: i64, entry: Entry) {
        let mut partitions = self.partitions.lock().expect("journal");
        let offsets = partitions.entry((topic.into(), partition)).or_default();
        if let Some(before) = offsets.insert(offset, entry) {
            drop(partitions);
            self.failed(format!("{topic}/{partition} offset {offset} was acknowledged twice: {before:?}"));
        }
    }

    /// Every acknowledgement, in the order in which they came.
    pub fn told(&self) -> Vec<Told> {
        self.told.lock().expect("journal").clone()
    }

    /// A journal of what a partition holds, as Kafka itself serves it.
    pub fn serve(&self, topic: &str, partition: i32, offsets: Offsets) {
        self.partitions.lock().expect("journal").insert((topic.into(), partition), offsets);
    }

    /// A record whose delivery is not known: it may be in the topic, or not.
    pub fn failed(&self, what: String) {
        self.failures.lock().expect("journal").push(what);
    }

    pub fn failures(&self) -> Vec<String> {
        self.failures.lock().expect("journal").clone()
    }

    pub fn set_fate(&self, topic: &str, partition: i32, offset: i64, fate: Fate) {
        let mut partitions = self.partitions.lock().expect("journal");
        let entry = partitions.get_mut(&(topic.to_owned(), partition)).and_then(|offsets| offsets.get_mut(&offset));
        entry.expect("an acknowledged record").fate = fate;
    }

    /// Everything committed below `before` may have been taken by retention.
    pub fn expire(&self, topic: &str, partition: i32, before: i64) {
        let mut partitions = self.partitions.lock().expect("journal");
        let Some(offsets) = partitions.get_mut(&(topic.to_owned(), partition)) else { return };
        let below = offsets.range_mut(..before).filter(|(_, entry)| entry.fate == Fate::Committed);
        below.for_each(|(_, entry)| entry.fate = Fate::Optional);
    }

    /// Compaction may take every record that has a later one with its key.
    pub fn compact(&self, topic: &str) {
        let mut partitions = self.partitions.lock().expect("journal");
        for ((name, _), offsets) in partitions.iter_mut().filter(|((name, _), _)| name == topic) {
            let mut last = BTreeMap::new();
            for (offset, entry) in offsets.iter() {
                let key = entry.key.unwrap_or_else(|| panic!("{name} is compacted and {offset} has no key"));
                last.insert(key, *offset);
            }
            let last: std::collections::BTreeSet<i64> = last.into_values().collect();
            let older = offsets.iter_mut().filter(|(offset, _)| !last.contains(offset));
            older.for_each(|(_, entry)| entry.fate = Fate::Optional);
        }
    }

    /// Forgets a topic: it was deleted, and nothing of it was landed.
    pub fn forget(&self, topic: &str) {
        self.partitions.lock().expect("journal").retain(|(name, _), _| name != topic);
    }

    pub fn records(&self) -> usize {
        self.partitions.lock().expect("journal").values().map(BTreeMap::len).sum()
    }

    pub fn count(&self, fate: Fate) -> usize {
        let partitions = self.partitions.lock().expect("journal");
        partitions.values().flat_map(BTreeMap::values).filter(|entry| entry.fate == fate).count()
    }

    pub fn snapshot(&self) -> BTreeMap<(String, i32), Offsets> {
        self.partitions.lock().expect("journal").clone()
    }
}

/// CRC-32C over key, value and headers, each with its length first; −1 for a null.
pub fn content<'a>(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
) -> u32 {
    let mut crc = field(field(0, key), value);
    for (name, value) in headers {
        crc = field(field(crc, Some(name.as_bytes())), value);
    }
    crc
}

fn field(crc: u32, bytes: Option<&[u8]>) -> u32 {
    let length = bytes.map_or(-1, |bytes| i64::try_from(bytes.len()).expect("a length"));
    let crc = crc32c::crc32c_append(crc, &length.to_le_bytes());
    crc32c::crc32c_append(crc, bytes.unwrap_or_default())
}

pub fn key_crc(key: Option<&[u8]>) -> Option<u32> {
    key.map(crc32c::crc32c)
}
