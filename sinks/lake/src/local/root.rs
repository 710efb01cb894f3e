//! The lake's root directory, held open, and everything about its directories: made, synced, remembered.
//!
//! All paths go through the open root, so that a lake that is moved, or whose mount point is covered by
//! another disk, is still the same lake, and one that was removed is noticed.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Mode, OFlags, Stat, fstat, fsync, mkdirat, openat, statat};
use rustix::io::{Errno, retry_on_intr};

use super::errno;
use crate::{LakeError, fault};

/// How an error number becomes an error of the lake.
pub(super) type Sort = fn(&Path, &str, Errno) -> LakeError;

/// How often this lake asked the kernel to make something durable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Syncs {
    pub files: u64,
    pub directories: u64,
}

pub(super) struct Root {
    pub(super) fd: OwnedFd,
    pub(super) path: PathBuf,
    /// Opened without the right to change anything.
    pub(super) read_only: bool,
    /// Directories whose own name this process has made durable.
    known: Mutex<HashSet<String>>,
    /// Directories whose names this process has made durable, and what they looked like just before.
    settled: Mutex<HashMap<String, Stamp>>,
    /// Directories whose fsync failed: a later success would prove nothing, because the kernel reports an
    /// error once and then calls the pages clean.
    failed: Mutex<HashMap<String, String>>,
    files: AtomicU64,
    directories: AtomicU64,
}

