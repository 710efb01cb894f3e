//! A log of format version 1 as this release's first build wrote it, kept for good: every later release reads from it
//! what the listing beside it says. `cargo test --test wal write_the_golden_log -- --ignored` writes both; that is only
//! for a new version of the format, in a directory of its own.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use landfall::wal::format::SegmentHeader;
use landfall::wal::{
    AssignReason, Floor, Isolation, Options, Record, Run, Stream, Tail, Ticket, TimestampType, Wal, WalError, check,
};
use serde_json::{Value, json};

use crate::base::{Made, beside, run};

fn kept() -> PathBuf {
    beside("golden/v1")
}

fn stream(partition: i32) -> Stream {
    let topic_id = (partition > 0).then(|| "LYP5H4qeS_mDcS7xPnMQ-w".to_string());
    Stream { cluster: "Gk8pX-cluster".into(), topic: "golden".into(), topic_id, partition }
}

fn isolation(partition: i32) -> Isolation {
    if partition == 2 { Isolation::ReadUncommitted } else { Isolation::ReadCommitted }
}

fn options() -> Options {
    Options {
        segment_bytes: 48 << 10,
        group_bytes: 16 << 10,
        ballast_bytes: 0,
        heartbeat: Duration::from_millis(20),
        ..Options::default()
    }
}

fn text(bytes: Option<&[u8]>) -> Value {
    match bytes {
        None => Value::Null,
        Some(bytes) if bytes.len() <= 24 => json!({"hex": bytes.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        })}),
        Some(bytes) => json!({"bytes": bytes.len(), "crc32c": format!("{:08x}", crc32c::crc32c(bytes))}),
    }
}

fn listed(record: &Record<'_>) -> Value {
    let headers: Vec<Value> = record.headers.iter().map(|header| json!([header.key, text(header.value)])).collect();
    let kind = match record.timestamp_type {
        TimestampType::Create => "create",
        TimestampType::Append => "append",
        TimestampType::None => "none",
    };
    json!([record.offset, record.timestamp_ms, kind, text(record.key), text(record.value), headers])
}

/// Next offset, what is held, and the records, by partition.
type Streams = BTreeMap<i32, (i64, Vec<(i64, i64)>, Vec<Value>)>;

/// A line a record, so that a difference is one.
fn printed(streams: &Streams) -> String {
    let mut out = String::from("[\n");
    for (at, (partition, (next, held, records))) in streams.iter().enumerate() {
        let comma = if at + 1 < streams.len() { "," } else { "" };
        let level =
            if isolation(*partition) == Isolation::ReadCommitted { "read_committed" } else { "read_uncommitted" };
        let held: Vec<String> = held.iter().map(|(from, until)| format!("[{from},{until}]")).collect();
        let records: Vec<String> = records.iter().map(Value::to_string).collect();
        writeln!(out, "{{\"partition\":{partition},\"topic_id\":{},\"isolation\":\"{level}\",\"next\":{next},\"held\":[{}],\"records\":[\n{}\n]}}{comma}",
            json!(stream(*partition).topic_id), held.join(","), records.join(",\n")).unwrap();
    }
    out + "]\n"
}

