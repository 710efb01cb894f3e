//! Damage, named: where it is, and which offsets of which stream stood there.

use std::fmt;

use landfall_sink::Stream;

/// A stretch of the log that had been durable and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub file: String,
    /// The number of the segment, where the damage is in one.
    pub segment: Option<u64>,
    /// Addresses: the first that fails, and the first after it that is good again or can hold nothing.
    pub from_lsn: u64,
    pub until_lsn: u64,
    pub what: String,
    /// Empty where nothing but the log's own bookkeeping was hit.
    pub lost: Vec<Lost>,
}

/// Offsets that the log held, `[from, until)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    pub stream: Stream,
    /// −1: the stream is met only behind the damage, so it is not known whether it began before and where.
    pub from: i64,
    /// `None`: nothing of the stream was found behind the damage, so it is not known whether and how far it went.
    pub until: Option<i64>,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lost { stream, from, until } = self;
        match until {
            Some(until) if *from < 0 => write!(f, "{stream} perhaps offsets before {until}"),
            Some(until) => write!(f, "{stream} offsets {from}-{until}"),
            None => write!(f, "{stream} perhaps from offset {from} on"),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:#x}-{:#x}: {}", self.file, self.from_lsn, self.until_lsn, self.what)?;
        let lost: Vec<String> = self.lost.iter().map(Lost::to_string).collect();
        if lost.is_empty() { write!(f, "; no offset is lost by it") } else { write!(f, "; lost: {}", lost.join(", ")) }
    }
}
