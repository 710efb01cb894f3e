//! Files before they are put: on the local disk, without a name, so that however many there are, they take
//! no memory; and in memory while they are put, as many at once as there is room for.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::PutPayload;
use rustix::fs::{Mode, OFlags};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Inner;
use crate::remote::ObjectLimits;
use crate::{Created, LakeError, Staged};

/// What is smaller never touches the disk. Thousands of partitions may have one each.
const GATHER: usize = 64 << 10;
/// A payload is made of pieces, so that no one allocation has to be as large as a file.
const PIECE: usize = 1 << 20;
/// Memory is counted in these.
const UNIT: usize = 64 << 10;

pub(super) struct Spool {
    dir: PathBuf,
    memory: Arc<Semaphore>,
    /// Units of `memory` in all.
    units: u32,
}

impl Spool {
    pub(super) fn new(limits: &ObjectLimits) -> Spool {
        let units = u32::try_from(limits.memory / UNIT).unwrap_or(u32::MAX).clamp(1, 1 << 20);
        Spool { dir: limits.spool.clone(), memory: Arc::new(Semaphore::new(units as usize)), units }
    }

    /// Room for so many bytes. What is larger than all of it waits until it is alone.
    async fn room(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(UNIT as u64)).unwrap_or(u32::MAX).clamp(1, self.units);
        // It is never closed.
        self.memory.clone().acquire_many_owned(units).await.ok()
    }

    fn file(&self) -> io::Result<File> {
        std::fs::create_dir_all(&self.dir)?;
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::open(&self.dir, flags, Mode::RUSR | Mode::WUSR) {
            Ok(fd) => Ok(fd.into()),
            // A file system without nameless files: it is given one, and loses it at once.
            Err(_) => named(&self.dir),
        }
    }
}

fn named(dir: &Path) -> io::Result<File> {
    let name = dir.join(format!("landfall-{:032x}.tmp", rand::random::<u128>()));
    let file = File::options().create_new(true).read(true).write(true).open(&name)?;
    std::fs::remove_file(&name)?;
    Ok(file)
}

pub(super) struct ObjectStaged {
    lake: Arc<Inner>,
    gathered: Vec<u8>,
    /// Once there is more than is gathered.
    file: Option<Arc<File>>,
    written: u64,
    /// It may have been put: the bytes must not change any more.
    sealed: bool,
    spent: Option<String>,
}

impl ObjectStaged {
    pub(super) fn new(lake: Arc<Inner>) -> ObjectStaged {
        ObjectStaged { lake, gathered: Vec::new(), file: None, written: 0, sealed: false, spent: None }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), LakeError> {
        let size = self.written + bytes.len() as u64;
        if size > self.lake.largest {
            let most = self.lake.largest >> 20;
            let message = format!(
                "a file is one put, and this one would be larger than {most} MiB: lower lake.roll.max_size for new \
                 batches, and raise lake.max_put until the planned ones have landed"
            );
            return Err(LakeError::refused(&self.lake.url, message));
        }
        if self.gathered.len() + bytes.len() > GATHER {
            self.spill(bytes)?;
        } else {
            self.gathered.extend_from_slice(bytes);
        }
        self.written = size;
        Ok(())
    }

    fn spill(&mut self, bytes: &[u8]) -> Result<(), LakeError> {
        let spool = self.lake.spool("a new file")?;
        let sort = |error: io::Error| not_kept(&spool.dir, &error);
        let file = match &self.file {
            Some(file) => file.clone(),
            None => {
                self.lake.visit("lake.before_stage", &self.lake.url)?;
                let file = Arc::new(spool.file().map_err(sort)?);
                self.file.insert(file).clone()
            }
        };
        let mut file = &*file;
        file.write_all(&self.gathered).and_then(|()| file.write_all(bytes)).map_err(sort)?;
        self.gathered = Vec::new();
        Ok(())
    }

    fn usable(&self) -> Result<(), LakeError> {
        let Some(reason) = &self.spent else { return Ok(()) };
        Err(LakeError::not_done(&self.lake.url, format!("this file cannot be put any more ({reason}); write it again")))
    }

    /// Everything that was written.
    async fn payload(&self) -> Result<PutPayload, LakeError> {
        let Some(file) = self.file.clone() else {
            return Ok(PutPayload::from_bytes(Bytes::copy_from_slice(&self.gathered)));
        };
        let in_file = self.written - self.gathered.len() as u64;
        let read = tokio::task::spawn_blocking(move || pieces(&file, in_file)).await;
        let failed = |error: &dyn std::fmt::Display| LakeError::not_done(&self.lake.url, error);
        let mut pieces = match read {
            Ok(Ok(pieces)) => pieces,
            Ok(Err(error)) => return Err(not_kept(&self.lake.spool("a new file")?.dir, &error)),
            Err(error) => return Err(failed(&error)),
        };
        if !self.gathered.is_empty() {
            pieces.push(Bytes::copy_from_slice(&self.gathered));
        }
        Ok(pieces.into_iter().collect())
    }
}

fn pieces(file: &File, length: u64) -> io::Result<Vec<Bytes>> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < length {
        let size = usize::try_from(length - at).unwrap_or(PIECE).min(PIECE);
        let mut piece = vec![0; size];
        file.read_exact_at(&mut piece, at)?;
        at += size as u64;
        pieces.push(piece.into());
    }
    Ok(pieces)
}

fn not_kept(dir: &Path, error: &io::Error) -> LakeError {
    let message = format!("a file cannot be kept there until it is put: {error}; landfall goes on when it can");
    LakeError::not_done(dir.display().to_string(), message)
}

#[async_trait]
impl Staged for ObjectStaged {
    fn write(&mut self, bytes: &[u8]) -> Result<(), LakeError> {
        self.usable()?;
        if self.sealed {
            return Err(LakeError::refused(&self.lake.url, "a file that is being published cannot be written to"));
        }
        let appended = self.append(bytes);
        if let Err(error) = &appended {
            // These bytes are missing, whatever comes after them.
            self.spent.get_or_insert(error.to_string());
        }
        appended
    }

    async fn publish(&mut self, path: &str) -> Result<Created, LakeError> {
        let key = self.lake.to_write(path)?;
        self.usable()?;
        self.sealed = true;
        let lake = self.lake.clone();
        lake.visit("lake.staged", path)?;
        let _room = lake.spool(path)?.room(self.written).await;
        let payload = self.payload().await;
        if let Err(error) = &payload {
            self.spent = Some(error.to_string());
        }
        lake.visit("lake.before_link", path)?;
        let created = lake.put(path, &key, payload?).await?;
        if created == Created::Created {
            lake.doubted("lake.after_link", path)?;
        }
        Ok(created)
    }

    fn spent(&self) -> bool {
        self.spent.is_some()
    }
}
