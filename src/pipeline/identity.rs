//! Is the topic still the one that was planned? Compared before the first fetch and again after the last
//! read, before the put: a topic that was deleted and created again has offsets that mean other records.
//!
//! One question to the broker answers for every stream that asked before it was sent, so that thousands of
//! batches cost few requests.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use landfall_sink::Stream;
use tokio::sync::{mpsc, oneshot};

use super::trouble::Trouble;
use crate::kafka::{Kafka, KafkaError, TopicId};

type Answer = oneshot::Sender<Result<TopicId, KafkaError>>;

/// A topic is gone when nobody has known it for so long. Any broker answers, and one that lags behind does not know a
/// young topic, or one that it has not heard of again yet.
const GONE_AFTER: Duration = Duration::from_secs(10);
/// Answers further apart than this are not one absence.
const APART: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Identity {
    questions: mpsc::UnboundedSender<(String, Answer)>,
    absences: Mutex<BTreeMap<String, Absence>>,
}

/// Answers in a row that a topic does not exist.
#[derive(Debug, Clone, Copy)]
struct Absence {
    first: Instant,
    last: Instant,
}

impl Absence {
    /// The absence with one more answer in it.
    fn seen(before: Option<Absence>, now: Instant) -> Absence {
        let goes_on = before.filter(|before| now.saturating_duration_since(before.last) <= APART);
        Absence { first: goes_on.map_or(now, |before| before.first), last: now }
    }

    fn is_for_good(self) -> bool {
        self.last.saturating_duration_since(self.first) >= GONE_AFTER
    }
}

impl Identity {
    /// Must be called inside a tokio runtime; ends with the last `Identity`.
    pub fn new(kafka: Kafka) -> Identity {
        let (questions, inbox) = mpsc::unbounded_channel();
        tokio::spawn(answer(kafka, inbox));
        Identity { questions, absences: Mutex::default() }
    }

    /// The topic's id as the broker knows it now.
    pub async fn current(&self, topic: &str) -> Result<TopicId, Trouble> {
        let (answer, wait) = oneshot::channel();
        drop(self.questions.send((topic.to_owned(), answer)));
        match wait.await {
            Ok(Ok(id)) => Ok(id),
            Ok(Err(error)) => Err(Trouble::from(error)),
            Err(_) => Err(Trouble::again("asking for topic ids has ended")),
        }
    }

    /// Compares with what the stream was planned with (`adopted`: an id that appeared later).
    pub async fn verify(&self, stream: &Stream, adopted: Option<&str>) -> Result<(), Trouble> {
        if landfall_lake::fault::sabotaged("no_topic_id_check") {
            return Ok(());
        }
        let now = self.current(&stream.topic).await?;
        if !self.is_gone(&stream.topic, &now) && now == TopicId::Missing {
            return Err(Trouble::again(format!("{stream}: a broker does not know topic {}", stream.topic)));
        }
        compare(stream, adopted, &now)
    }

    fn is_gone(&self, topic: &str, now: &TopicId) -> bool {
        let mut absences = self.absences.lock().unwrap_or_else(PoisonError::into_inner);
        match now {
            TopicId::Missing => {
                let absence = Absence::seen(absences.get(topic).copied(), Instant::now());
                absences.insert(topic.to_owned(), absence);
                absence.is_for_good()
            }
            // Not an answer about the topic.
            TopicId::Failed(_) => false,
            TopicId::Id(_) | TopicId::Unsupported => {
                absences.remove(topic);
                false
            }
        }
    }
}

