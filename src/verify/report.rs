//! What an audit found, as one JSON document and as types.
//!
//! ```text
//! { "lake", "lake_id", "against": "lake" | "checkpoint", "kafka": bool,
//!   "outcome": "clean" | "damage" | "incomplete",
//!   "streams": [ { "cluster", "topic", "topic_id"?, "partition", "genesis", "until", "next"?, "files", "rows",
//!                  "bytes", "gap_offsets", "planned": [[from, until], …], "kafka"?: {…}, "damage", "unexplained",
//!                  "notes", "unchecked", "findings": [ { "severity", "kind", "range"?, "name"?, "message" } ] } ] }
//! ```
//!
//! Counts are of everything; `findings` holds the first hundred of a stream.

use landfall_sink::{Span, Stream};
use serde::Serialize;

/// How many findings of a stream are kept in words.
const KEPT: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing is wrong; ranges without a file may still be unexplained on a lake alone.
    Clean,
    /// Something is wrong: exit code 65.
    Damage,
    /// Nothing is known to be wrong, but something could not be read.
    Incomplete,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Damage,
    /// A range without a file, where nothing says whether there should be one.
    Unexplained,
    /// Worth knowing, and in order.
    Note,
    /// It could not be read, so nothing is known.
    Unchecked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Committed, or between two files, and no file.
    Hole,
    /// Two names claim the same offsets.
    Overlap,
    /// A file that does not fit the checkpoint.
    Misplaced,
    /// A file beyond `next`: what a crash leaves and the next start takes up.
    BeyondNext,
    /// The gaps of the metadata and those of the checkpoint differ.
    Gaps,
    /// A file whose content is not what its name or its metadata say.
    File,
    /// A record of the topic that is not a row, or differs from it.
    Kafka,
    /// An object below `_landfall/` is missing or does not fit.
    Origin,
    /// The checkpoint of a stream that was born is missing.
    Checkpoint,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub severity: Severity,
    pub kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub message: String,
}

/// The comparison of one stream with its topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// Records that are in both, with equal content.
    pub equal: u64,
    /// Rows whose records Kafka has dropped since: nothing to compare with.
    pub expired: u64,
    /// Rows whose records compaction has removed since.
    pub compacted: u64,
    pub differing: u64,
    /// In Kafka, and not in the lake.
    pub missing: u64,
    /// In the lake, and not in Kafka, although it should be.
    pub unknown: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamReport {
    #[serde(flatten)]
    pub stream: Stream,
    pub genesis: i64,
    /// The end of the last file.
    pub until: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
    pub files: u64,
    pub rows: u64,
    pub bytes: u64,
    pub gap_offsets: i64,
    pub planned: Vec<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kafka: Option<Compared>,
    pub damage: u64,
    pub unexplained: u64,
    pub notes: u64,
    pub unchecked: u64,
    pub findings: Vec<Finding>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub lake: String,
    pub lake_id: String,
    pub against: &'static str,
    pub kafka: bool,
    pub outcome: Outcome,
    pub streams: Vec<StreamReport>,
}

impl StreamReport {
    pub(super) fn new(stream: Stream, genesis: i64) -> StreamReport {
        StreamReport {
            stream,
            genesis,
            until: genesis,
            next: None,
            files: 0,
            rows: 0,
            bytes: 0,
            gap_offsets: 0,
            planned: Vec::new(),
            kafka: None,
            damage: 0,
            unexplained: 0,
            notes: 0,
            unchecked: 0,
            findings: Vec::new(),
        }
    }

    pub(super) fn find(
        &mut self,
        severity: Severity,
        kind: Kind,
        range: Option<Span>,
        name: Option<&str>,
        message: impl Into<String>,
    ) {
        let count = match severity {
            Severity::Damage => &mut self.damage,
            Severity::Unexplained => &mut self.unexplained,
            Severity::Note => &mut self.notes,
            Severity::Unchecked => &mut self.unchecked,
        };
        *count += 1;
        let finding = Finding { severity, kind, range, name: name.map(Into::into), message: message.into() };
        if self.findings.len() < KEPT {
            self.findings.push(finding);
        } else if severity == Severity::Damage
            && let Some(lesser) = self.findings.iter_mut().find(|kept| kept.severity != Severity::Damage)
        {
            // Damage is never crowded out by what is in order.
            *lesser = finding;
        }
    }

    pub(super) fn damage(&mut self, kind: Kind, range: Option<Span>, name: Option<&str>, message: impl Into<String>) {
        self.find(Severity::Damage, kind, range, name, message);
    }
}

impl Report {
    pub(super) fn outcome_of(streams: &[StreamReport]) -> Outcome {
        if streams.iter().any(|stream| stream.damage > 0) {
            Outcome::Damage
        } else if streams.iter().any(|stream| stream.unchecked > 0) {
            Outcome::Incomplete
        } else {
            Outcome::Clean
        }
    }

    pub fn files(&self) -> u64 {
        self.streams.iter().map(|stream| stream.files).sum()
    }

    pub fn rows(&self) -> u64 {
        self.streams.iter().map(|stream| stream.rows).sum()
    }

    pub fn damage(&self) -> u64 {
        self.streams.iter().map(|stream| stream.damage).sum()
    }
}
