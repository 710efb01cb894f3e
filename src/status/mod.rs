//! One picture of the progress of everything, for commands, bars and messages.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use landfall_sink::{Landed, Span, Stream};
use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;

/// What a stream is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Activity {
    Landing,
    /// Goes on by itself as soon as the reason is gone.
    Waiting {
        why: String,
    },
    /// Needs somebody.
    Stopped {
        why: String,
        way_out: String,
    },
    /// `--once`: it is where it was to get.
    Done,
}

/// One stream, as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamStatus {
    pub stream: Stream,
    pub genesis: i64,
    /// `committed` when this process first saw the stream.
    pub began: Option<i64>,
    pub next: i64,
    pub committed: i64,
    pub planned: Vec<Span>,
    pub gaps: Vec<Span>,
    /// Last stable offset, when it was last asked for.
    pub end: Option<i64>,
    /// High watermark, when it was last asked for.
    pub high_watermark: Option<i64>,
    /// Since this process started.
    pub records: u64,
    pub bytes: u64,
    pub files: u64,
    /// The newest file of this process.
    pub last_file: Option<String>,
    #[serde(flatten)]
    pub activity: Activity,
}

impl StreamStatus {
    /// Records that are not committed yet, against the last stable offset.
    pub fn lag(&self) -> Option<i64> {
        self.end.map(|end| (end - self.committed).max(0))
    }
}

/// Sums over all streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub streams: usize,
    pub stopped: usize,
    pub records: u64,
    pub bytes: u64,
    pub files: u64,
    pub lag: i64,
}

#[derive(Debug, Default)]
pub struct Board(Mutex<BTreeMap<Stream, StreamStatus>>);

impl Board {
    pub fn checkpoint(&self, checkpoint: &Checkpoint) {
        self.row(&checkpoint.stream, |row| {
            row.genesis = checkpoint.genesis;
            row.next = checkpoint.next;
            row.committed = checkpoint.committed();
            row.began.get_or_insert(row.committed);
            row.planned = checkpoint.planned.iter().map(|planned| planned.span()).collect();
            row.gaps = checkpoint.gaps.clone();
        });
    }

    pub fn landed(&self, landed: &Landed) {
        self.row(&landed.stream, |row| {
            row.records += landed.rows;
            row.bytes += landed.bytes;
            row.files += 1;
            row.last_file = Some(landed.name.clone());
            row.activity = Activity::Landing;
        });
    }

    pub fn ends(&self, stream: &Stream, end: i64, high_watermark: Option<i64>) {
        self.row(stream, |row| {
            row.end = Some(end);
            row.high_watermark = high_watermark.or(row.high_watermark);
        });
    }

    /// Returns whether this is news.
    pub fn activity(&self, stream: &Stream, activity: Activity) -> bool {
        self.row(stream, |row| {
            let news = row.activity != activity;
            row.activity = activity;
            news
        })
    }

    pub fn rows(&self) -> Vec<StreamStatus> {
        self.lock().values().cloned().collect()
    }

    pub fn totals(&self) -> Totals {
        let rows = self.lock();
        let mut totals = Totals { streams: rows.len(), ..Totals::default() };
        for row in rows.values() {
            totals.stopped += usize::from(matches!(row.activity, Activity::Stopped { .. }));
            totals.records += row.records;
            totals.bytes += row.bytes;
            totals.files += row.files;
            totals.lag += row.lag().unwrap_or(0);
        }
        totals
    }

    fn row<T>(&self, stream: &Stream, change: impl FnOnce(&mut StreamStatus) -> T) -> T {
        let mut rows = self.lock();
        let row = rows.entry(stream.clone()).or_insert_with(|| StreamStatus {
            stream: stream.clone(),
            genesis: 0,
            began: None,
            next: 0,
            committed: 0,
            planned: Vec::new(),
            gaps: Vec::new(),
            end: None,
            high_watermark: None,
            records: 0,
            bytes: 0,
            files: 0,
            last_file: None,
            activity: Activity::Landing,
        });
        change(row)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Stream, StreamStatus>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
