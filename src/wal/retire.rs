//! Giving space back: the oldest segments go when everything in them is committed elsewhere.
//!
//! The order is: commit durable (the caller's), floor durable in META, then the files.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use landfall_lake::fault;
use landfall_sink::Stream;

use super::Core;
use super::catalog::Live;
use super::error::{Poison, WalError};

/// How far a stream is committed outside the log: `min(next, smallest planned.from)` of a checkpoint that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Floor {
    pub stream: Stream,
    pub committed: i64,
}

/// What a retirement did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retired {
    pub segments: usize,
    pub bytes: u64,
    /// The stream that keeps the oldest segment that is left; `None` where it is merely still being written.
    pub pinned_by: Option<Stream>,
}

impl Core {
    pub(super) fn retire(&self, floors: &[Floor]) -> Result<Retired, WalError> {
        let _one_at_a_time = self.retiring.lock().unwrap_or_else(|dead| dead.into_inner());
        if let Some(poison) = self.stage.poison() {
            return Err(poison.into());
        }
        let segments = self.catalog.segments();
        // The newest stays: the next one continues it.
        let candidates = &segments[..segments.len().saturating_sub(1)];
        let mut committed: HashMap<&Stream, i64> = HashMap::new();
        for floor in floors {
            let known = committed.entry(&floor.stream).or_insert(floor.committed);
            *known = floor.committed.max(*known);
        }
        let (mut count, mut pinned_by) = (0, None);
        for live in candidates {
            pinned_by = pin(live, &committed);
            if pinned_by.is_some() || !live.is_closed() {
                break;
            }
            count += 1;
        }
        *self.pinned_by.lock().unwrap_or_else(|dead| dead.into_inner()) = pinned_by.clone();
        let bytes = segments[..count].iter().map(|live| live.bytes()).sum();
        drop(segments);
        if count > 0 {
            self.drop_oldest(count, |_| false)?;
        }
        Ok(Retired { segments: count, bytes, pinned_by })
    }

    /// Takes the oldest segments out of the log, and what is missing below the next one. `damaged` ones go to the
    /// quarantine.
    pub(super) fn drop_oldest(&self, count: usize, damaged: impl Fn(u64) -> bool) -> Result<(), WalError> {
        if count == 0 {
            return Ok(());
        }
        let stop = |op: &'static str| move |error: std::io::Error| self.stop(op, "the log's directory", &error);
        fault::point("wal.gc.before_floor").map_err(stop("retiring in"))?;
        if fault::sabotaged("wal_unlink_before_floor") {
            self.unlink(count, &damaged)?;
        }
        self.raise_floor(if fault::sabotaged("wal_unlink_before_floor") { 0 } else { count })?;
        fault::point("wal.gc.after_floor").map_err(stop("retiring in"))?;
        if !fault::sabotaged("wal_unlink_before_floor") {
            self.unlink(count, &damaged)?;
        }
        self.preparer.kick();
        Ok(())
    }

    /// The log begins behind its `count` oldest segments. With none, with the oldest that is left: what was before it
    /// is gone.
    pub(super) fn raise_floor(&self, count: usize) -> Result<(), WalError> {
        let segments = self.catalog.segments();
        let next = segments.get(count).map(|next| (next.header.base_lsn, next.header.seq));
        let Some(floor) = next.or_else(|| segments.last().map(|last| (last.end(), last.header.seq + 1))) else {
            return Ok(());
        };
        drop(segments);
        // Both slots, so that one that is damaged later cannot bring back a floor whose segments are gone.
        for _ in 0..2 {
            let raise = |meta: &mut super::format::Meta| (meta.floor_lsn, meta.floor_segment) = floor;
            self.meta.update(raise).map_err(|error| self.stop_for(error))?;
        }
        Ok(())
    }

    fn unlink(&self, count: usize, damaged: &impl Fn(u64) -> bool) -> Result<(), WalError> {
        let stop = |op: &'static str, file: &str| {
            let file = self.volume.display(file);
            move |error: std::io::Error| self.stop(op, &file, &error)
        };
        let mut free: Vec<String> = Vec::new();
        let mut removed = self.catalog.remove_oldest(count);
        if fault::sabotaged("wal_unlink_newest_first") {
            removed.reverse();
        }
        for live in removed {
            let file = live.file.clone();
            if damaged(live.header.seq) {
                let bytes = live.bytes();
                self.volume.rename(&file, &format!("quarantine/{file}")).map_err(stop("quarantining", &file))?;
                self.counters.quarantined.fetch_add(bytes, Ordering::Relaxed);
            } else if let Some(name) = self.pool_name(&live, free.len()) {
                self.volume.rename(&file, &name).map_err(stop("recycling", &file))?;
                free.push(name);
            } else {
                self.volume.unlink(&file).map_err(stop("deleting", &file))?;
            }
            fault::point("wal.gc.after_unlink").map_err(stop("deleting", &file))?;
        }
        self.volume.sync_dir().map_err(stop("syncing", ""))?;
        free.into_iter().for_each(|name| self.preparer.recycle(name));
        Ok(())
    }

    /// A file that a cursor reads must not be written again, and one that was closed early has few blocks to give: the
    /// first write to those that it lacks would cost a word in the file system's journal, sync by sync. `more` are about
    /// to enter the pool.
    fn pool_name(&self, live: &Arc<Live>, more: usize) -> Option<String> {
        let whole = live.bytes() >= self.options.segment_bytes / 4 * 3;
        let limit = self.options.recycled.saturating_sub(more);
        if Arc::strong_count(live) > 1 || !whole { None } else { self.preparer.pool_name(limit) }
    }

    fn stop(&self, op: &'static str, file: &str, error: &std::io::Error) -> WalError {
        let poison = Poison::new(op, file, self.counters.durable_lsn.load(Ordering::Relaxed), error);
        self.stage.poisoned(poison.clone());
        // The committer may be waiting for room that nobody makes any more.
        self.preparer.stop();
        poison.into()
    }

    fn stop_for(&self, error: WalError) -> WalError {
        match error {
            WalError::Io { op, file, source } => self.stop(op, &file, &source),
            other => other,
        }
    }
}

/// The first stream of a segment that still needs it.
fn pin(live: &Live, committed: &HashMap<&Stream, i64>) -> Option<Stream> {
    live.with_index(|index| {
        let needed = |(key, entry): (&(u32, bool), &super::format::Entry)| {
            let until = entry.until()?;
            let done = committed.get(&entry.def.stream).is_some_and(|committed| *committed >= until);
            (!done && !live.is_forwarded(*key)).then(|| entry.def.stream.clone())
        };
        index.entries.iter().find_map(needed)
    })
}
