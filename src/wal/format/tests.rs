//! Round trips of every part of the format, and readers that are given anything.

use landfall_sink::{Isolation, Stream};
use proptest::prelude::*;

use super::bytes::{Fields, put_varint};
use super::*;

fn def(first_next: i64) -> StreamDef {
    let stream = Stream {
        cluster: "c".into(),
        topic: "orders".into(),
        topic_id: Some("LYP5H4qeS_mDcS7xPnMQ-w".into()),
        partition: 3,
    };
    StreamDef { stream, isolation: Isolation::ReadCommitted, first_next }
}

proptest! {
    #[test]
    fn numbers_come_back(value: i64) {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, value);
        prop_assert_eq!(Fields::new("a number", &bytes).varint().unwrap(), value);
    }

    #[test]
    fn records_come_back(
        offset in 0..i64::MAX, ms: i64, base in 0..i64::MAX, base_ms: i64,
        key: Option<Vec<u8>>, value: Option<Vec<u8>>, headers: Vec<(String, Option<Vec<u8>>)>,
    ) {
        let headers = headers.iter().map(|(key, value)| Header { key, value: value.as_deref() }).collect();
        let record = Record { offset, timestamp_ms: ms, timestamp_type: TimestampType::Append, key: key.as_deref(), value: value.as_deref(), headers };
        let mut payload = Vec::new();
        encode_record(&mut payload, &record, base, base_ms);
        encode_record(&mut payload, &record, base, base_ms);
        let read: Vec<_> = Records::new(&payload, 2, base, base_ms).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(read, vec![record.clone(), record]);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>, count: u32) {
        let uuid = [7; 16];
        let _ = Records::new(&bytes, count, 0, 0).count();
        let _ = (Index::decode(&bytes), StreamDef::decode(&bytes), GapNote::decode(&bytes));
        let _ = (GroupHeader::decode(&bytes, &uuid), FrameHeader::decode(&bytes, &uuid));
        let _ = (SegmentHeader::decode(&bytes), Meta::choose(&bytes));
        let _ = SegmentName::parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn an_index_comes_back(lens in proptest::collection::vec((0u32..400_000, 0i64..4), 1..60)) {
        let mut index = Index::default();
        let mut next = 100;
        for (at, (len, jump)) in lens.iter().enumerate() {
            let mut frame = FrameHeader::of(FrameType::Data, &[]);
            (frame.payload_len, frame.records, frame.stream_id) = (*len, 1, at as u32 % 3);
            (frame.prev_next_offset, frame.base_offset, frame.next_offset) = (next + jump, next + jump, next + jump + 1);
            next = frame.next_offset;
            index.note(&frame, &def(100), 4096 * (at as u64 + 1), at % 5 == 0);
        }
        let bytes = index.encode();
        prop_assert_eq!(bytes.len(), index.encoded_len());
        prop_assert_eq!(Index::decode(&bytes).unwrap(), index);
    }
}

#[test]
fn headers_come_back() {
    let uuid = [9; 16];
    let meta = Meta { uuid, generation: 5, incarnation: 3, floor_lsn: 8192, floor_segment: 2, newest_segment: 7 };
    let mut file = vec![0; META_LEN];
    file[4096..].copy_from_slice(&meta.encode());
    assert_eq!(Meta::choose(&file).unwrap(), (meta, false));

    let segment = SegmentHeader {
        uuid,
        incarnation: 3,
        seq: 4,
        base_lsn: 8192,
        prev_end_lsn: 8192,
        prev_chain: 77,
        flags: segment_flags::RECYCLED,
        capacity: 1 << 20,
        created_ms: 1,
        max_group: 1 << 16,
    };
    assert_eq!(SegmentHeader::decode(&segment.encode()).unwrap(), segment);
    assert_eq!(SegmentName::parse("00-0000000004-0000000000002000.wal"), Some(segment.name()));
    assert_eq!(SegmentName::parse("00-4-2000.wal"), None);
    let trailer = Trailer { seal_lsn: 12288, end_lsn: 16384, seq: 4, groups: 2, records: 9, chain: 5, group_seq: 11 };
    assert_eq!(Trailer::decode(&trailer.encode(&uuid), &segment), Some(trailer));

    let group = GroupHeader {
        lsn: 8192,
        incarnation: 3,
        seq: 11,
        synced_lsn: 8192,
        body_len: 96,
        frames: 1,
        prev_chain: 77,
        frames_crc: 6,
        flags: group_flags::REPAIR,
    };
    assert_eq!(GroupHeader::decode(&group.encode(&uuid), &uuid), Some(group));
    assert_eq!(GroupHeader::decode(&group.encode(&uuid), &[8; 16]), None, "of another log");
    let frame = FrameHeader { stream_id: 4, next_offset: 12, ..FrameHeader::of(FrameType::Data, b"abc") };
    assert_eq!(FrameHeader::decode(&frame.encode(&uuid), &uuid), Some(frame));
    assert_eq!(StreamDef::decode(&def(5).encode().unwrap()).unwrap(), def(5));
}

#[test]
fn a_newer_minor_version_is_read_and_a_newer_major_one_is_refused() {
    let segment = SegmentHeader {
        uuid: [1; 16],
        incarnation: 1,
        seq: 1,
        base_lsn: 4096,
        prev_end_lsn: 4096,
        prev_chain: 0,
        flags: 0,
        capacity: 1 << 20,
        created_ms: 0,
        max_group: 1 << 16,
    };
    let changed = |at: usize| {
        let mut block = segment.encode();
        block[at] += 1;
        let crc = crc32c::crc32c(&block[..4092]).to_le_bytes();
        block[4092..].copy_from_slice(&crc);
        block
    };
    assert_eq!(SegmentHeader::decode(&changed(10)).unwrap(), segment);
    assert!(matches!(SegmentHeader::decode(&changed(8)), Err(FormatError::Version { major: 2, .. })));
}
