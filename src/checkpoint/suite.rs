//! What every checkpoint store must do, run over each of them.

use std::sync::Arc;

use landfall_sink::{Span, Stream};

use super::{Checkpoint, CheckpointStore, Planned, StoreError, Swap};

fn stream(topic: &str, partition: i32) -> Stream {
    Stream { cluster: "cluster".into(), topic: topic.into(), topic_id: Some("id".into()), partition }
}

fn born(stream: &Stream) -> Checkpoint {
    Checkpoint::birth(stream.clone(), 0, crate::ambient::random_id()).unwrap()
}

/// Plans the next ten offsets.
fn grown(record: &Checkpoint) -> Checkpoint {
    let plan = Planned::new(Span::new(record.next, record.next + 10), "layout");
    record.plan(plan, crate::ambient::random_id()).unwrap()
}

pub(super) async fn store_suite(store: Arc<dyn CheckpointStore>) {
    it_remembers_one_lake(&*store).await;
    a_swap_needs_the_version_that_stands(&*store).await;
    streams_that_differ_in_one_word_are_apart(&*store).await;
    a_record_may_be_long(&*store).await;
    what_breaks_a_rule_is_not_kept(&*store).await;
    of_many_swappers_one_wins(store.clone()).await;
    nobody_loses_a_step(store).await;
}

async fn it_remembers_one_lake(store: &dyn CheckpointStore) {
    assert!(!store.id().is_empty());
    // A store that lives in the lake knows it by its place.
    assert_eq!(store.lake_id().await.unwrap().is_some(), store.is_shared());
    store.remember_lake("lake-1").await.unwrap();
    store.remember_lake("lake-1").await.unwrap();
    assert!(matches!(store.remember_lake("lake-2").await, Err(StoreError::Refused { .. })));
    assert_eq!(store.lake_id().await.unwrap().as_deref(), Some("lake-1"));
}

async fn a_swap_needs_the_version_that_stands(store: &dyn CheckpointStore) {
    let stream = stream("versions", 0);
    assert_eq!(store.load(&stream).await.unwrap(), None);
    let (first, other) = (born(&stream), born(&stream));
    assert_eq!(store.swap(Some(1), &grown(&first)).await.unwrap(), Swap::Lost);
    assert_eq!(store.load(&stream).await.unwrap(), None);
    assert_eq!(store.swap(None, &first).await.unwrap(), Swap::Won);
    assert_eq!(store.swap(None, &other).await.unwrap(), Swap::Lost);
    assert_eq!(store.load(&stream).await.unwrap().as_ref(), Some(&first));
    let second = grown(&first);
    assert_eq!(store.swap(Some(1), &second).await.unwrap(), Swap::Won);
    assert_eq!(store.swap(Some(1), &grown(&first)).await.unwrap(), Swap::Lost);
    // The very record that stands: a retry, where answers may have been lost.
    let retried = store.swap(Some(1), &second).await.unwrap();
    assert!(retried == Swap::Lost || store.is_shared());
    assert_eq!(store.swap(Some(9), &Checkpoint { version: 10, ..second.clone() }).await.unwrap(), Swap::Lost);
    assert_eq!(store.load(&stream).await.unwrap(), Some(second));
}

async fn streams_that_differ_in_one_word_are_apart(store: &dyn CheckpointStore) {
    let one = stream("apart", 1);
    let many = [
        one.clone(),
        Stream { partition: 11, ..one.clone() },
        Stream { topic: "apart\",\"x".into(), ..one.clone() },
        Stream { topic: "apar".into(), ..one.clone() },
        Stream { topic_id: None, ..one.clone() },
        Stream { topic_id: Some("-".into()), ..one.clone() },
        Stream { topic_id: Some("null".into()), ..one.clone() },
        Stream { cluster: "/".into(), ..one.clone() },
    ];
    let mut records = Vec::new();
    for stream in &many {
        let record = Checkpoint::birth(stream.clone(), records.len() as i64, "nonce").unwrap();
        match store.swap(None, &record).await {
            // No path can spell what Kafka itself cannot have.
            Err(StoreError::Refused { .. }) if store.is_shared() && odd(stream) => {}
            answer => records.push((stream, answer.map(|swap| assert_eq!(swap, Swap::Won)).map(|()| record).unwrap())),
        }
    }
    let streams = store.streams().await.unwrap();
    for (stream, record) in records {
        assert_eq!(store.load(stream).await.unwrap(), Some(record));
        assert_eq!(streams.iter().filter(|shown| *shown == stream).count(), 1);
    }
}

