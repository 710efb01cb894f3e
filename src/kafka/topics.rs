//! Which topics there are: by name and by `/regular expression/`, with their ids.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{CString, c_char};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka_sys as sys;

use super::native::{c_string, code, describe, look_at_error, millis, text};
use super::{Kafka, KafkaError};
use crate::config::TopicSelector;

/// The topics to land: names, and patterns that match whole names.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    names: Vec<String>,
    /// As they are written, with their slashes.
    patterns: Vec<(String, TopicSelector)>,
}

/// Why a selection cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    #[error("{0}; a regular expression stands between slashes, as in \"/orders-.*/\"")]
    Topic(String),
    #[error("no topic is given")]
    Empty,
}

impl Selection {
    /// Reads names and `/patterns/`, as `kafka.topics` has them.
    pub fn new<S: AsRef<str>>(topics: &[S]) -> Result<Selection, SelectionError> {
        let mut selection = Selection::default();
        for topic in topics.iter().map(AsRef::as_ref) {
            match topic.parse::<TopicSelector>().map_err(SelectionError::Topic)? {
                TopicSelector::Name(name) if selection.names.contains(&name) => {}
                TopicSelector::Name(name) => selection.names.push(name),
                pattern => selection.patterns.push((topic.into(), pattern)),
            }
        }
        if selection.names.is_empty() && selection.patterns.is_empty() {
            return Err(SelectionError::Empty);
        }
        Ok(selection)
    }

    /// The patterns, with their slashes.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.patterns.iter().map(|(pattern, _)| pattern.as_str())
    }

    /// Whether more than one topic can be landed.
    pub fn several(&self) -> bool {
        !self.patterns.is_empty() || self.names.len() > 1
    }

    /// The pattern that picks this topic.
    fn pattern_for(&self, topic: &str) -> Option<&str> {
        self.patterns.iter().find(|(_, pattern)| pattern.matches(topic)).map(|(text, _)| text.as_str())
    }
}

/// How a topic came into the selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MatchedBy {
    Name,
    /// The first pattern that matches, with its slashes.
    Pattern(String),
}

/// A topic of the selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicMeta {
    pub name: String,
    /// 0 where there is a problem.
    pub partitions: i32,
    pub matched_by: MatchedBy,
    /// Why the topic cannot be read now: [`KafkaError::Missing`] for a name that does not exist.
    pub problem: Option<KafkaError>,
}

/// A topic's id (KIP-516): another one after the topic was deleted and created again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicId {
    /// As Kafka writes it: 22 characters of URL-safe base64.
    Id(String),
    /// The topic does not exist.
    Missing,
    /// The broker has no topic ids.
    Unsupported,
    /// No answer for this topic.
    Failed(KafkaError),
}

/// How long one broker is waited for.
const DESCRIBE_WAIT: Duration = Duration::from_secs(3);
/// Whole rounds without an answer before brokers are said to have no topic ids.
const VAIN_ROUNDS: usize = 4;
/// A broker that has no topic ids may be upgraded: asked again after this time.
const ASK_AGAIN: Duration = Duration::from_secs(600);
/// Names that are asked for one by one rather than with all topics of the cluster.
const ONE_BY_ONE: usize = 16;

/// Topic → (number of partitions, error code).
type Known = (String, (i32, i32));

impl Kafka {
    /// The selected topics, by name. A named topic that does not exist comes with a problem, not as an error.
    pub fn topics(&self, selection: &Selection, timeout: Duration) -> Result<Vec<TopicMeta>, KafkaError> {
        let one_by_one = selection.patterns.is_empty() && selection.names.len() <= ONE_BY_ONE;
        let mut known: BTreeMap<String, (i32, i32)> = BTreeMap::new();
        if one_by_one {
            for name in &selection.names {
                known.extend(self.metadata(Some(name), timeout)?);
            }
        } else {
            known.extend(self.metadata(None, timeout)?);
        }
        let mut topics: BTreeMap<String, TopicMeta> = BTreeMap::new();
        for (name, (partitions, code)) in &known {
            if let Some(pattern) = selection.pattern_for(name) {
                topics.insert(name.clone(), topic(name, *partitions, *code, MatchedBy::Pattern(pattern.into())));
            }
        }
        for name in &selection.names {
            let (partitions, code) = known.get(name).copied().unwrap_or((0, code::UNKNOWN_TOPIC_OR_PART));
            topics.insert(name.clone(), topic(name, partitions, code, MatchedBy::Name));
        }
        Ok(topics.into_values().collect())
    }

