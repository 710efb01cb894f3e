//! A lake that promises nothing: no fsync, no link. With the checkpoints in memory it is what the whole
//! would cost without its protocol. Only this program can make one.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use landfall_lake::{Created, Entry, Lake, LakeError, LocalLake, Staged};

pub struct HastyLake {
    real: Arc<dyn Lake>,
    root: PathBuf,
    drafts: AtomicU64,
}

impl HastyLake {
    /// Beside the real lake of the same directory, which keeps what is not data.
    pub fn new(root: &Path) -> Result<HastyLake, LakeError> {
        let real = Arc::new(LocalLake::open_to_read(root, 4)?);
        Ok(HastyLake { real, root: root.to_owned(), drafts: AtomicU64::new(0) })
    }
}

#[async_trait]
impl Lake for HastyLake {
    fn url(&self) -> &str {
        self.real.url()
    }

    async fn create(&self, path: &str, content: Bytes) -> Result<Created, LakeError> {
        self.real.create(path, content).await
    }

    fn stage(&self) -> Result<Box<dyn Staged>, LakeError> {
        let number = self.drafts.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(HastyDraft { root: self.root.clone(), number, gathered: Vec::new(), file: None }))
    }

    async fn read(&self, path: &str) -> Result<Option<Bytes>, LakeError> {
        self.real.read(path).await
    }

    async fn read_range(&self, path: &str, range: Range<u64>) -> Result<Bytes, LakeError> {
        self.real.read_range(path, range).await
    }

    async fn size(&self, path: &str) -> Result<Option<u64>, LakeError> {
        self.real.size(path).await
    }

    async fn list<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> Result<BoxStream<'a, Result<Entry, LakeError>>, LakeError> {
        self.real.list(prefix, start_after).await
    }

    async fn settle(&self, _path: &str) -> Result<(), LakeError> {
        Ok(())
    }

    async fn delete(&self, path: &str) -> Result<(), LakeError> {
        self.real.delete(path).await
    }

    async fn sweep(&self) -> Result<u64, LakeError> {
        Ok(0)
    }
}

struct HastyDraft {
    root: PathBuf,
    number: u64,
    gathered: Vec<u8>,
    file: Option<(PathBuf, File)>,
}

/// As much as the real lake gathers, so that both make as many system calls.
const GATHER: usize = 32 << 10;

impl HastyDraft {
    fn flush(&mut self) -> std::io::Result<()> {
        let gathered = std::mem::take(&mut self.gathered);
        self.file()?.write_all(&gathered)
    }

    fn file(&mut self) -> std::io::Result<&mut File> {
        let (_, file) = match self.file.take() {
            Some(file) => self.file.insert(file),
            None => {
                let path = self.root.join(format!(".draft-{}", self.number));
                let file = File::create(&path)?;
                self.file.insert((path, file))
            }
        };
        Ok(file)
    }

    fn name(&mut self, path: &str) -> std::io::Result<()> {
        self.flush()?;
        let to = self.root.join(path);
        std::fs::create_dir_all(to.parent().unwrap_or(&self.root))?;
        match &self.file {
            Some((draft, _)) => std::fs::rename(draft, to),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Staged for HastyDraft {
    fn write(&mut self, bytes: &[u8]) -> Result<(), LakeError> {
        let lost = |error: std::io::Error| LakeError::not_done("a draft", error.to_string());
        if self.gathered.len() + bytes.len() > GATHER {
            self.flush().map_err(lost)?;
        }
        if bytes.len() >= GATHER {
            return self.file().and_then(|file| file.write_all(bytes)).map_err(lost);
        }
        self.gathered.extend_from_slice(bytes);
        Ok(())
    }

    async fn publish(&mut self, path: &str) -> Result<Created, LakeError> {
        let named = self.name(path).map(|()| Created::Created);
        named.map_err(|error| LakeError::not_done(path, error.to_string()))
    }
}
