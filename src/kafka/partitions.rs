//! librdkafka's list of partitions: what is asked of it and what it answers.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_int};

use rdkafka_sys as sys;

use super::native::text;

/// One row of a list.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub epoch: Option<i32>,
    pub metadata: String,
    pub code: i32,
}

/// A list that is owned here.
pub(super) struct Partitions(*mut sys::rd_kafka_topic_partition_list_t);

impl Partitions {
    pub fn with_capacity(rows: usize) -> Partitions {
        // SAFETY: takes a size hint only.
        Partitions(unsafe { sys::rd_kafka_topic_partition_list_new(c_int::try_from(rows).unwrap_or(0)) })
    }

    pub fn raw(&self) -> *mut sys::rd_kafka_topic_partition_list_t {
        self.0
    }

    pub fn is_empty(&self) -> bool {
        // SAFETY: the list is alive.
        unsafe { (*self.0).cnt == 0 }
    }

    pub fn add(&mut self, topic: &CStr, partition: i32, offset: i64, epoch: Option<i32>) {
        // SAFETY: the list is alive; the returned row is used before the list can grow again.
        unsafe {
            let row = sys::rd_kafka_topic_partition_list_add(self.0, topic.as_ptr(), partition);
            (*row).offset = offset;
            if let Some(epoch) = epoch {
                sys::rd_kafka_topic_partition_set_leader_epoch(row, epoch);
            }
        }
    }

    /// Adds a row with a text that the group coordinator keeps beside the offset.
    pub fn add_with_metadata(&mut self, topic: &CStr, partition: i32, offset: i64, metadata: &str) {
        self.add(topic, partition, offset, None);
        // SAFETY: a row was just added, so there is a last one. librdkafka frees the metadata with C's `free`,
        // so it comes from C's `malloc`; an allocation that fails leaves the row without metadata.
        unsafe {
            let row = (*self.0).elems.add((*self.0).cnt as usize - 1);
            let memory = libc::malloc(metadata.len().max(1));
            if !memory.is_null() {
                std::ptr::copy_nonoverlapping(metadata.as_ptr(), memory.cast::<u8>(), metadata.len());
                (*row).metadata = memory;
                (*row).metadata_size = metadata.len();
            }
        }
    }

    pub fn rows(&self) -> Vec<Row> {
        // SAFETY: the list is alive.
        unsafe { rows(self.0) }
    }
}

impl Drop for Partitions {
    fn drop(&mut self) {
        // SAFETY: owned and alive.
        unsafe { sys::rd_kafka_topic_partition_list_destroy(self.0) }
    }
}

/// Copies a list that belongs to somebody else.
///
/// # Safety
/// `list` is null or a live list.
pub(super) unsafe fn rows(list: *const sys::rd_kafka_topic_partition_list_t) -> Vec<Row> {
    if list.is_null() {
        return Vec::new();
    }
    // SAFETY: the list is alive and holds `cnt` rows.
    unsafe { (0..(*list).cnt as usize).map(|at| row((*list).elems.add(at))).collect() }
}

/// Copies one row.
///
/// # Safety
/// `row` points to a live row.
pub(super) unsafe fn row(row: *const sys::rd_kafka_topic_partition_t) -> Row {
    // SAFETY: alive by contract. The error code is read as a number (see `native::code`); metadata, where
    // there is one, is `metadata_size` bytes long.
    unsafe {
        let epoch = sys::rd_kafka_topic_partition_get_leader_epoch(row);
        let metadata = if (*row).metadata.is_null() || (*row).metadata_size == 0 {
            String::new()
        } else {
            let bytes = std::slice::from_raw_parts((*row).metadata.cast::<u8>(), (*row).metadata_size);
            String::from_utf8_lossy(bytes).into_owned()
        };
        Row {
            topic: text((*row).topic),
            partition: (*row).partition,
            offset: (*row).offset,
            epoch: (epoch >= 0).then_some(epoch),
            metadata,
            code: (&raw const (*row).err).cast::<i32>().read(),
        }
    }
}
