//! Births, owners and reconciliation, with two starters and with a stop at every call.

use std::sync::Arc;

use landfall_sink::{Resolution, Span, Stream};
use proptest::prelude::*;

use super::doubles::{MemoryLake, MemorySink, MemoryStore, World, about, layout};
use super::*;
use crate::checkpoint::{Checkpoint, LakeStore, Planned};

fn genesis(topic_id: Option<&str>) -> Genesis {
    Genesis::new("c", "orders", topic_id.map(Into::into), vec![0, 40], "earliest")
}

async fn born(world: &World, partition: i32) -> Result<Checkpoint, OriginError> {
    let genesis = world.origin.freeze_genesis(genesis(Some("id"))).await?;
    let stream = genesis.stream(partition);
    birth(&world.origin, &world.store, &world.sink, &stream, &genesis, None).await
}

#[tokio::test]
async fn of_two_starters_exactly_one_owns_the_lake() {
    for _ in 0..50 {
        let lake = Arc::new(MemoryLake::default());
        let start = |id: &'static str| {
            let lake = lake.clone();
            tokio::spawn(async move {
                let store = MemoryStore::new(id, lake.trip.clone());
                Origin::claim(lake.clone(), &store, about(id)).await.map(|origin| origin.owner().store.clone())
            })
        };
        let (a, b) = (start("a"), start("b"));
        let results = [a.await.unwrap(), b.await.unwrap()];
        let winners: Vec<_> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
        assert_eq!(winners.len(), 1, "{results:?}");
        let refused = results.iter().find_map(|result| result.as_ref().err()).unwrap();
        assert!(matches!(refused, OriginError::OtherOwner { .. }));
        assert!(refused.to_string().contains(&format!("memory store {}", winners[0])), "{refused}");
        assert!(refused.way_out().unwrap().contains("landfall rebuild"), "{refused}");
    }
}

/// Two processes start at the same time on a lake that has no owner, and keep their checkpoints in it.
#[tokio::test]
async fn of_two_starters_with_the_lakes_own_store_both_own_it_and_are_born_once() {
    for round in 0..50 {
        let lake = Arc::new(MemoryLake::default());
        let start = |host: &'static str| {
            let lake = lake.clone();
            tokio::spawn(async move { born_in_the_lake(&lake, host).await.unwrap() })
        };
        let (a, b) = (start("a"), start("b"));
        let (a, b) = (a.await.unwrap(), b.await.unwrap());
        assert_eq!(a, b, "round {round}");
        let checkpoints = lake.paths().into_iter().filter(|path| path.contains("/checkpoints/")).count();
        assert_eq!(checkpoints, 1, "{:?}", lake.paths());
    }
}

/// Owner, start, checkpoint and mark; returns who owns the lake, and the record.
async fn born_in_the_lake(lake: &Arc<MemoryLake>, host: &str) -> Result<(Owner, Checkpoint), OriginError> {
    let store = LakeStore::new(lake.clone());
    let origin = Origin::claim(lake.clone(), &store, about(host)).await?;
    let layout = Arc::new(layout(origin.lake_id(), "{topic}/{partition}"));
    origin.record_layout(&layout).await?;
    let sink = MemorySink { layout, files: Arc::default() };
    let genesis = origin.freeze_genesis(genesis(Some("id"))).await?;
    let record = birth(&origin, &store, &sink, &genesis.stream(1), &genesis, None).await?;
    Ok((origin.owner().clone(), record))
}

#[tokio::test(start_paused = true)]
async fn a_birth_in_the_lake_that_was_stopped_anywhere_is_completed_by_another_process() {
    let mut stops = 0;
    for at in 0..80 {
        for after in [false, true] {
            let lake = Arc::new(MemoryLake::default());
            lake.trip.arm(at, after);
            stops += u32::from(born_in_the_lake(&lake, "a").await.is_err());
            lake.trip.disarm();
            let (owner, record) = born_in_the_lake(&lake, "b").await.unwrap();
            assert_eq!((owner.number, owner.kind.as_str(), record.genesis), (1, "lake", 40), "stopped at call {at}");
            let again = born_in_the_lake(&lake, "c").await.unwrap();
            assert_eq!(again, (owner, record));
        }
    }
    assert!(stops > 20, "{stops}");
}