/// Changes whenever a name in the directory does, if it is old enough.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Root {
    pub(super) fn new(fd: OwnedFd, path: PathBuf, read_only: bool) -> Root {
        Root {
            fd,
            path,
            read_only,
            known: Mutex::default(),
            settled: Mutex::default(),
            failed: Mutex::default(),
            files: AtomicU64::new(0),
            directories: AtomicU64::new(0),
        }
    }

    /// The path as a person knows it.
    pub(super) fn full(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.path.clone() } else { self.path.join(path) }
    }

    pub(super) fn syncs(&self) -> Syncs {
        Syncs { files: self.files.load(Ordering::Relaxed), directories: self.directories.load(Ordering::Relaxed) }
    }

    /// Refuses a change where the lake was opened to be read.
    pub(super) fn writable(&self, path: &str) -> Result<(), LakeError> {
        if self.read_only { Err(self.for_reading(path)) } else { Ok(()) }
    }

    pub(super) fn for_reading(&self, path: &str) -> LakeError {
        LakeError::refused(self.full(path).display().to_string(), "this lake was opened for reading only")
    }

    /// Whether "no such file" may be believed: in a removed root everything is absent, and that says nothing.
    pub(super) fn stands(&self) -> Result<(), LakeError> {
        match fstat(&self.fd) {
            Ok(stat) if stat.st_nlink > 0 => Ok(()),
            Ok(_) => Err(LakeError::not_done(
                self.path.display().to_string(),
                "the lake's root directory has been removed; put it back and start again",
            )),
            Err(error) => Err(errno::not_done(&self.path, "cannot look at the lake's root directory", error)),
        }
    }

    /// What stands under a name; `None` where it is known to be absent.
    pub(super) fn stat(&self, path: &str) -> Result<Option<Stat>, LakeError> {
        match retry_on_intr(|| statat(&self.fd, at(path), AtFlags::empty())) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT | Errno::NOTDIR) => self.stands().map(|()| None),
            Err(error) => Err(errno::not_done(&self.full(path), "cannot look for it", error)),
        }
    }

    pub(super) fn open_dir(&self, dir: &str) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        retry_on_intr(|| openat(&self.fd, at(dir), flags, Mode::empty()))
    }

    /// fsync of a file that has no name yet.
    pub(super) fn sync_file(&self, file: &OwnedFd) -> Result<(), Errno> {
        self.files.fetch_add(1, Ordering::Relaxed);
        retry_on_intr(|| fsync(file))
    }

    /// Makes the names in `dir` durable. An fsync that fails condemns the directory for the rest of this
    /// process: whoever asks again is refused instead of being told a comfortable lie.
    pub(super) fn sync_dir(&self, dir: &str, sort: Sort) -> Result<(), LakeError> {
        if fault::sabotaged("skip_dir_fsync") {
            return Ok(());
        }
        if let Some(reason) = held(&self.failed).get(dir) {
            return Err(self.condemned(dir, reason));
        }
        let doing = "cannot sync the directory";
        let full = self.full(dir);
        let fd = self.open_dir(dir).map_err(|error| sort(&full, doing, error))?;
        self.directories.fetch_add(1, Ordering::Relaxed);
        let synced = match fault::point("lake.dir_fsync") {
            Ok(()) => retry_on_intr(|| fsync(&fd)),
            Err(error) => Err(errno::number(&error)),
        };
        synced.map_err(|error| {
            held(&self.settled).remove(dir);
            held(&self.failed).insert(dir.to_owned(), error.to_string());
            tracing::error!(directory = %full.display(), %error, "the fsync of a directory failed");
            sort(&full, doing, error)
        })
    }

    fn condemned(&self, dir: &str, reason: &str) -> LakeError {
        LakeError::refused(
            self.full(dir).display().to_string(),
            format!(
                "an fsync of this directory failed ({reason}), so names in it may be gone after a power failure; \
                 look at the disk, then start again"
            ),
        )
    }

    /// Makes `dir` and its parents, each durable in its own parent before the next is relied on. A directory
    /// that somebody else made may not be durable yet, so it is synced as well, once.
    pub(super) fn make_dirs(&self, dir: &str) -> Result<(), LakeError> {
        let mut parent = "";
        for child in prefixes(dir) {
            if !held(&self.known).contains(child) {
                let made = mkdirat(&self.fd, child, Mode::from_raw_mode(0o777));
                if let Err(error) = made
                    && error != Errno::EXIST
                {
                    if error == Errno::NOENT {
                        self.stands()?;
                    }
                    return Err(errno::not_done(&self.full(child), "cannot make the directory", error));
                }
                let visited = fault::point("lake.after_mkdir").map_err(|error| errno::number(&error));
                visited.map_err(|error| errno::not_done(&self.full(child), "cannot make the directory", error))?;
                self.sync_dir(parent, errno::not_done)?;
                held(&self.known).insert(child.to_owned());
            }
            parent = child;
        }
        Ok(())
    }

    /// Somebody removed `dir` or a parent of it: make it again.
    pub(super) fn forget_dirs(&self, dir: &str) {
        let mut known = held(&self.known);
        known.retain(|child| !prefixes(dir).any(|prefix| prefix == child));
    }

    /// Makes a name that was found in `dir` durable, and `dir` up to the root.
    ///
    /// A directory that looks as it did before an earlier sync of ours has no newer name. A change within
    /// the last seconds might share its time stamp with a later one, so it is not relied on.
    pub(super) fn settle(&self, dir: &str) -> Result<(), LakeError> {
        let stat = self.stat(dir)?.ok_or_else(|| {
            LakeError::not_done(self.full(dir).display().to_string(), "the directory has been removed")
        })?;
        let stamp = Stamp {
            inode: stat.st_ino,
            seconds: stat.st_ctime,
            nanoseconds: i64::try_from(stat.st_ctime_nsec).unwrap_or_default(),
        };
        if held(&self.settled).get(dir) != Some(&stamp) {
            self.sync_dir(dir, errno::not_done)?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            if stamp.seconds.saturating_add(2) < i64::try_from(now).unwrap_or_default() {
                held(&self.settled).insert(dir.to_owned(), stamp);
            }
        }
        let mut parent = "";
        for child in prefixes(dir) {
            if !held(&self.known).contains(child) {
                self.sync_dir(parent, errno::not_done)?;
                held(&self.known).insert(child.to_owned());
            }
            parent = child;
        }
        Ok(())
    }
}

/// `a/b/c` → `a`, `a/b`, `a/b/c`; nothing for the root.
fn prefixes(dir: &str) -> impl Iterator<Item = &str> {
    let whole = (!dir.is_empty()).then_some(dir.len());
    dir.match_indices('/').map(|(at, _)| at).chain(whole).map(move |end| &dir[..end])
}

/// The kernel's word for the root is a dot.
pub(super) fn at(path: &str) -> &str {
    if path.is_empty() { "." } else { path }
}

/// The directory of a path; the root for a name in the root.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

/// None of these locks is held where something could panic.
pub(super) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
