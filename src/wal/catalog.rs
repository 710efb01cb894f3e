//! The segments of an open log, oldest first, with what each holds.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use super::format::{Index, SegmentHeader};
use super::ranges::merge;
use super::survey::Segment;

/// A segment while the log is open. A cursor that reads it holds it.
#[derive(Debug)]
pub struct Live {
    pub file: String,
    pub header: SegmentHeader,
    /// Everything below is durable and may be read.
    pub end: AtomicU64,
    /// Nothing is written to it any more.
    pub closed: AtomicBool,
    /// Only of what is durable.
    pub index: RwLock<Index>,
    /// Entries whose frames stand further up as well.
    pub forwarded: RwLock<BTreeSet<(u32, bool)>>,
}

impl Live {
    pub fn active(file: String, header: SegmentHeader) -> Live {
        Live {
            file,
            end: AtomicU64::new(header.base_lsn),
            header,
            closed: AtomicBool::new(false),
            index: RwLock::default(),
            forwarded: RwLock::default(),
        }
    }

    pub fn found(segment: Segment) -> Live {
        Live {
            end: AtomicU64::new(segment.end_lsn),
            closed: AtomicBool::new(true),
            index: RwLock::new(Arc::unwrap_or_clone(segment.index)),
            file: segment.file,
            header: segment.header,
            forwarded: RwLock::default(),
        }
    }

    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub fn with_index<T>(&self, look: impl FnOnce(&Index) -> T) -> T {
        look(&self.index.read().unwrap_or_else(|dead| dead.into_inner()))
    }

    pub fn is_forwarded(&self, key: (u32, bool)) -> bool {
        self.forwarded.read().unwrap_or_else(|dead| dead.into_inner()).contains(&key)
    }

    /// Bytes in its file that count.
    pub fn bytes(&self) -> u64 {
        if self.is_closed() { self.end() - self.header.base_lsn } else { self.header.capacity }
    }
}

#[derive(Debug, Default)]
pub struct Catalog {
    segments: RwLock<Vec<Arc<Live>>>,
}

impl Catalog {
    pub fn new(segments: Vec<Segment>) -> Catalog {
        Catalog { segments: RwLock::new(segments.into_iter().map(|segment| Arc::new(Live::found(segment))).collect()) }
    }

    /// As they are now, oldest first.
    pub fn segments(&self) -> Vec<Arc<Live>> {
        self.segments.read().unwrap_or_else(|dead| dead.into_inner()).clone()
    }

    /// Whether a segment is still part of the log.
    pub fn has(&self, seq: u64) -> bool {
        self.segments().iter().any(|live| live.header.seq == seq)
    }

    pub fn push(&self, segment: Arc<Live>) {
        self.segments.write().unwrap_or_else(|dead| dead.into_inner()).push(segment);
    }

    /// Takes the `count` oldest out.
    pub fn remove_oldest(&self, count: usize) -> Vec<Arc<Live>> {
        self.segments.write().unwrap_or_else(|dead| dead.into_inner()).drain(..count).collect()
    }

    pub fn bytes(&self) -> u64 {
        self.segments().iter().map(|segment| segment.bytes()).sum()
    }

    /// What is held of a stream, neighbours merged.
    pub fn held(&self, id: u32) -> Vec<(i64, i64)> {
        let mut held = Vec::new();
        for segment in self.segments() {
            segment.with_index(|index| {
                for repair in [false, true] {
                    let stretches = index.entries.get(&(id, repair)).map(|entry| entry.stretches.as_slice());
                    held.extend(stretches.unwrap_or_default().iter().map(|stretch| (stretch.from, stretch.until)));
                }
            });
        }
        merge(&mut held);
        held
    }
}
