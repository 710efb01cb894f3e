//! Round trips, releases to come, and bytes that are no checkpoint.

use landfall_sink::{Span, Stream};
use proptest::prelude::*;
use serde_json::json;

use super::super::state::Planned;
use super::*;

fn record() -> Checkpoint {
    let stream = Stream { cluster: "c".into(), topic: "orders".into(), topic_id: Some("T".into()), partition: 3 };
    let born = Checkpoint::birth(stream, 5, "n0").unwrap();
    let plans = vec![Planned::new(Span::new(5, 8), "d1"), Planned::new(Span::new(8, 9), "d2")];
    let record = born.plan_many(plans, "n1").unwrap();
    record.commit(Span::new(5, 8), &[Span::new(6, 7)], "n2").unwrap()
}

/// The bytes that another release would write for this JSON.
fn framed(json: &serde_json::Value) -> Vec<u8> {
    let body = json.to_string();
    format!("{{\"crc32c\":\"{:08x}\",\"checkpoint\":{body}}}", crc32c::crc32c(body.as_bytes())).into_bytes()
}

fn as_json(record: &Checkpoint) -> serde_json::Value {
    let whole: serde_json::Value = serde_json::from_slice(&record.to_bytes().unwrap()).unwrap();
    whole["checkpoint"].clone()
}

#[test]
fn the_bytes_of_this_format_never_change() {
    let expected = concat!(
        r#"{"crc32c":"fe7f1c0c","checkpoint":{"format":{"major":1,"minor":1},"version":4,"nonce":"n3","#,
        r#""cluster":"c","topic":"orders","topic_id":"T","partition":3,"genesis":5,"next":12,"#,
        r#""planned":[{"from":8,"until":9,"layout":"d2"},"#,
        r#"{"from":9,"until":12,"layout":"d2","maker":"m","helps":true}],"gaps":[[6,7]]}}"#
    );
    let record = record().plan(Planned::new(Span::new(9, 12), "d2").made_by("m", true), "n3").unwrap();
    assert_eq!(String::from_utf8(record.to_bytes().unwrap()).unwrap(), expected);
}

/// As the first release wrote it.
#[test]
fn a_record_of_minor_0_is_read_and_raised_with_its_next_change() {
    let old = concat!(
        r#"{"crc32c":"2b93b4f2","checkpoint":{"format":{"major":1,"minor":0},"version":3,"nonce":"n2","#,
        r#""cluster":"c","topic":"orders","topic_id":"T","partition":3,"genesis":5,"next":9,"#,
        r#""planned":[{"from":8,"until":9,"layout":"d2"}],"gaps":[[6,7]]}}"#
    );
    let read = Checkpoint::from_bytes(old.as_bytes()).unwrap();
    assert_eq!((read.format.minor, &read.planned[0].maker, read.planned[0].helps), (0, &None, false));
    assert_eq!(String::from_utf8(read.to_bytes().unwrap()).unwrap(), old);
    assert_eq!(read.commit(Span::new(8, 9), &[], "n3").unwrap().format, FORMAT);
}

#[test]
fn fields_of_a_newer_minor_are_carried_through() {
    let mut newer = as_json(&record());
    newer["format"]["minor"] = json!(7);
    newer["colour"] = json!({"of": ["the", "sea", null]});
    newer["planned"][0]["log"] = json!("a log that a later release names");
    let read = Checkpoint::from_bytes(&framed(&newer)).unwrap();
    let next = read.plan(Planned::new(Span::new(9, 12), "d2"), "n3").unwrap();
    let written = as_json(&next);
    for path in ["/format/minor", "/colour", "/planned/0/log", "/topic_id"] {
        assert_eq!(written.pointer(path), newer.pointer(path), "{path}");
    }
    assert!(written["planned"][1].get("log").is_none());
}

#[test]
fn another_major_is_refused_by_version_and_damage_is_not_taken_for_one() {
    let mut newer = as_json(&record());
    newer["format"] = json!({"major": 2, "minor": 1, "and": "more"});
    newer["genesis"] = json!("spelled otherwise");
    let bytes = framed(&newer);
    let found = Format { major: 2, minor: 1 };
    assert_eq!(Checkpoint::from_bytes(&bytes), Err(DecodeError::OtherFormat { found }));
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x04;
        assert!(matches!(Checkpoint::from_bytes(&damaged), Err(DecodeError::Damaged(_))), "{at}");
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let bytes = record().to_bytes().unwrap();
    for at in 0..bytes.len() {
        assert!(Checkpoint::from_bytes(&bytes[..at]).is_err(), "cut at {at}");
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            assert!(Checkpoint::from_bytes(&damaged).is_err(), "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn whole_bytes_of_a_broken_record_are_refused() {
    for (path, value) in [("/next", json!(6)), ("/version", json!(0)), ("/gaps", json!([[6, 7], [6, 7]]))] {
        let mut json = as_json(&record());
        *json.pointer_mut(path).unwrap() = value;
        assert!(matches!(Checkpoint::from_bytes(&framed(&json)), Err(DecodeError::Damaged(_))), "{path}");
    }
}

#[test]
fn a_broken_record_is_never_written() {
    assert!(Checkpoint { next: 0, ..record() }.to_bytes().is_err());
}

prop_compose! {
    fn any_record()(
        topic in "\\PC{0,12}", id in prop::option::of("\\PC{0,12}"), partition in 0i32..i32::MAX,
        genesis in 0i64..1 << 60, lengths in prop::collection::vec(1i64..1 << 40, 0..20),
        epoch in prop::option::of(any::<i32>()), cuts in any::<u32>(),
    ) -> Checkpoint {
        let stream = Stream { cluster: "Ünïcode \"c\"".into(), topic, topic_id: id, partition };
        let mut record = Checkpoint::birth(stream, genesis, "n").unwrap();
        for (at, length) in lengths.iter().enumerate() {
            let span = Span::new(record.next, record.next + length);
            let plan = Planned { until_epoch: epoch, ..Planned::new(span, "layout") };
            record = record.plan(plan, "n").unwrap();
            if cuts & (1 << at) != 0 {
                record = record.commit(span, &[Span::new(span.from, span.from + 1)], "n").unwrap();
            }
        }
        record
    }
}

proptest! {
    #[test]
    fn a_record_reads_back_as_itself(record in any_record()) {
        let bytes = record.to_bytes().unwrap();
        prop_assert_eq!(Checkpoint::from_bytes(&bytes).unwrap(), record);
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Checkpoint::from_bytes(&bytes).is_err());
    }

    #[test]
    fn any_json_with_a_right_checksum_is_answered(text in "[\\[\\]{}:,\"a-z0-9.e+-]{0,80}") {
        let body = text.as_bytes();
        let framed = [BEFORE_SUM, format!("{:08x}", crc32c::crc32c(body)).as_bytes(), BEFORE_BODY, body, END].concat();
        prop_assert!(Checkpoint::from_bytes(&framed).is_err());
    }
}
