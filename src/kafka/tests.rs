//! Against librdkafka's in-process broker, for what it does right: it has no transactions, no truncation,
//! no compaction and no times. Those are tried against a real Kafka in `tests/kafka`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};

use super::*;

const SOON: Duration = Duration::from_secs(10);

fn settings(brokers: &str) -> Settings {
    Settings::new(BTreeMap::from([("bootstrap.servers".to_owned(), brokers.to_owned())])).unwrap()
}

fn cluster(topic: &str, partitions: i32) -> (MockCluster<'static, DefaultProducerContext>, Kafka) {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic(topic, partitions, 1).unwrap();
    let kafka = Kafka::connect(&settings(&mock.bootstrap_servers())).unwrap();
    (mock, kafka)
}

fn produce(brokers: &str, topic: &str, partition: i32, rows: std::ops::Range<usize>, size: usize) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("linger.ms", "5")
        .set("message.max.bytes", "10000000")
        .create()
        .unwrap();
    for row in rows {
        let mut value = format!("{row}").into_bytes();
        value.resize(size.max(value.len()), b'.');
        producer.send(BaseRecord::<(), [u8]>::to(topic).partition(partition).payload(&value)).unwrap();
        producer.poll(Duration::ZERO);
    }
    producer.flush(SOON).unwrap();
}

fn start(slot: Slot, topic: &str, partition: i32, from: i64, stop: Option<i64>) -> Start {
    Start { slot, topic: topic.into(), partition, from, lineage: None, stop }
}

fn reader(kafka: &Kafka) -> Reader {
    let limits = ReaderLimits { idle_wait: Duration::from_millis(10), ..ReaderLimits::default() };
    kafka.reader(Isolation::ReadCommitted, limits).unwrap()
}

/// Polls until `slots` have had an event other than an end.
fn run(reader: &mut Reader, slots: usize) -> Vec<(Slot, Event)> {
    let mut turn = Turn::default();
    let mut events = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(30);
    while events.len() < slots {
        assert!(Instant::now() < deadline, "{events:?}");
        reader.poll(Duration::from_millis(50), &mut turn);
        events.extend(turn.events.drain(..).filter(|(_, event)| !matches!(event, Event::End(_))));
    }
    events
}

#[test]
fn a_range_is_read_exactly() {
    let (mock, kafka) = cluster("t", 2);
    produce(&mock.bootstrap_servers(), "t", 1, 0..500, 10);
    let mut reader = reader(&kafka);
    reader.assign(vec![start(0, "t", 1, 100, Some(400)), start(5, "t", 0, 0, None)]).unwrap();
    assert_eq!(run(&mut reader, 1), [(0, Event::Stop)]);
    assert_eq!(reader.columns(0).rows(), 300);
    assert_eq!(reader.columns(0).first_and_last(), Some((100, 399)));
    assert_eq!(reader.position(0).next, 400);
    assert_eq!(reader.columns(5).rows(), 0);
    // The same slot once more, and the same partition under another slot.
    reader.assign(vec![start(0, "t", 1, 0, Some(10))]).unwrap();
    assert_eq!(run(&mut reader, 1), [(0, Event::Stop)]);
    assert_eq!(reader.columns(0).rows(), 10);
    assert!(reader.assign(vec![start(1, "t", 1, 0, Some(10))]).is_err());
    reader.release(&[0]).unwrap();
    reader.assign(vec![start(1, "t", 1, 490, Some(500))]).unwrap();
    assert_eq!(run(&mut reader, 1), [(1, Event::Stop)]);
    assert_eq!(reader.columns(1).rows(), 10);
}

#[test]
fn the_end_is_told_and_what_follows_comes_by_itself() {
    let (mock, kafka) = cluster("t", 1);
    produce(&mock.bootstrap_servers(), "t", 0, 0..10, 10);
    let mut reader = reader(&kafka);
    reader.assign(vec![start(0, "t", 0, 0, None)]).unwrap();
    let mut turn = Turn::default();
    while reader.position(0).next < 10 || !reader.position(0).at_end {
        reader.poll(Duration::from_millis(50), &mut turn);
    }
    produce(&mock.bootstrap_servers(), "t", 0, 10..20, 10);
    while reader.position(0).next < 20 {
        reader.poll(Duration::from_millis(50), &mut turn);
    }
    assert_eq!(reader.columns(0).rows(), 20);
    assert_eq!(reader.position(0).holes, 0);
}

#[test]
fn an_offset_that_is_gone_is_a_fault_and_only_a_new_start_revives_it() {
    let (mock, kafka) = cluster("t", 2);
    // The in-process broker keeps five megabytes a partition, so the first of these are gone.
    produce(&mock.bootstrap_servers(), "t", 0, 0..80, 100_000);
    produce(&mock.bootstrap_servers(), "t", 1, 0..10, 10);
    let mut reader = reader(&kafka);
    reader.assign(vec![start(0, "t", 0, 0, None), start(1, "t", 1, 0, Some(10))]).unwrap();
    let events = run(&mut reader, 2);
    assert!(events.contains(&(1, Event::Stop)), "{events:?}");
    let fault = events.iter().find(|(slot, _)| *slot == 0).unwrap();
    assert!(matches!(&fault.1, Event::Fault(Fault::OutOfRange(text)) if text.contains("t/0")), "{fault:?}");
    let wanted = [("t".to_owned(), 0, At::Start), ("t".to_owned(), 0, At::End)];
    let offsets = kafka.list_offsets(&wanted, Isolation::ReadCommitted, SOON).unwrap();
    let first = offsets[0].as_ref().unwrap().offset;
    assert!(first > 0);
    assert_eq!(offsets[1].as_ref().unwrap().offset, 80);
    reader.assign(vec![start(0, "t", 0, first, Some(80))]).unwrap();
    assert_eq!(run(&mut reader, 1), [(0, Event::Stop)]);
    assert_eq!(reader.columns(0).rows() as i64, 80 - first);
}

