//! First, last and timed offsets of many partitions in one call.
#![allow(unsafe_code)]

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use landfall_sink::Isolation;
use rdkafka_sys as sys;

use super::native::{Event, c_string, code, describe};
use super::partitions::{Partitions, row};
use super::{Kafka, KafkaError};

/// Which offset of a partition is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum At {
    /// The first offset that the partition still has.
    Start,
    /// One more than the last: the last stable offset under read_committed, else the high watermark.
    End,
    /// The first offset whose record is at least as young as this many milliseconds since 1970; the end
    /// where there is none. (librdkafka's in-process broker says "none" to every time.)
    Time(i64),
}

/// An offset of a partition, and the leader epoch that belongs to it where the broker tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetAt {
    pub offset: i64,
    pub epoch: Option<i32>,
}

type Answer = Result<OffsetAt, KafkaError>;
type Wanted = (String, i32, At);

/// No leader, not the leader, and the codes of leader epochs that do not fit: all mean that what is known of
/// the leader is old.
const STALE_LEADER: &[i32] = &[NO_LEADER, 6, 74, 76];
const NO_LEADER: i32 = 5;

/// An answer with its code.
enum Found {
    At(OffsetAt),
    No(i32, KafkaError),
}

impl Found {
    fn answer(self) -> Answer {
        match self {
            Found::At(at) => Ok(at),
            Found::No(_, error) => Err(error),
        }
    }
}

fn positions(found: &[Found], which: impl Fn(&Found) -> bool) -> Vec<usize> {
    (0..found.len()).filter(|at| which(&found[*at])).collect()
}

/// The offset that brokers answer with where no record is young enough.
const NO_SUCH_TIME: i64 = -1;

impl Kafka {
    /// The offsets that are asked for, in the same order; each partition may fail for itself.
    pub fn list_offsets(
        &self,
        wanted: &[Wanted],
        isolation: Isolation,
        timeout: Duration,
    ) -> Result<Vec<Answer>, KafkaError> {
        let mut found = self.list_rounds(wanted, isolation, timeout)?;
        // Where a leader has moved or was restarted, librdkafka goes on to ask with what it knows until its
        // next periodic refresh, minutes later: so it is made to learn, and asked once more.
        let stale = positions(&found, |found| matches!(found, Found::No(code, _) if STALE_LEADER.contains(code)));
        if !stale.is_empty() {
            let topics: BTreeSet<&str> = stale.iter().map(|at| wanted[*at].0.as_str()).collect();
            self.learn_leaders(&topics, timeout)?;
            self.list_again(wanted, &stale, &mut found, isolation, timeout)?;
        }
        let timeless = positions(&found, |found| matches!(found, Found::At(at) if at.offset == NO_SUCH_TIME));
        if !timeless.is_empty() {
            let ends: Vec<Wanted> = wanted.iter().map(|(topic, at, _)| (topic.clone(), *at, At::End)).collect();
            self.list_again(&ends, &timeless, &mut found, isolation, timeout)?;
        }
        Ok(found.into_iter().map(Found::answer).collect())
    }

    fn learn_leaders(&self, topics: &BTreeSet<&str>, timeout: Duration) -> Result<(), KafkaError> {
        if topics.len() > 16 {
            return self.metadata(None, timeout).map(drop);
        }
        topics.iter().try_for_each(|topic| self.metadata(Some(topic), timeout).map(drop))
    }

    fn list_again(
        &self,
        wanted: &[Wanted],
        which: &[usize],
        found: &mut [Found],
        isolation: Isolation,
        timeout: Duration,
    ) -> Result<(), KafkaError> {
        let some: Vec<Wanted> = which.iter().map(|at| wanted[*at].clone()).collect();
        for (at, again) in which.iter().zip(self.list_rounds(&some, isolation, timeout)?) {
            found[*at] = again;
        }
        Ok(())
    }

