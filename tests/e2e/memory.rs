//! What the process holds, against what `limits.memory` promises.

use std::time::{Duration, Instant};

use crate::rig::{Broker, Journal, Producer, Record, Scene, Settings, all};

/// The most that a process has held so far, in MiB; `None` when it has ended.
fn high_water(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find(|line| line.starts_with("VmHWM"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}

/// `limits.memory` + 192 MiB, however many partitions: each of them has less than what is handed to its file at once,
/// all of them have many times the memory.
#[test]
fn rows_that_wait_in_many_partitions_count_against_the_memory() {
    let broker = Broker::start();
    let partitions = if all() { 700 } else { 350 };
    let scene = Scene::on(&broker, "memory", partitions, &[]);
    let settings = [("linger.ms", "50"), ("message.max.bytes", "4000000")];
    let producer = Producer::with(&scene.bootstrap, &Journal::new(), &settings);
    // Nothing that compresses well: one fetched batch would then be many times its size.
    let text: String = (0..18_000).map(|_| char::from(rand::random_range(b'!'..b'~'))).collect();
    for round in 0..100 {
        let value = &text[round * 90..round * 90 + 9_000];
        (0..partitions).for_each(|partition| producer.send(&scene.topic, partition, &Record::keyed("k", Some(value))));
        producer.flush();
    }
    scene.landfall.configure(&Settings { memory: "64MiB", max_age: "10m", max_size: "128MiB", ..scene.settings() });
    let mut running = scene.landfall.start_once();
    let (began, mut most) = (Instant::now(), 0);
    while !running.has_ended() {
        most = most.max(high_water(running.pid()).unwrap_or(0));
        assert!(began.elapsed() < Duration::from_secs(120), "{}", running.errors());
        std::thread::sleep(Duration::from_millis(50));
    }
    let ended = running.wait(Duration::from_secs(1)).expect_code(0);
    println!("{partitions} partitions: {most} MiB at most, {:?}", ended.took);
    assert!(most > 0 && most <= 64 + 192, "{most} MiB");
    assert!(scene.landfall.files() >= partitions as usize);
}