#[test]
fn topics_are_found_by_name_and_pattern() {
    let (mock, kafka) = cluster("orders", 3);
    mock.create_topic("payments-eu", 1, 1).unwrap();
    mock.create_topic("__internal", 1, 1).unwrap();
    let selection = Selection::new(&["orders", "/.*/"]).unwrap();
    let found = kafka.topics(&selection, SOON).unwrap();
    let names: Vec<&str> = found.iter().map(|topic| topic.name.as_str()).collect();
    assert_eq!(names, ["orders", "payments-eu"]);
    assert_eq!(found[0].matched_by, MatchedBy::Name);
    assert_eq!((found[0].partitions, found[1].partitions), (3, 1));
    assert_eq!(found[1].matched_by, MatchedBy::Pattern("/.*/".into()));
    assert!(!kafka.cluster_id(SOON).unwrap().is_empty());
}

#[test]
fn an_announcement_reads_back() {
    let (_mock, kafka) = cluster("t", 2);
    let offsets = [("t".to_owned(), 0, 7), ("t".to_owned(), 1, 0)];
    kafka.announce("monitors", &offsets, "lake 1").unwrap();
    let partitions = [("t".to_owned(), 0), ("t".to_owned(), 1)];
    let back = kafka.announced("monitors", &partitions).unwrap();
    assert_eq!(back.len(), 2);
    let first = back.iter().find(|row| row.partition == 0).unwrap();
    assert_eq!((first.offset, first.metadata.as_str()), (Some(7), "lake 1"));
    let other = kafka.announced("another group", &partitions).unwrap();
    assert!(other.iter().all(|row| row.offset.is_none() && row.metadata.is_empty()), "{other:?}");
}

#[test]
fn a_broker_that_is_away_is_told_and_read_from_again() {
    let (mock, kafka) = cluster("t", 1);
    produce(&mock.bootstrap_servers(), "t", 0, 0..10, 10);
    let mut reader = reader(&kafka);
    reader.assign(vec![start(0, "t", 0, 0, None)]).unwrap();
    let mut turn = Turn::default();
    while reader.position(0).next < 10 {
        reader.poll(Duration::from_millis(50), &mut turn);
    }
    mock.broker_down(1).unwrap();
    let mut down = false;
    let deadline = Instant::now() + Duration::from_secs(20);
    while !down {
        assert!(Instant::now() < deadline);
        reader.poll(Duration::from_millis(50), &mut turn);
        down = turn.notices.iter().any(|notice| matches!(notice, Notice::BrokersDown(_)));
        assert!(turn.events.iter().all(|(_, event)| !matches!(event, Event::Fault(_))), "{turn:?}");
    }
    assert!(matches!(
        kafka.list_offsets(&[("t".into(), 0, At::End)], Isolation::ReadCommitted, Duration::from_secs(2)),
        Err(KafkaError::Unreachable(_))
    ));
    mock.broker_up(1).unwrap();
    produce(&mock.bootstrap_servers(), "t", 0, 10..20, 10);
    let mut recovered = false;
    while reader.position(0).next < 20 {
        assert!(Instant::now() < deadline + Duration::from_secs(20));
        reader.poll(Duration::from_millis(50), &mut turn);
        recovered |= turn.notices.contains(&Notice::Recovered);
    }
    assert!(recovered);
    assert_eq!(reader.columns(0).rows(), 20);
}

#[test]
fn nobody_there_is_unreachable_and_says_where() {
    let kafka = Kafka::connect(&settings("127.0.0.1:1")).unwrap();
    let error = kafka.cluster_id(Duration::from_millis(500)).unwrap_err();
    assert!(matches!(error, KafkaError::Unreachable(_)), "{error:?}");
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
}

#[test]
fn a_reader_goes_away_at_once_with_records_in_its_queue() {
    let (mock, kafka) = cluster("t", 4);
    for partition in 0..4 {
        produce(&mock.bootstrap_servers(), "t", partition, 0..1000, 100);
    }
    let mut reader = reader(&kafka);
    reader.assign((0..4).map(|at| start(at as Slot, "t", at, 0, None)).collect()).unwrap();
    let mut turn = Turn::default();
    while reader.poll(Duration::from_millis(50), &mut turn) == 0 {}
    let began = Instant::now();
    drop(reader);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn topic_ids_come_in_one_call() {
    let (_mock, kafka) = cluster("t", 1);
    let ids = kafka.topic_ids(&["t".into(), "missing".into()]).unwrap();
    assert!(matches!(&ids["t"], TopicId::Id(id) if id.len() == 22), "{ids:?}");
    assert_eq!(ids["missing"], TopicId::Missing);
    assert_eq!(kafka.topic_ids(&["t".into(), "missing".into()]).unwrap(), ids);
}
