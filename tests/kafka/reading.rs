//! Reading ranges: transactions, holes, sizes, codecs, headers, identity.

use std::time::{Duration, Instant};

use landfall::kafka::{At, Constants, Event, Fault, ReaderLimits, Selection, TopicId, Turn};
use landfall::sink::Isolation;
use landfall::sink::arrow::array::cast::AsArray;
use landfall::sink::arrow::array::types::{Int32Type, TimestampMillisecondType};
use landfall::sink::envelope::column;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer};

use super::client::*;

#[test]
fn an_open_transaction_holds_back_the_stable_end() {
    let (kafka, topic) = (kafka(), topic("open", 1, &[]));
    produce(&topic, 0, 0..12);
    let open = transaction("open");
    send(&open, &topic, 0, 0..5);
    let end = |isolation| {
        let wanted = [(topic.clone(), 0, At::End), (topic.clone(), 0, At::Start)];
        let answers = kafka.list_offsets(&wanted, isolation, SOON).unwrap();
        assert_eq!(answers[1].as_ref().unwrap().offset, 0);
        answers[0].clone().unwrap()
    };
    assert_eq!(end(Isolation::ReadCommitted).offset, 12);
    assert!(end(Isolation::ReadCommitted).epoch.is_some());
    assert_eq!(end(Isolation::ReadUncommitted).offset, 17);
    let mut reader = reader(&kafka);
    reader.assign(vec![start(0, &topic, 0, 0, None)]).unwrap();
    run_to_end(&mut reader, 0, 12);
    assert_eq!(reader.columns(0).rows(), 12);
    let mut dirty = kafka.reader(Isolation::ReadUncommitted, ReaderLimits::default()).unwrap();
    assert_eq!(offsets(&mut dirty, &topic, 0, 0, 17).len(), 17);
    open.commit_transaction(SOON).unwrap();
    run_to_end(&mut reader, 0, 18);
    assert_eq!(reader.columns(0).rows(), 17);
}

#[test]
fn aborted_tails_and_ranges_of_markers_end_by_the_end_of_the_partition() {
    let (kafka, topic) = (kafka(), topic("aborted", 1, &[]));
    produce(&topic, 0, 0..10);
    let aborted = transaction("aborted");
    send(&aborted, &topic, 0, 0..7);
    aborted.abort_transaction(SOON).unwrap();
    // 10 rows, 7 aborted, 1 marker.
    let mut reader = reader(&kafka);
    assert_eq!(offsets(&mut reader, &topic, 0, 0, 18), (0..10).collect::<Vec<_>>());
    assert_eq!(reader.position(0).next, 18);
    assert_eq!(offsets(&mut reader, &topic, 0, 10, 18), [0i64; 0]);
    assert_eq!(offsets(&mut reader, &topic, 0, 17, 18), [0i64; 0], "the marker alone");
    for round in 0..3 {
        let commit = transaction(&format!("markers-{round}"));
        send(&commit, &topic, 0, 0..1);
        commit.commit_transaction(SOON).unwrap();
    }
    // 18 row, 19 marker, 20 row, 21 marker, 22 row, 23 marker.
    assert_eq!(offsets(&mut reader, &topic, 0, 5, 22), [5, 6, 7, 8, 9, 18, 20]);
    assert_eq!(offsets(&mut reader, &topic, 0, 12, 20), [18]);
    assert_eq!(offsets(&mut reader, &topic, 0, 10, 15), [0i64; 0], "ends by the first record beyond it");
}