/// What the current code reads.
fn read(directory: &Path) -> String {
    let (wal, recovery) = Wal::open(directory, options()).unwrap();
    assert_eq!(recovery.damages, vec![]);
    assert!(matches!(recovery.tail, Tail::Clean { closed: false }), "{:?}", recovery.tail);
    let mut streams = BTreeMap::new();
    for state in &recovery.streams {
        let partition = state.stream.partition;
        assert_eq!((&state.stream, state.isolation), (&stream(partition), isolation(partition)));
        let id = wal.stream(&state.stream, state.isolation).unwrap();
        let mut records = Vec::new();
        for (from, until) in &state.held {
            for frame in wal.cursor(id, *from, *until).unwrap() {
                let frame = frame.unwrap();
                assert_eq!((frame.leader_epoch(), frame.receiver()), (4, partition as u32));
                records.extend(frame.records().map(|record| listed(&record.unwrap())));
            }
        }
        streams.insert(partition, (state.next_offset, state.held.clone(), records));
    }
    printed(&streams)
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.metadata().unwrap().is_file() && entry.file_name() != "LOCK" {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

fn contents(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    let names = entries.map(|entry| entry.file_name().into_string().unwrap()).filter(|name| name != "LOCK");
    names.map(|name| (name.clone(), std::fs::read(directory.join(name)).unwrap())).collect()
}

#[test]
fn a_log_of_version_1_is_read_to_the_letter() {
    let directory = tempfile::tempdir().unwrap();
    copy(&kept(), directory.path());
    std::fs::remove_file(directory.path().join("listing.json")).unwrap();
    let found = check(directory.path()).unwrap();
    assert_eq!(found.damages, vec![]);
    assert_eq!(found.torn, None);
    assert!(found.segments.iter().any(|line| line.sealed) && found.segments.iter().any(|line| !line.sealed));
    let listing = std::fs::read_to_string(kept().join("listing.json")).unwrap();
    assert_eq!(read(directory.path()), listing);
    // It can be gone on with, and what was there stays.
    let (wal, _) = Wal::open(directory.path(), options()).unwrap();
    let id = wal.stream(&stream(0), isolation(0)).unwrap();
    let next = wal.next_offset(id).unwrap();
    wal.wait(wal.append(id, run(0, &[next], next + 1, 50)).unwrap()).unwrap();
    wal.close().unwrap();
    assert_eq!(check(directory.path()).unwrap().damages, vec![]);
}

/// Changes the version in the block at `offset`, as another release would have written it.
fn versioned(bytes: &mut [u8], offset: usize, field: usize) {
    let block = &mut bytes[offset..offset + 4096];
    if block.iter().any(|byte| *byte != 0) {
        block[field] += 1;
        let crc = crc32c::crc32c(&block[..4092]).to_le_bytes();
        block[4092..].copy_from_slice(&crc);
    }
}

fn golden_with(change: impl Fn(&str, &mut Vec<u8>)) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, mut bytes) in contents(&kept()) {
        if name != "listing.json" {
            change(&name, &mut bytes);
            std::fs::write(directory.path().join(name), bytes).unwrap();
        }
    }
    directory
}

#[test]
fn a_newer_minor_version_is_read() {
    let directory = golden_with(|name, bytes| {
        versioned(bytes, 0, 10);
        if name == "META" {
            versioned(bytes, 4096, 10);
        }
    });
    let listing = std::fs::read_to_string(kept().join("listing.json")).unwrap();
    assert_eq!(read(directory.path()), listing);
}

#[test]
fn a_newer_major_version_is_refused_by_name_and_nothing_is_changed() {
    let newest = contents(&kept()).into_keys().rfind(|name| name.ends_with(".wal")).unwrap();
    let cases: [(&str, usize); 3] = [("META", 0), ("META", 4096), (&newest, 0)];
    for (file, offset) in cases {
        let directory = golden_with(|name, bytes| {
            if name == file {
                versioned(bytes, offset, 8);
            }
        });
        let before = contents(directory.path());
        let refused = |error: WalError| {
            assert!(matches!(error, WalError::Format { .. }), "{error}");
            let said = error.to_string();
            assert!(said.contains(file) && said.contains("format version 2"), "{said}");
        };
        refused(check(directory.path()).unwrap_err());
        refused(Wal::open(directory.path(), options()).err().unwrap());
        assert_eq!(contents(directory.path()), before, "{file} at {offset}");
    }
}

/// What is appended, by stream; the listing is made of this and not of what is read.
#[derive(Default)]
struct Written {
    streams: Streams,
}

