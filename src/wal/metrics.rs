//! The log's figures, counted where they happen and read at once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use landfall_sink::Stream;

/// A moment's figures of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// Everything below this address is durable.
    pub durable_lsn: u64,
    pub groups: u64,
    pub frames: u64,
    /// Bytes written, headers and padding included.
    pub bytes: u64,
    pub fsyncs: u64,
    pub fsync_total: Duration,
    pub fsync_longest: Duration,
    /// Syncs that took longer than `Options::slow_sync`.
    pub fsync_slow: u64,
    /// Appended and not yet durable.
    pub staged_bytes: u64,
    pub segments: u64,
    /// Bytes of all segments on disk.
    pub disk_bytes: u64,
    /// No segment can be prepared, because the disk or the log's own limit is full. It goes on by itself.
    pub waiting_for_space: bool,
    /// When the oldest segment that holds something not retired was made, in milliseconds since 1970.
    pub oldest_unretired_ms: Option<u64>,
    /// The stream that keeps the oldest segment from being retired, as the last retirement found.
    pub pinned_by: Option<Stream>,
    pub quarantined_bytes: u64,
    pub poisoned: bool,
}

#[derive(Debug, Default)]
pub struct Counters {
    pub durable_lsn: AtomicU64,
    pub groups: AtomicU64,
    pub frames: AtomicU64,
    pub bytes: AtomicU64,
    pub fsyncs: AtomicU64,
    pub fsync_us: AtomicU64,
    pub fsync_longest_us: AtomicU64,
    pub fsync_slow: AtomicU64,
    pub waiting_for_space: AtomicBool,
    pub quarantined: AtomicU64,
}

impl Counters {
    pub fn synced(&self, took: Duration, slow: Duration) {
        let us = took.as_micros() as u64;
        self.fsyncs.fetch_add(1, Ordering::Relaxed);
        self.fsync_us.fetch_add(us, Ordering::Relaxed);
        self.fsync_longest_us.fetch_max(us, Ordering::Relaxed);
        if took > slow {
            self.fsync_slow.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn group(&self, frames: usize, bytes: u64) {
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.frames.fetch_add(frames as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}
