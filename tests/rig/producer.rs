//! A producer that writes every acknowledgement into the journal, with or without transactions.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext, Timestamp};

use super::journal::{Entry, Fate, Journal, Told, content, key_crc};

const PATIENCE: Duration = Duration::from_secs(60);

/// 2026-01-01, so that timestamps are plain to see and never "now".
pub const EPOCH_MS: i64 = 1_767_225_600_000;

/// A record as a test writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    pub timestamp: i64,
}

impl Record {
    /// Record `number` of a believable mixture: null keys, empty values, tombstones, repeated headers.
    pub fn numbered(number: usize) -> Record {
        let key = (!number.is_multiple_of(7)).then(|| format!("key-{}", number % 50).into_bytes());
        let value = match number % 11 {
            3 => None,
            5 => Some(Vec::new()),
            _ => Some(format!("{{\"n\":{number},\"pad\":\"{}\"}}", "x".repeat(number % 97)).into_bytes()),
        };
        let headers = (0..number % 3).map(|n| ("h".to_owned(), (n != 1).then(|| vec![n as u8; number % 5])));
        let timestamp = EPOCH_MS + i64::try_from(number).expect("few");
        Record { key, value, headers: headers.collect(), timestamp }
    }

    pub fn keyed(key: &str, value: Option<&str>) -> Record {
        Record { key: Some(key.into()), value: value.map(Into::into), headers: Vec::new(), timestamp: EPOCH_MS }
    }

    pub fn content(&self) -> u32 {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
        content(self.key.as_deref(), self.value.as_deref(), headers)
    }
}

struct Sent {
    content: u32,
    key: Option<u32>,
    timestamp: i64,
}

/// The records of the transaction under way, as they are acknowledged.
type Open = Arc<Mutex<Vec<(String, i32, i64)>>>;

struct Acknowledgements {
    journal: Journal,
    fate: Fate,
    open: Open,
}

impl ClientContext for Acknowledgements {}

impl ProducerContext for Acknowledgements {
    type DeliveryOpaque = Box<Sent>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<Sent>) {
        let message = match result {
            Ok(message) => message,
            Err((error, message)) => {
                return self.journal.failed(format!("{}/{}: {error}", message.topic(), message.partition()));
            }
        };
        let (Timestamp::CreateTime(timestamp) | Timestamp::LogAppendTime(timestamp)) = message.timestamp() else {
            return self.journal.failed(format!("{}/{}: no timestamp", message.topic(), message.partition()));
        };
        let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
        let entry = Entry { content: sent.content, key: sent.key, timestamp, fate: self.fate };
        let Sent { content, timestamp: sent, .. } = *sent;
        let acknowledged = timestamp;
        self.journal.tell(Told { topic: topic.into(), partition, offset, content, sent, acknowledged });
        self.journal.acknowledged(topic, partition, offset, entry);
        self.open.lock().expect("open").push((topic.into(), partition, offset));
    }
}

pub struct Producer {
    client: ThreadedProducer<Acknowledgements>,
    journal: Journal,
    open: Open,
}

impl Producer {
    /// Idempotent, so that a record that is sent again is still one record.
    pub fn new(bootstrap: &str, journal: &Journal) -> Producer {
        Producer::with(bootstrap, journal, &[])
    }

    pub fn with(bootstrap: &str, journal: &Journal, settings: &[(&str, &str)]) -> Producer {
        Producer::create(bootstrap, journal, Fate::Committed, settings)
    }

    /// Its records are hidden until [`Producer::commit`].
    pub fn transactional(bootstrap: &str, journal: &Journal, id: &str) -> Producer {
        let settings = [("transactional.id", id), ("transaction.timeout.ms", "600000")];
        let producer = Producer::create(bootstrap, journal, Fate::Hidden, &settings);
        producer.client.init_transactions(PATIENCE).expect("init transactions");
        producer
    }

    fn create(bootstrap: &str, journal: &Journal, fate: Fate, settings: &[(&str, &str)]) -> Producer {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", bootstrap)
            .set("enable.idempotence", "true")
            .set("linger.ms", "2")
            .set("message.max.bytes", "33554432")
            .set("message.timeout.ms", "120000")
            .set("reconnect.backoff.max.ms", "500");
        for (name, value) in settings {
            config.set(*name, *value);
        }
        let open = Open::default();
        let context = Acknowledgements { journal: journal.clone(), fate, open: open.clone() };
        let client = config.create_with_context(context).expect("a producer");
        Producer { client, journal: journal.clone(), open }
    }

    pub fn send(&self, topic: &str, partition: i32, record: &Record) {
        let headers = record
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: value.as_deref() }));
        let timestamp = record.timestamp;
        let sent = Sent { content: record.content(), key: key_crc(record.key.as_deref()), timestamp };
        let mut message = BaseRecord::<[u8], [u8], Box<Sent>>::with_opaque_to(topic, Box::new(sent))
            .partition(partition)
            .timestamp(record.timestamp)
            .headers(headers);
        message.key = record.key.as_deref();
        message.payload = record.value.as_deref();
        loop {
            match self.client.send(message) {
                Ok(()) => return,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    message = back;
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err((error, _)) => panic!("{topic}/{partition}: {error}"),
            }
        }
    }

    /// Until everything sent is acknowledged (or its delivery has failed, which the journal tells).
    pub fn flush(&self) {
        self.client.flush(PATIENCE).expect("flush");
    }

    /// `count` records of the usual mixture, acknowledged when it returns.
    pub fn fill(&self, topic: &str, partition: i32, numbers: std::ops::Range<usize>) {
        for number in numbers {
            self.send(topic, partition, &Record::numbered(number));
        }
        self.flush();
        assert_eq!(self.journal.failures(), Vec::<String>::new());
    }

    /// On and on until `enough`, to three partitions: a busy one, a slow one, and one that is nearly idle.
    pub fn trickle(&self, topic: &str, enough: &AtomicBool) {
        for number in 0.. {
            if enough.load(Ordering::Relaxed) {
                break;
            }
            let partition = if number % 97 == 0 { 2 } else { i32::from(number % 10 == 0) };
            self.send(topic, partition, &Record::numbered(number));
            if number % 20 == 19 {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        self.flush();
    }

    pub fn begin(&self) {
        self.open.lock().expect("open").clear();
        self.client.begin_transaction().expect("begin");
    }

    pub fn commit(&self) {
        self.client.commit_transaction(PATIENCE).expect("commit");
        for (topic, partition, offset) in self.open.lock().expect("open").drain(..) {
            self.journal.set_fate(&topic, partition, offset, Fate::Committed);
        }
    }

    /// Aborts after everything was acknowledged: the records stand in the topic, for nobody to see.
    pub fn abort(&self) {
        self.flush();
        self.client.abort_transaction(PATIENCE).expect("abort");
        self.open.lock().expect("open").clear();
    }
}
