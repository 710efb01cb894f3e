//! The store on a real disk: the contract, damage, other releases, and who holds it.

mod crashes;
mod disks;

use std::collections::BTreeMap;

use landfall_sink::Span;

use super::super::Planned;
use super::*;

fn stream(partition: i32) -> Stream {
    Stream { cluster: "c".into(), topic: "orders".into(), topic_id: Some("id".into()), partition }
}

fn born(partition: i32) -> Checkpoint {
    Checkpoint::birth(stream(partition), 0, crate::ambient::random_id()).unwrap()
}

fn grown(record: &Checkpoint) -> Checkpoint {
    let plan = Planned::new(Span::new(record.next, record.next + 10), "layout");
    let new = record.plan(plan, crate::ambient::random_id()).unwrap();
    new.commit(Span::new(record.next, record.next + 10), &[], crate::ambient::random_id()).unwrap()
}

#[test]
fn room_is_looked_for_before_sled_meets_a_full_disk() {
    let directory = tempfile::tempdir().unwrap();
    let full = super::opening::room(directory.path(), u64::MAX / 4).unwrap_err();
    assert!(full.contains(&directory.path().display().to_string()), "{full}");
}

fn refusal(path: &Path) -> String {
    match SledStore::open(path) {
        Err(StoreError::Refused { message, .. }) => message,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was opened"),
    }
}

/// A store with a few records, closed.
async fn filled(path: &Path) {
    let store = SledStore::open(path).unwrap();
    for partition in 0..40 {
        let record = born(partition);
        assert_eq!(store.swap(None, &record).await.unwrap(), Swap::Won);
        assert_eq!(store.swap(Some(1), &grown(&record)).await.unwrap(), Swap::Won);
    }
}

