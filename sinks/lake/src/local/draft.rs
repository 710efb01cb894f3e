//! A file under way on the local disk: bytes without a name, then a name that was never anybody else's.
//!
//! The order is the promise: bytes, fsync of the file, directories, link, fsync of the directory. A crash
//! before the link leaves nothing (the kernel frees a file without a name), one after it a whole file.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rustix::fs::{Advice, AtFlags, CWD, fadvise, linkat, renameat, statat, unlinkat};
use rustix::io::{Errno, retry_on_intr, write};

use super::root::{held, parent};
use super::{Inner, errno};
use crate::{Created, LakeError, Staged, fault};

/// Kept in memory before the first write: a small file costs its descriptor only while it is published,
/// so that thousands of drafts can be open at once. Later writes below this are gathered too.
const GATHER: usize = 32 << 10;

/// The kernel is asked to start writing back whenever this much is new, so that the fsync at the end is short.
const WRITE_BACK: u64 = 8 << 20;

/// The places of [`fault::POINTS`] that a publication passes: files and small objects have their own.
pub(super) struct Points {
    before_stage: &'static str,
    staged: &'static str,
    before_fsync: &'static str,
    after_fsync: &'static str,
    before_link: &'static str,
    after_link: &'static str,
    after_dir_fsync: &'static str,
}

pub(super) const FILE: Points = Points {
    before_stage: "lake.before_stage",
    staged: "lake.staged",
    before_fsync: "lake.before_fsync",
    after_fsync: "lake.after_fsync",
    before_link: "lake.before_link",
    after_link: "lake.after_link",
    after_dir_fsync: "lake.after_dir_fsync",
};

pub(super) const OBJECT: Points = Points {
    before_stage: "lake.create.before_stage",
    staged: "lake.create.staged",
    before_fsync: "lake.create.before_fsync",
    after_fsync: "lake.create.after_fsync",
    before_link: "lake.create.before_link",
    after_link: "lake.create.after_link",
    after_dir_fsync: "lake.create.after_dir_fsync",
};

/// Where the bytes are until they have a name.
pub(super) struct Nameless {
    pub(super) fd: Arc<OwnedFd>,
    /// Set where the file system has no files without a name: removed when the draft goes.
    pub(super) temporary: Option<String>,
}

pub(super) struct Draft {
    lake: Arc<Inner>,
    points: &'static Points,
    gathered: Vec<u8>,
    file: Option<Nameless>,
    written: u64,
    /// How far the kernel has been asked to write back.
    pushed: u64,
    pushing: Arc<AtomicBool>,
    durable: bool,
    /// A name may have been given: the bytes must not change any more.
    sealed: bool,
    /// Why these bytes can never be published.
    spent: Option<String>,
}

impl Draft {
    pub(super) fn new(lake: Arc<Inner>, points: &'static Points) -> Draft {
        Draft {
            lake,
            points,
            gathered: Vec::new(),
            file: None,
            written: 0,
            pushed: 0,
            pushing: Arc::default(),
            durable: false,
            sealed: false,
            spent: None,
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), LakeError> {
        self.usable()?;
        if self.sealed {
            let root = self.lake.root.path.display().to_string();
            return Err(LakeError::refused(root, "a file that is being published cannot be written to"));
        }
        let taken = self.take(bytes);
        if let Err(error) = &taken {
            // These bytes are missing, whatever comes after them.
            self.spent.get_or_insert(error.to_string());
        }
        taken
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), LakeError> {
        if self.gathered.len() + bytes.len() > GATHER {
            self.flush()?;
        }
        if bytes.len() >= GATHER {
            return self.append(bytes);
        }
        self.gathered.extend_from_slice(bytes);
        Ok(())
    }

    fn usable(&self) -> Result<(), LakeError> {
        let Some(reason) = &self.spent else { return Ok(()) };
        let root = self.lake.root.path.display().to_string();
        Err(LakeError::not_done(
            root,
            format!("this temporary file cannot be used any more ({reason}); write it again"),
        ))
    }

    fn flush(&mut self) -> Result<(), LakeError> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let gathered = std::mem::take(&mut self.gathered);
        let appended = self.append(&gathered);
        if appended.is_err() && self.spent.is_none() {
            // No file could be opened, so nothing is lost.
            self.gathered = gathered;
        }
        appended
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), LakeError> {
        let path = self.lake.root.path.clone();
        let fd = self.open()?;
        let mut rest = bytes;
        while !rest.is_empty() {
            match retry_on_intr(|| write(&*fd, rest)) {
                Ok(0) => return Err(self.spend(&path, "cannot write a temporary file", Errno::IO)),
                Ok(taken) => rest = &rest[taken..],
                Err(error) => return Err(self.spend(&path, "cannot write a temporary file", error)),
            }
        }
        self.written += bytes.len() as u64;
        self.push_back(&fd);
        Ok(())
    }

    fn open(&mut self) -> Result<Arc<OwnedFd>, LakeError> {
        if let Some(file) = &self.file {
            return Ok(file.fd.clone());
        }
        self.visit(self.points.before_stage)?;
        let file = self.lake.temporaries.open(&self.lake.root)?;
        Ok(self.file.insert(file).fd.clone())
    }

    /// The bytes on the disk are not what was written, or nobody can say: this draft is over.
    fn spend(&mut self, path: &Path, doing: &str, error: Errno) -> LakeError {
        let sorted = errno::not_done(path, doing, error);
        self.spent = Some(sorted.to_string());
        sorted
    }

