//! Over a table that loses power, runs out of space, fails to sync and panics when it is told to.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::*;

#[derive(Default)]
struct Disk {
    written: BTreeMap<Vec<u8>, Vec<u8>>,
    durable: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Space that the table says is left, and puts that work before the disk is full all the same.
    free: Option<u64>,
    puts_left: Option<u32>,
    sync_fails: bool,
    panics: bool,
    syncs: u64,
    reopened: u64,
}

#[derive(Clone, Default)]
struct FakePages(Arc<Mutex<Disk>>);

impl FakePages {
    fn disk(&self) -> std::sync::MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Pages for FakePages {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.disk().written.get(key).cloned())
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        let mut disk = self.disk();
        assert!(!disk.panics, "told to panic");
        if disk.puts_left == Some(0) {
            return Err(Fault::Full("no space left".into()));
        }
        disk.puts_left = disk.puts_left.map(|left| left - 1);
        disk.written.insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn remove(&self, key: &[u8]) -> Result<(), Fault> {
        self.disk().written.remove(key);
        Ok(())
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<ledger::Pair>, Fault> {
        let disk = self.disk();
        let pairs = disk.written.iter().filter(|(key, _)| key.starts_with(prefix));
        Ok(pairs.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn sync(&mut self) -> Result<(), Fault> {
        let mut disk = self.disk();
        if disk.sync_fails {
            return Err(Fault::Broken("fsync failed: input/output error".into()));
        }
        disk.durable = disk.written.clone();
        disk.syncs += 1;
        Ok(())
    }

    fn room(&self, bytes: u64) -> Result<(), String> {
        match self.disk().free {
            Some(free) if free < bytes + 1 => Err(format!("only {free} bytes are free")),
            _ => Ok(()),
        }
    }

    /// What was not durable may be there or not after a full disk: here it is not.
    fn reopen(&mut self) -> Result<(), Fault> {
        let mut disk = self.disk();
        disk.written = disk.durable.clone();
        disk.puts_left = None;
        disk.reopened += 1;
        Ok(())
    }
}

fn stream(partition: i32) -> Stream {
    Stream { cluster: "c".into(), topic: "t".into(), topic_id: None, partition }
}

fn start(pages: &FakePages) -> Arc<GroupCommit<FakePages>> {
    Arc::new(GroupCommit::start("fake".into(), pages.clone()).unwrap())
}

async fn put(store: &GroupCommit<FakePages>, partition: i32, version: u64) -> Result<Swap, StoreError> {
    let expected = (version > 1).then(|| version - 1);
    store.swap(stream(partition), expected, version, format!("version {version}").into_bytes()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_a_power_loss() {
    let pages = FakePages::default();
    let store = start(&pages);
    for version in 1..20 {
        let swaps: Vec<_> = (0..50)
            .map(|partition| {
                let store = store.clone();
                tokio::spawn(async move { put(&store, partition, version).await.unwrap() })
            })
            .collect();
        for (partition, swap) in (0..).zip(swaps) {
            assert_eq!(swap.await.unwrap(), Swap::Won);
            let lost_power = FakePages::default();
            lost_power.disk().written = pages.disk().durable.clone();
            let bytes = ledger::load(&lost_power, &stream(partition)).unwrap().unwrap_or_default();
            assert_eq!(bytes, format!("version {version}").into_bytes());
        }
    }
    assert_eq!(pages.disk().syncs, store.syncs());
    assert!(store.syncs() <= 19 * 50);
}

#[tokio::test]
async fn a_full_disk_that_is_seen_beforehand_changes_nothing_and_goes_away() {
    let pages = FakePages::default();
    let store = start(&pages);
    assert_eq!(put(&store, 0, 1).await.unwrap(), Swap::Won);
    pages.disk().free = Some(10);
    assert!(matches!(put(&store, 0, 2).await, Err(StoreError::NotDone { .. })));
    assert_eq!(store.load(stream(0)).await.unwrap().unwrap(), b"version 1");
    pages.disk().free = None;
    assert_eq!(put(&store, 0, 2).await.unwrap(), Swap::Won);
    assert_eq!(pages.disk().reopened, 0);
}

#[tokio::test]
async fn a_disk_that_fills_in_the_middle_leaves_it_unknown_until_there_is_space() {
    let pages = FakePages::default();
    let store = start(&pages);
    assert_eq!(put(&store, 0, 1).await.unwrap(), Swap::Won);
    {
        let mut disk = pages.disk();
        (disk.puts_left, disk.free) = (Some(0), Some(10_000));
    }
    assert!(matches!(put(&store, 0, 2).await, Err(StoreError::Unknown { .. })));
    pages.disk().free = Some(0);
    assert!(matches!(put(&store, 0, 2).await, Err(StoreError::NotDone { .. })));
    assert!(matches!(store.load(stream(0)).await, Err(StoreError::NotDone { .. })));
    pages.disk().free = None;
    assert_eq!(store.load(stream(0)).await.unwrap().unwrap(), b"version 1");
    assert_eq!(put(&store, 0, 2).await.unwrap(), Swap::Won);
    assert_eq!(pages.disk().reopened, 1);
}

#[tokio::test]
async fn a_failed_sync_ends_the_store_for_good() {
    let pages = FakePages::default();
    let store = start(&pages);
    assert_eq!(put(&store, 0, 1).await.unwrap(), Swap::Won);
    pages.disk().sync_fails = true;
    assert!(matches!(put(&store, 0, 2).await, Err(StoreError::Unknown { .. })));
    pages.disk().sync_fails = false;
    assert!(matches!(put(&store, 0, 2).await, Err(StoreError::Refused { .. })));
    assert!(matches!(put(&store, 1, 1).await, Err(StoreError::Refused { .. })));
    assert!(matches!(store.load(stream(0)).await, Err(StoreError::Refused { .. })));
    let disk = pages.disk();
    assert_eq!((disk.syncs, disk.reopened), (1, 0), "nothing was written any more");
}

#[tokio::test]
async fn a_panic_is_an_unknown_outcome_and_the_end() {
    let pages = FakePages::default();
    let store = start(&pages);
    pages.disk().panics = true;
    assert!(matches!(put(&store, 0, 1).await, Err(StoreError::Unknown { .. })));
    pages.disk().panics = false;
    assert!(matches!(put(&store, 0, 1).await, Err(StoreError::Refused { .. })));
}

#[tokio::test]
async fn what_was_asked_for_is_done_before_it_closes() {
    let pages = FakePages::default();
    let store = start(&pages);
    assert_eq!(put(&store, 0, 1).await.unwrap(), Swap::Won);
    drop(store);
    let disk = pages.disk();
    assert_eq!(disk.written, disk.durable);
    drop(disk);
    assert_eq!(Arc::strong_count(&pages.0), 1, "the table is closed");
}
