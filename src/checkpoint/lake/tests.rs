//! The lake store step by step: what it asks of a lake, and each rule at the moment where it matters.

mod meddled;
mod writers;

use std::sync::Arc;
use std::time::Duration;

use landfall_lake::{Call, Fault, Faults, FaultyLake, Lake, LocalLake};
use landfall_sink::{Span, Stream};

use super::*;
use crate::checkpoint::{Planned, suite};
use crate::origin::doubles::MemoryLake;
use meddled::Meddled;

impl LakeStore {
    /// Keeps fewer versions, to see whether pruning can go wrong.
    fn keeping(mut self, versions: usize) -> LakeStore {
        self.pruning = Pruning::keeping(versions);
        self
    }
}

fn seat() -> Seat {
    Seat { number: 3, kind: "lake".into(), store: "store-1".into(), lake: "lake-1".into() }
}

fn stream() -> Stream {
    Stream { cluster: "c".into(), topic: "orders".into(), topic_id: Some("id".into()), partition: 4 }
}

fn nonce() -> String {
    crate::ambient::random_id()
}

fn planned(record: &Checkpoint, offsets: i64) -> Checkpoint {
    record.plan(Planned::new(Span::new(record.next, record.next + offsets), "layout"), nonce()).unwrap()
}

fn path(version: u64) -> String {
    format!("_landfall/checkpoints/3/c/orders/id/4/{version:020}.json")
}

async fn born(store: &LakeStore) -> Checkpoint {
    let born = Checkpoint::birth(stream(), 0, nonce()).unwrap();
    assert_eq!(store.swap(None, &born).await.unwrap(), Swap::Won);
    born
}

/// Plans and commits, so many times.
async fn advanced(store: &LakeStore, mut record: Checkpoint, batches: usize) -> Checkpoint {
    for _ in 0..batches {
        let plan = planned(&record, 10);
        assert_eq!(store.swap(Some(record.version), &plan).await.unwrap(), Swap::Won);
        record = plan.commit(plan.planned[0].span(), &[], nonce()).unwrap();
        assert_eq!(store.swap(Some(plan.version), &record).await.unwrap(), Swap::Won);
    }
    record
}

