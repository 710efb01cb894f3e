//! The lock of a lake that has one owner on one host. The kernel gives it back when its holder ends, also
//! after `kill -9`, so there is no lease to wait for.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, ftruncate, openat};
use rustix::io::{Errno, pread, pwrite, retry_on_intr};

use super::root::Root;
use super::{LOCK, errno};
use crate::LakeError;

/// Held until it is dropped or the process ends.
#[derive(Debug)]
pub struct LakeLock {
    fd: OwnedFd,
}

impl LakeLock {
    /// [`LakeError::Refused`] only if somebody else holds it, and then it says who.
    pub(super) fn take(root: &Root, owner: &str) -> Result<LakeLock, LakeError> {
        let path = root.full(LOCK);
        root.make_dirs(super::HOME)?;
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
        let fd = retry_on_intr(|| openat(&root.fd, LOCK, flags, Mode::from_raw_mode(0o666)))
            .map_err(|error| errno::not_done(&path, "cannot open the lake's lock", error))?;
        match retry_on_intr(|| flock(&fd, FlockOperation::NonBlockingLockExclusive)) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let holder = holder(&fd);
                return Err(LakeError::refused(path.display().to_string(), format!("this lake is held by {holder}")));
            }
            Err(error) => return Err(errno::not_done(&path, "cannot lock the lake", error)),
        }
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = if host.trim().is_empty() { "this host" } else { host.trim() };
        let since = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
        let record = format!("{owner} (process {} on {host}, since {since})\n", std::process::id());
        // Written over the old record, so that a full disk does not keep a lake from being used.
        let noted = write_all(&fd, record.as_bytes()).and_then(|()| ftruncate(&fd, record.len() as u64));
        if let Err(error) = noted {
            tracing::warn!(path = %path.display(), %error, "the lake is locked, but its lock cannot say by whom");
        }
        Ok(LakeLock { fd })
    }
}

impl Drop for LakeLock {
    fn drop(&mut self) {
        // The file stays: removing it would let two processes lock two files of one name.
        let _ = ftruncate(&self.fd, 0);
    }
}

fn write_all(fd: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    let mut offset = 0;
    while !bytes.is_empty() {
        let taken = retry_on_intr(|| pwrite(fd, bytes, offset))?;
        if taken == 0 {
            return Err(Errno::IO);
        }
        offset += taken as u64;
        bytes = &bytes[taken..];
    }
    Ok(())
}

/// What the holder wrote down. It does so right after taking the lock, so an empty record is asked for again.
fn holder(fd: &OwnedFd) -> String {
    for _ in 0..10 {
        let mut record = [0u8; 1024];
        let length = pread(fd, &mut record[..], 0).unwrap_or(0);
        let record = String::from_utf8_lossy(&record[..length]).trim().to_owned();
        if !record.is_empty() {
            return record;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    "another process that did not say who it is".into()
}