    /// One request may name a partition once only, so start and end of the same one go in two rounds.
    fn list_rounds(
        &self,
        wanted: &[Wanted],
        isolation: Isolation,
        timeout: Duration,
    ) -> Result<Vec<Found>, KafkaError> {
        let mut rounds: Vec<HashMap<(&str, i32), usize>> = Vec::new();
        for (at, (topic, partition, _)) in wanted.iter().enumerate() {
            let key = (topic.as_str(), *partition);
            match rounds.iter_mut().find(|round| !round.contains_key(&key)) {
                Some(round) => drop(round.insert(key, at)),
                None => rounds.push(HashMap::from([(key, at)])),
            }
        }
        let silent = |(topic, partition, _): &Wanted| {
            let text = format!("{topic}/{partition}: the brokers did not answer for its offsets");
            Found::No(code::TIMED_OUT, KafkaError::Unreachable(text))
        };
        let mut answers: Vec<Found> = wanted.iter().map(silent).collect();
        for round in rounds {
            let mut list = Partitions::with_capacity(round.len());
            for ((topic, partition), at) in &round {
                let spec = match wanted[*at].2 {
                    At::Start => i64::from(sys::RD_KAFKA_OFFSET_BEGINNING),
                    At::End => i64::from(sys::RD_KAFKA_OFFSET_END),
                    At::Time(ms) => ms.max(0),
                };
                list.add(&c_string(topic)?, *partition, spec, None);
            }
            let listed = match self.list_once(&list, isolation, timeout) {
                // None of these partitions has a leader: each answers for itself below.
                Err(KafkaError::Other(text)) if text.contains("No leaders found") => {
                    for at in round.values() {
                        let (topic, partition, _) = &wanted[*at];
                        answers[*at] = Found::No(NO_LEADER, leaderless(topic, *partition));
                    }
                    continue;
                }
                other => other?,
            };
            for (topic, partition, answer) in listed {
                if let Some(at) = round.get(&(topic.as_str(), partition)) {
                    answers[*at] = answer;
                }
            }
        }
        Ok(answers)
    }

    fn list_once(
        &self,
        list: &Partitions,
        isolation: Isolation,
        timeout: Duration,
    ) -> Result<Vec<(String, i32, Found)>, KafkaError> {
        let operation = sys::RDKafkaAdminOp::RD_KAFKA_ADMIN_OP_LISTOFFSETS;
        let event =
            self.ask("asking for offsets", operation, None, Some(isolation), timeout, |rk, options, queue| {
                // SAFETY: all are alive during the call; librdkafka copies the list.
                unsafe { sys::rd_kafka_ListOffsets(rk, list.raw(), options, queue) }
            })?;
        listed(&event)
    }
}

fn listed(event: &Event) -> Result<Vec<(String, i32, Found)>, KafkaError> {
    let mut answers = Vec::new();
    // SAFETY: the event is alive; what is reached through it belongs to it and is copied.
    unsafe {
        let result = sys::rd_kafka_event_ListOffsets_result(event.raw());
        if result.is_null() {
            return Err(KafkaError::Other("asking for offsets: an answer to another question".into()));
        }
        let mut count = 0;
        let infos = sys::rd_kafka_ListOffsets_result_infos(result, &mut count);
        for at in 0..count {
            let row = row(sys::rd_kafka_ListOffsetsResultInfo_topic_partition(*infos.add(at)));
            let answer = match row.code {
                0 if row.offset >= NO_SUCH_TIME => Found::At(OffsetAt { offset: row.offset, epoch: row.epoch }),
                // librdkafka's word for "no offset", without an error: nobody was asked for this one.
                0 => Found::No(NO_LEADER, leaderless(&row.topic, row.partition)),
                code => Found::No(code, refusal(&row.topic, row.partition, code)),
            };
            answers.push((row.topic, row.partition, answer));
        }
    }
    Ok(answers)
}

fn leaderless(topic: &str, partition: i32) -> KafkaError {
    KafkaError::Unreachable(format!("{topic}/{partition} has no leader, or does not exist"))
}

fn refusal(topic: &str, partition: i32, code: i32) -> KafkaError {
    let why = if code == code::UNKNOWN_TOPIC_OR_PART { "does not exist".into() } else { describe(code) };
    KafkaError::sort(code, format!("{topic}/{partition}: {why}"))
}
