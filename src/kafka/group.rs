//! Announcing what has landed to a consumer group, for lag monitors. It is never a position.
#![allow(unsafe_code)]

use std::time::Duration;

use rdkafka_sys as sys;

use super::native::{Event, c_string, describe, look_at_error};
use super::partitions::{Partitions, Row, rows};
use super::{Kafka, KafkaError};

/// What a group holds for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    pub topic: String,
    pub partition: i32,
    /// `None` where nothing was ever announced, or it expired.
    pub offset: Option<i64>,
    pub metadata: String,
}

const WAIT: Duration = Duration::from_secs(10);

impl Kafka {
    /// Writes offsets, each with the same text beside it. Refused by the coordinator while the group has
    /// members.
    pub fn announce(&self, group: &str, offsets: &[(String, i32, i64)], metadata: &str) -> Result<(), KafkaError> {
        if offsets.is_empty() {
            return Ok(());
        }
        let group_c = c_string(group)?;
        let mut list = Partitions::with_capacity(offsets.len());
        for (topic, partition, offset) in offsets {
            list.add_with_metadata(&c_string(topic)?, *partition, *offset, metadata);
        }
        let what = format!("announcing to the consumer group {group}");
        let operation = sys::RDKafkaAdminOp::RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS;
        let event = self.ask(&what, operation, None, None, WAIT, |rk, options, queue| {
            // SAFETY: all are alive during the call; librdkafka copies the request, which is destroyed here.
            unsafe {
                let mut request = sys::rd_kafka_AlterConsumerGroupOffsets_new(group_c.as_ptr(), list.raw());
                sys::rd_kafka_AlterConsumerGroupOffsets(rk, &mut request, 1, options, queue);
                sys::rd_kafka_AlterConsumerGroupOffsets_destroy(request);
            }
        })?;
        // SAFETY: the event is alive and is the answer to the call above.
        let groups = unsafe {
            let result = sys::rd_kafka_event_AlterConsumerGroupOffsets_result(event.raw());
            let mut count = 0;
            let groups = sys::rd_kafka_AlterConsumerGroupOffsets_result_groups(result, &mut count);
            results(&event, groups, count, &what)?
        };
        match groups.into_iter().find(|row| row.code != 0) {
            None => Ok(()),
            Some(row) => Err(row_error(&what, &row)),
        }
    }

    /// What the group holds for these partitions.
    pub fn announced(&self, group: &str, partitions: &[(String, i32)]) -> Result<Vec<Announced>, KafkaError> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let group_c = c_string(group)?;
        let mut list = Partitions::with_capacity(partitions.len());
        for (topic, partition) in partitions {
            list.add(&c_string(topic)?, *partition, i64::from(sys::RD_KAFKA_OFFSET_INVALID), None);
        }
        let what = format!("reading the offsets of the consumer group {group}");
        let operation = sys::RDKafkaAdminOp::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS;
        let event = self.ask(&what, operation, None, None, WAIT, |rk, options, queue| {
            // SAFETY: as above.
            unsafe {
                let mut request = sys::rd_kafka_ListConsumerGroupOffsets_new(group_c.as_ptr(), list.raw());
                sys::rd_kafka_ListConsumerGroupOffsets(rk, &mut request, 1, options, queue);
                sys::rd_kafka_ListConsumerGroupOffsets_destroy(request);
            }
        })?;
        // SAFETY: as above.
        let found = unsafe {
            let result = sys::rd_kafka_event_ListConsumerGroupOffsets_result(event.raw());
            let mut count = 0;
            let groups = sys::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &mut count);
            results(&event, groups, count, &what)?
        };
        found
            .into_iter()
            .map(|row| match row.code {
                0 => Ok(Announced {
                    offset: (row.offset >= 0).then_some(row.offset),
                    topic: row.topic,
                    partition: row.partition,
                    metadata: row.metadata,
                }),
                _ => Err(row_error(&what, &row)),
            })
            .collect()
    }
}

/// The rows of all groups of an answer; an error of a group as a whole is the answer's.
///
/// # Safety
/// `groups` is an array of `count` results that belong to `event`.
unsafe fn results(
    _event: &Event,
    groups: *mut *const sys::rd_kafka_group_result_t,
    count: usize,
    what: &str,
) -> Result<Vec<Row>, KafkaError> {
    let mut all = Vec::new();
    for at in 0..count {
        // SAFETY: by contract; what is reached is copied.
        unsafe {
            let group = *groups.add(at);
            if let Some((code, text)) = look_at_error(sys::rd_kafka_group_result_error(group)) {
                return Err(KafkaError::sort(code, format!("{what}: {text}")));
            }
            all.extend(rows(sys::rd_kafka_group_result_partitions(group)));
        }
    }
    Ok(all)
}

fn row_error(what: &str, row: &Row) -> KafkaError {
    let (topic, partition) = (&row.topic, row.partition);
    KafkaError::sort(row.code, format!("{what}: {topic}/{partition}: {}", describe(row.code)))
}