#[tokio::test]
async fn a_lake_that_is_not_the_one_remembered_is_refused_and_not_written_to() {
    let world = World::new().await;
    let empty = Arc::new(MemoryLake::default());
    let claim = Origin::claim(empty.clone(), &world.store, about("a")).await;
    assert!(matches!(claim, Err(OriginError::WrongLake { .. })));
    assert!(empty.paths().is_empty());
    let other = World::new().await;
    let claim = Origin::claim(other.lake.clone(), &world.store, about("a")).await;
    assert!(matches!(claim, Err(OriginError::WrongLake { .. })));
}

#[tokio::test]
async fn a_claim_that_was_stopped_anywhere_is_completed_by_the_next() {
    for at in 0..20 {
        for after in [false, true] {
            let lake = Arc::new(MemoryLake::default());
            let store = MemoryStore::new("s1", lake.trip.clone());
            lake.trip.arm(at, after);
            let first = Origin::claim(lake.clone(), &store, about("a")).await;
            lake.trip.disarm();
            let again = Origin::claim(lake.clone(), &store, about("a")).await.unwrap();
            assert_eq!(lake.paths(), ["_landfall/owner/1.json"]);
            assert_eq!(store.lake.lock().unwrap().as_deref(), Some(again.lake_id()));
            if let Ok(first) = first {
                assert_eq!(first.owner(), again.owner());
            }
        }
    }
}

#[tokio::test]
async fn an_owner_object_that_is_gone_is_no_new_lake() {
    let world = World::new().await;
    born(&world, 0).await.unwrap();
    world.lake.objects.lock().unwrap().remove("_landfall/owner/1.json");
    let other = MemoryStore::new("s2", world.lake.trip.clone());
    let claim = Origin::claim(world.lake.clone(), &other, about("b")).await;
    assert!(matches!(claim, Err(OriginError::Refused(_))));
}

#[tokio::test]
async fn a_birth_that_was_stopped_anywhere_is_completed_by_the_next() {
    let mut stopped = 0;
    for at in 0..40 {
        for after in [false, true] {
            let world = World::new().await;
            world.lake.trip.arm(at, after);
            let first = born(&world, 1).await;
            stopped += u64::from(first.is_err());
            world.lake.trip.disarm();
            let again = born(&world, 1).await.unwrap();
            assert_eq!((again.genesis, again.next, again.version), (40, 40, 1));
            assert!(world.origin.is_born(&again.stream).await.unwrap());
            assert_eq!(world.origin.streams().await.unwrap(), std::slice::from_ref(&again.stream));
            assert_eq!(world.store.record(&again.stream), Some(again));
        }
    }
    assert!(stopped > 10);
}

#[tokio::test]
async fn two_starters_of_a_stream_get_one_record() {
    let world = World::new().await;
    let (a, b) = tokio::join!(born(&world, 0), born(&world, 0));
    assert_eq!(a.unwrap(), b.unwrap());
}

#[tokio::test]
async fn a_missing_checkpoint_of_a_born_stream_asks_for_a_rebuild() {
    let world = World::new().await;
    let stream = born(&world, 0).await.unwrap().stream;
    world.store.records.lock().unwrap().clear();
    let error = born(&world, 0).await.unwrap_err();
    assert!(matches!(error, OriginError::NeedsRebuild { .. }), "{error}");
    assert!(error.way_out().unwrap().contains("landfall rebuild"), "{error}");
    // Names alone are as good as a mark.
    world.lake.delete(&super::paths::mark(&stream).unwrap()).await.unwrap();
    assert_eq!(born(&world, 0).await.unwrap().next, 0);
    world.lake.delete(&super::paths::mark(&stream).unwrap()).await.unwrap();
    world.store.records.lock().unwrap().clear();
    world.sink.land(&stream, 0, 10, &[]);
    assert!(matches!(born(&world, 0).await, Err(OriginError::NeedsRebuild { .. })));
}

