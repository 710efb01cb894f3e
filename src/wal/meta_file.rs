//! The META file while the log is open: slots written in turn, each durable before the next step.

use std::io::IoSlice;
use std::sync::{Mutex, MutexGuard};

use landfall_lake::fault;

use super::error::WalError;
use super::format::{META_LEN, Meta, Uuid};
use super::volume::{LogFile, LogVolume};

pub struct MetaFile {
    display: String,
    inner: Mutex<(Meta, Box<dyn LogFile>)>,
}

impl MetaFile {
    /// A new log's META. It has its name only when it is whole and durable.
    pub fn create(volume: &dyn LogVolume, meta: Meta) -> Result<MetaFile, WalError> {
        let display = volume.display("META");
        let io = |op| WalError::io(op, &display);
        let file = volume.create("new-meta.tmp", META_LEN as u64).map_err(io("creating"))?;
        let zeros = vec![0; META_LEN];
        file.write_at(&[IoSlice::new(&zeros)], 0).map_err(io("writing"))?;
        file.write_at(&[IoSlice::new(&meta.encode())], meta.place()).map_err(io("writing"))?;
        file.sync_all().map_err(io("syncing"))?;
        volume.rename("new-meta.tmp", "META").map_err(io("publishing"))?;
        volume.sync_dir().map_err(io("publishing"))?;
        Ok(MetaFile { inner: Mutex::new((meta, file)), display })
    }

    pub fn open(volume: &dyn LogVolume, meta: Meta) -> Result<MetaFile, WalError> {
        let display = volume.display("META");
        let file = volume.open("META", true).map_err(WalError::io("opening", &display))?;
        // The slot that was chosen may stand in memory only, if its writer was killed: it is durable before the other
        // one is written over.
        file.sync_all().map_err(WalError::io("syncing", &display))?;
        Ok(MetaFile { inner: Mutex::new((meta, file)), display })
    }

    fn enter(&self) -> MutexGuard<'_, (Meta, Box<dyn LogFile>)> {
        self.inner.lock().unwrap_or_else(|dead| dead.into_inner())
    }

    pub fn uuid(&self) -> Uuid {
        self.enter().0.uuid
    }

    pub fn incarnation(&self) -> u64 {
        self.enter().0.incarnation
    }

    /// Durable when it returns. A crash in the middle leaves the slot that is not written.
    pub fn update(&self, change: impl FnOnce(&mut Meta)) -> Result<(), WalError> {
        let mut inner = self.enter();
        let mut meta = inner.0.clone();
        change(&mut meta);
        meta.generation += 1;
        let step = |point, op, result: std::io::Result<()>| {
            result.and_then(|()| fault::point(point)).map_err(WalError::io(op, &self.display))
        };
        step("wal.meta.before_write", "writing", Ok(()))?;
        step("wal.meta.after_write", "writing", inner.1.write_at(&[IoSlice::new(&meta.encode())], meta.place()))?;
        step("wal.meta.after_sync", "syncing", inner.1.sync_data())?;
        inner.0 = meta;
        Ok(())
    }
}
