//! A lake on the local disk whose data goes somewhere else: what landing costs without a part of it.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use landfall_lake::{Created, Entry, Lake, LakeError, LocalLake, Staged};

/// Everything but the data is the real lake's; nothing is made durable.
pub struct Elsewhere<S> {
    real: LocalLake,
    stage: S,
}

impl<S: Fn() -> Box<dyn Staged> + Send + Sync> Elsewhere<S> {
    /// `stage` begins a file.
    pub fn new(real: LocalLake, stage: S) -> Elsewhere<S> {
        Elsewhere { real, stage }
    }
}

#[async_trait]
impl<S: Fn() -> Box<dyn Staged> + Send + Sync + 'static> Lake for Elsewhere<S> {
    fn url(&self) -> &str {
        self.real.url()
    }

    async fn create(&self, path: &str, content: Bytes) -> Result<Created, LakeError> {
        self.real.create(path, content).await
    }

    fn stage(&self) -> Result<Box<dyn Staged>, LakeError> {
        Ok((self.stage)())
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
