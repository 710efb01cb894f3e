//! The log that is damaged: three segments, one of them in a recycled file, five streams with runs, holes, nulls,
//! headers and copies; and everything that must be read from it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use landfall::wal::format::{GroupHeader, SegmentHeader, encode_record, group_flags};
use landfall::wal::{
    Acked, AssignReason, Floor, Header, Isolation, Options, Record, Run, Stream, StreamId, TimestampType, Wal, check_on,
};

use crate::memory::{Image, Memory};

/// The group's place, and what it says about the groups before it.
pub struct Group {
    pub file: String,
    pub offset: usize,
    pub header: GroupHeader,
    pub bytes: [u8; 64],
}

/// What must be read of a stream.
#[derive(Default)]
pub struct Truth {
    pub next: i64,
    pub held: Vec<(i64, i64)>,
    /// The record's checksum by its offset.
    pub records: BTreeMap<i64, u32>,
    /// The addresses of the groups it stands in.
    pub lsns: BTreeMap<i64, Vec<u64>>,
}

pub struct Base {
    pub image: Image,
    /// What the recycled files held before.
    pub past: Image,
    pub truth: BTreeMap<i32, Truth>,
    pub groups: Vec<Group>,
    pub acked: Vec<Acked>,
    /// Segments, oldest first.
    pub segments: Vec<String>,
}

impl Base {
    /// Whether the group at an address holds frames that were copied there.
    pub fn is_copy(&self, lsn: u64) -> bool {
        self.groups.iter().any(|group| group.header.lsn == lsn && group.header.has(group_flags::REPAIR))
    }
}

pub fn options() -> Options {
    Options {
        segment_bytes: 80 << 10,
        group_bytes: 32 << 10,
        ballast_bytes: 0,
        heartbeat: Duration::from_secs(3600),
        ..Options::default()
    }
}

pub fn stream(partition: i32) -> Stream {
    // One of them without a topic id, as old brokers have none.
    let topic_id = (partition != 1).then(|| "LYP5H4qeS_mDcS7xPnMQ-w".to_string());
    Stream { cluster: "cluster".into(), topic: format!("topic-{}", partition % 2), topic_id, partition }
}

pub fn isolation(partition: i32) -> Isolation {
    if partition == 2 { Isolation::ReadUncommitted } else { Isolation::ReadCommitted }
}

/// A record is a function of its stream and offset.
pub struct Made {
    partition: i32,
    offset: i64,
    key: Vec<u8>,
    value: Vec<u8>,
    name: String,
}

impl Made {
    pub fn new(partition: i32, offset: i64, most: usize) -> Made {
        let byte = |at: usize| b'a' + ((at + offset as usize * 7 + partition as usize * 3) % 26) as u8;
        Made {
            partition,
            offset,
            key: (0..(offset as usize % 20)).map(byte).collect(),
            value: (0..(offset as usize * 37 + partition as usize) % most).map(byte).collect(),
            name: format!("header-{}", offset % 3),
        }
    }

    pub fn record(&self) -> Record<'_> {
        let headers = match self.offset % 4 {
            1 => vec![Header { key: &self.name, value: Some(&self.key) }, Header { key: &self.name, value: None }],
            2 => vec![Header { key: "", value: Some(b"") }],
            _ => vec![],
        };
        Record {
            offset: self.offset,
            timestamp_ms: 1_700_000_000_000 + (self.offset * 13 + i64::from(self.partition)) % 50,
            timestamp_type: [TimestampType::Create, TimestampType::Append, TimestampType::None]
                [self.offset as usize % 3],
            key: (self.offset % 5 != 0).then_some(&self.key),
            value: (self.offset % 7 != 3).then_some(&self.value),
            headers,
        }
    }
}

pub fn run(partition: i32, offsets: &[i64], next: i64, most: usize) -> Run {
    let made: Vec<Made> = offsets.iter().map(|offset| Made::new(partition, *offset, most)).collect();
    let records: Vec<Record<'_>> = made.iter().map(Made::record).collect();
    Run::new(&records, next).leader_epoch(4).receiver(partition as u32).received_ms(1_700_000_000_000)
}

pub fn digest(record: &Record<'_>) -> u32 {
    let mut bytes = Vec::new();
    encode_record(&mut bytes, record, 0, 0);
    crc32c::crc32c(&bytes)
}

pub const MOST: usize = 600;

struct Writer<'a> {
    wal: &'a Wal,
    memory: &'a Memory,
    truth: BTreeMap<i32, Truth>,
}

