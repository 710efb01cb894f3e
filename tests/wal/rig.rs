//! Streams, records that anybody can compute, and an oracle for what must be read back.

use std::path::Path;

use landfall::wal::{AssignReason, Isolation, Options, Record, Recovery, Run, Stream, StreamId, Wal};

/// Small segments, no ballast: a test sees several of them within a few hundred records.
pub fn options() -> Options {
    Options { segment_bytes: 128 << 10, group_bytes: 32 << 10, ballast_bytes: 0, ..Options::default() }
}

pub fn stream(partition: i32) -> Stream {
    let topic_id = Some("LYP5H4qeS_mDcS7xPnMQ-w".into());
    Stream { cluster: "cluster".into(), topic: "orders".into(), topic_id, partition }
}

/// The value of a record is a function of its stream and offset.
pub fn value(partition: i32, offset: i64) -> Vec<u8> {
    let len = (offset as usize * 37 + partition as usize) % 900;
    (0..len).map(|at| (offset as usize * 31 + at * 7 + partition as usize) as u8).collect()
}

pub fn run(partition: i32, from: i64, until: i64) -> Run {
    let values: Vec<Vec<u8>> = (from..until).map(|offset| value(partition, offset)).collect();
    let record =
        |(at, value)| Record { offset: from + at as i64, timestamp_ms: from, value: Some(value), ..Record::default() };
    let records: Vec<Record<'_>> = values.iter().map(Vec::as_slice).enumerate().map(record).collect();
    Run::new(&records, until)
}

/// The stream's id, with a run that starts at 0 where there is none.
pub fn open_stream(wal: &Wal, partition: i32) -> StreamId {
    let id = wal.stream(&stream(partition), Isolation::ReadCommitted).unwrap();
    if wal.next_offset(id).is_none() {
        wal.start_run(id, 0, AssignReason::Start).unwrap();
    }
    id
}

pub fn open(directory: &Path) -> (Wal, Recovery) {
    Wal::open(directory, options()).unwrap()
}

/// Reads everything that is held of a stream and checks every value; returns the offsets.
pub fn read_all(wal: &Wal, partition: i32) -> Vec<i64> {
    let id = wal.stream(&stream(partition), Isolation::ReadCommitted).unwrap();
    let mut offsets = Vec::new();
    for (from, until) in wal.held(id) {
        for frame in wal.cursor(id, from, until).unwrap() {
            let frame = frame.unwrap();
            for record in frame.records() {
                let record = record.unwrap();
                assert_eq!(
                    record.value,
                    Some(value(partition, record.offset).as_slice()),
                    "orders/{partition} {}",
                    record.offset
                );
                offsets.push(record.offset);
            }
        }
    }
    offsets
}
