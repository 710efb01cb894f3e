//! The store on a real disk: the contract, kills, damage, other releases, and who holds it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

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

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(SledStore::open(directory.path()).unwrap());
    super::super::suite::store_suite(store.clone()).await;
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
    assert!(SledStore::open_existing(&path).unwrap().is_none());
    assert!(!path.exists());
    drop(SledStore::open(&path).unwrap());
    assert!(SledStore::open_existing(&path).unwrap().is_some());
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

const CHILD: &str = "LANDFALL_TEST_SWAP_CHILD";

/// Not a test of its own: the process that is killed. It says every version that was acknowledged.
#[test]
fn the_child_that_is_killed() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async move {
        let store = Arc::new(SledStore::open(Path::new(&path)).unwrap());
        let tasks: Vec<_> = (0..8)
            .map(|partition| {
                let store = store.clone();
                tokio::spawn(async move {
                    loop {
                        let standing = store.load(&stream(partition)).await.unwrap();
                        let mut new = standing.as_ref().map_or_else(|| born(partition), grown);
                        if new.version % 7 == 0 {
                            new.unknown.insert("padding".into(), "long ".repeat(1500).into());
                        } else {
                            new.unknown.clear();
                        }
                        let expected = standing.map(|record| record.version);
                        assert_eq!(store.swap(expected, &new).await.unwrap(), Swap::Won);
                        let line = format!("acknowledged {partition} {}\n", new.version);
                        std::io::stderr().write_all(line.as_bytes()).unwrap();
                    }
                })
            })
            .collect();
        futures::future::join_all(tasks).await;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_version_survives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let rounds: u64 = std::env::var("LANDFALL_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let mut acknowledged = [0u64; 8];
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["checkpoint::sled::tests::the_child_that_is_killed", "--exact", "--nocapture"])
            .env(CHILD, directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut seen = 0;
        for line in lines.by_ref().map_while(Result::ok) {
            let Some(words) = line.strip_prefix("acknowledged ") else { panic!("the child said: {line}") };
            let (partition, version) = words.split_once(' ').unwrap();
            let partition: usize = partition.parse().unwrap();
            acknowledged[partition] = acknowledged[partition].max(version.parse().unwrap());
            seen += 1;
            if seen == 20 + round * 37 % 200 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(seen >= 20, "the child ended by itself");
        let store = SledStore::open(directory.path()).unwrap();
        for (partition, acknowledged) in (0..).zip(acknowledged) {
            let record = store.load(&stream(partition)).await.unwrap();
            let version = record.map_or(0, |record| record.version);
            assert!(version >= acknowledged, "partition {partition}: {version}, but {acknowledged} was acknowledged");
        }
    }
}

#[test]
fn broken_rules_are_noticed() {
    let caught = [
        ("swap_ignores_version", "checkpoint::sled::tests::it_keeps_the_contract"),
        ("swap_ignores_version", "checkpoint::memory::tests::it_keeps_the_contract"),
        ("swap_without_sync", "checkpoint::sled::tests::swaps_that_wait_together_share_one_sync"),
        ("swap_without_sync", "checkpoint::group_commit::tests::what_was_answered_survives_a_power_loss"),
    ];
    if std::env::var_os("LANDFALL_SABOTAGE").is_some() {
        return;
    }
    for (sabotage, test) in caught {
        let output = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact"])
            .env("LANDFALL_SABOTAGE", sabotage)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("1 failed"), "{sabotage} was not caught by {test}: {said}");
    }
}