    /// Starts write-back of what is new, on another thread: submitting the writes takes time as well.
    ///
    /// This advice is the one call that starts write-back without waiting and without taking the file's
    /// error report away from the fsync that must see it. It also drops pages that are clean already; the
    /// new ones are not.
    fn push_back(&mut self, fd: &Arc<OwnedFd>) {
        if self.written - self.pushed < WRITE_BACK || self.pushing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (from, pushing, fd) = (self.pushed, self.pushing.clone(), fd.clone());
        let length = std::num::NonZeroU64::new(self.written - from);
        self.pushed = self.written;
        self.lake.early.submit(move || {
            let _ = fadvise(&*fd, from, length, Advice::DontNeed);
            pushing.store(false, Ordering::Release);
        });
    }

    /// All the blocking work of a publication. May be called again after any answer: a link that happened
    /// is then found.
    pub(super) fn publish(&mut self, path: &str) -> Result<Created, LakeError> {
        self.usable()?;
        self.sealed = true;
        let overwrite = fault::sabotaged("overwrite_on_exists");
        let lake = self.lake.clone();
        if !self.durable && !overwrite && lake.root.stat(path)?.is_some() {
            return Ok(exists());
        }
        let fd = self.make_durable()?;
        lake.root.make_dirs(parent(path))?;
        self.visit(self.points.before_link)?;
        let mut linked = self.link(&fd, path);
        if linked == Err(Errno::NOENT) {
            // Somebody removed a directory that was there a moment ago.
            lake.root.stands()?;
            lake.root.forget_dirs(parent(path));
            lake.root.make_dirs(parent(path))?;
            linked = self.link(&fd, path);
        }
        match linked {
            Ok(()) => {}
            Err(Errno::EXIST) if overwrite => self.overwrite(&fd, path)?,
            Err(Errno::EXIST) => return Ok(exists()),
            Err(error) => return Err(errno::of_link(&lake.root.full(path), error)),
        }
        self.doubted(self.points.after_link, path)?;
        lake.root.sync_dir(parent(path), errno::unknown)?;
        self.doubted(self.points.after_dir_fsync, path)?;
        Ok(Created::Created)
    }

    fn make_durable(&mut self) -> Result<Arc<OwnedFd>, LakeError> {
        self.flush()?;
        let fd = self.open()?;
        if self.durable {
            return Ok(fd);
        }
        self.visit(self.points.staged)?;
        let synced = match fault::point(self.points.before_fsync) {
            Ok(()) => self.lake.root.sync_file(&fd),
            Err(error) => Err(errno::number(&error)),
        };
        if let Err(error) = synced {
            // The kernel may call the lost pages clean now: a second fsync would succeed and prove nothing.
            let path = self.lake.root.path.clone();
            return Err(self.spend(&path, "cannot sync a temporary file", error));
        }
        self.durable = true;
        self.visit(self.points.after_fsync)?;
        Ok(fd)
    }

    fn link(&self, fd: &OwnedFd, path: &str) -> Result<(), Errno> {
        let root = &self.lake.root.fd;
        match self.file.as_ref().and_then(|file| file.temporary.as_deref()) {
            Some(temporary) => linkat(root, temporary, root, path, AtFlags::empty()),
            None => {
                let nameless = format!("/proc/self/fd/{}", fd.as_raw_fd());
                linkat(CWD, nameless.as_str(), root, path, AtFlags::SYMLINK_FOLLOW)
            }
        }
    }

    /// What a publication must never do. Only a test that wants to see it noticed gets here.
    fn overwrite(&self, fd: &OwnedFd, path: &str) -> Result<(), LakeError> {
        let beside = format!("{path}.{:016x}", rand::random::<u64>());
        let renamed = self
            .link(fd, &beside)
            .and_then(|()| renameat(&self.lake.root.fd, beside.as_str(), &self.lake.root.fd, path));
        renamed.map_err(|error| errno::unknown(&self.lake.root.full(path), "cannot overwrite", error))
    }

    /// A failpoint before anything can be seen.
    fn visit(&self, name: &str) -> Result<(), LakeError> {
        let at = &self.lake.root.path;
        fault::point(name).map_err(|error| LakeError::not_done(at.display().to_string(), error))
    }

    /// A failpoint after the name was given.
    fn doubted(&self, name: &str, path: &str) -> Result<(), LakeError> {
        let at = self.lake.root.full(path);
        fault::point(name).map_err(|error| LakeError::unknown(at.display().to_string(), error))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(temporary) = self.file.as_ref().and_then(|file| file.temporary.as_deref()) {
            // The published name, if any, is a second link: it stays.
            let root = &self.lake.root.fd;
            if statat(root, temporary, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
                let _ = unlinkat(root, temporary, AtFlags::empty());
            }
        }
    }
}

/// "Something stands there", unless a test broke that answer on purpose.
fn exists() -> Created {
    if fault::sabotaged("exists_is_created") { Created::Created } else { Created::Exists }
}

/// The draft as the contract wants it: written by the worker, published by the I/O threads.
pub(super) struct LocalStaged {
    pub(super) lake: Arc<Inner>,
    /// Shared, because a publication goes on when its caller stops waiting.
    pub(super) draft: Arc<Mutex<Draft>>,
}

#[async_trait]
impl Staged for LocalStaged {
    fn write(&mut self, bytes: &[u8]) -> Result<(), LakeError> {
        held(&self.draft).write(bytes)
    }

    async fn publish(&mut self, path: &str) -> Result<Created, LakeError> {
        let (draft, name) = (self.draft.clone(), self.lake.to_write(path)?);
        self.lake.durably(path, move |_| held(&draft).publish(&name)).await
    }

    fn spent(&self) -> bool {
        held(&self.draft).spent.is_some()
    }
}
