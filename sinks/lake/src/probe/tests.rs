//! The probe passes the local disk, and finds each way in which a lake can fall short.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::stream::{self, BoxStream};

use super::*;
use crate::{Entry, Faults, FaultyLake, LocalLake, Rates, Staged, block_on};

#[test]
fn the_local_disk_passes_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let lake = LocalLake::open(dir.path(), 4).unwrap();
    // One that was killed long ago, and one that may still run.
    let old = "_landfall/probe/000000000001-0000000000000000-x";
    let new = format!("_landfall/probe/{:012}-0000000000000000-x", now());
    block_on(async {
        lake.create(old, Bytes::new()).await.unwrap();
        lake.create(&new, Bytes::new()).await.unwrap();
    });
    let proved = block_on(probe(&lake)).unwrap();
    assert_eq!((proved.names, proved.races), (10, 8));
    assert!(proved.to_string().contains("8 races of 8 writers"), "{proved}");
    let left = block_on(async {
        lake.list("", None).await.unwrap().map(|entry| entry.unwrap().path).collect::<Vec<_>>().await
    });
    assert_eq!(left, [new]);
}

#[test]
fn lost_answers_are_no_reason_to_refuse() {
    for seed in 0..60 {
        let dir = tempfile::tempdir().unwrap();
        let lake = LocalLake::open(dir.path(), 4).unwrap();
        let lake = FaultyLake::new(
            lake,
            Faults::seeded(seed, Rates { answer_lost: 0.2, never_came: 0.1, ..Rates::default() }),
        );
        let proved = block_on(probe(&lake));
        assert!(!matches!(proved, Err(LakeError::Refused { .. })), "seed {seed}: {proved:?}");
    }
}

#[test]
fn a_lake_that_cannot_be_reached_is_not_refused() {
    let dir = tempfile::tempdir().unwrap();
    let lake = LocalLake::open(dir.path(), 4).unwrap();
    let lake = FaultyLake::new(lake, Faults::seeded(1, Rates { not_done: 1.0, ..Rates::default() }));
    assert!(matches!(block_on(probe(&lake)), Err(LakeError::NotDone { .. })));
}

/// How a lake falls short.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    /// The last writer wins.
    Overwrites,
    /// Looks, waits, and then writes: exclusive only as long as nobody else comes.
    LooksFirst,
    /// Says "created" to everybody, and keeps the first.
    AlwaysCreated,
    /// The last writer wins, though it is told that the name exists.
    OverwritesSilently,
    /// Shows a new name only in the second listing after it.
    ListsLate,
    IgnoresStartAfter,
    TornReads,
    /// Gives every object the same tag.
    OneTag,
}

#[derive(Clone)]
struct Flawed {
    flaw: Flaw,
    names: Arc<Mutex<BTreeMap<String, (Bytes, u32)>>>,
}

impl Flawed {
    async fn put(&self, path: &str, content: Bytes) -> Result<Created, LakeError> {
        let stands = self.names.lock().unwrap().contains_key(path);
        if self.flaw == Flaw::LooksFirst {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        let mut names = self.names.lock().unwrap();
        let stands = if self.flaw == Flaw::LooksFirst { stands } else { names.contains_key(path) };
        let write = !stands || matches!(self.flaw, Flaw::Overwrites | Flaw::OverwritesSilently);
        if write {
            names.insert(path.to_owned(), (content, 0));
        }
        let created = !stands || matches!(self.flaw, Flaw::Overwrites | Flaw::AlwaysCreated);
        Ok(if created { Created::Created } else { Created::Exists })
    }
}

struct FlawedStaged(Flawed, Vec<u8>);

#[async_trait]
impl Staged for FlawedStaged {
    fn write(&mut self, bytes: &[u8]) -> Result<(), LakeError> {
        self.1.extend_from_slice(bytes);
        Ok(())
    }
    async fn publish(&mut self, path: &str) -> Result<Created, LakeError> {
        self.0.put(path, self.1.clone().into()).await
    }
}

#[async_trait]
impl Lake for Flawed {
    fn url(&self) -> &str {
        "memory:"
    }
    async fn create(&self, path: &str, content: Bytes) -> Result<Created, LakeError> {
        self.put(path, content).await
    }
    fn stage(&self) -> Result<Box<dyn Staged>, LakeError> {
        Ok(Box::new(FlawedStaged(self.clone(), Vec::new())))
    }
    async fn read(&self, path: &str) -> Result<Option<Bytes>, LakeError> {
        let found = self.names.lock().unwrap().get(path).map(|(content, _)| content.clone());
        let torn = self.flaw == Flaw::TornReads;
        Ok(found.map(|content| if torn { content.slice(..content.len() / 2) } else { content }))
    }
    async fn read_range(&self, _: &str, _: Range<u64>) -> Result<Bytes, LakeError> {
        Err(LakeError::refused("memory:", "not needed here"))
    }
    async fn size(&self, path: &str) -> Result<Option<u64>, LakeError> {
        Ok(self.names.lock().unwrap().get(path).map(|(content, _)| content.len() as u64))
    }
    async fn list<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> Result<BoxStream<'a, Result<Entry, LakeError>>, LakeError> {
        let after = start_after.filter(|_| self.flaw != Flaw::IgnoresStartAfter).unwrap_or_default();
        let mut shown = Vec::new();
        for (path, (content, listings)) in self.names.lock().unwrap().iter_mut() {
            *listings += 1;
            let late = self.flaw == Flaw::ListsLate && *listings < 2;
            if path.starts_with(prefix) && path.as_str() > after && !late {
                let tag = (self.flaw == Flaw::OneTag).then(|| "0".to_owned());
                shown.push(Ok(Entry { path: path.clone(), size: content.len() as u64, tag }));
            }
        }
        Ok(stream::iter(shown).boxed())
    }
    async fn settle(&self, _: &str) -> Result<(), LakeError> {
        Ok(())
    }
    async fn delete(&self, path: &str) -> Result<(), LakeError> {
        self.names.lock().unwrap().remove(path);
        Ok(())
    }
    async fn sweep(&self) -> Result<u64, LakeError> {
        Ok(0)
    }
}

#[test]
fn every_flaw_is_found_and_named() {
    let flaws = [
        (Flaw::Overwrites, "not exclusive: 2 of 2 writers"),
        (Flaw::LooksFirst, "not exclusive: 20 of 20 writers"),
        (Flaw::AlwaysCreated, "not exclusive: 2 of 2 writers"),
        (Flaw::OverwritesSilently, "does not hold the bytes of the one writer"),
        (Flaw::ListsLate, "does not show a name that was just created"),
        (Flaw::IgnoresStartAfter, "starts after a name"),
        (Flaw::TornReads, "bytes are read"),
        (Flaw::OneTag, "the same tag"),
    ];
    let flawed = |flaw| Flawed { flaw, names: Arc::default() };
    assert!(block_on(probe(&flawed(Flaw::None))).is_ok());
    for (flaw, word) in flaws {
        let lake = flawed(flaw);
        let error = block_on(probe(&lake)).unwrap_err();
        assert!(matches!(error, LakeError::Refused { .. }), "{error:?}");
        assert!(error.to_string().contains(word), "{error}");
    }
}
