//! Against the disk itself: a full one, and what a swap costs. Run by hand, with `--ignored`.

use std::io::Write;

use super::*;

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
        for _ in 0..4 {
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
    let records = crate::checkpoint::holder::every_checkpoint(&store).await.unwrap().len();
    println!("{records} records loaded in {:?}", start.elapsed());
}
