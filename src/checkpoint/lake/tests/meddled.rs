//! A lake in which something happens between a list and the read that follows it.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use landfall_lake::{Created, Entry, Lake, LakeError, Staged, Tagged};

use crate::origin::doubles::MemoryLake;

type Meddle = Box<dyn FnOnce(&MemoryLake) + Send>;

pub struct Meddled {
    lake: Arc<MemoryLake>,
    meddle: Mutex<Option<Meddle>>,
}

impl Meddled {
    pub fn new(lake: Arc<MemoryLake>, meddle: impl FnOnce(&MemoryLake) + Send + 'static) -> Meddled {
        Meddled { lake, meddle: Mutex::new(Some(Box::new(meddle))) }
    }
}

#[async_trait]
impl Lake for Meddled {
    fn url(&self) -> &str {
        self.lake.url()
    }

    async fn create(&self, path: &str, content: Bytes) -> Result<Created, LakeError> {
        self.lake.create(path, content).await
    }

    fn stage(&self) -> Result<Box<dyn Staged>, LakeError> {
        self.lake.stage()
    }

    async fn read(&self, path: &str) -> Result<Option<Bytes>, LakeError> {
        Ok(self.read_tagged(path).await?.map(|found| found.content))
    }

    async fn read_tagged(&self, path: &str) -> Result<Option<Tagged>, LakeError> {
        if let Some(meddle) = self.meddle.lock().unwrap().take() {
            meddle(&self.lake);
        }
        self.lake.read_tagged(path).await
    }

    async fn read_range(&self, path: &str, range: Range<u64>) -> Result<Bytes, LakeError> {
        self.lake.read_range(path, range).await
    }

    async fn size(&self, path: &str) -> Result<Option<u64>, LakeError> {
        self.lake.size(path).await
    }

    async fn list<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> Result<BoxStream<'a, Result<Entry, LakeError>>, LakeError> {
        self.lake.list(prefix, start_after).await
    }

    async fn settle(&self, path: &str) -> Result<(), LakeError> {
        self.lake.settle(path).await
    }

    async fn delete(&self, path: &str) -> Result<(), LakeError> {
        self.lake.delete(path).await
    }

    async fn sweep(&self) -> Result<u64, LakeError> {
        self.lake.sweep().await
    }
}
