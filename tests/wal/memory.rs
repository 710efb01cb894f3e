//! A disk in memory: a log is built on it once, and then damaged in a million ways without a file being touched.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, RwLock};

use landfall::wal::volume::{FileMeta, LogFile, LogVolume};

/// Every file of a log by its name. Bytes are shared until somebody writes them.
pub type Image = BTreeMap<String, Arc<Vec<u8>>>;

#[derive(Default)]
struct Disk {
    bytes: RwLock<Arc<Vec<u8>>>,
    /// What stood in it when it was retired to be written again.
    past: Mutex<Option<Arc<Vec<u8>>>>,
}

#[derive(Clone, Default)]
pub struct Memory {
    files: Arc<Mutex<BTreeMap<String, Arc<Disk>>>>,
    /// Held by a test, it keeps the committer from writing, so that frames gather into a group.
    pub gate: Arc<Mutex<()>>,
}

impl Memory {
    pub fn of(image: &Image) -> Memory {
        let disk = |bytes: &Arc<Vec<u8>>| Arc::new(Disk { bytes: RwLock::new(bytes.clone()), past: Mutex::default() });
        let files = image.iter().map(|(name, bytes)| (name.clone(), disk(bytes))).collect();
        Memory { files: Arc::new(Mutex::new(files)), gate: Arc::default() }
    }

    /// What a power cut would leave if everything written so far had been synced.
    pub fn image(&self) -> Image {
        let files = self.files.lock().unwrap();
        files.iter().map(|(name, disk)| (name.clone(), disk.bytes.read().unwrap().clone())).collect()
    }

    /// What stood in the recycled files before.
    pub fn past(&self) -> Image {
        let files = self.files.lock().unwrap();
        files.iter().filter_map(|(name, disk)| Some((name.clone(), disk.past.lock().unwrap().clone()?))).collect()
    }

    fn find(&self, name: &str) -> io::Result<Arc<Disk>> {
        let found = self.files.lock().unwrap().get(name).cloned();
        found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, name.to_string()))
    }
}

impl LogVolume for Memory {
    fn display(&self, name: &str) -> String {
        format!("memory/{name}")
    }

    fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
        Ok(Box::new(()))
    }

    fn list(&self) -> io::Result<Vec<FileMeta>> {
        let files = self.files.lock().unwrap();
        let len = |disk: &Disk| disk.bytes.read().unwrap().len() as u64;
        Ok(files.iter().map(|(name, disk)| FileMeta { name: name.clone(), len: len(disk) }).collect())
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Box<dyn LogFile>> {
        let disk = Arc::new(Disk { bytes: RwLock::new(Arc::new(vec![0; len as usize])), past: Mutex::default() });
        self.files.lock().unwrap().insert(name.into(), disk.clone());
        Ok(Box::new(MemoryFile { disk, gate: self.gate.clone() }))
    }

    fn open(&self, name: &str, _write: bool) -> io::Result<Box<dyn LogFile>> {
        Ok(Box::new(MemoryFile { disk: self.find(name)?, gate: self.gate.clone() }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let disk = self.find(from)?;
        if to.starts_with("free-") {
            *disk.past.lock().unwrap() = Some(disk.bytes.read().unwrap().clone());
        }
        let mut files = self.files.lock().unwrap();
        files.remove(from);
        files.insert(to.into(), disk);
        Ok(())
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.files.lock().unwrap().remove(name);
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }
}

struct MemoryFile {
    disk: Arc<Disk>,
    gate: Arc<Mutex<()>>,
}

impl LogFile for MemoryFile {
    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let _passed = self.gate.lock().unwrap();
        let mut shared = self.disk.bytes.write().unwrap();
        let bytes = Arc::make_mut(&mut shared);
        let mut at = offset as usize;
        for part in parts {
            bytes.resize(bytes.len().max(at + part.len()), 0);
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        Ok(())
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.disk.bytes.read().unwrap();
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(into.len());
        into[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Arc::make_mut(&mut self.disk.bytes.write().unwrap()).resize(len as usize, 0);
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.bytes.read().unwrap().len() as u64)
    }
}
