//! The lock of a state directory: one process at a time, and the others are told which.
//!
//! `flock` on a file of our own. The kernel lets go of it when the process ends, however it ends: there is no
//! lease to wait for. What is written in the file is for people; only the lock itself counts.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::StoreError;

/// Who holds a state directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBy {
    pub pid: u32,
    pub host: String,
    /// When it took the lock, as a person reads it.
    pub since: String,
}

impl HeldBy {
    pub fn this_process() -> HeldBy {
        let since = jiff::Timestamp::from_millisecond(crate::ambient::now_ms()).unwrap_or_default();
        HeldBy { pid: std::process::id(), host: host(), since: since.to_string() }
    }
}

impl std::fmt::Display for HeldBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} on {} since {}", self.pid, self.host, self.since)
    }
}

/// The machine's name: in a shared directory a process id says little without it.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::fs::read_to_string("/etc/hostname"))
        .unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "an unknown host".into() } else { name.into() }
}

/// The right to use a state directory. Dropping it lets go.
#[derive(Debug)]
pub struct StateLock {
    directory: PathBuf,
    held_by: HeldBy,
    file: File,
}

impl StateLock {
    /// Takes the lock of `directory`, which must exist. Another command may hold it for a moment only, so
    /// this waits `patience` before it gives up.
    pub fn take(directory: &Path, patience: Duration) -> Result<StateLock, StoreError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o644);
        let mut lock = StateLock::wait(directory, patience, &options)?;
        // On a full disk the words are missing, and the lock holds all the same.
        drop(write_words(&mut lock.file, &lock.held_by));
        Ok(lock)
    }

    /// As [`StateLock::take`], for one who only looks: makes and changes nothing.
    pub fn borrow(directory: &Path, patience: Duration) -> Result<StateLock, StoreError> {
        StateLock::wait(directory, patience, OpenOptions::new().read(true))
    }

    fn wait(directory: &Path, patience: Duration, options: &OpenOptions) -> Result<StateLock, StoreError> {
        let store = directory.display().to_string();
        let refused = |error: std::io::Error| StoreError::Refused {
            store: store.clone(),
            message: format!("its lock file cannot be used: {error}"),
        };
        let opened = options.open(directory.join("lock"));
        let mut file = opened.map_err(|error| super::rules::sort_io(&store, "its lock file", error))?;
        let give_up = Instant::now() + patience;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) if Instant::now() < give_up => std::thread::sleep(Duration::from_millis(20)),
                Err(Errno::WOULDBLOCK) => return Err(StoreError::Locked { store, holder: holder(&mut file) }),
                Err(error) => return Err(refused(error.into())),
            }
        }
        Ok(StateLock { directory: directory.to_owned(), held_by: HeldBy::this_process(), file })
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn held_by(&self) -> &HeldBy {
        &self.held_by
    }
}

fn write_words(file: &mut File, held_by: &HeldBy) -> std::io::Result<()> {
    let words = serde_json::to_vec(held_by)?;
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&words)
}

/// The holder's words. A holder that has only just locked may not have written them yet.
fn holder(file: &mut File) -> String {
    for _ in 0..10 {
        let mut words = Vec::new();
        let read = file.rewind().and_then(|()| file.take(4096).read_to_end(&mut words));
        if let (Ok(_), Ok(held_by)) = (read, serde_json::from_slice::<HeldBy>(&words)) {
            return held_by.to_string();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    "another process, which left no name".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_told_who_holds_it_and_gets_it_afterwards() {
        let directory = tempfile::tempdir().unwrap();
        let held = StateLock::take(directory.path(), Duration::ZERO).unwrap();
        let error = StateLock::take(directory.path(), Duration::from_millis(30)).unwrap_err();
        let StoreError::Locked { holder, .. } = error else { panic!("{error}") };
        assert_eq!(holder, held.held_by().to_string());
        assert!(holder.contains(&std::process::id().to_string()), "{holder}");
        drop(held);
        StateLock::take(directory.path(), Duration::ZERO).unwrap();
    }

    #[test]
    fn words_of_a_dead_process_hold_nobody_up() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("lock"), "{\"pid\":1,\"host\":\"h\",\"since\":\"s\"}").unwrap();
        let held = StateLock::take(directory.path(), Duration::ZERO).unwrap();
        assert_eq!(held.held_by().pid, std::process::id());
    }
}
