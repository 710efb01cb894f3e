//! The settings as plain typed values: what a file is read into, and what the library's builder fills.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::{LakeUrl, Properties, TopicSelector};
use crate::release;

/// Every setting of a landfall. [`Config::default`] is complete but for what only a person knows: the
/// topics, `bootstrap.servers` and the lake's URL.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    pub kafka: Kafka,
    pub source: Source,
    pub checkpoint: CheckpointSettings,
    pub lake: LakeSettings,
    pub limits: Limits,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Kafka {
    pub topics: Vec<TopicSelector>,
    /// Handed to librdkafka as they are.
    pub properties: Properties,
}

impl Kafka {
    /// Whether a topic is meant by name or by a pattern.
    pub fn selects(&self, topic: &str) -> bool {
        self.topics.iter().any(|selector| selector.matches(topic))
    }

    /// The names among the selectors: topics that ought to exist.
    pub fn named_topics(&self) -> impl Iterator<Item = &str> {
        self.topics.iter().filter_map(TopicSelector::name)
    }

    /// Whether more than one topic can be landed.
    pub fn several_topics(&self) -> bool {
        self.topics.len() > 1 || self.topics.iter().any(|selector| selector.name().is_none())
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Source {
    pub mode: Mode,
    pub assignment: Assignment,
    pub start: Start,
    pub on_gap: OnGap,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Direct,
}

/// Which partitions a process plans, where several processes may use one lake.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Assignment {
    /// Those that Kafka's group coordinator gives to it.
    #[default]
    Group,
    /// All of them, whoever else does so.
    All,
}

/// Where a stream without a checkpoint begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Start {
    #[default]
    Earliest,
    /// The last stable offset.
    Latest,
    /// The first record with this timestamp or a later one, in milliseconds since 1970, UTC.
    Time(i64),
    /// Topic → partition → offset. Partitions that are not named start at the earliest.
    Offsets(BTreeMap<String, BTreeMap<i32, i64>>),
}

/// What becomes of a stream whose next records Kafka has dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnGap {
    #[default]
    Fail,
    Record,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointSettings {
    pub store: StoreKind,
    pub path: PathBuf,
}

impl Default for CheckpointSettings {
    fn default() -> CheckpointSettings {
        CheckpointSettings { store: StoreKind::Sled, path: PathBuf::from("./state") }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// On this host's disk, used by one process at a time.
    Sled,
    /// In the lake itself, used by any number of processes.
    Lake,
    /// Forgets everything at the end: for tests and for programs that know what they do. No file can ask for it.
    Memory,
}

#[derive(Debug, Clone, PartialEq)]
pub struct LakeSettings {
    pub url: LakeUrl,
    pub format: Format,
    /// The directory of a stream below the lake: `{topic}/{partition}` and any other text.
    pub path: String,
    pub roll: Roll,
    /// Handed to the object store as they are.
    pub options: Properties,
    /// The largest file in an object store, where a file is one put.
    pub max_put: u64,
    pub parquet: Parquet,
}

impl Default for LakeSettings {
    fn default() -> LakeSettings {
        LakeSettings {
            url: LakeUrl::default(),
            format: Format::Parquet,
            path: release::default_of("{topic}/{partition}".into(), |_| "{topic}/p={partition}".into()),
            roll: Roll::default(),
            options: Properties::default(),
            max_put: landfall_lake::ObjectLimits::LARGEST,
            parquet: Parquet::default(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Parquet,
}

impl Format {
    /// The word of the configuration, which is the extension of the files too.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Parquet => "parquet",
        }
    }
}

/// When a batch ends. Whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roll {
    /// Since data beyond `next` was first seen.
    pub max_age: Duration,
    /// Bytes of the file written.
    pub max_size: u64,
    /// Offsets of a plan.
    pub max_records: u64,
}

impl Default for Roll {
    fn default() -> Roll {
        let now = Roll { max_age: Duration::from_secs(60), max_size: 128 << 20, max_records: 10_000_000 };
        release::default_of(now, |_| Roll { max_age: Duration::from_millis(300), max_size: 1 << 20, max_records: 45 })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parquet {
    pub codec: Codec,
    /// Of zstd; the other codecs have none.
    pub level: i32,
    /// Bytes of the encoded pages of a row group, which a batch under way holds in memory.
    pub row_group_size: u64,
}

impl Default for Parquet {
    fn default() -> Parquet {
        let now = Parquet { codec: Codec::Zstd, level: 1, row_group_size: 16 << 20 };
        release::default_of(now, |now| Parquet { codec: Codec::Snappy, row_group_size: 64 << 10, ..now })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    Zstd,
    Snappy,
    Lz4,
    None,
}

impl Codec {
    pub fn as_str(self) -> &'static str {
        match self {
            Codec::Zstd => "zstd",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::None => "none",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// One budget, in bytes, for everything in flight.
    pub memory: u64,
    /// 0 = as many as there are cores.
    pub workers: usize,
    /// How long a stop waits for batches under way.
    pub shutdown: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { memory: 512 << 20, workers: 0, shutdown: Duration::from_secs(10) }
    }
}

impl Limits {
    /// The number of workers that `0` stands for, or the one that was asked for.
    pub fn workers_or_cores(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            workers => workers,
        }
    }
}
