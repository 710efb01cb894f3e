//! A lake in memory: create-only, atomic publication, complete listings; and faults to order.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use landfall_lake::{Created, Entry, Lake, LakeError, Staged};

/// What goes wrong with the next creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It happens, and the answer is lost.
    LostAfter,
    /// It does not happen, and the answer is lost.
    LostBefore,
    /// It does not happen, and the answer says so.
    NotDone,
}

#[derive(Default)]
struct Inside {
    objects: BTreeMap<String, Bytes>,
    faults: VecDeque<Fault>,
    failing_reads: usize,
    settled: Vec<String>,
}

/// Keeps everything in memory; clones show the same lake.
#[derive(Clone, Default)]
pub struct MemoryLake(Arc<Mutex<Inside>>);

impl MemoryLake {
    pub fn new() -> MemoryLake {
        MemoryLake::default()
    }

    /// The next creation goes wrong like this; several are taken in turn.
    pub fn fail_next(&self, fault: Fault) {
        self.inside().faults.push_back(fault);
    }

    /// The next `count` reads fail with an error that says nothing of what is there.
    pub fn fail_reads(&self, count: usize) {
        self.inside().failing_reads = count;
    }

    /// Puts bytes under a name as a stranger would: without asking.
    pub fn overwrite(&self, path: &str, content: impl Into<Bytes>) {
        self.inside().objects.insert(path.into(), content.into());
    }

    /// Takes a name away, as a user who moves a file does.
    pub fn remove(&self, path: &str) {
        self.inside().objects.remove(path);
    }

    pub fn content(&self, path: &str) -> Option<Bytes> {
        self.inside().objects.get(path).cloned()
    }

    pub fn paths(&self) -> Vec<String> {
        self.inside().objects.keys().cloned().collect()
    }

    /// The names that were made durable after they were found.
    pub fn settled(&self) -> Vec<String> {
        self.inside().settled.clone()
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn create_now(&self, path: &str, content: Bytes) -> Result<Created, LakeError> {
        let mut inside = self.inside();
        let fault = inside.faults.pop_front();
        match fault {
            Some(Fault::LostBefore) => return Err(LakeError::unknown(path, "the answer was lost")),
            Some(Fault::NotDone) => return Err(LakeError::not_done(path, "no space")),
            _ => {}
        }
        let there = inside.objects.contains_key(path);
        if !there {
            inside.objects.insert(path.to_string(), content);
        }
        match (fault, there) {
            (Some(Fault::LostAfter), _) => Err(LakeError::unknown(path, "the answer was lost")),
            (_, true) => Ok(Created::Exists),
            (_, false) => Ok(Created::Created),
        }
    }

    fn get(&self, path: &str) -> Result<Option<Bytes>, LakeError> {
        let mut inside = self.inside();
        if inside.failing_reads > 0 {
            inside.failing_reads -= 1;
            return Err(LakeError::not_done(path, "not permitted"));
        }
        Ok(inside.objects.get(path).cloned())
    }
}

#[async_trait]
impl Lake for MemoryLake {
    fn url(&self) -> &str {
        "memory://"
    }

    async fn create(&self, path: &str, content: Bytes) -> Result<Created, LakeError> {
        tokio::task::yield_now().await;
        self.create_now(path, content)
    }

    fn stage(&self) -> Result<Box<dyn Staged>, LakeError> {
        Ok(Box::new(StagedInMemory { lake: self.clone(), content: Vec::new() }))
    }

    async fn read(&self, path: &str) -> Result<Option<Bytes>, LakeError> {
        tokio::task::yield_now().await;
        self.get(path)
    }

    async fn read_range(&self, path: &str, range: Range<u64>) -> Result<Bytes, LakeError> {
        tokio::task::yield_now().await;
        let content = self.get(path)?.ok_or_else(|| LakeError::not_done(path, "it is not there"))?;
        if range.start > range.end || range.end > content.len() as u64 {
            return Err(LakeError::not_done(path, format!("it has no bytes {range:?}")));
        }
        Ok(content.slice(range.start as usize..range.end as usize))
    }

    async fn size(&self, path: &str) -> Result<Option<u64>, LakeError> {
        tokio::task::yield_now().await;
        Ok(self.get(path)?.map(|content| content.len() as u64))
    }

    async fn list<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> Result<BoxStream<'a, Result<Entry, LakeError>>, LakeError> {
        let directory = if prefix.is_empty() { String::new() } else { format!("{}/", prefix.trim_end_matches('/')) };
        let entries: Vec<_> = self
            .inside()
            .objects
            .iter()
            .filter(|(path, _)| path.starts_with(&directory) && start_after.is_none_or(|after| path.as_str() > after))
            .map(|(path, content)| Ok(Entry { path: path.clone(), size: content.len() as u64, tag: None }))
            .collect();
        Ok(stream::iter(entries).boxed())
    }

    async fn settle(&self, path: &str) -> Result<(), LakeError> {
        self.inside().settled.push(path.to_string());
        Ok(())
    }

    async fn delete(&self, path: &str) -> Result<(), LakeError> {
        if !path.starts_with("_landfall/") {
            return Err(LakeError::refused(path, "data is never deleted"));
        }
        self.inside().objects.remove(path);
        Ok(())
    }

    async fn sweep(&self) -> Result<u64, LakeError> {
        Ok(0)
    }
}

struct StagedInMemory {
    lake: MemoryLake,
    content: Vec<u8>,
}

#[async_trait]
impl Staged for StagedInMemory {
    fn write(&mut self, bytes: &[u8]) -> Result<(), LakeError> {
        self.content.extend_from_slice(bytes);
        Ok(())
    }

    async fn publish(&mut self, path: &str) -> Result<Created, LakeError> {
        tokio::task::yield_now().await;
        let answer = self.lake.create_now(path, Bytes::copy_from_slice(&self.content));
        tokio::task::yield_now().await;
        answer
    }
}
