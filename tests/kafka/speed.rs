//! Waves of many partitions, and what idling costs.

use std::time::{Duration, Instant};

use landfall::kafka::{At, Event, ReaderLimits, Turn};
use landfall::sink::Isolation;

use super::client::*;
use crate::rig::all;

/// CPU seconds of this process.
fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

#[test]
fn a_wave_of_many_ranges_does_not_wait_for_each() {
    if !all() {
        return;
    }
    let partitions: i32 = std::env::var("PARTITIONS").map_or(500, |text| text.parse().unwrap());
    let (kafka, topic) = (kafka(), topic("wave", partitions, &[]));
    let producer = producer(&[]);
    for partition in 0..partitions {
        send_few(&producer, &topic, partition);
    }
    rdkafka::producer::Producer::flush(&producer, SOON).unwrap();
    let began = Instant::now();
    let wanted: Vec<_> = (0..partitions).map(|at| (topic.clone(), at, At::End)).collect();
    let ends = kafka.list_offsets(&wanted, Isolation::ReadCommitted, SOON).unwrap();
    println!("{partitions} ends in {:?}", began.elapsed());
    let ends: Vec<_> = ends.into_iter().map(|end| end.unwrap()).collect();
    assert!(ends.iter().all(|end| end.offset == 5));
    for round in 0..3 {
        let mut reader = kafka.reader(Isolation::ReadCommitted, ReaderLimits::default()).unwrap();
        let began = Instant::now();
        let starts = (0..partitions).map(|at| {
            let mut start = start(at as u32, &topic, at, 1, Some(5));
            start.lineage = if round == 0 { None } else { ends[at as usize].epoch.map(|epoch| (1, epoch)) };
            start
        });
        reader.assign(starts.collect()).unwrap();
        let assigned = began.elapsed();
        let events = run(&mut reader, partitions as usize);
        println!("round {round}: assigned {assigned:?}, read {:?}", began.elapsed());
        assert!(events.iter().all(|(_, event)| *event == Event::Stop), "{events:?}");
        assert!((0..partitions).all(|at| reader.columns(at as u32).rows() == 4));
        let began = Instant::now();
        reader.release(&(0..partitions as u32).collect::<Vec<_>>()).unwrap();
        println!("released {:?}", began.elapsed());
        if round == 2 {
            // One more wave on a reader that is already connected, and each range alone.
            let again = (0..partitions).map(|at| start(at as u32, &topic, at, 1, Some(5))).collect();
            let began = Instant::now();
            reader.assign(again).unwrap();
            run(&mut reader, partitions as usize);
            println!("again: {:?}", began.elapsed());
        }
    }
}

fn send_few(producer: &rdkafka::producer::BaseProducer, topic: &str, partition: i32) {
    for _ in 0..5 {
        let record = rdkafka::producer::BaseRecord::<(), str>::to(topic).partition(partition).payload("v");
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.poll(Duration::ZERO);
    }
}

#[test]
fn what_idle_partitions_cost() {
    if !all() {
        return;
    }
    let partitions: i32 = std::env::var("PARTITIONS").map_or(500, |text| text.parse().unwrap());
    let (kafka, topic) = (kafka(), topic("idle", partitions, &[]));
    for wait in [20, 100, 250, 500] {
        let limits = ReaderLimits { idle_wait: Duration::from_millis(wait), ..ReaderLimits::default() };
        let mut reader = kafka.reader(Isolation::ReadCommitted, limits).unwrap();
        reader.assign((0..partitions).map(|at| start(at as u32, &topic, at, 0, None)).collect()).unwrap();
        let mut turn = Turn::default();
        let mut ends = 0;
        while ends < partitions {
            reader.poll(Duration::from_millis(50), &mut turn);
            ends += turn.events.len() as i32;
        }
        let (cpu_before, began) = (cpu(), Instant::now());
        while began.elapsed() < Duration::from_secs(5) {
            reader.poll(Duration::from_millis(100), &mut turn);
        }
        let share = (cpu() - cpu_before) / began.elapsed().as_secs_f64();
        println!("{partitions} idle partitions, wait {wait} ms: {:.1} % of a core", share * 100.0);
    }
}

#[test]
fn what_reading_costs() {
    if !all() {
        return;
    }
    const ROWS: i64 = 250_000;
    let (kafka, topic) = (kafka(), topic("cost", 4, &[]));
    let producer = producer(&[("compression.type", "lz4"), ("linger.ms", "50")]);
    let mut value = [b'.'; 100];
    for row in 0..4 * ROWS {
        value[..8].copy_from_slice(&row.to_le_bytes());
        loop {
            let record = rdkafka::producer::BaseRecord::<(), [u8]>::to(&topic).partition((row % 4) as i32);
            if producer.send(record.payload(&value)).is_ok() {
                break;
            }
            producer.poll(Duration::from_millis(10));
        }
    }
    rdkafka::producer::Producer::flush(&producer, SOON).unwrap();
    drop(producer);
    for _ in 0..3 {
        let mut reader = kafka.reader(Isolation::ReadCommitted, ReaderLimits::default()).unwrap();
        let (cpu_before, began) = (cpu(), Instant::now());
        reader.assign((0..4).map(|at| start(at as u32, &topic, at, 0, Some(ROWS))).collect()).unwrap();
        let (mut turn, mut stops, mut rows, mut polls) = (Turn::default(), 0, 0, 0);
        let constants = landfall::kafka::Constants { topic: topic.as_str().into(), partition: 0 };
        while stops < 4 {
            reader.poll(Duration::from_millis(50), &mut turn);
            polls += 1;
            for slot in &turn.touched {
                rows += reader.columns(*slot).take(&constants).num_rows();
            }
            stops += turn.events.iter().filter(|(_, event)| *event == Event::Stop).count();
        }
        assert_eq!(rows as i64, 4 * ROWS);
        let seconds = began.elapsed().as_secs_f64();
        println!("{:.2} CPU s per million, {:.2} M/s, {polls} polls", cpu() - cpu_before, rows as f64 / seconds / 1e6);
    }
}