fn odd(stream: &Stream) -> bool {
    stream.cluster == "/" || stream.topic_id.as_deref() == Some("-")
}

/// Long, then longer, then short again, then long: of no size does anything of another stay.
async fn a_record_may_be_long(store: &dyn CheckpointStore) {
    let stream = stream("long", 0);
    let mut record = born(&stream);
    assert_eq!(store.swap(None, &record).await.unwrap(), Swap::Won);
    for length in [500, 3000, 0, 900] {
        let mut next = grown(&record);
        next.unknown.insert("of a newer release".into(), serde_json::json!(vec!["ßtext"; length]));
        assert_eq!(store.swap(Some(record.version), &next).await.unwrap(), Swap::Won);
        assert_eq!(store.load(&stream).await.unwrap().as_ref(), Some(&next));
        record = next;
    }
}

async fn what_breaks_a_rule_is_not_kept(store: &dyn CheckpointStore) {
    let stream = stream("rules", 0);
    let record = born(&stream);
    let broken = Checkpoint { next: -5, ..record.clone() };
    assert!(matches!(store.swap(None, &broken).await, Err(StoreError::Refused { .. })));
    assert_eq!(store.load(&stream).await.unwrap(), None);
    assert_eq!(store.swap(None, &record).await.unwrap(), Swap::Won);
    assert!(matches!(store.swap(Some(1), &record).await, Err(StoreError::Refused { .. })));
    assert_eq!(store.load(&stream).await.unwrap(), Some(record));
}

async fn of_many_swappers_one_wins(store: Arc<dyn CheckpointStore>) {
    let stream = stream("race", 0);
    let mut standing: Option<Checkpoint> = None;
    for _ in 0..20 {
        let expected = standing.as_ref().map(|record| record.version);
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let new = standing.as_ref().map_or_else(|| born(&stream), grown);
                let store = store.clone();
                tokio::spawn(async move { (store.swap(expected, &new).await.unwrap(), new) })
            })
            .collect();
        let mut winners = Vec::new();
        for task in tasks {
            let (swap, new) = task.await.unwrap();
            if swap == Swap::Won {
                winners.push(new);
            }
        }
        assert_eq!(winners.len(), 1, "exactly one swap of a version wins");
        standing = store.load(&stream).await.unwrap();
        assert_eq!(standing, winners.pop());
    }
}

/// Everyone loads, plans, swaps, and tries again when lost: every plan that won is there, in a chain.
async fn nobody_loses_a_step(store: Arc<dyn CheckpointStore>) {
    let stream = stream("steps", 0);
    assert_eq!(store.swap(None, &born(&stream)).await.unwrap(), Swap::Won);
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (store, stream) = (store.clone(), stream.clone());
            tokio::spawn(async move {
                let mut won = Vec::new();
                while won.len() < 10 {
                    let record = store.load(&stream).await.unwrap().unwrap();
                    let new = grown(&record);
                    if store.swap(Some(record.version), &new).await.unwrap() == Swap::Won {
                        won.push(record.next);
                    }
                }
                won
            })
        })
        .collect();
    let mut won = Vec::new();
    for task in tasks {
        won.extend(task.await.unwrap());
    }
    won.sort_unstable();
    let record = store.load(&stream).await.unwrap().unwrap();
    let mut stands: Vec<i64> = record.planned.iter().map(|plan| plan.from).collect();
    if store.is_shared() {
        // What somebody has already built upon may be told as lost: it stands, and is found by loading.
        stands.retain(|from| won.contains(from));
    } else {
        assert_eq!(record.version, 81);
    }
    assert_eq!(stands, won);
}