    /// Whether a broker answers at all; `topic` only keeps the answer short.
    pub fn is_answered(&self, topic: Option<&str>, timeout: Duration) -> Result<(), KafkaError> {
        self.metadata(topic, timeout).map(drop)
    }

    /// What the brokers know of one topic, or of all.
    pub(super) fn metadata(&self, topic: Option<&str>, timeout: Duration) -> Result<Vec<Known>, KafkaError> {
        self.client().forget_troubles();
        let one = topic.map(|name| super::native::Topic::new(self.client(), c_string(name)?.as_c_str())).transpose()?;
        let mut found = std::ptr::null();
        // SAFETY: client and topic are alive; `found` is freed below where the call succeeded.
        let answer = unsafe {
            let raw = one.as_ref().map_or(std::ptr::null_mut(), super::native::Topic::raw);
            sys::rd_kafka_metadata(self.client().raw(), i32::from(one.is_none()), raw, &mut found, millis(timeout))
        };
        let answer = answer as i32;
        if answer == code::TIMED_OUT || answer == code::TRANSPORT {
            return Err(self.client().unreachable("reading the topics", timeout));
        }
        if answer != 0 || found.is_null() {
            let text = format!("reading the topics from {}: {}", self.client().brokers(), describe(answer));
            return Err(KafkaError::sort(answer, text));
        }
        // SAFETY: the call succeeded, so the metadata holds `topic_cnt` topics; it is not used after it is freed.
        unsafe {
            let topics = (0..(*found).topic_cnt as usize).map(|at| {
                let topic = (*found).topics.add(at);
                let code = (&raw const (*topic).err).cast::<i32>().read();
                (text((*topic).topic), ((*topic).partition_cnt, code))
            });
            let topics = topics.collect();
            sys::rd_kafka_metadata_destroy(found);
            Ok(topics)
        }
    }

