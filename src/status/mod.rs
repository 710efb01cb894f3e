//! One picture of the progress of everything, for commands, bars and messages.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
pub struct Board {
    streams: Mutex<BTreeMap<Stream, StreamStatus>>,
    /// What was landed of streams that other processes land now.
    past: Mutex<Totals>,
    /// Since when no broker answers, and what was said of it.
    away: Mutex<Option<(Instant, String)>>,
}

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

    pub fn ends(&self, stream: &Stream, end: i64) {
        self.row(stream, |row| row.end = Some(end));
    }

    /// Another process lands it.
    pub fn forget(&self, stream: &Stream) {
        let Some(row) = self.lock().remove(stream) else { return };
        let mut past = self.past();
        past.records += row.records;
        past.bytes += row.bytes;
        past.files += row.files;
    }

    /// The stream goes on: what held it up is over.
    pub fn goes_on(&self, stream: &Stream) {
        self.row(stream, |row| {
            if matches!(row.activity, Activity::Waiting { .. } | Activity::Stopped { .. }) {
                row.activity = Activity::Landing;
            }
        });
    }

    /// No broker answers. Returns whether this is news.
    pub fn brokers_away(&self, why: &str) -> bool {
        let mut away = self.away();
        let news = away.is_none();
        away.get_or_insert_with(|| (Instant::now(), why.to_owned()));
        news
    }

    /// A broker answers. Returns for how long none did, if this is news.
    pub fn brokers_back(&self) -> Option<Duration> {
        self.away().take().map(|(since, _)| since.elapsed())
    }

    pub fn are_brokers_away(&self) -> bool {
        self.away().is_some()
    }

    /// Returns whether this is news.
    pub fn activity(&self, stream: &Stream, activity: Activity) -> bool {
        self.row(stream, |row| {
            let news = row.activity != activity;
            row.activity = activity;
            news
        })
    }

    /// Where no broker answers, every stream that would land waits for one.
    pub fn rows(&self) -> Vec<StreamStatus> {
        let away = self.away().as_ref().map(|(_, why)| why.clone());
        let mut rows: Vec<StreamStatus> = self.lock().values().cloned().collect();
        if let Some(why) = away {
            let landing = rows.iter_mut().filter(|row| row.activity == Activity::Landing);
            landing.for_each(|row| row.activity = Activity::Waiting { why: why.clone() });
        }
        rows
    }

    pub fn totals(&self) -> Totals {
        let rows = self.lock();
        let mut totals = Totals { streams: rows.len(), ..*self.past() };
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
            records: 0,
            bytes: 0,
            files: 0,
            last_file: None,
            activity: Activity::Landing,
        });
        change(row)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Stream, StreamStatus>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn past(&self) -> MutexGuard<'_, Totals> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn away(&self) -> MutexGuard<'_, Option<(Instant, String)>> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Stream {
        Stream { cluster: "c".into(), topic: "t".into(), topic_id: None, partition: 0 }
    }

    #[test]
    fn without_brokers_every_stream_that_would_land_waits() {
        let board = Board::default();
        board.ends(&stream(), 10);
        assert!(board.brokers_away("no answer"));
        assert!(!board.brokers_away("still none"), "told once");
        assert_eq!(board.rows()[0].activity, Activity::Waiting { why: "no answer".into() });
        assert!(board.brokers_back().is_some());
        assert_eq!(board.brokers_back(), None, "told once");
        assert_eq!(board.rows()[0].activity, Activity::Landing);
    }

    #[test]
    fn a_stream_that_goes_on_neither_waits_nor_is_stopped() {
        let board = Board::default();
        let stopped = Activity::Stopped { why: "a gap".into(), way_out: "decide".into() };
        for held in [Activity::Waiting { why: "no space".into() }, stopped] {
            board.activity(&stream(), held);
            board.goes_on(&stream());
            assert_eq!(board.rows()[0].activity, Activity::Landing);
        }
        board.activity(&stream(), Activity::Done);
        board.goes_on(&stream());
        assert_eq!(board.rows()[0].activity, Activity::Done);
    }
}
