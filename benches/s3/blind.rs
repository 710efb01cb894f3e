//! A lake that throws data away: what landing costs without the store. Only this program can make one.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use landfall_lake::{Created, Entry, Lake, LakeError, LocalLake, Staged};

pub struct BlindLake {
    real: Arc<dyn Lake>,
}

impl BlindLake {
    /// Beside the real lake of the same directory, which keeps what is not data.
    pub fn new(root: &Path) -> Result<BlindLake, LakeError> {
        std::fs::create_dir_all(root).map_err(|error| LakeError::not_done(root.display().to_string(), error))?;
        Ok(BlindLake { real: Arc::new(LocalLake::open_to_read(root, 1)?) })
    }
}

#[async_trait]
impl Lake for BlindLake {
    fn url(&self) -> &str {
        self.real.url()
    }

    async fn create(&self, path: &str, content: Bytes) -> Result<Created, LakeError> {
        self.real.create(path, content).await
    }

    fn stage(&self) -> Result<Box<dyn Staged>, LakeError> {
        Ok(Box::new(Nowhere))
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

struct Nowhere;

#[async_trait]
impl Staged for Nowhere {
    fn write(&mut self, _bytes: &[u8]) -> Result<(), LakeError> {
        Ok(())
    }

    async fn publish(&mut self, _path: &str) -> Result<Created, LakeError> {
        Ok(Created::Created)
    }
}