/// The truth table of identity:
///
/// | planned with | broker says | |
/// |---|---|---|
/// | an id | the same | goes on |
/// | an id | another | stops: re-created |
/// | an id | no ids at all | waits: it had them |
/// | any | the topic is missing, and was so for a while | stops: deleted |
/// | none | no ids at all | goes on |
/// | none | an id | goes on: it is adopted at the next start |
pub fn compare(stream: &Stream, adopted: Option<&str>, now: &TopicId) -> Result<(), Trouble> {
    let planned = adopted.or(stream.topic_id.as_deref());
    match (planned, now) {
        (_, TopicId::Missing) => Err(Trouble::stop(
            format!("{stream}: topic {} does not exist any more", stream.topic),
            "if it was deleted for good, take it out of kafka.topics; what has landed stays",
        )),
        (Some(planned), TopicId::Id(id)) if planned == id => Ok(()),
        (Some(planned), TopicId::Id(id)) => Err(recreated(stream, planned, id)),
        (Some(planned), TopicId::Unsupported) => {
            Err(Trouble::again(format!("{stream}: the brokers do not tell topic ids, and this topic had {planned}")))
        }
        (_, TopicId::Failed(error)) => Err(Trouble::from(error.clone())),
        (None, _) => Ok(()),
    }
}

fn recreated(stream: &Stream, planned: &str, now: &str) -> Trouble {
    Trouble::stop(
        format!(
            "{stream}: topic {} was re-created: its id was {planned} and is {now}; its offsets mean other records now",
            stream.topic
        ),
        "land the new topic into another lake.path or lake.url; a planned range of the old one is closed with \
         `landfall resolve --as recreated`",
    )
}

async fn answer(kafka: Kafka, mut inbox: mpsc::UnboundedReceiver<(String, Answer)>) {
    let told = AtomicBool::new(false);
    while let Some(first) = inbox.recv().await {
        let mut waiting: BTreeMap<String, Vec<Answer>> = BTreeMap::new();
        waiting.entry(first.0).or_default().push(first.1);
        while let Ok((topic, answer)) = inbox.try_recv() {
            waiting.entry(topic).or_default().push(answer);
        }
        let names: Vec<String> = waiting.keys().cloned().collect();
        let asked = kafka.clone();
        let answers = tokio::task::spawn_blocking(move || asked.topic_ids(&names)).await;
        let answers = answers.unwrap_or_else(|error| Err(KafkaError::Other(error.to_string())));
        for (topic, askers) in waiting {
            let id = match &answers {
                Ok(ids) => Ok(ids.get(&topic).cloned().unwrap_or(TopicId::Missing)),
                Err(error) => Err(error.clone()),
            };
            if matches!(id, Ok(TopicId::Unsupported)) && !told.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    "this broker has no topic ids: a topic that is re-created can not be told from the old one"
                );
            }
            askers.into_iter().for_each(|asker| drop(asker.send(id.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_topic_goes_on() {
        let stream = |id: Option<&str>| Stream {
            cluster: "c".into(),
            topic: "t".into(),
            topic_id: id.map(str::to_owned),
            partition: 0,
        };
        let id = |text: &str| TopicId::Id(text.into());
        assert!(compare(&stream(Some("a")), None, &id("a")).is_ok());
        assert!(compare(&stream(Some("a")), None, &id("b")).is_err());
        assert!(matches!(compare(&stream(Some("a")), None, &TopicId::Unsupported), Err(Trouble::Again(_))));
        assert!(compare(&stream(Some("a")), None, &TopicId::Missing).is_err());
        assert!(compare(&stream(None), None, &TopicId::Missing).is_err());
        assert!(compare(&stream(None), None, &TopicId::Unsupported).is_ok());
        assert!(compare(&stream(None), Some("b"), &id("b")).is_ok());
        assert!(compare(&stream(None), Some("b"), &id("c")).is_err());
    }

    #[test]
    fn one_answer_does_not_make_a_topic_gone() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let seen = |answers: &[u64]| {
            let absence = answers.iter().fold(None, |before, second| Some(Absence::seen(before, at(*second))));
            absence.is_some_and(Absence::is_for_good)
        };
        assert!(!seen(&[0]) && !seen(&[0, 1, 9]));
        assert!(seen(&[0, 1, 9, 10]) && seen(&[0, 30]));
        // Two brokers that lagged behind, half an hour apart, are two passing faults.
        assert!(!seen(&[0, 1800]));
    }
}
