//! A Kafka inside this process, and a producer for it: for `landfall demo` and the examples.
//!
//! It is librdkafka's mock broker. It serves other processes on this machine, keeps only 5 MiB of each
//! partition, knows no transactions, and has a new cluster id and new topic ids at every start.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::error::{KafkaError as KafkaFailure, RDKafkaErrorCode};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{
    BaseRecord, DefaultProducerContext, DeliveryResult, Producer, ProducerContext, ThreadedProducer,
};

use super::KafkaError;

/// What the broker keeps of one partition, in bytes of record batches; older ones vanish.
pub const KEPT_PER_PARTITION: u64 = 5 << 20;

pub struct Playground {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl Playground {
    pub fn start() -> Result<Playground, KafkaError> {
        let cluster =
            MockCluster::new(1).map_err(|error| KafkaError::Other(format!("the in-process broker: {error}")))?;
        Ok(Playground { cluster })
    }

    pub fn bootstrap_servers(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    /// A topic that is there already stays as it is.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<(), KafkaError> {
        match self.cluster.create_topic(topic, partitions, 1) {
            Ok(()) | Err(KafkaFailure::MockCluster(RDKafkaErrorCode::TopicAlreadyExists)) => Ok(()),
            Err(error) => Err(KafkaError::Other(format!("topic {topic}: {error}"))),
        }
    }
}

/// A record on its way.
pub struct Outgoing<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub timestamp_ms: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// Hears of every record that the broker has acknowledged. Called from the producer's own thread.
pub trait Acknowledged: Send + Sync + 'static {
    fn acknowledged(&self, topic: &str, partition: i32, offset: i64, id: u64);
    fn failed(&self, topic: &str, partition: i32, why: String);
}

struct Deliveries<A>(Arc<A>);

impl<A: Acknowledged> ClientContext for Deliveries<A> {}

impl<A: Acknowledged> ProducerContext for Deliveries<A> {
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, result: &DeliveryResult<'_>, id: Box<u64>) {
        match result {
            Ok(message) => self.0.acknowledged(message.topic(), message.partition(), message.offset(), *id),
            Err((error, message)) => self.0.failed(message.topic(), message.partition(), error.to_string()),
        }
    }
}

/// A producer that never sends a record twice (idempotence on) and tells of every acknowledgement.
pub struct PlaygroundProducer<A: Acknowledged>(ThreadedProducer<Deliveries<A>>);

impl<A: Acknowledged> PlaygroundProducer<A> {
    pub fn connect(bootstrap_servers: &str, hears: Arc<A>) -> Result<PlaygroundProducer<A>, KafkaError> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap_servers);
        config.set("enable.idempotence", "true").set("linger.ms", "20").set("compression.type", "lz4");
        let producer = ThreadedProducer::from_config_and_context(&config, Deliveries(hears));
        producer.map(PlaygroundProducer).map_err(|error| KafkaError::Other(format!("the producer: {error}")))
    }

    /// `id` comes back with the acknowledgement. `false`: the queue is full, try again in a moment.
    pub fn send(&self, record: &Outgoing<'_>, id: u64) -> bool {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in record.headers {
            headers = headers.insert(Header { key, value: *value });
        }
        let mut base = BaseRecord::<[u8], [u8], Box<u64>>::with_opaque_to(record.topic, Box::new(id))
            .partition(record.partition)
            .timestamp(record.timestamp_ms)
            .headers(headers);
        base.key = record.key;
        base.payload = record.value;
        self.0.send(base).is_ok()
    }

    /// Waits until everything is acknowledged.
    pub fn flush(&self, patience: Duration) -> Result<(), KafkaError> {
        self.0.flush(patience).map_err(|error| KafkaError::Other(format!("flushing the producer: {error}")))
    }
}
