//! A store in memory: for tests, and to measure what durability costs. It forgets everything at its end.

use std::collections::HashMap;

use async_trait::async_trait;
use landfall_sink::Stream;
use tokio::sync::Mutex;

use super::{Checkpoint, CheckpointStore, StoreError, Swap, rules};

/// Keeps records as the bytes that a durable store would keep.
pub struct MemoryStore {
    id: String,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    lake: Option<String>,
    records: HashMap<Stream, (u64, Vec<u8>)>,
}

impl MemoryStore {
    pub fn new() -> MemoryStore {
        MemoryStore { id: crate::ambient::random_id(), inner: Mutex::default() }
    }
}

impl Default for MemoryStore {
    fn default() -> MemoryStore {
        MemoryStore::new()
    }
}

#[async_trait]
impl CheckpointStore for MemoryStore {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn id(&self) -> &str {
        &self.id
    }

    async fn lake_id(&self) -> Result<Option<String>, StoreError> {
        Ok(self.inner.lock().await.lake.clone())
    }

    async fn remember_lake(&self, lake: &str) -> Result<(), StoreError> {
        let mut inner = self.inner.lock().await;
        rules::same_lake("memory", inner.lake.as_deref(), lake)?;
        inner.lake = Some(lake.to_owned());
        Ok(())
    }

    async fn load(&self, stream: &Stream) -> Result<Option<Checkpoint>, StoreError> {
        let inner = self.inner.lock().await;
        let Some((_, bytes)) = inner.records.get(stream) else { return Ok(None) };
        rules::decode("memory", stream, bytes).map(Some)
    }

    async fn swap(&self, expected: Option<u64>, new: &Checkpoint) -> Result<Swap, StoreError> {
        let bytes = rules::encode_next("memory", expected, new)?;
        let mut inner = self.inner.lock().await;
        let standing = inner.records.get(&new.stream).map(|(version, _)| *version);
        if standing != expected && !landfall_lake::fault::sabotaged("swap_ignores_version") {
            return Ok(Swap::Lost);
        }
        inner.records.insert(new.stream.clone(), (new.version, bytes));
        Ok(Swap::Won)
    }

    async fn streams(&self) -> Result<Vec<Stream>, StoreError> {
        let mut streams: Vec<Stream> = self.inner.lock().await.records.keys().cloned().collect();
        streams.sort_unstable();
        Ok(streams)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn it_keeps_the_contract() {
        super::super::suite::store_suite(std::sync::Arc::new(MemoryStore::new())).await;
    }
}
