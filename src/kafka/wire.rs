//! The calls by which a reader tells librdkafka what to read.
#![allow(unsafe_code)]

use std::time::Duration;

use rdkafka_sys as sys;

use super::KafkaError;
use super::native::{Client, code, millis, take_error};
use super::partitions::{Partitions, Row};

pub(super) fn incremental_assign(client: &Client, wave: &Partitions) -> Result<(), KafkaError> {
    // SAFETY: client and list are alive; librdkafka copies the list, and the error is owned here.
    let error = unsafe { take_error(sys::rd_kafka_incremental_assign(client.raw(), wave.raw())) };
    error.map_or(Ok(()), |(code, text)| Err(KafkaError::sort(code, format!("assigning partitions: {text}"))))
}

pub(super) fn incremental_unassign(client: &Client, list: &Partitions) -> Result<(), KafkaError> {
    // SAFETY: as above.
    let error = unsafe { take_error(sys::rd_kafka_incremental_unassign(client.raw(), list.raw())) };
    error.map_or(Ok(()), |(code, text)| Err(KafkaError::sort(code, format!("releasing partitions: {text}"))))
}

/// Seeks each partition to its offset and epoch, and returns those for which that was refused. When it
/// returns, everything that was fetched before the seek is outdated and will not be delivered.
pub(super) fn seek(client: &Client, list: &Partitions, wait: Duration) -> Vec<Row> {
    // SAFETY: client and list are alive; librdkafka writes the outcome into the list's rows.
    let failed = unsafe { take_error(sys::rd_kafka_seek_partitions(client.raw(), list.raw(), millis(wait))) };
    let mut rows = list.rows();
    rows.retain_mut(|row| {
        if failed.is_some() && row.code == code::IN_PROGRESS {
            // Whether these were sought is not known: an attempt must not begin from such a state.
            row.code = code::TIMED_OUT;
        }
        row.code != 0
    });
    rows
}
