//! What happens when the broker is stopped, loses the end of its log, or has a damaged file.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use landfall::kafka::{At, Event, Fault, Kafka, Notice, Turn};
use landfall::sink::Isolation;

use super::client::*;
use crate::rig::Broker;

/// These tests stop their broker, so they have one of their own and go one after another.
fn alone() -> (&'static Broker, MutexGuard<'static, ()>) {
    static LOCK: Mutex<()> = Mutex::new(());
    static BROKER: OnceLock<Broker> = OnceLock::new();
    let guard = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    let broker = BROKER.get_or_init(Broker::start);
    talk_to(broker);
    (broker, guard)
}

/// The one segment of partition 0.
fn segment(broker: &Broker, topic: &str) -> PathBuf {
    broker.log_dir().join(format!("{topic}-0")).join("00000000000000000000.log")
}

fn end(kafka: &Kafka, topic: &str) -> landfall::kafka::OffsetAt {
    let mut found = None;
    wait(|| {
        let answer = kafka.list_offsets(&[(topic.into(), 0, At::End)], Isolation::ReadCommitted, SOON);
        found = answer.ok().and_then(|mut answers| answers.remove(0).ok());
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn a_restart_in_the_middle_of_a_range_goes_on_by_itself() {
    let (broker, _alone) = alone();
    let (kafka, topic) = (kafka(), topic("restart", 1, &[("flush.messages", "1")]));
    produce(&topic, 0, 0..1000);
    let mut reader = reader(&kafka);
    reader.assign(vec![start(0, &topic, 0, 0, Some(2000))]).unwrap();
    run_to_end(&mut reader, 0, 1000);
    let old = end(&kafka, &topic);
    broker.kill();
    let mut turn = Turn::default();
    let began = Instant::now();
    let mut notices = Vec::new();
    while !notices.iter().any(|notice| matches!(notice, Notice::BrokersDown(_))) {
        assert!(began.elapsed() < Duration::from_secs(30), "{notices:?}");
        reader.poll(Duration::from_millis(50), &mut turn);
        assert_eq!(turn.events, []);
        notices.append(&mut turn.notices);
    }
    broker.restart();
    produce(&topic, 0, 1000..2000);
    assert!(end(&kafka, &topic).epoch > old.epoch, "a new leader has a new epoch");
    assert_eq!(run(&mut reader, 1), [(0, Event::Stop)]);
    assert_eq!(reader.columns(0).rows(), 2000);
    assert_eq!(reader.position(0).holes, 0);
    assert_eq!(reader.columns(0).lineage_before(1000), old.epoch.map(|epoch| (1000, epoch)));
    assert!(reader.position(0).epoch > old.epoch);
}

#[test]
fn a_log_that_lost_its_end_is_found_by_the_epoch_only() {
    let (broker, _alone) = alone();
    let (kafka, topic) = (kafka(), topic("truncated", 1, &[("flush.messages", "1")]));
    produce(&topic, 0, 0..12);
    let size = std::fs::metadata(segment(broker, &topic)).unwrap().len();
    produce(&topic, 0, 12..18);
    let mut reader = reader(&kafka);
    reader.assign(vec![start(0, &topic, 0, 0, None)]).unwrap();
    run_to_end(&mut reader, 0, 18);
    let epoch = end(&kafka, &topic).epoch;
    assert!(epoch.is_some());
    reader.release(&[0]).unwrap();
    broker.kill();
    std::fs::OpenOptions::new().write(true).open(segment(broker, &topic)).unwrap().set_len(size).unwrap();
    broker.restart();
    assert_eq!(end(&kafka, &topic).offset, 12);
    produce(&topic, 0, 100..110);
    assert_eq!(end(&kafka, &topic).offset, 22);
    // Without an epoch nobody notices: rows of another history.
    assert_eq!(offsets(&mut reader, &topic, 0, 18, 22), [18, 19, 20, 21]);
    // With it, on the same reader and on a new one.
    let mut truncated = start(0, &topic, 0, 18, Some(22));
    truncated.lineage = epoch.map(|epoch| (18, epoch));
    for round in 0..2 {
        reader.assign(vec![truncated.clone()]).unwrap();
        let events = run(&mut reader, 1);
        println!("round {round}: {events:?}");
        assert!(matches!(&events[0].1, Event::Fault(Fault::OutOfRange(_))), "{events:?}");
        assert_eq!(reader.columns(0).rows(), 0);
        reader = super::client::reader(&kafka);
    }
    // What both histories share is read.
    let mut shared = start(0, &topic, 0, 10, Some(22));
    shared.lineage = epoch.map(|epoch| (10, epoch));
    reader.assign(vec![shared]).unwrap();
    assert_eq!(run(&mut reader, 1), [(0, Event::Stop)]);
    assert_eq!(reader.columns(0).rows(), 12);
}

#[test]
fn a_log_that_loses_its_end_under_a_running_range_is_a_fault() {
    let (broker, _alone) = alone();
    let (kafka, topic) = (kafka(), topic("cut", 1, &[("flush.messages", "1")]));
    produce(&topic, 0, 0..12);
    let size = std::fs::metadata(segment(broker, &topic)).unwrap().len();
    produce(&topic, 0, 12..18);
    let mut reader = reader(&kafka);
    reader.assign(vec![start(0, &topic, 0, 0, Some(30))]).unwrap();
    run_to_end(&mut reader, 0, 18);
    broker.kill();
    std::fs::OpenOptions::new().write(true).open(segment(broker, &topic)).unwrap().set_len(size).unwrap();
    broker.restart();
    produce(&topic, 0, 100..130);
    let events = run(&mut reader, 1);
    println!("{events:?}");
    assert!(matches!(&events[0].1, Event::Fault(_)), "{events:?}");
    assert_eq!(reader.columns(0).rows(), 18);
}

#[test]
fn a_damaged_batch_is_a_fault_and_nothing_behind_it_is_delivered() {
    let (broker, _alone) = alone();
    let (kafka, topic) = (kafka(), topic("damaged", 1, &[]));
    let mut sizes = Vec::new();
    for batch in 0..4 {
        produce(&topic, 0, batch * 10..batch * 10 + 10);
        sizes.push(std::fs::metadata(segment(broker, &topic)).unwrap().len());
    }
    let mut file = std::fs::OpenOptions::new().read(true).write(true).open(segment(broker, &topic)).unwrap();
    let at = SeekFrom::Start(sizes[1] + (sizes[2] - sizes[1]) - 5);
    let mut byte = [0];
    file.seek(at).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(at).unwrap();
    file.write_all(&[byte[0] ^ 0x40]).unwrap();
    file.sync_all().unwrap();
    let mut reader = reader(&kafka);
    reader.assign(vec![start(0, &topic, 0, 0, Some(40))]).unwrap();
    let events = run(&mut reader, 1);
    println!("{events:?}");
    assert!(matches!(&events[0].1, Event::Fault(Fault::Corrupt(text)) if text.contains(&topic)), "{events:?}");
    assert!(reader.columns(0).rows() <= 20);
    let rows = reader.columns(0).rows();
    let mut turn = Turn::default();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        reader.poll(Duration::from_millis(100), &mut turn);
        assert_eq!(turn.events, [], "one fault is told once");
    }
    assert_eq!(reader.columns(0).rows(), rows);
    // The same again on the same reader, and what lies behind it.
    reader.assign(vec![start(0, &topic, 0, 20, Some(40))]).unwrap();
    assert!(matches!(&run(&mut reader, 1)[0].1, Event::Fault(Fault::Corrupt(_))));
    assert_eq!(offsets(&mut reader, &topic, 0, 30, 40), (30..40).collect::<Vec<_>>());
}
