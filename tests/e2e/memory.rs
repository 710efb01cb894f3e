//! What the process holds, against what `limits.memory` promises.

use std::time::{Duration, Instant};

use crate::rig::{Journal, Producer, Record, Scene, Settings, all, fresh, shared};

/// The most that a process has held so far, in MiB.
fn high_water(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = text.lines().find(|line| line.starts_with("VmHWM")).expect("a figure");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("KiB") / 1024
}

/// The CPU time that it has used, in ticks.
fn ticks(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> = text.rsplit(')').next().expect("fields").split_whitespace().collect();
    [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<u64>().ok()).sum()
}

/// `limits.memory` + 192 MiB, however many partitions: each of them has less than what is handed to its file at once,
/// none of their files ends, and all of them have many times the memory.
#[test]
fn rows_that_wait_in_many_partitions_count_against_the_memory() {
    let (partitions, memory, bound) = if all() { (900, "64MiB", 64 + 192) } else { (250, "16MiB", 16 + 192) };
    let scene = Scene::on(shared(), &fresh("memory"), partitions, &[]);
    let settings = [("linger.ms", "50"), ("message.max.bytes", "4000000")];
    let producer = Producer::with(&scene.bootstrap, &Journal::new(), &settings);
    // Nothing that compresses well: one fetched batch would then be many times its size.
    let text: String = (0..18_000).map(|_| char::from(rand::random_range(b'!'..b'~'))).collect();
    for round in 0..100 {
        let value = &text[round * 90..round * 90 + 9_000];
        (0..partitions).for_each(|partition| producer.send(&scene.topic, partition, &Record::keyed("k", Some(value))));
        if round % 10 == 9 {
            producer.flush();
        }
    }
    scene.landfall.configure(&Settings { memory, max_age: "10m", max_size: "128MiB", ..scene.settings() });
    let running = scene.landfall.run();
    let (began, mut busy) = (Instant::now(), (0, Instant::now()));
    // Until it has been at rest for a while: then it has read all there is.
    while began.elapsed() < Duration::from_secs(8) || busy.1.elapsed() < Duration::from_secs(3) {
        std::thread::sleep(Duration::from_millis(500));
        let now = ticks(running.pid());
        if now > busy.0 + 5 {
            busy = (now, Instant::now());
        }
        assert!(began.elapsed() < Duration::from_secs(90), "it does not come to rest\n{}", running.errors());
    }
    let (most, used) = (high_water(running.pid()), ticks(running.pid()));
    println!("{partitions} partitions: {most} MiB at most, {used} ticks, {:?}", began.elapsed());
    running.terminate(Duration::from_secs(20)).expect_code(0);
    assert!(most <= bound, "{most} MiB");
    assert!(used > 50, "it has read nothing: {used} ticks");
}