#[test]
fn every_field_of_a_record_arrives() {
    let (kafka, topic) = (kafka(), topic("fields", 2, &[]));
    let append = topic_with_append_time();
    let producer = producer(&[]);
    let headers = OwnedHeaders::new()
        .insert(Header { key: "b", value: Some("1") })
        .insert(Header { key: "a", value: None::<&str> })
        .insert(Header { key: "b", value: Some("") });
    let to = |name| BaseRecord::<[u8], [u8]>::to(name).partition(0);
    let records = [
        to(&topic).key(&b"k"[..]).payload(&b"v"[..]).timestamp(1234).headers(headers),
        to(&topic).key(&b""[..]).payload(&b""[..]),
        to(&topic).key(&b"gone"[..]),
        to(&topic).payload(&b"no key"[..]),
        to(&append).payload(&b"x"[..]).timestamp(1234),
    ];
    for record in records {
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(SOON).unwrap();
    let mut reader = reader(&kafka);
    reader.assign(vec![start(0, &topic, 0, 0, Some(4)), start(1, &append, 0, 0, Some(1))]).unwrap();
    run(&mut reader, 2);
    let batch = reader.columns(0).take(&Constants { topic: topic.as_str().into(), partition: 0 });
    let binary = |at: usize| -> Vec<Option<Vec<u8>>> {
        batch.column(at).as_binary::<i32>().iter().map(|value| value.map(<[u8]>::to_vec)).collect()
    };
    let some = |text: &str| Some(text.as_bytes().to_vec());
    assert_eq!(binary(column::KEY), [some("k"), some(""), some("gone"), None]);
    assert_eq!(binary(column::VALUE), [some("v"), some(""), None, some("no key")]);
    assert_eq!(batch.column(column::TIMESTAMP).as_primitive::<TimestampMillisecondType>().value(0), 1234);
    assert!(batch.column(column::TIMESTAMP_TYPE).as_primitive::<Int32Type>().values().iter().all(|kind| *kind == 0));
    let lists = batch.column(column::HEADERS).as_list::<i32>();
    assert_eq!((lists.value_length(0), lists.value_length(1)), (3, 0));
    let first = lists.value(0);
    let (keys, values) = (first.as_struct().column(0).as_string::<i32>(), first.as_struct().column(1));
    assert_eq!(keys.iter().collect::<Vec<_>>(), [Some("b"), Some("a"), Some("b")]);
    let values: Vec<Option<&[u8]>> = values.as_binary::<i32>().iter().collect();
    assert_eq!(values, [Some(&b"1"[..]), None, Some(&b""[..])]);
    let append = reader.columns(1).take(&Constants { topic: append.as_str().into(), partition: 0 });
    assert_eq!(append.column(column::TIMESTAMP_TYPE).as_primitive::<Int32Type>().value(0), 1);
    assert!(append.column(column::TIMESTAMP).as_primitive::<TimestampMillisecondType>().value(0) > 1_600_000_000_000);
}

fn topic_with_append_time() -> String {
    topic("append", 1, &[("message.timestamp.type", "LogAppendTime")])
}

#[test]
fn all_codecs_and_messages_larger_than_a_fetch() {
    let (kafka, topic) = (kafka(), topic("big", 5, &[("max.message.bytes", "40000000")]));
    for (partition, codec) in ["none", "gzip", "snappy", "lz4", "zstd"].into_iter().enumerate() {
        let producer = producer(&[("compression.type", codec), ("message.max.bytes", "30000000")]);
        let mut state = 1u64;
        let noise = |_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as u8
        };
        let large: Vec<u8> = (0..12_000_000).map(noise).collect();
        for size in [10, 2_000_000, 12_000_000, 10] {
            let record = BaseRecord::<(), [u8]>::to(&topic).partition(partition as i32).payload(&large[..size]);
            producer.send(record).map_err(|(error, _)| error).unwrap();
            producer.flush(SOON).unwrap();
        }
    }
    let limits = ReaderLimits { queued_bytes: 1 << 20, fetch_bytes: 1 << 20, ..ReaderLimits::default() };
    let mut reader = kafka.reader(Isolation::ReadCommitted, limits).unwrap();
    reader.assign((0..5).map(|at| start(at as u32, &topic, at, 0, Some(4))).collect()).unwrap();
    run(&mut reader, 5);
    for slot in 0..5 {
        let batch = reader.columns(slot).take(&Constants { topic: topic.as_str().into(), partition: slot as i32 });
        let values = batch.column(column::VALUE).as_binary::<i32>();
        let sizes: Vec<usize> = values.iter().map(|value| value.unwrap().len()).collect();
        assert_eq!(sizes, [10, 2_000_000, 12_000_000, 10]);
    }
}

#[test]
fn compaction_leaves_legal_holes() {
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("min.compaction.lag.ms", "0"),
    ];
    let (kafka, topic) = (kafka(), topic("compact", 1, &settings));
    let producer = producer(&[]);
    let mut reader = reader(&kafka);
    let mut rows = 0;
    let began = Instant::now();
    loop {
        for _ in 0..50 {
            producer.send(BaseRecord::to(&topic).partition(0).key("same").payload("v")).map_err(|(e, _)| e).unwrap();
        }
        producer.flush(SOON).unwrap();
        rows += 50;
        std::thread::sleep(Duration::from_millis(300));
        let seen = offsets(&mut reader, &topic, 0, 0, rows);
        assert!(seen.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(seen.last(), Some(&(rows - 1)));
        if seen.len() < rows as usize {
            assert_eq!(reader.position(0).holes as usize, rows as usize - seen.len());
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "never compacted");
    }
}

#[test]
fn deleted_records_are_out_of_range_and_the_log_start_tells_the_gap() {
    let (kafka, topic) = (kafka(), topic("deleted", 1, &[]));
    produce(&topic, 0, 0..100);
    let mut list = rdkafka::TopicPartitionList::new();
    list.add_partition_offset(&topic, 0, rdkafka::Offset::Offset(40)).unwrap();
    now(admin().delete_records(&list, &rdkafka::admin::AdminOptions::new())).unwrap();
    let mut reader = reader(&kafka);
    reader.assign(vec![start(0, &topic, 0, 10, Some(90))]).unwrap();
    let events = run(&mut reader, 1);
    assert!(matches!(&events[0].1, Event::Fault(Fault::OutOfRange(text)) if text.contains(&topic)), "{events:?}");
    println!("{events:?}");
    let first = kafka.list_offsets(&[(topic.clone(), 0, At::Start)], Isolation::ReadCommitted, SOON).unwrap();
    assert_eq!(first[0].as_ref().unwrap().offset, 40);
    assert_eq!(offsets(&mut reader, &topic, 0, 40, 90).len(), 50);
    // Beyond the end: the same fault.
    reader.assign(vec![start(0, &topic, 0, 500, None)]).unwrap();
    assert!(matches!(&run(&mut reader, 1)[0].1, Event::Fault(Fault::OutOfRange(_))));
}

