//! A plan, what is known when its rows have been read, and what stands when it has landed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Layout, OffsetRange, Span, Stream};

/// The durable decision that `span` of `stream` is landed under the names of `layout`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub stream: Stream,
    pub span: Span,
    pub layout: Arc<Layout>,
}

impl Plan {
    pub fn range(&self) -> OffsetRange {
        self.stream.range(self.span)
    }

    /// The path of the one file of this plan, from the lake's root.
    pub fn file(&self) -> String {
        self.layout.file(&self.stream, self.span)
    }
}

/// An operator's decision about a range that can never be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    Gap,
    Recreated,
    Truncated,
}

/// What is known of a batch once its last row has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub span: Span,
    /// Records that Kafka no longer had: merged, in order, inside `span`.
    pub gaps: Vec<Span>,
}

/// What stands at the destination for a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landed {
    pub stream: Stream,
    pub span: Span,
    pub rows: u64,
    pub bytes: u64,
    pub gaps: Vec<Span>,
    /// Where it stands, for people: a path or another name.
    pub name: String,
}
