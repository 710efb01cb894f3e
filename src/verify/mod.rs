//! The audit of a lake: the names of each stream tile `[genesis, …)`, each file holds what its name and its
//! metadata say, and both agree with the checkpoints and, where asked, with the topic itself.
//!
//! Checkpoints are read before the first listing, so a lake that is being written to can be audited: what
//! was committed by then stands, and what appears later is seen as what it is.

mod kafka;
mod line;
mod report;
mod stream;
mod topic;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use landfall_sink::{Isolation, Landed, Sink, SinkError, Span, Stream};
use tokio::sync::Semaphore;

use crate::checkpoint::{Checkpoint, CheckpointStore, StoreError};
use crate::origin::{Origin, OriginError, places};

pub use kafka::Topics;
pub use report::{Compared, Finding, Kind, Outcome, Report, Severity, StreamReport};

/// A row as far as a comparison needs it: the CRC-32C is of its canonical encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowSum {
    pub offset: i64,
    pub crc32c: u32,
}

/// What reading a file again found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audited {
    /// What the file says of itself; `None` if it does not say.
    pub landed: Option<Landed>,
    /// Sentences; empty if everything is as it must be.
    pub problems: Vec<String>,
}

/// Reads what a sink has written.
#[async_trait]
pub trait Auditor: Send + Sync + 'static {
    /// Reads all of it again.
    async fn audit(&self, landed: &Landed) -> Result<Audited, SinkError>;

    /// Its rows in order of offset, in chunks.
    async fn rows(&self, landed: &Landed) -> Result<BoxStream<'static, Result<Vec<RowSum>, SinkError>>, SinkError>;
}

/// The records of a topic, for `verify --kafka`.
#[async_trait]
pub trait TopicRows: Send + Sync {
    /// The deliverable records of `span` that Kafka still has. An error is a sentence, and ends the comparison
    /// of the stream.
    async fn rows(&self, stream: &Stream, span: Span, isolation: Isolation) -> Result<KafkaRows, String>;
}

pub struct KafkaRows {
    /// Below it Kafka has dropped its records; as of the beginning of the read.
    pub log_start: i64,
    /// Whether records above it may have been removed by compaction.
    pub compacted: bool,
    /// In order of offset, in chunks.
    pub rows: BoxStream<'static, Result<Vec<RowSum>, String>>,
}

/// How far an audit is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    pub files_done: u64,
    pub files: u64,
    pub bytes_done: u64,
    pub bytes: u64,
}

pub struct Scope<'a> {
    pub origin: &'a Origin,
    pub sink: &'a dyn Sink,
    pub auditor: Arc<dyn Auditor>,
    /// [`snapshot`] of the store, or what the holder of the store answered; `None`: the lake alone.
    pub checkpoints: Option<BTreeMap<Stream, Checkpoint>>,
    pub topic: Option<&'a dyn TopicRows>,
    /// Files that are read at a time.
    pub parallel: usize,
    pub progress: Option<&'a (dyn Fn(Progress) + Sync)>,
}

/// Every checkpoint of a store.
pub async fn snapshot(store: &dyn CheckpointStore) -> Result<BTreeMap<Stream, Checkpoint>, StoreError> {
    let mut checkpoints = BTreeMap::new();
    for stream in store.streams().await? {
        if let Some(checkpoint) = store.load(&stream).await? {
            checkpoints.insert(stream, checkpoint);
        }
    }
    Ok(checkpoints)
}

/// Audits every stream. An error means that the audit itself could not be done; damage is in the report.
pub async fn verify(scope: Scope<'_>) -> Result<Report, OriginError> {
    let mut streams: BTreeSet<Stream> = scope.origin.possible_streams().await?;
    streams.extend(scope.checkpoints.iter().flat_map(|known| known.keys().cloned()));
    let parallel = scope.parallel.max(1);
    let run = Run {
        permits: Arc::new(Semaphore::new(parallel)),
        parallel,
        totals: totals(&scope, &streams).await?,
        files_done: AtomicU64::new(0),
        bytes_done: AtomicU64::new(0),
        scope,
    };
    let audits = streams.into_iter().map(|stream| run.stream(stream));
    let reports: Vec<Option<StreamReport>> =
        futures::stream::iter(audits).buffer_unordered(parallel).try_collect().await?;
    let mut streams: Vec<StreamReport> = reports.into_iter().flatten().collect();
    streams.sort_by(|a, b| a.stream.cmp(&b.stream));
    let Scope { origin, checkpoints, topic, .. } = &run.scope;
    Ok(Report {
        lake: origin.lake().url().into(),
        lake_id: origin.lake_id().into(),
        against: if checkpoints.is_some() { "checkpoint" } else { "lake" },
        kafka: topic.is_some(),
        outcome: Report::outcome_of(&streams),
        streams,
    })
}

/// An audit under way.
struct Run<'a> {
    scope: Scope<'a>,
    permits: Arc<Semaphore>,
    parallel: usize,
    totals: Progress,
    files_done: AtomicU64,
    bytes_done: AtomicU64,
}

impl Run<'_> {
    fn done(&self, landed: &Landed) {
        let files_done = self.files_done.fetch_add(1, Relaxed) + 1;
        let bytes_done = self.bytes_done.fetch_add(landed.bytes, Relaxed) + landed.bytes;
        if let Some(progress) = self.scope.progress {
            progress(Progress { files_done, bytes_done, ..self.totals });
        }
    }
}

/// How much there is to read, from listings alone; only counted where somebody watches.
async fn totals(scope: &Scope<'_>, streams: &BTreeSet<Stream>) -> Result<Progress, OriginError> {
    let mut totals = Progress::default();
    if scope.progress.is_none() {
        return Ok(totals);
    }
    let mut directories = BTreeMap::new();
    for stream in streams {
        for group in places(scope.origin, scope.sink, stream).await? {
            directories.insert(group[0].directory(stream), group[0].clone());
        }
    }
    for (directory, layout) in directories {
        let mut entries = scope.origin.lake().list(&directory, None).await?;
        while let Some(entry) = entries.try_next().await? {
            let name = entry.path.strip_prefix(&directory).and_then(|rest| rest.strip_prefix('/'));
            if name.and_then(|name| layout.parse_file_name(name)).is_some() {
                totals.files += 1;
                totals.bytes += entry.size;
            }
        }
    }
    Ok(totals)
}