/// Pruning runs beside the path of the data.
async fn pruned(lake: &MemoryLake, most: usize) {
    for _ in 0..1000 {
        if lake.paths().len() <= most {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{} versions stay", lake.paths().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_contract_in_memory() {
    suite::store_suite(Arc::new(LakeStore::seated(Arc::new(MemoryLake::default()), &seat()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_contract_on_a_local_disk() {
    let directory = tempfile::tempdir().unwrap();
    let lake = LocalLake::open(directory.path(), 4).unwrap();
    suite::store_suite(Arc::new(LakeStore::seated(Arc::new(lake), &seat()))).await;
}

#[tokio::test]
async fn a_record_stands_under_the_number_of_the_owner_and_its_version() {
    let lake = Arc::new(MemoryLake::default());
    let store = LakeStore::seated(lake.clone(), &seat());
    born(&store).await;
    assert_eq!(lake.paths(), [path(1)]);
    let other = LakeStore::seated(lake.clone(), &Seat { number: 4, ..seat() });
    assert_eq!(other.load(&stream()).await.unwrap(), None, "a former owner's tree is not read");
    assert_eq!(other.streams().await.unwrap(), []);
    assert_eq!(store.streams().await.unwrap(), [stream()]);
    let nowhere = LakeStore::new(lake);
    assert!(matches!(nowhere.load(&stream()).await, Err(StoreError::Refused { .. })));
}

/// Per batch two creates and one list, and one and one where a commit and the next plan share a swap. Deletions
/// come in portions.
#[tokio::test]
async fn a_batch_costs_so_many_requests_and_no_more() {
    const BATCHES: u64 = 400;
    let lake = FaultyLake::new(MemoryLake::default(), Faults::none());
    let store = LakeStore::seated(Arc::new(lake.clone()), &seat());
    let mut record = born(&store).await;
    let count = |call| lake.faults().visits(call);
    let asked = [Call::Create, Call::List, Call::Read, Call::Size, Call::Settle].map(count);
    let deleted = count(Call::Delete);
    record = advanced(&store, record, BATCHES as usize).await;
    let now = [Call::Create, Call::List, Call::Read, Call::Size, Call::Settle].map(count);
    let per_phase: Vec<u64> = now.iter().zip(asked).map(|(now, before)| now - before).collect();
    assert_eq!(per_phase, [2 * BATCHES, BATCHES, 0, 0, 0], "create, list, read, size, settle");
    let deletions = count(Call::Delete) - deleted;
    assert!(deletions > 0 && deletions <= BATCHES, "{deletions} delete requests for {BATCHES} batches");
    pruned(lake.inner(), 150).await;

    let mut open = planned(&record, 10);
    assert_eq!(store.swap(Some(record.version), &open).await.unwrap(), Swap::Won);
    let (creates, lists) = (count(Call::Create), count(Call::List));
    for _ in 0..BATCHES {
        let plan = Planned::new(Span::new(open.next, open.next + 10), "layout");
        let next = open.commit_and_plan(open.planned[0].span(), &[], plan, nonce()).unwrap();
        assert_eq!(store.swap(Some(open.version), &next).await.unwrap(), Swap::Won);
        open = next;
    }
    assert_eq!((count(Call::Create) - creates, count(Call::List) - lists), (BATCHES, BATCHES));
    assert_eq!(lake.faults().written_twice(), Vec::<String>::new());
}

#[tokio::test]
async fn the_newest_hundred_versions_stay_and_the_oldest_go_first() {
    let lake = Arc::new(MemoryLake::default());
    let store = LakeStore::seated(lake.clone(), &seat());
    let record = born(&store).await;
    let record = advanced(&store, record, 300).await;
    pruned(&lake, 150).await;
    let standing = lake.paths();
    assert!(standing.len() >= 100, "{}", standing.len());
    let lowest = record.version + 1 - standing.len() as u64;
    assert_eq!(standing, (lowest..=record.version).map(path).collect::<Vec<_>>(), "no hole");
    assert_eq!(store.load(&stream()).await.unwrap(), Some(record));
}

/// A process that slept while its number was pruned creates it again: that is no win.
#[tokio::test]
async fn a_version_above_a_pruned_range_has_not_won() {
    let lake = Arc::new(MemoryLake::default());
    let sleeper = LakeStore::seated(lake.clone(), &seat());
    let record = born(&sleeper).await;
    let other = LakeStore::seated(lake.clone(), &seat()).keeping(2);
    assert_eq!(other.load(&stream()).await.unwrap().as_ref(), Some(&record));
    let newest = advanced(&other, record.clone(), 20).await;
    pruned(&lake, 3).await;
    let late = planned(&record, 7);
    assert_eq!(sleeper.swap(Some(1), &late).await.unwrap(), Swap::Lost);
    assert!(lake.paths().contains(&path(2)), "it could be created, and that proves nothing");
    assert_eq!(sleeper.load(&stream()).await.unwrap(), Some(newest));
}

#[tokio::test]
async fn a_version_of_another_is_not_taken_for_the_own_one() {
    let lake = Arc::new(MemoryLake::default());
    let (a, b) = (LakeStore::seated(lake.clone(), &seat()), LakeStore::seated(lake.clone(), &seat()));
    let record = born(&a).await;
    assert_eq!(b.load(&stream()).await.unwrap().as_ref(), Some(&record));
    let (mine, theirs) = (planned(&record, 5), planned(&record, 5));
    assert_eq!(b.swap(Some(1), &theirs).await.unwrap(), Swap::Won);
    assert_eq!(a.swap(Some(1), &mine).await.unwrap(), Swap::Lost, "equal but for the nonce");
    assert_eq!(a.load(&stream()).await.unwrap(), Some(theirs));
}

#[tokio::test(start_paused = true)]
async fn lost_answers_are_read_back_and_the_same_bytes_are_sent_again() {
    let lake = FaultyLake::new(MemoryLake::default(), Faults::none());
    let store = LakeStore::seated(Arc::new(lake.clone()), &seat());
    let mut record = born(&store).await;
    for fault in [Fault::AnswerLost, Fault::NeverCame, Fault::NotDone, Fault::Late(1), Fault::Late(0)] {
        lake.faults().on(Call::Create, 1, fault);
        let next = planned(&record, 3);
        assert_eq!(store.swap(Some(record.version), &next).await.unwrap(), Swap::Won, "{fault:?}");
        assert_eq!(store.load(&stream()).await.unwrap().as_ref(), Some(&next), "{fault:?}");
        record = next;
    }
    lake.land_late().await;
    assert_eq!(lake.faults().written_twice(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_swap_whose_list_fails_is_unknown_whatever_the_create_said() {
    let lake = FaultyLake::new(MemoryLake::default(), Faults::none());
    let store = LakeStore::seated(Arc::new(lake.clone()), &seat());
    let record = born(&store).await;
    (1..=20).for_each(|nth| _ = lake.faults().on(Call::List, nth, Fault::NotDone));
    let next = planned(&record, 3);
    assert!(matches!(store.swap(Some(1), &next).await, Err(StoreError::Unknown { .. })));
    lake.faults().calm();
    assert_eq!(store.load(&stream()).await.unwrap(), Some(next));
}

#[tokio::test(start_paused = true)]
async fn a_create_that_never_comes_is_unknown_and_one_that_is_refused_did_not_happen() {
    let lake = FaultyLake::new(MemoryLake::default(), Faults::none());
    let store = LakeStore::seated(Arc::new(lake.clone()), &seat());
    let record = born(&store).await;
    (1..=20).for_each(|nth| _ = lake.faults().on(Call::Create, nth, Fault::NeverCame));
    assert!(matches!(store.swap(Some(1), &planned(&record, 3)).await, Err(StoreError::Unknown { .. })));
    lake.faults().calm();
    (1..=20).for_each(|nth| _ = lake.faults().on(Call::Create, nth, Fault::NotDone));
    assert!(matches!(store.swap(Some(1), &planned(&record, 3)).await, Err(StoreError::NotDone { .. })));
    lake.faults().calm();
    assert_eq!(store.load(&stream()).await.unwrap(), Some(record));
}

/// Between the list and the read the listed version is pruned.
#[tokio::test]
async fn a_version_that_is_gone_when_it_is_read_means_list_again() {
    for lake in [MemoryLake::default(), MemoryLake::tagged()] {
        gone_when_it_is_read(Arc::new(lake)).await;
    }
}

async fn gone_when_it_is_read(lake: Arc<MemoryLake>) {
    let writer = LakeStore::seated(lake.clone(), &seat());
    let record = born(&writer).await;
    let listed = advanced(&writer, record, 3).await;
    let newest = advanced(&writer, listed.clone(), 2).await;
    let hidden: Vec<u64> = (listed.version + 1..=newest.version).collect();
    let kept = lake.take(hidden.iter().map(|version| path(*version)));
    let meddled = Meddled::new(lake.clone(), move |lake| {
        drop(lake.take([path(listed.version)]));
        lake.put_all(kept);
    });
    let reader = LakeStore::seated(Arc::new(meddled), &seat());
    assert_eq!(reader.load(&stream()).await.unwrap(), Some(newest));
}

/// Between the list and the read the listed version is pruned, and a late create lands under its number.
#[tokio::test]
async fn only_the_object_that_was_listed_as_the_highest_is_acted_on() {
    for lake in [MemoryLake::default(), MemoryLake::tagged()] {
        another_when_it_is_read(Arc::new(lake)).await;
    }
}

async fn another_when_it_is_read(lake: Arc<MemoryLake>) {
    let writer = LakeStore::seated(lake.clone(), &seat());
    let record = born(&writer).await;
    let listed = advanced(&writer, record, 3).await;
    let newest = advanced(&writer, listed.clone(), 2).await;
    let hidden: Vec<u64> = (listed.version + 1..=newest.version).collect();
    let kept = lake.take(hidden.iter().map(|version| path(*version)));
    let stranger = Checkpoint { next: listed.next + 1, nonce: nonce(), ..listed.clone() }.to_bytes().unwrap();
    let meddled = Meddled::new(lake.clone(), move |lake| {
        drop(lake.take([path(listed.version)]));
        lake.put_all(vec![(path(listed.version), stranger.into())]);
        lake.put_all(kept);
    });
    let reader = LakeStore::seated(Arc::new(meddled), &seat());
    assert_eq!(reader.load(&stream()).await.unwrap(), Some(newest));
}

/// Where the object itself shows that it is the one that was listed, and twice where nothing else can.
#[tokio::test]
async fn a_start_lists_once_where_objects_have_tags() {
    for (lake, lists) in [(MemoryLake::default(), 2), (MemoryLake::tagged(), 1)] {
        let lake = Arc::new(lake);
        let store = LakeStore::seated(lake.clone(), &seat());
        let record = born(&store).await;
        let record = advanced(&store, record, 3).await;
        lake.trip.disarm();
        assert_eq!(store.load(&stream()).await.unwrap(), Some(record));
        // The lists, the read and the settling.
        assert_eq!(lake.trip.disarm(), lists + 2);
    }
}

/// A tree that was deleted shows one version again.
#[tokio::test]
async fn a_version_without_the_one_below_it_is_no_checkpoint() {
    let lake = Arc::new(MemoryLake::default());
    let store = LakeStore::seated(lake.clone(), &seat());
    let record = born(&store).await;
    let record = advanced(&store, record, 3).await;
    let late = planned(&record, 5);
    let gone = lake.paths();
    drop(lake.take(gone));
    lake.put_all(vec![(path(late.version), late.to_bytes().unwrap().into())]);
    assert_eq!(store.load(&stream()).await.unwrap(), None);
    // Nor does a swap on top of it win, or one that begins the stream again.
    assert_eq!(store.swap(Some(late.version), &planned(&late, 5)).await.unwrap(), Swap::Lost);
    let again = Checkpoint::birth(stream(), 0, nonce()).unwrap();
    assert_eq!(store.swap(None, &again).await.unwrap(), Swap::Lost);
}

#[tokio::test]
async fn a_record_under_another_name_or_of_a_newer_release_is_refused_by_name() {
    let lake = Arc::new(MemoryLake::default());
    let store = LakeStore::seated(lake.clone(), &seat());
    let record = born(&store).await;
    lake.put_all(vec![(path(2), record.to_bytes().unwrap().into())]);
    let error = store.load(&stream()).await.unwrap_err();
    assert!(matches!(&error, StoreError::Refused { message, .. } if message.contains(&path(2))), "{error}");
    drop(lake.take([path(1), path(2)]));
    let body = br#"{"format":{"major":2,"minor":0}}"#;
    let newer =
        format!("{{\"crc32c\":\"{:08x}\",\"checkpoint\":{}}}", crc32c::crc32c(body), String::from_utf8_lossy(body));
    lake.put_all(vec![(path(1), newer.into_bytes().into())]);
    let error = store.load(&stream()).await.unwrap_err();
    assert!(matches!(&error, StoreError::Refused { message, .. } if message.contains("format 2.0")), "{error}");
}

/// A record in the newest of the former trees counts; where that tree is broken, no older one does.
#[tokio::test]
async fn former_trees_are_read_from_the_newest_on() {
    let lake = Arc::new(MemoryLake::default());
    let shared: Arc<dyn Lake> = lake.clone();
    let at = |number| LakeStore::seated(shared.clone(), &Seat { number, ..seat() });
    let record = born(&at(1)).await;
    let old = FormerTrees::before(&shared, 4);
    assert_eq!(old.load(&stream()).await.unwrap(), Some(record.clone()));
    let later = Checkpoint { next: 50, ..record };
    assert_eq!(at(2).swap(None, &later).await.unwrap(), Swap::Won);
    assert_eq!(old.load(&stream()).await.unwrap(), Some(later.clone()));
    assert_eq!(FormerTrees::before(&shared, 2).load(&stream()).await.unwrap().map(|found| found.next), Some(0));
    let revived = Checkpoint { version: 9, ..later };
    lake.put_all(vec![(path(9), revived.to_bytes().unwrap().into())]);
    assert_eq!(old.load(&stream()).await.unwrap(), None);
    assert_eq!(newest_tree(shared.as_ref()).await.unwrap(), Some(3));
}
