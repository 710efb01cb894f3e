//! The record of a stream, and the only ways in which it can change.

use landfall_sink::{Resolution, Span, Stream};
use serde::{Deserialize, Serialize};

/// What this release writes. Another major is refused; fields of a newer minor are carried through.
pub const FORMAT: Format = Format { major: 1, minor: 0 };

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    pub major: u32,
    pub minor: u32,
}

/// The durable decision that a range will be landed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    pub from: i64,
    pub until: i64,
    /// Leader epoch of the offset before `from`, for the validating seek.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_epoch: Option<i32>,
    /// Leader epoch of the last record read, where it is known when planning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_epoch: Option<i32>,
    /// Digest of the frozen layout.
    pub layout: String,
    /// An operator's decision that this range can never be read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<Resolution>,
    #[serde(flatten)]
    pub unknown: serde_json::Map<String, serde_json::Value>,
}

impl Planned {
    pub fn span(&self) -> Span {
        Span::new(self.from, self.until)
    }
}

/// One stream's checkpoint. Everything in `[genesis, next)` is committed, planned, or a recorded gap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub format: Format,
    pub version: u64,
    /// Fresh for every content, so that a lost answer can be told from a lost race.
    pub nonce: String,
    #[serde(flatten)]
    pub stream: Stream,
    /// A topic id that appeared after the stream was born without one: adopted once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted_topic_id: Option<String>,
    pub genesis: i64,
    /// The first offset that no plan covers.
    pub next: i64,
    /// Leader epoch of the record before `next`, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_epoch: Option<i32>,
    pub planned: Vec<Planned>,
    pub gaps: Vec<Span>,
    #[serde(flatten)]
    pub unknown: serde_json::Map<String, serde_json::Value>,
}

/// A transition that would break an invariant: nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {}
