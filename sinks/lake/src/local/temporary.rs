//! Files without a name, and what takes their place where the file system has none.
//!
//! A file without a name is freed by the kernel when its writer ends, however it ends. Where the file
//! system has no such thing, drafts are named `_landfall/tmp/<pid>-<random>-<n>`, and the process holds a
//! lock on `_landfall/tmp/<pid>-<random>.run` as long as it lives. The sweep unlinks drafts whose writer's
//! lock is free, and nothing else: a draft may be a second link to a published file, so it is never opened.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, CWD, Dir, FlockOperation, Mode, OFlags, flock, fstat, linkat, openat, statat, unlinkat};
use rustix::io::{Errno, retry_on_intr};

use super::draft::Nameless;
use super::root::Root;
use super::{TEMPORARIES, errno};
use crate::LakeError;

/// How this lake makes files that have no name yet.
pub(super) enum Temporaries {
    Nameless,
    Named(Run),
    /// Opened for reading only.
    Never,
}

/// This lake's own prefix for drafts, locked while it is alive.
pub(super) struct Run {
    id: String,
    next: AtomicU64,
    /// Held, never read.
    _lock: OwnedFd,
}

fn file_mode() -> Mode {
    Mode::from_raw_mode(0o666)
}

fn fresh_id() -> String {
    format!("{}-{:016x}", std::process::id(), rand::random::<u64>())
}

impl Temporaries {
    /// Tries what the file system can do, by doing it.
    pub(super) fn detect(root: &Root, named: bool) -> Result<Temporaries, LakeError> {
        root.make_dirs(TEMPORARIES).map_err(|error| at_open(root, error))?;
        if !named && nameless_works(root)? {
            return Ok(Temporaries::Nameless);
        }
        let run = Run::claim(root)?;
        let draft = run.open(root)?;
        let second = format!("{TEMPORARIES}/{}-second", run.id);
        let first = draft.temporary.as_deref().unwrap_or_default();
        let linked = linkat(&root.fd, first, &root.fd, second.as_str(), AtFlags::empty());
        let _ = unlinkat(&root.fd, first, AtFlags::empty());
        match linked {
            Ok(()) => unlinkat(&root.fd, second.as_str(), AtFlags::empty()).unwrap_or_default(),
            Err(error) => return Err(errno::of_link(&root.path, error)),
        }
        Ok(Temporaries::Named(run))
    }

    pub(super) fn open(&self, root: &Root) -> Result<Nameless, LakeError> {
        match self {
            Temporaries::Nameless => {
                let fd = open_nameless(root);
                let fd = fd.map_err(|error| errno::not_done(&root.path, "cannot open a temporary file", error))?;
                Ok(Nameless { fd: Arc::new(fd), temporary: None })
            }
            Temporaries::Named(run) => run.open(root),
            Temporaries::Never => Err(root.for_reading("")),
        }
    }

    fn own(&self) -> Option<&str> {
        match self {
            Temporaries::Named(run) => Some(&run.id),
            _ => None,
        }
    }

    /// Unlinks the drafts of writers that ended. Returns how many.
    pub(super) fn sweep(&self, root: &Root) -> Result<u64, LakeError> {
        let path = root.full(TEMPORARIES);
        let sort = |error| errno::not_done(&path, "cannot list the temporary files", error);
        let dir = match root.open_dir(TEMPORARIES) {
            Ok(fd) => Dir::read_from(&fd).map_err(sort)?,
            Err(Errno::NOENT) => return Ok(0),
            Err(error) => return Err(sort(error)),
        };
        let mut runs = std::collections::BTreeMap::<String, Vec<String>>::new();
        for entry in dir {
            let entry = entry.map_err(sort)?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if let Some(run) = run_of(name) {
                runs.entry(run.to_owned()).or_default().push(name.to_owned());
            }
        }
        let mut swept = 0;
        for (run, names) in runs {
            if self.own() == Some(run.as_str()) || alive(root, &run)? {
                continue;
            }
            // The lock's file goes last: while it stands, another sweep can still tell.
            let (locks, drafts): (Vec<_>, Vec<_>) = names.iter().partition(|name| name.ends_with(".run"));
            for name in drafts.iter().chain(&locks) {
                match unlinkat(&root.fd, format!("{TEMPORARIES}/{name}"), AtFlags::empty()) {
                    Ok(()) => swept += u64::from(!name.ends_with(".run")),
                    Err(Errno::NOENT) => {}
                    Err(error) => {
                        return Err(errno::not_done(&path.join(name), "cannot remove a temporary file", error));
                    }
                }
            }
        }
        Ok(swept)
    }
}