/// A file system of a few MiB that is filled and freed again and again while swaps go on: nothing that was
/// acknowledged is lost, and the store goes on by itself. With `LANDFALL_SABOTAGE=store_never_looks_for_space`
/// sled itself meets the full disk, and is opened again.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an empty file system of 4 to 16 MiB in LANDFALL_TEST_SMALL_DISK"]
async fn a_full_disk_passes() {
    let disk = std::env::var_os("LANDFALL_TEST_SMALL_DISK").map(PathBuf::from).unwrap();
    let (state, ballast) = (disk.join("state"), disk.join("ballast"));
    let mut store = SledStore::open(&state).unwrap();
    let mut outcomes = std::collections::BTreeMap::new();
    let mut standing: Vec<Checkpoint> = (0..50).map(born).collect();
    for record in &standing {
        assert_eq!(store.swap(None, record).await.unwrap(), Swap::Won);
    }
    for round in 0..40 {
        let mut file = File::create(&ballast).unwrap();
        while file.write_all(&[0x55; 4096]).is_ok() {}
        for _ in 0..20 {
            for record in &mut standing {
                let mut new = grown(record);
                new.unknown.insert("padding".into(), "long ".repeat(1500).into());
                let outcome = match store.swap(Some(record.version), &new).await {
                    Ok(Swap::Won) => {
                        *record = new;
                        "won"
                    }
                    Ok(Swap::Lost) => "lost",
                    Err(StoreError::NotDone { .. }) => "not done",
                    Err(StoreError::Unknown { .. }) => "unknown",
                    Err(error) => panic!("{error}"),
                };
                *outcomes.entry(outcome).or_insert(0) += 1;
            }
        }
        drop(file);
        std::fs::remove_file(&ballast).unwrap();
        if round % 8 == 7 {
            drop(store);
            store = SledStore::open(&state).unwrap();
        }
        for record in &mut standing {
            let shown = store.load(&record.stream).await.unwrap().unwrap();
            assert!(shown.version >= record.version, "an acknowledged swap is gone");
            *record = grown(&shown);
            assert_eq!(store.swap(Some(shown.version), record).await.unwrap(), Swap::Won);
        }
    }
    println!("{outcomes:?}");
}

/// How long swaps take here, one by one and two thousand at a time, beside a bare fsync.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures"]
async fn what_a_swap_costs() {
    let directory = tempfile::tempdir_in(std::env::current_dir().unwrap()).unwrap();
    let mut bare = Vec::new();
    let mut file = File::create(directory.path().join("bare")).unwrap();
    for _ in 0..300 {
        let start = std::time::Instant::now();
        file.write_all(&[1; 600]).unwrap();
        file.sync_all().unwrap();
        bare.push(start.elapsed());
    }
    let store = Arc::new(SledStore::open(&directory.path().join("state")).unwrap());
    let mut single = Vec::new();
    let mut record = born(0);
    store.swap(None, &record).await.unwrap();
    for _ in 0..300 {
        let new = grown(&record);
        let start = std::time::Instant::now();
        store.swap(Some(record.version), &new).await.unwrap();
        single.push(start.elapsed());
        record = new;
    }
    bare.sort_unstable();
    single.sort_unstable();
    let (start, syncs) = (std::time::Instant::now(), store.syncs());
    let tasks: Vec<_> = (1..2001)
        .map(|partition| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut record = born(partition);
                store.swap(None, &record).await.unwrap();
                for _ in 0..10 {
                    let new = grown(&record);
                    assert_eq!(store.swap(Some(record.version), &new).await.unwrap(), Swap::Won);
                    record = new;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let (took, syncs) = (start.elapsed(), store.syncs() - syncs);
    println!("append + fsync p50 {:?} p99 {:?}", bare[150], bare[297]);
    println!("swap           p50 {:?} p99 {:?}", single[150], single[297]);
    println!("22000 swaps of 2000 partitions in {took:?}, {syncs} syncs");
    drop(store);
    let start = std::time::Instant::now();
    let store = SledStore::open(&directory.path().join("state")).unwrap();
    println!("opened again in {:?}", start.elapsed());
    let start = std::time::Instant::now();
    let records = super::super::holder::every_checkpoint(&store).await.unwrap().len();
    println!("{records} records loaded in {:?}", start.elapsed());
}
