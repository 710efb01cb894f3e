//! The records of a topic for the comparison: a reader of its own for each span, on a plain thread.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::StreamExt;
use landfall_sink::{Isolation, Span, Stream};
use tokio::sync::mpsc::Sender;

use super::{KafkaRows, RowSum, TopicRows};
use crate::files;
use crate::kafka::{At, Constants, Event, Kafka, KafkaError, Notice, Reader, ReaderLimits, Start, TopicId, Turn};

const ASK: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(200);
/// A topic that delivers nothing for so long is not compared any further.
const SILENCE: Duration = Duration::from_secs(60);
/// What waits in the reader's queue; one reader for each stream that is compared at a time.
const QUEUED: usize = 8 << 20;

type Sums = Result<Vec<RowSum>, String>;

/// A cluster whose topics are compared with a lake.
pub struct Topics {
    kafka: Kafka,
    cluster: String,
    /// By topic; asked once.
    compacted: Arc<Mutex<BTreeMap<String, bool>>>,
}

impl Topics {
    /// Waits for a broker: without one there is nothing to compare with.
    pub fn reach(kafka: Kafka) -> Result<Topics, KafkaError> {
        let cluster = kafka.cluster_id(ASK)?;
        Ok(Topics { kafka, cluster, compacted: Arc::default() })
    }
}

#[async_trait]
impl TopicRows for Topics {
    async fn rows(&self, stream: &Stream, span: Span, isolation: Isolation) -> Result<KafkaRows, String> {
        if stream.cluster != self.cluster {
            return Err(format!(
                "it is of cluster {}, and the brokers are of cluster {}",
                stream.cluster, self.cluster
            ));
        }
        let (kafka, asked, known) = (self.kafka.clone(), stream.clone(), self.compacted.clone());
        let prepared = tokio::task::spawn_blocking(move || prepare(&kafka, &asked, isolation, &known)).await;
        let Prepared { start, end, compacted } = prepared.unwrap_or_else(|error| Err(error.to_string()))?;
        let (from, until) = (span.from.max(start), span.until.min(end));
        if from >= until {
            return Ok(KafkaRows { log_start: start, compacted, rows: futures::stream::empty().boxed() });
        }
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        let limits = ReaderLimits { queued_bytes: QUEUED, ..ReaderLimits::default() };
        let reader = self.kafka.reader(isolation, limits).map_err(|error| error.to_string())?;
        let (stream, span) = (stream.clone(), Span::new(from, until));
        let thread = std::thread::Builder::new().name("landfall-compare".into());
        let thread = thread.spawn(move || read(reader, &stream, span, &sender));
        thread.map_err(|error| format!("no thread to read it: {error}"))?;
        let rows = futures::stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
        Ok(KafkaRows { log_start: start, compacted, rows: rows.boxed() })
    }
}

struct Prepared {
    start: i64,
    end: i64,
    compacted: bool,
}

/// The topic must be the one that was landed, before any of its offsets mean something.
fn prepare(
    kafka: &Kafka,
    stream: &Stream,
    isolation: Isolation,
    known: &Mutex<BTreeMap<String, bool>>,
) -> Result<Prepared, String> {
    let topic = &stream.topic;
    let ids = kafka.topic_ids(std::slice::from_ref(topic)).map_err(|error| error.to_string())?;
    match (ids.get(topic), &stream.topic_id) {
        (Some(TopicId::Missing) | None, _) => return Err(format!("topic {topic} does not exist any more")),
        (Some(TopicId::Failed(error)), _) => return Err(error.to_string()),
        (Some(TopicId::Id(shown)), Some(landed)) if shown != landed => {
            return Err(format!("topic {topic} was created again: its id was {landed}, and is {shown} now"));
        }
        _ => {}
    }
    let asks = [At::Start, At::End].map(|at| (topic.clone(), stream.partition, at));
    let answers = kafka.list_offsets(&asks, isolation, ASK).map_err(|error| error.to_string())?;
    let offsets: Result<Vec<i64>, _> = answers.into_iter().map(|at| at.map(|at| at.offset)).collect();
    let offsets = offsets.map_err(|error| error.to_string())?;
    let [start, end] = offsets[..] else { return Err("the brokers told only one end".into()) };
    Ok(Prepared { start, end, compacted: is_compacted(kafka, topic, known) })
}

/// Records may be missing only where the topic says so; where it cannot be asked, none may.
fn is_compacted(kafka: &Kafka, topic: &str, known: &Mutex<BTreeMap<String, bool>>) -> bool {
    let known = || known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(compacted) = known().get(topic) {
        return *compacted;
    }
    let compacted = match kafka.topic_setting(topic, "cleanup.policy", ASK) {
        Ok(policy) => policy.is_some_and(|policy| policy.contains("compact")),
        Err(error) => {
            tracing::warn!("{error}; rows whose records Kafka does not have are called damage");
            false
        }
    };
    known().insert(topic.to_owned(), compacted);
    compacted
}

/// Until the span has been read, or nobody wants it any more.
fn read(mut reader: Reader, stream: &Stream, span: Span, to: &Sender<Sums>) {
    let constants = Constants { topic: stream.topic.as_str().into(), partition: stream.partition };
    let start = Start {
        slot: 0,
        topic: constants.topic.clone(),
        partition: stream.partition,
        from: span.from,
        lineage: None,
        stop: Some(span.until),
    };
    if let Err(error) = reader.assign(vec![start]) {
        return drop(to.blocking_send(Err(error.to_string())));
    }
    let mut turn = Turn::default();
    let mut heard = Instant::now();
    while !to.is_closed() {
        reader.poll(POLL, &mut turn);
        let columns = reader.columns(0);
        if !columns.is_empty() {
            if to.blocking_send(Ok(files::sums(&columns.take(&constants)))).is_err() {
                return;
            }
            // Not before: a slow lake is no silence of the brokers.
            heard = Instant::now();
        }
        for (_, event) in turn.events.drain(..) {
            match event {
                Event::Stop => return,
                Event::End(_) => heard = Instant::now(),
                Event::Fault(fault) => return drop(to.blocking_send(Err(fault.to_string()))),
            }
        }
        for notice in turn.notices.drain(..) {
            if let Notice::Fatal(why) = notice {
                return drop(to.blocking_send(Err(why)));
            }
        }
        if heard.elapsed() > SILENCE {
            let seconds = SILENCE.as_secs();
            return drop(to.blocking_send(Err(format!("the brokers delivered nothing for {seconds} s"))));
        }
    }
}
