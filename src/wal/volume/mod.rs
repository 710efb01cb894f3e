//! Where the log's files are: the seam at which tests put a disk that loses, tears, fails or fills up.
//!
//! A volume is one directory with a `quarantine/` in it. Nothing about names is durable before [`LogVolume::sync_dir`].

mod real;

use std::io::{self, IoSlice};

pub use real::RealVolume;

/// A file that a listing shows; files of the quarantine with their directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileMeta {
    pub name: String,
    pub len: u64,
}

pub trait LogVolume: Send + Sync + 'static {
    /// How messages name a file of it.
    fn display(&self, name: &str) -> String;

    /// Takes the lock until the result is dropped. `Err` with [`io::ErrorKind::WouldBlock`] says who holds it.
    fn lock(&self) -> io::Result<Box<dyn Send + Sync>>;

    fn list(&self) -> io::Result<Vec<FileMeta>>;

    /// A new file with `len` bytes of room that are really there, so that writing into it cannot run out of space.
    fn create(&self, name: &str, len: u64) -> io::Result<Box<dyn LogFile>>;

    fn open(&self, name: &str, write: bool) -> io::Result<Box<dyn LogFile>>;

    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    fn unlink(&self, name: &str) -> io::Result<()>;

    /// Makes every creation, rename and unlink so far durable.
    fn sync_dir(&self) -> io::Result<()>;

    /// Bytes that are free, where the volume knows. Others may take them at any time.
    fn room(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

// Nobody asks whether a file is empty.
#[allow(clippy::len_without_is_empty)]
pub trait LogFile: Send + Sync + 'static {
    /// Writes all of it or fails; after a failure nobody knows what stands there.
    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()>;

    /// As many bytes as there are, up to the end of the file.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;

    /// fdatasync. After an error it must never be called again: the kernel forgets what it could not write.
    fn sync_data(&self) -> io::Result<()>;

    /// Cuts or extends the file to `len` bytes that are really there; not durable before [`LogFile::sync_all`].
    fn set_len(&self, len: u64) -> io::Result<()>;

    fn sync_all(&self) -> io::Result<()>;

    fn len(&self) -> io::Result<u64>;
}

/// Whether the volume is full: the one failure that is waited out.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Reads exactly `len` bytes at `offset`, or as many as the file has.
pub fn read_up_to(file: &dyn LogFile, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let len = (file.len()?.saturating_sub(offset)).min(len as u64) as usize;
    let mut bytes = vec![0; len];
    let mut at = 0;
    while at < len {
        let read = file.read_at(&mut bytes[at..], offset + at as u64)?;
        if read == 0 {
            break;
        }
        at += read;
    }
    bytes.truncate(at);
    Ok(bytes)
}
