//! Giving space back: the oldest segments go when everything in them is committed elsewhere, and a stream that lags
//! has its frames copied forward so that it does not keep the others' segments.
//!
//! The order is: commit durable (the caller's), floor durable in META, then the files.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use landfall_lake::fault;
use landfall_sink::Stream;

use super::Core;
use super::catalog::Live;
use super::error::{AppendError, Poison, WalError};
use super::format::FrameType;
use super::scan::GroupReader;
use super::stage::{StreamId, Ticket};

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
        let (mut count, mut pinned_by) = (0, None);
        for live in candidates {
            pinned_by = self.pin(live, floors);
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

    /// The first stream of a segment that still needs it.
    fn pin(&self, live: &Live, floors: &[Floor]) -> Option<Stream> {
        live.with_index(|index| {
            let needed = |(key, entry): (&(u32, bool), &super::format::Entry)| {
                let until = entry.until()?;
                let committed =
                    floors.iter().filter(|floor| floor.stream == entry.def.stream).map(|floor| floor.committed).max();
                let done = committed.is_some_and(|committed| committed >= until) || live.is_forwarded(*key);
                (!done).then(|| entry.def.stream.clone())
            };
            index.entries.iter().find_map(needed)
        })
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
        let mut free = Vec::new();
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
            } else if let Some(name) = self.pool_name(&live) {
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
    /// first write to those that it lacks would cost a word in the file system's journal, sync by sync.
    fn pool_name(&self, live: &Arc<Live>) -> Option<String> {
        let whole = live.bytes() >= self.options.segment_bytes / 4 * 3;
        if Arc::strong_count(live) > 1 || !whole { None } else { self.preparer.pool_name(self.options.recycled) }
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

    /// Copies what a stream has in closed segments and is not committed to the log's end, so that those segments can
    /// be retired. Returns the bytes of payload that were copied.
    pub(super) fn copy_forward(self: &Arc<Core>, id: StreamId, committed: i64) -> Result<u64, WalError> {
        let mut copied = 0;
        let segments = self.catalog.segments();
        for live in &segments[..segments.len().saturating_sub(1)] {
            for repair in [false, true] {
                let key = (id.0, repair);
                let needed = live
                    .with_index(|index| index.entries.get(&key).is_some_and(|entry| entry.until() > Some(committed)));
                if !needed || !live.is_closed() || live.is_forwarded(key) {
                    continue;
                }
                let (bytes, ticket) = self.copy(live, Some(key), committed)?;
                if let Some(ticket) = ticket {
                    self.stage.wait(ticket).map_err(WalError::Append)?;
                }
                copied += bytes;
                live.forwarded.write().unwrap_or_else(|dead| dead.into_inner()).insert(key);
            }
        }
        Ok(copied)
    }

    /// Appends the sound frames of a segment again; all of them, or those of one entry.
    pub(super) fn copy(
        &self,
        live: &Live,
        only: Option<(u32, bool)>,
        above: i64,
    ) -> Result<(u64, Option<Ticket>), WalError> {
        let display = self.volume.display(&live.file);
        let io = || WalError::io("reading", &display);
        let file = self.volume.open(&live.file, false).map_err(io())?;
        let mut reader = GroupReader::new(&*file, &live.header, true).map_err(io())?;
        let (mut at, mut bytes, mut ticket) = (live.header.base_lsn, 0, None);
        while at < live.end().min(reader.limit()) {
            let (header, frames) = match reader.group(at).map_err(io())? {
                Ok(group) => (group.header, group.frames),
                // A copy for retirement must be whole; one for repair takes what is proven.
                Err(bad) if only.is_some() => {
                    let what = format!("{} while it was copied forward", bad.why);
                    let damage = super::Damage {
                        file: display,
                        segment: Some(live.header.seq),
                        from_lsn: at,
                        until_lsn: live.end(),
                        what,
                        lost: Vec::new(),
                    };
                    return Err(WalError::Damaged(vec![damage]));
                }
                Err(bad) => match bad.header {
                    Some(header) => (header, bad.frames),
                    None => {
                        at += super::format::BLOCK;
                        continue;
                    }
                },
            };
            let repair = header.has(super::format::group_flags::REPAIR);
            for frame in frames
                .iter()
                .filter(|frame| frame.sound && matches!(frame.header.kind, FrameType::Data | FrameType::Gap))
            {
                let wanted =
                    only.is_none_or(|key| key == (frame.header.stream_id, repair)) && frame.header.next_offset > above;
                let known = self.stage.door(StreamId(frame.header.stream_id)).is_some();
                if wanted && known {
                    let mut whole = vec![0; super::format::FRAME_HEADER];
                    whole.extend_from_slice(frame.payload(&reader));
                    whole.resize(frame.header.total(), 0);
                    bytes += u64::from(frame.header.payload_len);
                    ticket = Some(self.stage.repair(frame.header, whole).map_err(AppendError::into_wal)?);
                }
            }
            at += header.total();
        }
        Ok((bytes, ticket))
    }
}
