//! From one segment to the next: the file gets its header, then its name, and only then groups.

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use landfall_lake::fault;

use super::catalog::Live;
use super::commit::{Active, Committer, Stopped};
use super::error::{Poison, WalError};
use super::format::{SegmentHeader, segment_flags};
use super::prepare::Prepared;
use super::volume::is_full;

impl Committer {
    pub(super) fn next_segment(&mut self) -> Result<(), Stopped> {
        if fault::sabotaged("wal_reuse_segment") && self.reuse() {
            return Ok(());
        }
        loop {
            let Some(prepared) = self.core.preparer.take()? else { return Err(Stopped(None)) };
            let header = self.header(&prepared);
            match self.publish(&prepared, &header) {
                // A directory with no room for a name: the file is written again under the next try's header.
                Err(Failed::NoRoom) => {
                    self.core.volume.unlink(&prepared.name).map_err(|error| self.poison("deleting", &error))?;
                    if self.core.stage.closing() {
                        return Err(Stopped(None));
                    }
                    self.core.counters.waiting_for_space.store(true, Ordering::Relaxed);
                    std::thread::sleep(std::time::Duration::from_millis(100));
                }
                Err(Failed::Poisoned(poison)) => return Err(poison.into()),
                Ok(name) => {
                    let live = Arc::new(Live::active(name, header));
                    self.core.catalog.push(live.clone());
                    self.core.counters.waiting_for_space.store(false, Ordering::Relaxed);
                    self.active = Some(Active::new(live, prepared.file));
                    return Ok(());
                }
            }
        }
    }

    /// Breaks W6 on purpose: goes on in the file of another incarnation.
    fn reuse(&mut self) -> bool {
        let last = self.core.catalog.segments().pop().filter(|live| live.end() == self.end.lsn);
        let Some(live) = last else { return false };
        let Ok(file) = self.core.volume.open(&live.file, true) else { return false };
        live.closed.store(false, std::sync::atomic::Ordering::Release);
        self.active = Some(Active::new(live, file));
        true
    }

    fn header(&self, prepared: &Prepared) -> SegmentHeader {
        let gap = self.end.prev_end_lsn != self.end.lsn;
        let flags = (if prepared.recycled { segment_flags::RECYCLED } else { 0 })
            | (if gap { segment_flags::GAP_BEFORE } else { 0 });
        let options = &self.core.options;
        SegmentHeader {
            uuid: self.core.meta.uuid(),
            incarnation: self.core.meta.incarnation(),
            seq: self.end.segment,
            base_lsn: self.end.lsn,
            prev_end_lsn: self.end.prev_end_lsn,
            prev_chain: self.end.chain,
            flags,
            capacity: options.segment_bytes,
            created_ms: crate::ambient::now_ms().max(0) as u64,
            max_group: u32::try_from(options.segment_bytes).unwrap_or(u32::MAX),
        }
    }

    fn publish(&mut self, prepared: &Prepared, header: &SegmentHeader) -> Result<String, Failed> {
        let name = header.name().to_string();
        let lsn = header.base_lsn;
        let volume = self.core.volume.clone();
        let failed = |op| {
            let file = volume.display(&name);
            move |error: std::io::Error| Failed::Poisoned(Poison::new(op, file, lsn, &error))
        };
        let point = |name| fault::point(name);
        point("wal.header.before_write").map_err(failed("writing"))?;
        prepared.file.write_at(&[IoSlice::new(&header.encode())], 0).map_err(failed("writing"))?;
        point("wal.header.after_write").map_err(failed("writing"))?;
        prepared.file.sync_data().map_err(failed("syncing"))?;
        match point("wal.publish.before_rename").and_then(|()| volume.rename(&prepared.name, &name)) {
            Err(error) if is_full(&error) => return Err(Failed::NoRoom),
            renamed => renamed.map_err(failed("publishing"))?,
        }
        point("wal.publish.after_rename").map_err(failed("publishing"))?;
        if !fault::sabotaged("wal_skip_dir_fsync") {
            volume.sync_dir().map_err(failed("publishing"))?;
        }
        point("wal.publish.after_dirsync").map_err(failed("publishing"))?;
        let seq = header.seq;
        self.core.meta.update(|meta| meta.newest_segment = seq).map_err(|error| match error {
            WalError::Io { op, file, source } => Failed::Poisoned(Poison::new(op, file, lsn, &source)),
            other => Failed::Poisoned(Poison::new("writing", "META", lsn, &std::io::Error::other(other.to_string()))),
        })?;
        self.end.segment += 1;
        Ok(name)
    }
}

enum Failed {
    NoRoom,
    Poisoned(Poison),
}
