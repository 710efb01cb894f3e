//! The rig on its own: what it says about Kafka is so, before it judges anybody else.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::rig::journal::Fate;
use crate::rig::producer::EPOCH_MS;
use crate::rig::{Admin, Broker, Journal, Producer, Record, failpoints, fresh, segment, shared, wait_until};

fn topic(stem: &str, partitions: i32, settings: &[(&str, &str)]) -> (Admin, Journal, String) {
    let admin = Admin::of(shared());
    let topic = fresh(stem);
    admin.create(&topic, partitions, settings);
    (admin, Journal::new(), topic)
}

fn visible(journal: &Journal, topic: &str) -> Vec<i64> {
    let all = journal.snapshot().remove(&(topic.to_owned(), 0)).unwrap_or_default();
    all.into_iter().filter(|(_, entry)| entry.fate == Fate::Committed).map(|(offset, _)| offset).collect()
}

#[test]
fn the_journal_holds_what_kafka_delivers() {
    let (admin, journal, topic) = topic("rig-journal", 2, &[]);
    let producer = Producer::new(&shared().bootstrap(), &journal);
    producer.fill(&topic, 0, 0..300);
    producer.fill(&topic, 1, 0..5);
    assert_eq!(journal.records(), 305);
    let delivered = admin.delivered(&topic, 0, "read_committed");
    assert_eq!(delivered.keys().copied().collect::<Vec<_>>(), visible(&journal, &topic));
    assert_eq!(admin.watermarks(&topic, 1), (0, 5));
}

#[test]
fn aborted_and_open_transactions_are_hidden() {
    let (admin, journal, topic) = topic("rig-transactions", 1, &[]);
    let committing = Producer::transactional(&shared().bootstrap(), &journal, &fresh("tx"));
    let send = |producer: &Producer, numbers: std::ops::Range<usize>| {
        numbers.for_each(|number| producer.send(&topic, 0, &Record::numbered(number)));
    };
    committing.begin();
    send(&committing, 0..10);
    committing.commit();
    committing.begin();
    send(&committing, 10..15);
    committing.abort();
    committing.begin();
    send(&committing, 15..20);
    committing.commit();
    committing.begin();
    send(&committing, 20..25);
    committing.flush();
    assert_eq!((journal.count(Fate::Committed), journal.count(Fate::Hidden)), (15, 10));
    let delivered: Vec<i64> = admin.delivered(&topic, 0, "read_committed").into_keys().collect();
    assert_eq!(delivered, visible(&journal, &topic));
    assert_eq!(admin.delivered(&topic, 0, "read_uncommitted").len(), 25);
}

#[test]
fn retention_and_compaction_take_records() {
    let (admin, journal, topic) = topic("rig-retention", 1, &[]);
    let producer = Producer::new(&shared().bootstrap(), &journal);
    producer.fill(&topic, 0, 0..100);
    admin.delete_records(&topic, 0, 40);
    assert_eq!(admin.watermarks(&topic, 0), (40, 100));
    assert_eq!(admin.delivered(&topic, 0, "read_committed").len(), 60);
}

#[test]
fn compaction_takes_older_records_of_a_key() {
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.bytes", "1048576"),
        ("segment.ms", "200"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("max.compaction.lag.ms", "1"),
    ];
    let (admin, journal, topic) = topic("rig-compaction", 1, &settings);
    let producer = Producer::new(&shared().bootstrap(), &journal);
    for round in 0..3 {
        for key in 0..20 {
            // A segment is closed by the timestamps of its records, not by the clock.
            let timestamp = EPOCH_MS + 60_000 * round;
            producer.send(&topic, 0, &Record { timestamp, ..Record::keyed(&format!("k{key}"), Some("v")) });
        }
        producer.flush();
    }
    journal.compact(&topic);
    assert_eq!(journal.count(Fate::Committed), 20);
    wait_until("compaction has run", Duration::from_secs(60), || {
        admin.delivered(&topic, 0, "read_committed").len() < 60
    });
    let left = admin.delivered(&topic, 0, "read_committed");
    assert!(visible(&journal, &topic).iter().all(|offset| left.contains_key(offset)));
}

#[test]
fn a_batch_on_the_disk_is_found_and_damaged() {
    let (admin, journal, topic) = topic("rig-segment", 1, &[]);
    let producer = Producer::new(&shared().bootstrap(), &journal);
    (0..3).for_each(|round| producer.fill(&topic, 0, round * 10..round * 10 + 10));
    let batches = segment::batches(shared(), &topic, 0);
    assert!(batches.len() >= 3, "{batches:?}");
    assert_eq!(batches.last().map(|batch| batch.last), Some(29));
    let before = std::fs::read(&batches[1].file).unwrap();
    segment::flip(&batches[1]);
    let after = std::fs::read(&batches[1].file).unwrap();
    assert_eq!(before.iter().zip(&after).filter(|(a, b)| a != b).count(), 1);
    assert_eq!(admin.partitions(&topic), 1);
}

#[test]
fn partitions_are_added_and_topics_made_again() {
    let (admin, journal, topic) = topic("rig-grow", 1, &[]);
    admin.grow(&topic, 3);
    assert_eq!(admin.partitions(&topic), 3);
    Producer::new(&shared().bootstrap(), &journal).fill(&topic, 2, 0..7);
    assert_eq!(admin.watermarks(&topic, 2), (0, 7));
    admin.recreate(&topic, 1);
    assert_eq!((admin.partitions(&topic), admin.watermarks(&topic, 0)), (1, (0, 0)));
}

#[test]
fn a_broker_comes_back_on_its_ports_with_its_records() {
    let broker = Broker::start();
    let admin = Admin::of(&broker);
    let journal = Journal::new();
    admin.create("kept", 1, &[]);
    let producer = Producer::new(&broker.bootstrap(), &journal);
    producer.fill("kept", 0, 0..50);
    broker.kill();
    broker.restart();
    producer.fill("kept", 0, 50..60);
    broker.stop();
    broker.restart();
    let delivered = Admin::of(&broker).delivered("kept", 0, "read_committed");
    let expected: BTreeMap<i64, ()> = (0..60).map(|offset| (offset, ())).collect();
    assert!(delivered.keys().eq(expected.keys()), "{delivered:?}");
    assert_eq!(journal.records(), 60);
}

#[test]
fn failpoints_are_found_in_the_source() {
    assert!(!failpoints::sources().is_empty());
    let found = failpoints::failpoints();
    // By the name that each room has for them.
    for point in
        ["pipeline.before_plan", "pipeline.after_commit", "store.after_list", "sink.before_publish", "lake.staged"]
    {
        assert!(found.contains(point), "{point} is not in the crash matrix: {found:?}");
    }
}