    /// The ids of several topics in one call. Any broker answers, so the next one is asked where one does not.
    pub fn topic_ids(&self, topics: &[String]) -> Result<BTreeMap<String, TopicId>, KafkaError> {
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        let unsupported = || topics.iter().map(|name| (name.clone(), TopicId::Unsupported)).collect();
        let asked_in_vain = *self.ids_asked_in_vain();
        if asked_in_vain.is_some_and(|when| when.elapsed() < ASK_AGAIN) {
            return Ok(unsupported());
        }
        let mut brokers = self.brokers_learned();
        if brokers.is_empty() {
            self.metadata(topics.first().map(String::as_str), DESCRIBE_WAIT)?;
            brokers = self.brokers_learned();
        }
        let first = (crate::ambient::now_ms() as usize) % brokers.len().max(1);
        brokers.rotate_left(first);
        let mut last = None;
        for broker in brokers.into_iter().take(3) {
            match self.describe_topics(topics, broker) {
                Ok(ids) => {
                    self.inner.ids_were_seen.store(true, Ordering::Relaxed);
                    self.inner.ids_vain_rounds.store(0, Ordering::Relaxed);
                    return Ok(ids);
                }
                Err(error) if error.is_transient() => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        // A broker that answers other questions but never this one has no topic ids. One that has answered before
        // is only slow, and so may be any other for a while: several questions in a row must go unanswered.
        self.metadata(topics.first().map(String::as_str), DESCRIBE_WAIT)?;
        let vain = self.inner.ids_vain_rounds.fetch_add(1, Ordering::Relaxed) + 1;
        let seen = self.inner.ids_were_seen.load(Ordering::Relaxed);
        match last {
            Some(error) if seen || (vain < VAIN_ROUNDS && !self.is_playground()) => Err(error),
            _ => {
                *self.ids_asked_in_vain() = Some(Instant::now());
                self.inner.ids_vain_rounds.store(0, Ordering::Relaxed);
                Ok(unsupported())
            }
        }
    }

    /// librdkafka's in-process broker says by its cluster id what it is; it never answers for topic ids.
    fn is_playground(&self) -> bool {
        self.cluster_id(DESCRIBE_WAIT).is_ok_and(|id| id.starts_with("mockCluster"))
    }

    fn brokers_learned(&self) -> Vec<i32> {
        let mut count = 0;
        // SAFETY: the client is alive; the array holds `count` numbers and is freed here.
        unsafe {
            let ids = sys::rd_kafka_brokers_learned_ids(self.client().raw(), &mut count);
            if ids.is_null() {
                return Vec::new();
            }
            let copy = std::slice::from_raw_parts(ids, count).to_vec();
            sys::rd_kafka_mem_free(self.client().raw(), ids.cast());
            copy
        }
    }

    fn describe_topics(&self, topics: &[String], broker: i32) -> Result<BTreeMap<String, TopicId>, KafkaError> {
        let names = topics.iter().map(|name| c_string(name)).collect::<Result<Vec<CString>, _>>()?;
        let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let operation = sys::RDKafkaAdminOp::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let event =
            self.ask("reading the topic ids", operation, Some(broker), None, DESCRIBE_WAIT, |rk, options, queue| {
                // SAFETY: all are alive during the call; librdkafka copies the names.
                unsafe {
                    let collection =
                        sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
                    sys::rd_kafka_DescribeTopics(rk, collection, options, queue);
                    sys::rd_kafka_TopicCollection_destroy(collection);
                }
            })?;
        let mut ids = BTreeMap::new();
        // SAFETY: the event is alive, and is the answer to the call above; everything below belongs to it.
        unsafe {
            let result = sys::rd_kafka_event_DescribeTopics_result(event.raw());
            if result.is_null() {
                return Err(KafkaError::Other("reading the topic ids: an answer to another question".into()));
            }
            let mut count = 0;
            let described = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
            for at in 0..count {
                let topic = *described.add(at);
                let name = text(sys::rd_kafka_TopicDescription_name(topic));
                let error = look_at_error(sys::rd_kafka_TopicDescription_error(topic));
                let uuid = sys::rd_kafka_TopicDescription_topic_id(topic);
                let id = (!uuid.is_null()).then(|| {
                    let high = sys::rd_kafka_Uuid_most_significant_bits(uuid);
                    (high, sys::rd_kafka_Uuid_least_significant_bits(uuid))
                });
                ids.insert(name.clone(), topic_id(&name, error, id));
            }
        }
        Ok(ids)
    }
}

fn topic(name: &str, partitions: i32, code: i32, matched_by: MatchedBy) -> TopicMeta {
    let problem = match code {
        0 if partitions > 0 => None,
        0 => Some(KafkaError::Unreachable(format!("topic {name} has no partitions yet"))),
        code::UNKNOWN_TOPIC_OR_PART => Some(KafkaError::Missing(format!("topic {name} does not exist"))),
        code::TOPIC_AUTHORIZATION_FAILED => {
            let text = format!("topic {name}: not permitted; it needs the right to DESCRIBE and READ it");
            Some(KafkaError::NotAuthorized(text))
        }
        code => Some(KafkaError::sort(code, format!("topic {name}: {}", describe(code)))),
    };
    let partitions = if problem.is_some() { 0 } else { partitions };
    TopicMeta { name: name.into(), partitions, matched_by, problem }
}

fn topic_id(name: &str, error: Option<(i32, String)>, id: Option<(i64, i64)>) -> TopicId {
    match (error, id) {
        (Some((code::UNKNOWN_TOPIC_OR_PART, _)), _) => TopicId::Missing,
        (Some((code, text)), _) => TopicId::Failed(KafkaError::sort(code, format!("topic {name}: {text}"))),
        (None, None | Some((0, 0))) => TopicId::Unsupported,
        (None, Some((high, low))) => TopicId::Id(base64(high, low)),
    }
}

/// Kafka's own way to write an id; it can stand in a path.
fn base64(high: i64, low: i64) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits = (u128::from(high as u64) << 64) | u128::from(low as u64);
    // 128 bits are 21 groups of six and one of two, which is filled up with zeros.
    let digit = |at: u32| if at < 21 { (bits >> (122 - 6 * at)) & 63 } else { (bits << 4) & 63 };
    (0..22).map(|at| char::from(DIGITS[digit(at) as usize])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_patterns_are_told_apart() {
        let selection = Selection::new(&["orders", "/payments-.*/", "orders"]).unwrap();
        assert_eq!(selection.names, ["orders"]);
        assert_eq!(selection.pattern_for("payments-eu"), Some("/payments-.*/"));
        assert_eq!(selection.pattern_for("old-payments-eu"), None);
        assert!(selection.several());
        assert!(!Selection::new(&["orders"]).unwrap().several());
        for bad in ["pay*", "", "/(/", "a/b", "//", ".."] {
            assert!(Selection::new(&[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn kafkas_own_topics_never_match_a_pattern() {
        let selection = Selection::new(&["/.*/"]).unwrap();
        assert_eq!(selection.pattern_for("__consumer_offsets"), None);
        assert_eq!(selection.pattern_for("_schemas"), Some("/.*/"));
    }

    #[test]
    fn an_id_is_written_as_kafka_writes_it() {
        assert_eq!(base64(0, 1), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(base64(-1, -1), "_____________________w");
        assert_eq!(base64(0x0123_4567_89ab_cdef, 0x0123_4567_89ab_cdef), "ASNFZ4mrze8BI0VniavN7w");
    }
}
