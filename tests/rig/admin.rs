//! What an operator does to topics: create, delete, grow, cut off, configure; and what the brokers say.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::journal::{Entry, Fate, Offsets, content, key_crc};
use super::{Broker, wait, wait_until};

const PATIENCE: Duration = Duration::from_secs(20);

pub struct Admin {
    bootstrap: String,
    client: AdminClient<DefaultClientContext>,
    reader: BaseConsumer,
}

impl Admin {
    pub fn new(bootstrap: &str) -> Admin {
        let config = |extra: &[(&str, &str)]| {
            let mut config = ClientConfig::new();
            config.set("bootstrap.servers", bootstrap).set("reconnect.backoff.max.ms", "500");
            for (name, value) in extra {
                config.set(*name, *value);
            }
            config
        };
        Admin {
            bootstrap: bootstrap.into(),
            client: config(&[]).create().expect("an admin client"),
            reader: config(&[("group.id", "rig")]).create().expect("a client"),
        }
    }

    pub fn of(broker: &Broker) -> Admin {
        Admin::new(&broker.bootstrap())
    }

    pub fn create(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        self.create_replicated(topic, partitions, 1, settings);
    }

    pub fn create_replicated(&self, topic: &str, partitions: i32, replicas: i32, settings: &[(&str, &str)]) {
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(replicas));
        for (name, value) in settings {
            new = new.set(name, value);
        }
        let answer = wait(self.client.create_topics([&new], &options())).expect("create topic");
        for result in answer {
            result.unwrap_or_else(|error| panic!("create topic: {error:?}"));
        }
        let led = |partition| self.leader(topic, partition).is_some();
        wait_until(&format!("{topic} has leaders"), PATIENCE, || (0..partitions).all(led));
    }

    pub fn delete(&self, topic: &str) {
        let answer = wait(self.client.delete_topics(&[topic], &options())).expect("delete topic");
        for result in answer {
            result.unwrap_or_else(|error| panic!("delete topic: {error:?}"));
        }
        wait_until(&format!("{topic} is gone"), PATIENCE, || self.partitions(topic) == 0);
    }

    /// Deletes a topic and creates it again under the same name: another topic id, offsets from 0.
    pub fn recreate(&self, topic: &str, partitions: i32) {
        self.delete(topic);
        self.create(topic, partitions, &[]);
    }

    pub fn grow(&self, topic: &str, partitions: usize) {
        let more = NewPartitions::new(topic, partitions);
        let answer = wait(self.client.create_partitions([&more], &options())).expect("add partitions");
        for result in answer {
            result.unwrap_or_else(|error| panic!("add partitions: {error:?}"));
        }
        let last = i32::try_from(partitions).expect("few") - 1;
        wait_until(&format!("{topic}/{last} has a leader"), PATIENCE, || self.leader(topic, last).is_some());
    }

    /// Moves the log start to `before`: what retention does, now and exactly.
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before)).expect("an offset");
        wait(self.client.delete_records(&list, &options())).expect("delete records");
        wait_until("the log start has moved", PATIENCE, || self.watermarks(topic, partition).0 >= before);
    }

    /// Log start and high watermark.
    pub fn watermarks(&self, topic: &str, partition: i32) -> (i64, i64) {
        self.reader.fetch_watermarks(topic, partition, PATIENCE).expect("watermarks")
    }

    pub fn partitions(&self, topic: &str) -> usize {
        let metadata = self.reader.fetch_metadata(Some(topic), PATIENCE).expect("metadata");
        metadata.topics().first().map_or(0, |topic| topic.partitions().len())
    }

    pub fn leader(&self, topic: &str, partition: i32) -> Option<i32> {
        let metadata = self.reader.fetch_metadata(Some(topic), PATIENCE).ok()?;
        let partitions = metadata.topics().first()?.partitions();
        let leader = partitions.iter().find(|one| one.id() == partition)?.leader();
        (leader >= 0).then_some(leader)
    }

    /// What a consumer group has committed.
    pub fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("group.id", group)
            .create()
            .expect("a client");
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, partition);
        let list = client.committed_offsets(list, PATIENCE).ok()?;
        list.find_partition(topic, partition)?.offset().to_raw().filter(|offset| *offset >= 0)
    }

    /// Commits a group's offset as a stranger would.
    pub fn commit(&self, group: &str, topic: &str, partition: i32, offset: i64) {
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("group.id", group)
            .create()
            .expect("a client");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("an offset");
        client.commit(&list, rdkafka::consumer::CommitMode::Sync).expect("commit");
    }

    /// The offsets that Kafka delivers to a plain consumer from the log start on, with the size of each value.
    pub fn delivered(&self, topic: &str, partition: i32, isolation: &str) -> BTreeMap<i64, usize> {
        let mut offsets = BTreeMap::new();
        self.consume(topic, partition, isolation, |message| {
            offsets.insert(message.offset(), message.payload().map_or(0, <[u8]>::len));
        });
        offsets
    }

    /// The committed records of a partition as Kafka serves them, whatever their producer was told.
    pub fn served(&self, topic: &str, partition: i32) -> Offsets {
        let mut offsets = Offsets::new();
        self.consume(topic, partition, "read_committed", |message| {
            let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
            let headers = headers.map(|header| (header.key, header.value));
            let entry = Entry {
                content: content(message.key(), message.payload(), headers),
                key: key_crc(message.key()),
                timestamp: message.timestamp().to_millis().expect("a timestamp"),
                fate: Fate::Committed,
            };
            assert_eq!(offsets.insert(message.offset(), entry), None, "Kafka delivered an offset twice");
        });
        offsets
    }

    fn consume(&self, topic: &str, partition: i32, isolation: &str, mut each: impl FnMut(&BorrowedMessage<'_>)) {
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("group.id", "rig-reader")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", isolation)
            .create()
            .expect("a client");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
        client.assign(&list).expect("assign");
        loop {
            match client.poll(PATIENCE) {
                Some(Ok(message)) => each(&message),
                Some(Err(KafkaError::PartitionEOF(_))) => return,
                // A broker that is away for a while is told as an event, and found again.
                Some(Err(KafkaError::MessageConsumption(error))) if passes(error) => {}
                Some(Err(error)) => panic!("{topic}/{partition}: {error}"),
                None => panic!("{topic}/{partition}: no end of partition"),
            }
        }
    }
}

fn passes(error: RDKafkaErrorCode) -> bool {
    matches!(error, RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown)
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE))
}