/// `<pid>-<random>` of a name in the directory of drafts; `None` for what is not ours.
fn run_of(name: &str) -> Option<&str> {
    let run = match name.strip_suffix(".run") {
        Some(run) => run,
        None => name.rsplit_once('-')?.0,
    };
    let (pid, random) = run.split_once('-')?;
    let plain = pid.parse::<u32>().is_ok() && random.len() == 16 && random.bytes().all(|b| b.is_ascii_hexdigit());
    plain.then_some(run)
}

/// Whether the writer of a run still holds its lock. The lock's file is opened for reading only.
fn alive(root: &Root, run: &str) -> Result<bool, LakeError> {
    let name = format!("{TEMPORARIES}/{run}.run");
    match openat(&root.fd, name.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(fd) => Ok(retry_on_intr(|| flock(&fd, FlockOperation::NonBlockingLockShared)).is_err()),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(errno::not_done(&root.full(&name), "cannot tell whether its writer is alive", error)),
    }
}

fn open_nameless(root: &Root) -> Result<OwnedFd, Errno> {
    retry_on_intr(|| openat(&root.fd, ".", OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, file_mode()))
}

/// Whether a file without a name can be made and given one here.
fn nameless_works(root: &Root) -> Result<bool, LakeError> {
    let fd = match open_nameless(root) {
        Ok(fd) => fd,
        Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::MFILE | Errno::NFILE | Errno::IO)) => {
            return Err(errno::not_done(&root.path, "cannot open a temporary file", error));
        }
        Err(error @ (Errno::ACCESS | Errno::PERM | Errno::ROFS)) => {
            return Err(errno::refused(&root.path, "cannot write here", error));
        }
        Err(_) => return Ok(false),
    };
    // A sweep of another process may remove this name at once; that does no harm.
    let name = format!("{TEMPORARIES}/{}-0", fresh_id());
    let nameless = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
    match linkat(CWD, nameless.as_str(), &root.fd, name.as_str(), AtFlags::SYMLINK_FOLLOW) {
        Ok(()) => {
            let _ = unlinkat(&root.fd, name.as_str(), AtFlags::empty());
            Ok(true)
        }
        Err(error @ (Errno::NOSPC | Errno::DQUOT)) => {
            Err(errno::not_done(&root.path, "cannot name a temporary file", error))
        }
        Err(_) => Ok(false),
    }
}

/// At the start a missing permission is a matter for the operator.
fn at_open(root: &Root, error: LakeError) -> LakeError {
    use rustix::fs::{Access, accessat};
    let may = accessat(&root.fd, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::empty());
    match (error, may) {
        (LakeError::NotDone { path, message }, Err(Errno::ACCESS | Errno::PERM | Errno::ROFS)) => {
            LakeError::Refused { path, message }
        }
        (error, _) => error,
    }
}

impl Run {
    fn claim(root: &Root) -> Result<Run, LakeError> {
        let sort = |error| errno::not_done(&root.full(TEMPORARIES), "cannot claim a name for temporary files", error);
        for _ in 0..16 {
            let id = fresh_id();
            let name = format!("{TEMPORARIES}/{id}.run");
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
            let fd = openat(&root.fd, name.as_str(), flags, file_mode()).map_err(sort)?;
            // A sweep may have come between the file and its lock: then it held it, or the name is gone.
            if flock(&fd, FlockOperation::NonBlockingLockExclusive).is_ok()
                && let (Ok(own), Ok(shown)) = (fstat(&fd), statat(&root.fd, name.as_str(), AtFlags::empty()))
                && own.st_ino == shown.st_ino
            {
                return Ok(Run { id, next: AtomicU64::new(1), _lock: fd });
            }
            let _ = unlinkat(&root.fd, name.as_str(), AtFlags::empty());
        }
        Err(LakeError::refused(
            root.full(TEMPORARIES).display().to_string(),
            "this file system has neither files without a name (O_TMPFILE) nor locks (flock)",
        ))
    }

    fn open(&self, root: &Root) -> Result<Nameless, LakeError> {
        let name = format!("{TEMPORARIES}/{}-{}", self.id, self.next.fetch_add(1, Ordering::Relaxed));
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let fd = retry_on_intr(|| openat(&root.fd, name.as_str(), flags, file_mode()));
        let fd = fd.map_err(|error| errno::not_done(&root.full(&name), "cannot open a temporary file", error))?;
        Ok(Nameless { fd: Arc::new(fd), temporary: Some(name) })
    }
}
