//! Streams and offset ranges: who is meant, and which offsets of it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One partition's history. A topic that is deleted and created again has another topic id, so it is
/// another stream, even though its name and its offsets look the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stream {
    /// The Kafka cluster's id.
    pub cluster: String,
    pub topic: String,
    /// KIP-516 topic id, or `None` where the broker has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
    pub partition: i32,
}

impl Stream {
    /// The topic id as a path segment; `-` where the broker has none.
    pub fn topic_id_or_dash(&self) -> &str {
        self.topic_id.as_deref().unwrap_or("-")
    }

    pub fn range(&self, span: Span) -> OffsetRange {
        OffsetRange {
            topic: self.topic.clone(),
            partition: self.partition,
            from_offset: span.from,
            until_offset: span.until,
        }
    }
}

/// `orders/3`: how people name a stream in commands and messages.
impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// Topic, partition and the half-open range of offsets `[from_offset, until_offset)`, as in Spark.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OffsetRange {
    pub topic: String,
    pub partition: i32,
    pub from_offset: i64,
    pub until_offset: i64,
}

impl OffsetRange {
    /// How many offsets the range covers; its records may be fewer.
    pub fn count(&self) -> i64 {
        self.until_offset - self.from_offset
    }
}

impl fmt::Display for OffsetRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} [{}, {})", self.topic, self.partition, self.from_offset, self.until_offset)
    }
}

/// The offsets of an [`OffsetRange`] without the partition: `[from, until)`. In JSON `[from, until]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "(i64, i64)", into = "(i64, i64)")]
pub struct Span {
    pub from: i64,
    pub until: i64,
}

impl Span {
    pub const fn new(from: i64, until: i64) -> Span {
        Span { from, until }
    }

    pub fn len(&self) -> i64 {
        self.until - self.from
    }

    pub fn is_empty(&self) -> bool {
        self.until <= self.from
    }

    pub fn contains(&self, offset: i64) -> bool {
        self.from <= offset && offset < self.until
    }

    pub fn covers(&self, other: Span) -> bool {
        self.from <= other.from && other.until <= self.until
    }

    pub fn overlaps(&self, other: Span) -> bool {
        self.from < other.until && other.from < self.until
    }
}

impl From<(i64, i64)> for Span {
    fn from((from, until): (i64, i64)) -> Span {
        Span { from, until }
    }
}

impl From<Span> for (i64, i64) {
    fn from(span: Span) -> (i64, i64) {
        (span.from, span.until)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.from, self.until)
    }
}

/// Sorts spans and joins those that touch or overlap; empty ones vanish.
pub fn merge_spans(mut spans: Vec<Span>) -> Vec<Span> {
    spans.retain(|span| !span.is_empty());
    spans.sort_unstable();
    let mut merged: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.from <= last.until => last.until = last.until.max(span.until),
            _ => merged.push(span),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn touching_spans_join() {
        let merged = merge_spans(vec![Span::new(5, 7), Span::new(0, 5), Span::new(9, 9)]);
        assert_eq!(merged, vec![Span::new(0, 7)]);
    }

    proptest! {
        #[test]
        fn merging_keeps_every_offset_and_nothing_else(
            spans in prop::collection::vec((0i64..40, 0i64..40), 0..12)
        ) {
            let spans: Vec<Span> = spans.into_iter().map(Span::from).collect();
            let merged = merge_spans(spans.clone());
            for offset in 0..40 {
                let before = spans.iter().any(|s| s.contains(offset));
                let after = merged.iter().filter(|s| s.contains(offset)).count();
                prop_assert_eq!(after, usize::from(before));
            }
            prop_assert!(merged.windows(2).all(|w| w[0].until < w[1].from));
        }
    }
}