impl Writer<'_> {
    fn id(&self, partition: i32) -> StreamId {
        self.wal.stream(&stream(partition), isolation(partition)).unwrap()
    }

    fn start(&mut self, partition: i32, offset: i64) {
        self.wal.start_run(self.id(partition), offset, AssignReason::Assigned).unwrap();
        let truth = self.truth.entry(partition).or_default();
        truth.next = offset;
        truth.held.push((offset, offset));
    }

    /// `count` records, every `step`-th offset of them.
    fn append(&mut self, partition: i32, count: i64, step: i64) -> landfall::wal::Ticket {
        let id = self.id(partition);
        let truth = self.truth.get_mut(&partition).unwrap();
        let offsets: Vec<i64> = (0..count).map(|at| truth.next + at * step).collect();
        let next = if count == 0 { truth.next + 3 } else { truth.next + count * step };
        let run = if count == 0 { Run::empty(truth.next, next) } else { run(partition, &offsets, next, MOST) };
        let run = if step > 1 { run.sparse() } else { run };
        for offset in offsets {
            truth.records.insert(offset, digest(&Made::new(partition, offset, MOST).record()));
        }
        truth.next = next;
        truth.held.last_mut().unwrap().1 = next;
        self.wal.append(id, run).unwrap()
    }

    /// A group of one frame and a group of several.
    fn round(&mut self, round: i64) {
        let gate = self.memory.gate.lock().unwrap();
        let mut last = self.append(0, 1 + round % 4, 1);
        last = self.append(1, 2, 1).max(last);
        if round % 3 == 0 {
            last = self.append(2, 3, 2).max(last);
        }
        if round % 8 == 5 {
            last = self.append(2, 0, 1).max(last);
        }
        drop(gate);
        self.wal.wait(last).unwrap();
    }
}

/// Builds the log. Unsealed, as a power cut leaves it, or closed.
pub fn build(closed: bool) -> Base {
    let memory = Memory::default();
    let (wal, _) = Wal::open_on(Arc::new(memory.clone()), options()).unwrap();
    let mut writer = Writer { wal: &wal, memory: &memory, truth: BTreeMap::new() };
    for partition in 0..4 {
        writer.start(partition, 100 * i64::from(partition));
    }
    let first = writer.append(3, 6, 1);
    wal.wait(first).unwrap();
    let mut round = 0;
    let mut until = |writer: &mut Writer<'_>, enough: &dyn Fn(&Wal) -> bool| {
        while !enough(writer.wal) {
            writer.round(round);
            round += 1;
        }
    };
    until(&mut writer, &|wal| wal.metrics().segments == 4);
    // Frees three files that are written again, and leaves stream 3 with nothing but copies.
    wal.copy_forward(writer.id(3), 0).unwrap();
    let floors: Vec<Floor> = (0..3).map(|partition| Floor { stream: stream(partition), committed: i64::MAX }).collect();
    // The copies' own segment, and one more, stay.
    while wal.retire(&floors).unwrap().segments == 0 {
        until(&mut writer, &|wal| wal.metrics().segments == 5);
    }
    until(&mut writer, &|wal| wal.metrics().segments == 2);
    // A stream that is in the middle segment alone, and one that jumps.
    writer.start(4, 7000);
    for _ in 0..2 {
        let last = writer.append(4, 3, 1);
        wal.wait(last).unwrap();
    }
    let jump = writer.truth[&1].next + 50;
    writer.start(1, jump);
    until(&mut writer, &|wal| wal.metrics().segments == 3);
    let enough = wal.metrics().groups + 9;
    until(&mut writer, &|wal| wal.metrics().groups >= enough);
    let truth = std::mem::take(&mut writer.truth);
    if closed {
        wal.close().unwrap();
        finish(&memory, truth)
    } else {
        let base = finish(&memory, truth);
        drop(wal);
        base
    }
}

/// What stands where, read once from the log while it is whole.
fn finish(memory: &Memory, mut truth: BTreeMap<i32, Truth>) -> Base {
    let (image, past) = (memory.image(), memory.past());
    let whole = Memory::of(&image);
    let check = check_on(&whole).unwrap();
    assert_eq!(check.damages, vec![]);
    let segments: Vec<String> = check.segments.iter().map(|line| line.file.clone()).collect();
    let headers: Vec<SegmentHeader> =
        segments.iter().map(|file| SegmentHeader::decode(&image[file]).unwrap()).collect();
    let mut groups = Vec::new();
    for (line, header) in check.segments.iter().zip(&headers) {
        let (bytes, mut at) = (&image[&line.file], line.base_lsn);
        while at < line.end_lsn {
            let offset = header.file_offset(at) as usize;
            let raw: [u8; 64] = bytes[offset..offset + 64].try_into().unwrap();
            let group = GroupHeader::decode(&raw, &header.uuid).unwrap();
            groups.push(Group { file: line.file.clone(), offset, header: group, bytes: raw });
            at += group.total();
        }
    }
    let (wal, recovery) = Wal::open_on(Arc::new(whole), options()).unwrap();
    for (partition, truth) in &mut truth {
        let id = wal.stream(&stream(*partition), isolation(*partition)).unwrap();
        // What was retired is nobody's any more.
        truth.held = recovery.streams.iter().find(|state| state.stream == stream(*partition)).unwrap().held.clone();
        let held = truth.held.clone();
        truth.records.retain(|offset, _| held.iter().any(|(from, until)| from <= offset && offset < until));
        assert_eq!(wal.next_offset(id), Some(truth.next));
        for (from, until) in &truth.held {
            for frame in wal.cursor(id, *from, *until).unwrap() {
                let frame = frame.unwrap();
                for record in frame.records() {
                    truth.lsns.entry(record.unwrap().offset).or_default().push(frame.lsn());
                }
            }
        }
        assert!(truth.lsns.keys().eq(truth.records.keys()), "the whole log holds what was appended");
    }
    let acked =
        truth.iter().map(|(partition, truth)| Acked { stream: stream(*partition), until: truth.next }).collect();
    Base { image, past, truth, groups, acked, segments }
}

/// A directory beside this file.
pub fn beside(name: &str) -> std::path::PathBuf {
    let here = std::path::Path::new(file!()).parent().unwrap().join(name);
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(here)
}