/// sled never syncs the files into which it puts long values and pages, so there must be none.
fn has_no_files_of_their_own(path: &Path) {
    assert_eq!(std::fs::read_dir(path.join("checkpoints/blobs")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(SledStore::open(directory.path()).unwrap());
    super::super::suite::store_suite(store.clone()).await;
    has_no_files_of_their_own(directory.path());
    let (id, streams) = (store.id().to_owned(), store.streams().await.unwrap());
    drop(store);
    let again = SledStore::open(directory.path()).unwrap();
    assert_eq!((again.id(), again.streams().await.unwrap()), (id.as_str(), streams));
    assert_eq!(again.lake_id().await.unwrap().as_deref(), Some("lake-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn swaps_that_wait_together_share_one_sync() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(SledStore::open(directory.path()).unwrap());
    let swaps: Vec<_> = (0..2000)
        .map(|partition| {
            let store = store.clone();
            tokio::spawn(async move { store.swap(None, &born(partition)).await.unwrap() })
        })
        .collect();
    for swap in swaps {
        assert_eq!(swap.await.unwrap(), Swap::Won);
    }
    let syncs = store.syncs();
    assert!((1..500).contains(&syncs), "{syncs} syncs for 2000 swaps");
    assert_eq!(store.streams().await.unwrap().len(), 2000);
    assert_eq!(store.syncs(), syncs, "reading syncs nothing");
    assert_eq!(store.swap(None, &born(0)).await.unwrap(), Swap::Lost);
    assert_eq!(store.syncs(), syncs, "nor does a lost swap");
    assert_eq!(store.swap(Some(1), &grown(&born(0))).await.unwrap(), Swap::Won);
    assert_eq!(store.syncs(), syncs + 1, "a swap that won does");
    has_no_files_of_their_own(directory.path());
}

#[test]
fn a_second_opener_is_told_who_holds_it() {
    let directory = tempfile::tempdir().unwrap();
    let held = SledStore::open(directory.path()).unwrap();
    let Err(StoreError::Locked { holder, .. }) = SledStore::open(directory.path()) else { panic!("not locked") };
    assert!(holder.contains(&format!("process {} on ", std::process::id())), "{holder}");
    drop(held);
    SledStore::open(directory.path()).unwrap();
}

#[test]
fn looking_makes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("never");
    assert!(SledStore::look(&path).unwrap().is_none());
    assert!(!path.exists());
    drop(SledStore::open(&path).unwrap());
    assert!(SledStore::look(&path).unwrap().is_some());
}

/// A look by root would otherwise leave a file that the store's own user cannot read.
#[tokio::test]
async fn a_look_changes_nothing_in_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    let stale = directory.path().join("checkpoints/snap.FFFFFFFFFFFFFFFF.generating");
    std::fs::write(&stale, b"").unwrap();
    let shown = || {
        let mut files = BTreeMap::new();
        let mut open = vec![directory.path().to_owned()];
        while let Some(place) = open.pop() {
            for entry in std::fs::read_dir(place).unwrap().flatten() {
                let meta = entry.metadata().unwrap();
                if meta.is_dir() {
                    open.push(entry.path());
                } else {
                    files.insert(entry.path(), (meta.modified().unwrap(), std::fs::read(entry.path()).unwrap()));
                }
            }
        }
        files
    };
    let before = shown();
    let store = SledStore::look(directory.path()).unwrap().unwrap();
    assert!(!store.streams().await.unwrap().is_empty());
    assert!(matches!(SledStore::open(directory.path()), Err(StoreError::Locked { .. })), "it is locked meanwhile");
    drop(store);
    assert!(shown() == before);
}

#[tokio::test]
async fn a_snapshot_that_a_crash_left_unfinished_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    let stale = directory.path().join("checkpoints/snap.FFFFFFFFFFFFFFFF.generating");
    std::fs::write(&stale, b"").unwrap();
    // That this file really stops sled, so that the test shows something:
    assert!(::sled::Config::new().path(directory.path().join("checkpoints")).open().is_err());
    let store = SledStore::open(directory.path()).unwrap();
    assert!(!stale.exists());
    assert_eq!(store.streams().await.unwrap().len(), 40);
}

#[tokio::test]
async fn damage_is_refused_with_the_way_out_and_nothing_is_deleted() {
    let whole = tempfile::tempdir().unwrap();
    filled(whole.path()).await;
    let db = std::fs::read(whole.path().join("checkpoints/db")).unwrap();
    let used = db.iter().rposition(|byte| *byte != 0).unwrap();
    let mut refused = 0;
    for at in (0..=used).step_by((used / 24).max(1)) {
        let directory = tempfile::tempdir().unwrap();
        copy(whole.path(), directory.path());
        let mut damaged = db.clone();
        let end = (at + 600).min(damaged.len());
        damaged[at..end].iter_mut().for_each(|byte| *byte ^= 0x5a);
        std::fs::write(directory.path().join("checkpoints/db"), &damaged).unwrap();
        // Damage in what is not used any more may go unnoticed; it must not change a record.
        match SledStore::open(directory.path()) {
            Ok(store) => {
                for partition in 0..40 {
                    let record = store.load(&stream(partition)).await.unwrap().unwrap();
                    assert_eq!(record.version, 3, "a record has gone back, damage at {at}");
                }
            }
            Err(StoreError::Refused { message, .. }) => {
                assert!(
                    message.contains("landfall rebuild") && message.contains("Move the directory aside"),
                    "{message}"
                );
                assert!(directory.path().join("checkpoints/db").exists());
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused > 0);
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir_all(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[tokio::test]
async fn a_database_put_back_from_a_copy_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    let copied = tempfile::tempdir().unwrap();
    copy(directory.path(), copied.path());
    let store = SledStore::open(directory.path()).unwrap();
    let record = store.load(&stream(7)).await.unwrap().unwrap();
    assert_eq!(store.swap(Some(3), &grown(&record)).await.unwrap(), Swap::Won);
    drop(store);
    std::fs::remove_dir_all(directory.path().join("checkpoints")).unwrap();
    std::fs::create_dir(directory.path().join("checkpoints")).unwrap();
    copy(&copied.path().join("checkpoints"), &directory.path().join("checkpoints"));
    assert!(refusal(directory.path()).contains("older than what it acknowledged"));
}

#[tokio::test]
async fn a_database_that_is_gone_or_of_another_store_is_refused() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    filled(one.path()).await;
    drop(SledStore::open(other.path()).unwrap());
    std::fs::copy(one.path().join("format.json"), other.path().join("format.json")).unwrap();
    assert!(refusal(other.path()).contains("two stores"));
    std::fs::remove_dir_all(one.path().join("checkpoints")).unwrap();
    assert!(refusal(one.path()).contains("gone"));
}

#[tokio::test]
async fn a_newer_format_is_refused_by_version() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    let marker = directory.path().join("format.json");
    let text = std::fs::read_to_string(&marker).unwrap();
    std::fs::write(&marker, text.replace("\"major\":1", "\"major\":2")).unwrap();
    assert!(refusal(directory.path()).contains("store format 2.0"));
    std::fs::write(&marker, text.replace("\"minor\":0", "\"minor\":4,\"new\":true")).unwrap();
    drop(SledStore::open(directory.path()).unwrap());
    // The same without the marker, by what the database itself says.
    std::fs::remove_file(&marker).unwrap();
    let database = ::sled::Config::new().path(directory.path().join("checkpoints")).open().unwrap();
    database.insert(meta_key("format"), br#"{"major":3,"minor":1}"#).unwrap();
    drop(database);
    assert!(refusal(directory.path()).contains("store format 3.1"));
}
