//! What the tests do to the broker as a client: topics, records, transactions.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use landfall::kafka::{Event, Kafka, Reader, ReaderLimits, Settings, Slot, Start, Turn};
use landfall::sink::Isolation;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::rig::{Broker, shared};

pub const SOON: Duration = Duration::from_secs(20);

thread_local! {
    /// The broker of this test, where it is not the shared one.
    static BROKER: Cell<Option<&'static Broker>> = const { Cell::new(None) };
}

/// From here on this test talks to a broker of its own.
pub fn talk_to(broker: &'static Broker) {
    BROKER.set(Some(broker));
}

pub fn bootstrap() -> String {
    BROKER.get().unwrap_or_else(|| shared()).bootstrap()
}

pub fn kafka() -> Kafka {
    kafka_with(&[])
}

pub fn kafka_with(more: &[(&str, &str)]) -> Kafka {
    let mut properties = BTreeMap::from([("bootstrap.servers".to_owned(), bootstrap())]);
    properties.extend(more.iter().map(|(key, value)| (String::from(*key), String::from(*value))));
    Kafka::connect(&Settings::new(properties).unwrap()).unwrap()
}

pub fn reader(kafka: &Kafka) -> Reader {
    kafka.reader(Isolation::ReadCommitted, ReaderLimits::default()).unwrap()
}

pub fn config() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap()).set("linger.ms", "5");
    config
}

pub fn admin() -> AdminClient<DefaultClientContext> {
    config().create().unwrap()
}

pub fn now<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A topic with a name of its own.
pub fn topic(what: &str, partitions: i32, settings: &[(&str, &str)]) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!("{what}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    create(&name, partitions, settings);
    name
}

pub fn create(name: &str, partitions: i32, settings: &[(&str, &str)]) {
    let mut new = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    for (key, value) in settings {
        new = new.set(key, value);
    }
    let outcome = now(admin().create_topics(&[new], &AdminOptions::new())).unwrap();
    outcome[0].as_ref().unwrap();
    let kafka = kafka();
    let selection = landfall::kafka::Selection::new(&[name]).unwrap();
    wait(|| kafka.topics(&selection, SOON).unwrap()[0].partitions == partitions);
}

pub fn delete(name: &str) {
    now(admin().delete_topics(&[name], &AdminOptions::new())).unwrap()[0].as_ref().unwrap();
}

pub fn wait(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn producer(more: &[(&str, &str)]) -> BaseProducer {
    let mut config = config();
    for (key, value) in more {
        config.set(*key, *value);
    }
    config.create().unwrap()
}

pub fn send(producer: &BaseProducer, topic: &str, partition: i32, rows: Range<usize>) {
    for row in rows {
        let (key, value) = (format!("k{row}"), format!("value {row}"));
        let record = BaseRecord::to(topic).partition(partition).key(&key).payload(&value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.poll(Duration::ZERO);
    }
    producer.flush(SOON).unwrap();
}

pub fn produce(topic: &str, partition: i32, rows: Range<usize>) {
    send(&producer(&[]), topic, partition, rows);
}

/// A producer that has begun a transaction.
pub fn transaction(id: &str) -> BaseProducer {
    let id = format!("{id}-{}", std::process::id());
    let producer = producer(&[("transactional.id", &id), ("transaction.timeout.ms", "60000")]);
    producer.init_transactions(SOON).unwrap();
    producer.begin_transaction().unwrap();
    producer
}

pub fn start(slot: Slot, topic: &str, partition: i32, from: i64, stop: Option<i64>) -> Start {
    Start { slot, topic: topic.into(), partition, from, lineage: None, stop }
}

/// Polls until this many stops and faults have come.
pub fn run(reader: &mut Reader, events: usize) -> Vec<(Slot, Event)> {
    let mut turn = Turn::default();
    let mut seen = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    while seen.len() < events {
        assert!(Instant::now() < deadline, "{seen:?}");
        reader.poll(Duration::from_millis(50), &mut turn);
        seen.extend(turn.events.drain(..).filter(|(_, event)| !matches!(event, Event::End(_))));
    }
    seen
}

/// Polls until the end of the partition at `end`.
pub fn run_to_end(reader: &mut Reader, slot: Slot, end: i64) {
    let mut turn = Turn::default();
    let deadline = Instant::now() + Duration::from_secs(60);
    while reader.position(slot).next < end || !reader.position(slot).at_end {
        assert!(Instant::now() < deadline, "{:?}", reader.position(slot));
        reader.poll(Duration::from_millis(50), &mut turn);
        assert!(!turn.events.iter().any(|(_, event)| matches!(event, Event::Fault(_))), "{turn:?}");
    }
}

/// Reads `[from, stop)` and returns the offsets of its rows.
pub fn offsets(reader: &mut Reader, topic: &str, partition: i32, from: i64, stop: i64) -> Vec<i64> {
    use landfall::sink::arrow::array::{cast::AsArray, types::Int64Type};
    reader.assign(vec![start(0, topic, partition, from, Some(stop))]).unwrap();
    assert_eq!(run(reader, 1), [(0, Event::Stop)]);
    let constants = landfall::kafka::Constants { topic: topic.into(), partition };
    let batch = reader.columns(0).take(&constants);
    batch.column(landfall::sink::envelope::column::OFFSET).as_primitive::<Int64Type>().values().to_vec()
}