#[tokio::test]
async fn a_found_checkpoint_proves_nothing_about_the_mark() {
    let mut world = World::new().await;
    let record = born(&world, 0).await.unwrap();
    world.lake.delete(&super::paths::mark(&record.stream).unwrap()).await.unwrap();
    world.origin = Origin::open(world.lake.clone()).await.unwrap();
    assert_eq!(born(&world, 0).await.unwrap(), record);
    assert!(world.origin.is_born(&record.stream).await.unwrap());
}

#[tokio::test]
async fn the_marks_of_a_topic_are_seen_by_one_list() {
    let mut world = World::new().await;
    let first = born(&world, 0).await.unwrap();
    let streams = [first.stream.clone(), Stream { partition: 1, ..first.stream.clone() }];
    world.origin = Origin::open(world.lake.clone()).await.unwrap();
    let calls = |world: &World| world.lake.trip.disarm();
    calls(&world);
    world.origin.look_for_marks(&streams).await.unwrap();
    assert_eq!(calls(&world), 2, "the list, and the settling of the one that stands");
    world.origin.mark_born(&streams[0]).await.unwrap();
    assert_eq!(calls(&world), 0);
    // What the list does not show is made.
    world.origin.mark_born(&streams[1]).await.unwrap();
    assert!(world.origin.is_born(&streams[1]).await.unwrap());
    calls(&world);
    world.origin.look_for_marks(&streams).await.unwrap();
    assert_eq!(calls(&world), 0);
}

#[tokio::test]
async fn a_genesis_is_frozen_once_and_new_partitions_start_at_zero() {
    let world = World::new().await;
    let first = world.origin.freeze_genesis(genesis(None)).await.unwrap();
    let later = Genesis::new("c", "orders", None, vec![7, 7, 7], "latest");
    let stands = world.origin.freeze_genesis(later).await.unwrap();
    assert_eq!(stands, first);
    assert_eq!((stands.first_offset(1), stands.first_offset(2)), (40, 0));
    assert_eq!(world.origin.genesis("c", "orders", "-").await.unwrap(), Some(first));
    assert_eq!(world.origin.genesis("c", "orders", "x").await.unwrap(), None);
}

#[tokio::test]
async fn the_first_use_of_a_pattern_stands() {
    let world = World::new().await;
    let now = ["a".to_string()];
    let first = world.origin.first_use_of_pattern("c", "/a.*|../", &now).await.unwrap();
    let later = world.origin.first_use_of_pattern("c", "/a.*|../", &["a".into(), "ab".into()]).await.unwrap();
    assert_eq!(first, later);
    assert!(later.knew("a") && !later.knew("ab"));
}

#[tokio::test]
async fn a_topic_id_is_adopted_once() {
    let world = World::new().await;
    let genesis = world.origin.freeze_genesis(genesis(None)).await.unwrap();
    let stream = genesis.stream(0);
    let grow = async |shown: Option<&str>| {
        let identity = world.origin.identify("c", "orders", shown).await?;
        assert_eq!(identity.topic_id, None);
        birth(&world.origin, &world.store, &world.sink, &stream, &genesis, identity.adopted.as_deref()).await
    };
    assert_eq!(grow(None).await.unwrap().adopted_topic_id, None);
    assert_eq!(grow(Some("x")).await.unwrap().adopted_topic_id.as_deref(), Some("x"));
    assert_eq!(grow(Some("x")).await.unwrap().version, 2);
    assert!(matches!(grow(Some("y")).await, Err(OriginError::Recreated { .. })));
    assert!(matches!(grow(None).await, Err(OriginError::Recreated { .. })));
    // A partition that appears later belongs to the adopted topic from its birth on.
    let late = genesis.stream(5);
    let late = birth(&world.origin, &world.store, &world.sink, &late, &genesis, Some("x")).await.unwrap();
    assert_eq!((late.version, late.adopted_topic_id.as_deref()), (1, Some("x")));
}

