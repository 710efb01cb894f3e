//! A lake that promises nothing: no fsync, no link. With the checkpoints in memory it is what the whole
//! would cost without its protocol. Only this program can make one.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use landfall_lake::{Created, Lake, LakeError, LocalLake, Staged};

use crate::rig::elsewhere::Elsewhere;

/// Beside the real lake of the same directory, which keeps what is not data.
pub fn lake(root: &Path) -> Result<Arc<dyn Lake>, LakeError> {
    let (real, root) = (LocalLake::open_to_read(root, 4)?, root.to_owned());
    let drafts = AtomicU64::new(0);
    let stage = move || -> Box<dyn Staged> {
        let number = drafts.fetch_add(1, Ordering::Relaxed);
        Box::new(HastyDraft { root: root.clone(), number, gathered: Vec::new(), file: None })
    };
    Ok(Arc::new(Elsewhere::new(real, stage)))
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