impl Written {
    fn start(&mut self, wal: &Wal, partition: i32, offset: i64) {
        let id = wal.stream(&stream(partition), isolation(partition)).unwrap();
        wal.start_run(id, offset, AssignReason::Assigned).unwrap();
        let known = self.streams.entry(partition).or_default();
        known.0 = offset;
        known.1.push((offset, offset));
    }

    fn append(&mut self, wal: &Wal, partition: i32, count: i64, step: i64) -> Ticket {
        let id = wal.stream(&stream(partition), isolation(partition)).unwrap();
        let (next, held, records) = self.streams.get_mut(&partition).unwrap();
        let offsets: Vec<i64> = (0..count).map(|at| *next + at * step).collect();
        let until = *next + if count == 0 { 3 } else { count * step };
        let appended = if count == 0 {
            Run::empty(*next, until).leader_epoch(4).receiver(partition as u32)
        } else {
            run(partition, &offsets, until, 1300)
        };
        records.extend(offsets.iter().map(|offset| listed(&Made::new(partition, *offset, 1300).record())));
        *next = until;
        held.last_mut().unwrap().1 = until;
        wal.append(id, if step > 1 { appended.sparse() } else { appended }).unwrap()
    }
}

#[test]
#[ignore = "writes the golden log, for a new version of the format"]
fn write_the_golden_log() {
    assert!(!kept().join("META").exists(), "a golden log is never written again");
    let directory = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(directory.path(), options()).unwrap();
    let mut written = Written::default();
    for partition in 0..4 {
        written.start(&wal, partition, 1000 * i64::from(partition));
    }
    wal.wait(written.append(&wal, 3, 4, 1)).unwrap();
    let round = |written: &mut Written, round: i64| {
        let mut last = written.append(&wal, 0, 2 + round % 3, 1);
        last = last.max(written.append(&wal, 1, 3, 1));
        last = last.max(written.append(&wal, 2, (round % 3) * 2, 2));
        wal.wait(last).unwrap();
    };
    let mut rounds = 0..;
    while wal.metrics().segments < 3 {
        round(&mut written, rounds.next().unwrap());
    }
    let id = wal.stream(&stream(3), isolation(3)).unwrap();
    wal.copy_forward(id, 0).unwrap();
    while wal.metrics().segments < 4 {
        round(&mut written, rounds.next().unwrap());
    }
    let cursor = |partition: i32| Floor { stream: stream(partition), committed: 1000 * i64::from(partition) + 20 };
    assert!(wal.retire(&[cursor(0), cursor(1), cursor(2)]).unwrap().segments > 0);
    let jump = written.streams[&1].0 + 500;
    written.start(&wal, 1, jump);
    for _ in 0..4 {
        round(&mut written, rounds.next().unwrap());
    }
    // The heartbeat proves the last group, and the log stays as a crash leaves it.
    std::thread::sleep(Duration::from_millis(200));
    std::fs::create_dir_all(kept()).unwrap();
    for (name, bytes) in contents(directory.path()) {
        if name == "META" || name.ends_with(".wal") {
            std::fs::write(kept().join(name), bytes).unwrap();
        }
    }
    // What went with the retired segments is not listed.
    for (partition, (_, held, records)) in &mut written.streams {
        let id = wal.stream(&stream(*partition), isolation(*partition)).unwrap();
        let first = wal.held(id).first().unwrap().0;
        held.first_mut().unwrap().0 = first;
        records.retain(|record| record[0].as_i64().unwrap() >= first);
        assert_eq!(wal.held(id), *held);
    }
    std::fs::write(kept().join("listing.json"), printed(&written.streams)).unwrap();
    let headers = contents(&kept()).into_iter().filter(|(name, _)| name.ends_with(".wal"));
    let flags: Vec<u32> = headers.map(|(_, bytes)| SegmentHeader::decode(&bytes).unwrap().flags).collect();
    println!("segments' flags {flags:?}");
}