#[tokio::test]
async fn a_topic_created_again_must_not_share_a_directory() {
    let world = World::new().await;
    let former = born(&world, 0).await.unwrap();
    world.sink.land(&former.stream, 0, 10, &[]);
    let new = world.origin.freeze_genesis(genesis(Some("new"))).await.unwrap();
    let start = async |sink: &MemorySink| {
        birth(&world.origin, &world.store, sink, &new.stream(0), &new, None).await.map(|record| record.next)
    };
    let error = start(&world.sink).await.unwrap_err();
    assert!(matches!(error, OriginError::Recreated { .. }), "{error}");
    assert!(error.way_out().unwrap().contains("lake.path"), "{error}");
    // Elsewhere it may start, once nothing of the former topic is open.
    let beside = Arc::new(layout(world.origin.lake_id(), "v2/{topic}/{partition}"));
    let beside = MemorySink { layout: beside, files: world.sink.files.clone() };
    let open = former.plan(Planned::new(Span::new(0, 10), "l"), "n").unwrap();
    world.store.set(open.clone());
    assert!(matches!(start(&beside).await, Err(OriginError::Recreated { .. })));
    world.store.set(open.resolve(Span::new(0, 10), Resolution::Recreated, "l", "n").unwrap());
    assert_eq!(start(&beside).await.unwrap(), 0);
}

#[tokio::test]
async fn an_id_that_vanished_is_another_topic() {
    let world = World::new().await;
    born(&world, 0).await.unwrap();
    assert!(matches!(world.origin.identify("c", "orders", None).await, Err(OriginError::Recreated { .. })));
    let own = world.origin.identify("c", "orders", Some("id")).await.unwrap();
    assert_eq!(own, Identity { topic_id: Some("id".into()), adopted: None });
}

#[tokio::test]
async fn reconciling_takes_up_files_with_their_gaps_and_plans_the_holes() {
    let world = World::new().await;
    let record = born(&world, 0).await.unwrap();
    let stream = record.stream.clone();
    let record = record.plan(Planned::new(Span::new(0, 10), "old"), "n").unwrap();
    world.store.set(record.clone());
    let same = reconcile(&world.origin, &world.store, &world.sink, &stream, record.clone()).await.unwrap();
    assert_eq!(same, record);
    world.sink.land(&stream, 0, 10, &[]); // of the open plan: the normal path commits it
    world.sink.land(&stream, 15, 20, &[Span::new(15, 17)]);
    let elsewhere = layout(world.origin.lake_id(), "v0/{topic}/{partition}");
    world.origin.record_layout(&elsewhere).await.unwrap();
    world.sink.land_under(&elsewhere, &stream, Span::new(20, 30), &[Span::new(20, 22)]);
    world.sink.land(&stream, 35, 40, &[]);
    let new = reconcile(&world.origin, &world.store, &world.sink, &stream, record).await.unwrap();
    let planned: Vec<Span> = new.planned.iter().map(Planned::span).collect();
    assert_eq!(planned, [Span::new(0, 10), Span::new(10, 15), Span::new(30, 35)]);
    assert_eq!((new.next, new.gaps.as_slice()), (40, [Span::new(15, 17), Span::new(20, 22)].as_slice()));
    assert_eq!(world.store.record(&stream), Some(new));
}

#[tokio::test]
async fn reconciling_stops_at_an_overlap() {
    let world = World::new().await;
    let record = born(&world, 0).await.unwrap();
    let record = record.plan(Planned::new(Span::new(0, 10), "l"), "n").unwrap();
    world.store.set(record.clone());
    world.sink.land(&record.stream, 5, 15, &[]);
    let stopped = reconcile(&world.origin, &world.store, &world.sink, &record.stream, record.clone()).await;
    assert!(matches!(stopped, Err(OriginError::Overlap { .. })));
    world.sink.remove(&record.stream, 5, 15);
    world.sink.land(&record.stream, 10, 20, &[]);
    world.sink.land(&record.stream, 19, 25, &[]);
    let stopped = reconcile(&world.origin, &world.store, &world.sink, &record.stream, record.clone()).await;
    assert!(matches!(stopped, Err(OriginError::Overlap { .. })));
    assert_eq!(world.store.record(&record.stream), Some(record));
}

