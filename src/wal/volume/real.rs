//! A directory of a local disk.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};
use rustix::io::Errno;

use super::{FileMeta, LogFile, LogVolume};

const QUARANTINE: &str = "quarantine";

/// One directory of a local file system.
#[derive(Debug)]
pub struct RealVolume {
    path: PathBuf,
    zero_fill: bool,
}

impl RealVolume {
    /// Makes the directory where it is missing, durably.
    pub fn create(path: &Path) -> io::Result<RealVolume> {
        let mut missing: Vec<&Path> =
            path.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
        while let Some(dir) = missing.pop() {
            match std::fs::create_dir(dir) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(parent)?.sync_all()?;
        }
        RealVolume::existing(path)
    }

    /// Changes nothing; for those who only look.
    pub fn existing(path: &Path) -> io::Result<RealVolume> {
        std::fs::read_dir(path)?;
        Ok(RealVolume { path: path.into(), zero_fill: false })
    }

    /// Fills new files with zeros instead of only reserving their blocks: twice the volume written, and syncs that
    /// need no word from the file system's journal.
    pub fn zero_filled(self) -> RealVolume {
        RealVolume { zero_fill: true, ..self }
    }

    fn list_into(&self, sub: &str, files: &mut Vec<FileMeta>) -> io::Result<()> {
        let entries = match std::fs::read_dir(self.path.join(sub)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !sub.is_empty() => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // A file that goes away while it is looked at is not there.
            let meta = match entry.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                meta => meta?,
            };
            if meta.is_file() {
                let name = if sub.is_empty() { name } else { format!("{sub}/{name}") };
                files.push(FileMeta { name, len: meta.len() });
            }
        }
        Ok(())
    }
}

/// The lock. A child that this process is just starting has a copy of the file until it becomes the other program: closing
/// it alone would leave the log locked for as long.
struct Held(File);

impl Drop for Held {
    fn drop(&mut self) {
        // Where this fails, closing it does it.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

impl LogVolume for RealVolume {
    fn display(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }

    fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(self.path.join("LOCK"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                return Err(io::Error::new(io::ErrorKind::WouldBlock, holder.trim().to_string()));
            }
            Err(error) => return Err(error.into()),
        }
        // What it says is for people; the lock is the flock.
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let holder = format!("process {} on {}\n", std::process::id(), host.trim());
        let _ = file.set_len(0).and_then(|()| file.write_all(holder.as_bytes()));
        Ok(Box::new(Held(file)))
    }

    fn list(&self) -> io::Result<Vec<FileMeta>> {
        let mut files = Vec::new();
        self.list_into("", &mut files)?;
        self.list_into(QUARANTINE, &mut files)?;
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Box<dyn LogFile>> {
        if name.starts_with(QUARANTINE) {
            std::fs::create_dir_all(self.path.join(QUARANTINE))?;
        }
        let path = self.path.join(name);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        let made = RealFile { file, zero_fill: self.zero_fill };
        if let Err(error) = made.reserve(0, len) {
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        Ok(Box::new(made))
    }

    fn open(&self, name: &str, write: bool) -> io::Result<Box<dyn LogFile>> {
        let file = OpenOptions::new().read(true).write(write).open(self.path.join(name))?;
        Ok(Box::new(RealFile { file, zero_fill: self.zero_fill }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        if to.starts_with(QUARANTINE) {
            std::fs::create_dir_all(self.path.join(QUARANTINE))?;
        }
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        match std::fs::remove_file(self.path.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    fn sync_dir(&self) -> io::Result<()> {
        match File::open(self.path.join(QUARANTINE)) {
            Ok(quarantine) => quarantine.sync_all()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        File::open(&self.path)?.sync_all()
    }

    fn room(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

#[derive(Debug)]
struct RealFile {
    file: File,
    zero_fill: bool,
}

impl RealFile {
    /// Bytes that are really there: reserved where the file system can, else written.
    fn reserve(&self, from: u64, until: u64) -> io::Result<()> {
        if until <= from {
            return Ok(());
        }
        if !self.zero_fill {
            loop {
                match fallocate(&self.file, FallocateFlags::empty(), from, until - from) {
                    Ok(()) => return Ok(()),
                    Err(Errno::INTR) => {}
                    Err(Errno::OPNOTSUPP | Errno::NOSYS) => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        let zeros = vec![0; 1 << 20];
        let mut at = from;
        while at < until {
            let len = (until - at).min(zeros.len() as u64) as usize;
            self.file.write_all_at(&zeros[..len], at)?;
            at += len as u64;
        }
        Ok(())
    }
}

impl LogFile for RealFile {
    fn write_at(&self, parts: &[IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        // The kernel takes at most 1024 parts at a time.
        for parts in parts.chunks(1024) {
            let len: usize = parts.iter().map(|part| part.len()).sum();
            let written = loop {
                match rustix::io::pwritev(&self.file, parts, offset) {
                    Err(Errno::INTR) => {}
                    written => break written?,
                }
            };
            if written != len {
                let message = format!("only {written} of {len} bytes were written");
                return Err(io::Error::new(io::ErrorKind::WriteZero, message));
            }
            offset += len as u64;
        }
        Ok(())
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match self.file.read_at(into, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let now = self.len()?;
        if len > now { self.reserve(if self.zero_fill { now } else { 0 }, len) } else { self.file.set_len(len) }
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_the_lock_in_a_child_does_not_keep_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let volume = RealVolume::create(directory.path()).unwrap();
        let held = volume.lock().unwrap();
        assert_eq!(volume.lock().map(drop).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(held);
        let file = File::create(directory.path().join("LOCK")).unwrap();
        flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
        let (copy, held) = (file.try_clone().unwrap(), Held(file));
        drop(held);
        drop(volume.lock().unwrap());
        drop(copy);
    }
}
