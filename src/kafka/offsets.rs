//! First, last and timed offsets of many partitions in one call.
#![allow(unsafe_code)]

use std::collections::HashMap;
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
        let mut answers = self.list_rounds(wanted, isolation, timeout)?;
        let timeless: Vec<usize> = (0..wanted.len())
            .filter(|at| matches!(&answers[*at], Ok(answer) if answer.offset == NO_SUCH_TIME))
            .collect();
        if !timeless.is_empty() {
            let ends: Vec<Wanted> = timeless.iter().map(|at| (wanted[*at].0.clone(), wanted[*at].1, At::End)).collect();
            for (at, end) in timeless.into_iter().zip(self.list_rounds(&ends, isolation, timeout)?) {
                answers[at] = end;
            }
        }
        Ok(answers)
    }

    /// One request may name a partition once only, so start and end of the same one go in two rounds.
    fn list_rounds(&self, wanted: &[Wanted], isolation: Isolation, timeout: Duration) -> Result<Vec<Answer>, KafkaError> {
        let mut rounds: Vec<HashMap<(&str, i32), usize>> = Vec::new();
        for (at, (topic, partition, _)) in wanted.iter().enumerate() {
            let key = (topic.as_str(), *partition);
            match rounds.iter_mut().find(|round| !round.contains_key(&key)) {
                Some(round) => drop(round.insert(key, at)),
                None => rounds.push(HashMap::from([(key, at)])),
            }
        }
        let silent = |(topic, partition, _): &Wanted| {
            Err(KafkaError::Unreachable(format!("{topic}/{partition}: the brokers did not answer for its offsets")))
        };
        let mut answers: Vec<Answer> = wanted.iter().map(silent).collect();
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
            for (topic, partition, answer) in self.list_once(&list, isolation, timeout)? {
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
    ) -> Result<Vec<(String, i32, Answer)>, KafkaError> {
        let operation = sys::RDKafkaAdminOp::RD_KAFKA_ADMIN_OP_LISTOFFSETS;
        let event = self.ask("asking for offsets", operation, None, Some(isolation), timeout, |rk, options, queue| {
            // SAFETY: all are alive during the call; librdkafka copies the list.
            unsafe { sys::rd_kafka_ListOffsets(rk, list.raw(), options, queue) }
        })?;
        listed(&event)
    }
}

fn listed(event: &Event) -> Result<Vec<(String, i32, Answer)>, KafkaError> {
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
                0 => Ok(OffsetAt { offset: row.offset, epoch: row.epoch }),
                code => Err(refusal(&row.topic, row.partition, code)),
            };
            answers.push((row.topic, row.partition, answer));
        }
    }
    Ok(answers)
}

fn refusal(topic: &str, partition: i32, code: i32) -> KafkaError {
    let why = if code == code::UNKNOWN_TOPIC_OR_PART { "does not exist".into() } else { describe(code) };
    KafkaError::sort(code, format!("{topic}/{partition}: {why}"))
}