#[tokio::test]
async fn objects_of_newer_releases_and_damage_are_refused() {
    let world = World::new().await;
    world.lake.put("_landfall/layouts/00ff.json", r#"{"format":{"major":2,"minor":0},"routing":[]}"#);
    let error = world.origin.layouts().await.unwrap_err();
    assert!(matches!(error, OriginError::NewerFormat { major: 2, .. }), "{error}");
    world.lake.delete("_landfall/layouts/00ff.json").await.unwrap();
    let digest = layout(world.origin.lake_id(), "x/{partition}").digest();
    let other = world.lake.objects.lock().unwrap()[&super::paths::layout(&world.sink.layout.digest())].clone();
    world.lake.objects.lock().unwrap().insert(super::paths::layout(&digest), other);
    assert!(matches!(world.origin.layout(&digest).await, Err(OriginError::Unreadable { .. })));
    assert!(matches!(world.origin.layout("absent").await, Err(OriginError::Unreadable { .. })));
    world.lake.put("_landfall/owner/2.json", "{");
    assert!(matches!(Origin::open(world.lake.clone()).await, Err(OriginError::Unreadable { .. })));
}

#[tokio::test]
async fn births_may_run_on_tasks_of_their_own() {
    fn sent<T: Send>(future: T) -> T {
        future
    }
    let world = World::new().await;
    let genesis = world.origin.freeze_genesis(genesis(None)).await.unwrap();
    let stream = genesis.stream(0);
    let World { origin, store, sink, .. } = &world;
    let record = sent(birth(origin, store, sink, &stream, &genesis, None)).await.unwrap();
    assert_eq!(sent(reconcile(origin, store, sink, &stream, record.clone())).await.unwrap(), record);
}

proptest! {
    #[test]
    fn no_bytes_make_a_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..400) {
        let owner = Owner {
            from: None,
            format: super::document::FORMAT,
            number: 1,
            lake: "l".into(),
            kind: "sled".into(),
            store: "s".into(),
            about: about("p"),
            since_ms: i64::MIN,
        };
        let _ = owner.to_string();
        let mut whole = serde_json::to_vec(&owner).unwrap();
        whole.truncate(cut);
        whole.extend(&bytes);
        for bytes in [&bytes, &whole] {
            let _ = super::document::decode::<Owner>("p", bytes);
            let _ = super::document::decode::<Genesis>("p", bytes);
            let _ = super::document::decode::<PatternUse>("p", bytes);
        }
    }

    #[test]
    fn a_line_of_files_covers_what_they_cover(cuts in prop::collection::vec((0i64..6, 1i64..6, any::<bool>()), 0..12)) {
        let stream = Stream { cluster: "c".into(), topic: "t".into(), topic_id: None, partition: 0 };
        let (mut at, mut found, mut gaps) = (3, Vec::new(), Vec::new());
        for (hole, length, gap) in cuts {
            let span = Span::new(at + hole, at + hole + length);
            let own: Vec<Span> = gap.then_some(Span::new(span.from, span.from + 1)).into_iter().collect();
            gaps.extend(&own);
            found.push(landfall_sink::Landed {
                stream: stream.clone(), span, rows: 0, bytes: 0, gaps: own, name: span.to_string(),
            });
            at = span.until;
        }
        let pieces = tile(&stream, 3, &found).unwrap();
        let base = Checkpoint::birth(stream.clone(), 3, "n").unwrap();
        if pieces.is_empty() {
            prop_assert!(found.is_empty());
            return Ok(());
        }
        let record = take_up(&base, &pieces, "l").unwrap();
        record.check().unwrap();
        prop_assert_eq!((record.next, record.version), (at, 2));
        prop_assert_eq!(&record.gaps, &landfall_sink::merge_spans(gaps));
        for offset in 3..at {
            let named = found.iter().any(|landed| landed.span.contains(offset));
            prop_assert_eq!(record.is_committed(Span::new(offset, offset + 1)), named);
        }
        for one in &found {
            let twice: Vec<_> = { let mut all = found.clone(); all.push(one.clone()); all.sort_by_key(|l| l.span); all };
            prop_assert!(tile(&stream, 3, &twice).is_err(), "overlap unseen");
        }
    }
}
