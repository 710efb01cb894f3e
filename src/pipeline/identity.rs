//! Is the topic still the one that was planned? Compared before the first fetch and again after the last
//! read, before the put: a topic that was deleted and created again has offsets that mean other records.
//!
//! One question to the broker answers for every stream that asked before it was sent, so that thousands of
//! batches cost few requests.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use landfall_sink::Stream;
use tokio::sync::{mpsc, oneshot};

use super::trouble::Trouble;
use crate::kafka::{Kafka, KafkaError, TopicId};

type Answer = oneshot::Sender<Result<TopicId, KafkaError>>;

#[derive(Debug)]
pub struct Identity {
    questions: mpsc::UnboundedSender<(String, Answer)>,
}

impl Identity {
    /// Must be called inside a tokio runtime; ends with the last `Identity`.
    pub fn new(kafka: Kafka) -> Identity {
        let (questions, inbox) = mpsc::unbounded_channel();
        tokio::spawn(answer(kafka, inbox));
        Identity { questions }
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
        compare(stream, adopted, &now)
    }
}

/// The truth table of identity:
///
/// | planned with | broker says | |
/// |---|---|---|
/// | an id | the same | goes on |
/// | an id | another, or none | stops: re-created |
/// | any | the topic is missing | stops: deleted |
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
        (Some(planned), TopicId::Unsupported) => Err(recreated(stream, planned, "none")),
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
        assert!(compare(&stream(Some("a")), None, &TopicId::Unsupported).is_err());
        assert!(compare(&stream(Some("a")), None, &TopicId::Missing).is_err());
        assert!(compare(&stream(None), None, &TopicId::Missing).is_err());
        assert!(compare(&stream(None), None, &TopicId::Unsupported).is_ok());
        assert!(compare(&stream(None), Some("b"), &id("b")).is_ok());
        assert!(compare(&stream(None), Some("b"), &id("c")).is_err());
    }
}