#[test]
fn times_are_looked_up_and_the_future_is_the_end() {
    let (kafka, topic) = (kafka(), topic("times", 1, &[]));
    let producer = producer(&[]);
    for time in [1000, 2000, 3000] {
        producer.send(BaseRecord::<(), str>::to(&topic).payload("v").timestamp(time)).map_err(|(e, _)| e).unwrap();
    }
    producer.flush(SOON).unwrap();
    let wanted: Vec<_> = [0, 1500, 3000, 3001].map(|time| (topic.clone(), 0, At::Time(time))).to_vec();
    let answers = kafka.list_offsets(&wanted, Isolation::ReadCommitted, SOON).unwrap();
    let found: Vec<i64> = answers.into_iter().map(|answer| answer.unwrap().offset).collect();
    assert_eq!(found, [0, 1, 2, 3]);
}

#[test]
fn a_topic_that_is_created_again_has_another_id() {
    let (kafka, topic) = (kafka(), topic("again", 1, &[]));
    let id = |kafka: &landfall::kafka::Kafka| kafka.topic_ids(std::slice::from_ref(&topic)).unwrap()[&topic].clone();
    let first = id(&kafka);
    assert!(matches!(first, TopicId::Id(_)));
    produce(&topic, 0, 0..10);
    let mut reader = reader(&kafka);
    reader.assign(vec![start(0, &topic, 0, 0, None)]).unwrap();
    run_to_end(&mut reader, 0, 10);
    delete(&topic);
    wait(|| id(&kafka) == TopicId::Missing);
    let missing = kafka.topics(&Selection::new(&[&topic]).unwrap(), SOON).unwrap();
    assert!(matches!(missing[0].problem, Some(landfall::kafka::KafkaError::Missing(_))), "{missing:?}");
    let gone = kafka.list_offsets(&[(topic.clone(), 0, At::End)], Isolation::ReadCommitted, Duration::from_secs(3));
    println!("offsets of a topic that is gone: {gone:?}");
    let mut turn = Turn::default();
    let began = Instant::now();
    let mut told = None;
    while began.elapsed() < Duration::from_secs(5) && told.is_none() {
        reader.poll(Duration::from_millis(100), &mut turn);
        told = turn.events.iter().find(|(_, event)| matches!(event, Event::Fault(_))).cloned();
    }
    println!("a reader of a topic that is gone: {told:?} after {:?}", began.elapsed());
    create(&topic, 1, &[]);
    let second = id(&kafka);
    assert!(matches!(second, TopicId::Id(_)));
    assert_ne!(first, second);
}

#[test]
fn two_lakes_see_each_other_in_a_group() {
    let (kafka, topic) = (kafka(), topic("announce", 2, &[]));
    let group = format!("landfall-{topic}");
    kafka.announce(&group, &[(topic.clone(), 0, 5), (topic.clone(), 1, 6)], "lake-a").unwrap();
    kafka.announce(&group, &[(topic.clone(), 0, 7)], "lake-b").unwrap();
    let mut back = kafka.announced(&group, &[(topic.clone(), 0), (topic.clone(), 1)]).unwrap();
    back.sort_by_key(|row| row.partition);
    assert_eq!((back[0].offset, back[0].metadata.as_str()), (Some(7), "lake-b"));
    assert_eq!((back[1].offset, back[1].metadata.as_str()), (Some(6), "lake-a"));
}

#[test]
fn the_members_of_a_group_are_counted() {
    let (kafka, topic) = (kafka(), topic("members", 1, &[]));
    let group = format!("members-{topic}");
    assert_eq!(kafka.members(&group, SOON).unwrap(), [], "nobody knows it");
    kafka.announce(&group, &[(topic.clone(), 0, 5)], "lake-a").unwrap();
    assert_eq!(kafka.members(&group, SOON).unwrap(), [], "offsets are no members");
    let member: BaseConsumer = config().set("group.id", &group).create().unwrap();
    member.subscribe(&[&topic]).unwrap();
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while kafka.members(&group, SOON).unwrap().is_empty() {
        drop(member.poll(Duration::from_millis(100)));
        assert!(std::time::Instant::now() < until, "it never became a member");
    }
    assert_eq!(kafka.members(&group, SOON).unwrap().len(), 1);
    let refused = kafka.announce(&group, &[(topic, 0, 9)], "lake-a").unwrap_err();
    assert!(refused.to_string().contains(&group), "{refused}");
}
