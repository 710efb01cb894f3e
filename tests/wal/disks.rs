//! A disk whose fsync fails, and a disk that is full.

use std::time::{Duration, Instant};

use landfall::wal::{AppendError, AssignReason, Floor, Options, Wal, WalError};

use crate::crash::tear;
use crate::image::{Image, Kind, Mount};
use crate::rig::{open_stream, options, read_all, run, stream};
use crate::tool::{Tally, Tool, Write, all, say, scratch, seed};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const PATIENCE: Duration = Duration::from_secs(30);

/// A disk that promised more room than it has, so that an fsync fails for good, after which the next one would succeed.
fn thin() -> Option<Image> {
    // Blocks of a page: smaller ones make requests that straddle two pages of the file below the loop device, which takes
    // them for done when only the first of the two was stored.
    let mkfs = ["-b", "4096", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1", "-J", "size=4"];
    Image::on(Kind::Ext4, 12 << 20, 128 << 20, &mkfs, ",nodiscard")
}

/// Appends until it fails; returns what was acknowledged and what the failure was.
fn append_until_it_fails(wal: &Wal, partition: i32) -> (i64, AppendError) {
    let id = open_stream(wal, partition);
    let mut next = wal.next_offset(id).expect("a run");
    loop {
        let appended = wal.append(id, run(partition, next, next + 5)).and_then(|ticket| wal.wait(ticket));
        match appended {
            Ok(()) => next += 5,
            Err(error) => return (next, error),
        }
    }
}

fn fsync_fails(image: &mut Image) -> i64 {
    let directory = image.at().join("wal");
    let (wal, _) = Wal::open(&directory, options()).expect("a log");
    // All are there before the first failure.
    for partition in 0..4 {
        open_stream(&wal, partition);
    }
    let (acked, ended) = std::thread::scope(|scope| {
        let others: Vec<_> = (1..4)
            .map(|p| {
                scope.spawn({
                    let wal = &wal;
                    move || append_until_it_fails(wal, p)
                })
            })
            .collect();
        let first = append_until_it_fails(&wal, 0);
        let mut ended: Vec<_> = others.into_iter().map(|other| other.join().expect("an appender")).collect();
        ended.insert(0, first);
        ended.into_iter().unzip::<_, _, Vec<i64>, Vec<AppendError>>()
    });
    let poison = match &ended[0] {
        AppendError::Poisoned(poison) => poison.clone(),
        other => panic!("{other}"),
    };
    assert!(ended.iter().all(|end| *end == ended[0]), "all are told the same: {ended:?}");
    let fsyncs = wal.metrics().fsyncs;
    for _ in 0..50 {
        let id = open_stream(&wal, 0);
        let next = wal.next_offset(id).expect("a run");
        let refused = wal.append(id, run(0, next, next + 1)).and_then(|ticket| wal.wait(ticket));
        assert_eq!(refused, Err(AppendError::Poisoned(poison.clone())));
        assert!(matches!(wal.retire(&[Floor { stream: stream(0), committed: 1 }]), Err(WalError::Poisoned(_))));
    }
    assert_eq!(wal.metrics().fsyncs, fsyncs, "a failed fsync is never tried again");
    assert!(wal.metrics().poisoned && wal.close().is_err());

    // The disk gets the room that it promised, and the machine is started again.
    image.resize_memory(256 << 20);
    image.mount_again();
    let (wal, recovery) = Wal::open(&directory, options()).expect("a log");
    for (partition, acked) in acked.iter().enumerate() {
        let read = read_all(&wal, partition as i32);
        assert!(read.len() as i64 >= *acked, "orders/{partition}: {acked} acknowledged, {} read", read.len());
        assert_eq!(read, (0..read.len() as i64).collect::<Vec<_>>());
        let id = open_stream(&wal, partition as i32);
        let next = wal.next_offset(id).expect("a run");
        wal.wait(wal.append(id, run(partition as i32, next, next + 5)).expect("room")).expect("durable");
    }
    wal.close().expect("closed");
    let total = acked.iter().sum();
    say(&format!("wal fsync failed: {total} acked before it, 0 lost; {poison}; then {:?}", recovery.tail));
    total
}

#[test]
fn nothing_is_acknowledged_after_a_failed_fsync() {
    for _ in 0..if all() { 40 } else { 2 } {
        let Some(mut image) = thin() else { return };
        assert!(fsync_fails(&mut image) > 0, "nothing was acknowledged before the disk failed");
    }
}

/// Somebody else fills the disk and frees it: the log waits and goes on by itself.
fn filled_and_freed(disk: &Mount, retire: bool, random: &mut StdRng) -> (Tally, Duration) {
    let tool = Tool::new(disk.at.join(format!("wal-{}", random.random::<u32>())));
    disk.leave(3 << 20);
    let mut writing = tool.write(Write { segment: 256 << 10, retire, until: i64::MAX }, None);
    assert!(writing.until_acked(random.random_range(1..300), PATIENCE), "nothing is acknowledged");
    disk.fill();
    if !retire {
        // What was reserved is written full, and then nothing more.
        let started = Instant::now();
        while writing.until_acked(1, Duration::from_millis(400)) {
            assert!(started.elapsed() < PATIENCE, "the log goes on on a full disk");
        }
    }
    if writing.has_ended() {
        panic!("{}: a full disk is no reason to end: {}", disk.at.display(), writing.kill().errors);
    }
    let id = writing.id();
    std::thread::sleep(Duration::from_millis(300));
    disk.free();
    let started = Instant::now();
    if !writing.until_acked(100, PATIENCE) {
        let (at, ended) = (disk.at.display(), writing.has_ended());
        panic!("{at}, retire {retire}, ended {ended}: it does not go on by itself: {}", writing.kill().errors);
    }
    let took = started.elapsed();
    assert!(writing.id() == id && !writing.has_ended(), "nobody started it again");
    writing.kill();
    let mut tally = tool.audit(&tool.promised());
    tally.add(tool.audit_by_reading(&tool.promised()));
    std::fs::remove_dir_all(&tool.log).expect("the log");
    (tally, took)
}

#[test]
fn a_full_disk_is_waited_out() {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let directory = scratch(false);
    let small = Mount::tmpfs(&directory.path().join("small"), 8 << 20);
    let Ok(small) = small else { return say("skipped: this user may not mount a tmpfs") };
    let mkfs = ["-E", "lazy_itable_init=1", "-J", "size=1"];
    let Some(image) = Image::on(Kind::Ext4, 40 << 20, 16 << 20, &mkfs, "") else { return };
    let (mut total, mut rounds, mut longest) = (Tally::default(), 0, Duration::ZERO);
    for _ in 0..if all() { 20 } else { 1 } {
        for disk in [&small, image.mounted()] {
            for retire in [false, true] {
                let (tally, took) = filled_and_freed(disk, retire, &mut random);
                assert!(tally.sound(), "LANDFALL_SEED={seed}: {tally}");
                total.add(tally);
                rounds += 1;
                longest = longest.max(took);
            }
        }
    }
    say(&format!(
        "wal full disk (LANDFALL_SEED={seed}): {rounds} rounds, 0 restarts, 100 more after {longest:?} at most"
    ));
    say(&format!("  {total}"));
}

/// A log that was killed opens also where not one byte is free, also if its tail must be kept somewhere.
#[test]
fn a_log_opens_on_a_full_disk() {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let directory = scratch(false);
    let small = Mount::tmpfs(&directory.path().join("small"), 8 << 20);
    let Ok(small) = small else { return say("skipped: this user may not mount a tmpfs") };
    let tool = Tool::new(small.at.join("wal"));
    for round in 0..6 {
        let mut writing = tool.write(Write { segment: 256 << 10, retire: true, until: i64::MAX }, None);
        if !writing.until_acked(random.random_range(50..200), PATIENCE) {
            let ended = writing.has_ended();
            panic!("LANDFALL_SEED={seed}, round {round}, ended {ended}: {}", writing.kill().errors);
        }
        writing.kill();
        let torn = tear(&tool.log, &mut random);
        small.fill();
        let tally = tool.audit_by_reading(&tool.promised());
        assert!(tally.sound(), "LANDFALL_SEED={seed}, round {round}, torn: {torn}: {tally}");
        small.free();
    }
}

/// With a ballast the log gives the last room to those who can free some.
#[test]
fn the_ballast_goes_before_the_first_append_waits() {
    let directory = scratch(false);
    let small = Mount::tmpfs(&directory.path().join("small"), 8 << 20);
    let Ok(small) = small else { return say("skipped: this user may not mount a tmpfs") };
    let log = small.at.join("wal");
    let with_ballast = || Options { ballast_bytes: 1 << 20, recycled: 0, ..options() };
    let (wal, _) = Wal::open(&log, with_ballast()).expect("a log");
    let id = wal.stream(&stream(0), landfall::wal::Isolation::ReadCommitted).expect("a stream");
    wal.start_run(id, 0, AssignReason::Start).expect("a run");
    let append = |from| wal.append(id, run(0, from, from + 5)).expect("room at the door");
    wal.wait(append(0)).expect("durable");
    assert_eq!(std::fs::metadata(log.join("reserve")).expect("the ballast").len(), 1 << 20);
    small.fill();
    let (mut from, mut ticket) = (5, append(5));
    while !wal.metrics().waiting_for_space {
        from += 5;
        ticket = append(from);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(!log.join("reserve").exists(), "the ballast is still there");
    // At any time, also while the log tries again.
    for round in 0..60 {
        let commit = small.at.join("commit");
        std::fs::write(&commit, vec![1; 960 << 10])
            .unwrap_or_else(|error| panic!("no room to commit, {round}: {error}"));
        std::fs::remove_file(&commit).expect("the commit");
        std::thread::sleep(Duration::from_millis(5));
    }
    small.free();
    wal.wait(ticket).expect("durable");
    let started = Instant::now();
    while wal.metrics().waiting_for_space {
        assert!(started.elapsed() < PATIENCE, "it does not see that there is room");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(log.join("reserve").exists(), "the ballast was not made again");
    from += 5;
    assert_eq!(read_all(&wal, 0), (0..from).collect::<Vec<_>>());
    wal.close().expect("closed");

    // Started again with the ballast there: less room than another would take is enough.
    let leave = 600 << 10;
    let stat = rustix::fs::statvfs(&small.at).expect("room");
    std::fs::write(small.at.join("other"), vec![1; (stat.f_bavail * stat.f_frsize) as usize - leave]).expect("a file");
    let (wal, _) = Wal::open(&log, with_ballast()).expect("a log");
    let id = open_stream(&wal, 0);
    wal.wait(wal.append(id, run(0, from, from + 5)).expect("room at the door")).expect("durable");
    assert!(log.join("reserve").exists() && !wal.metrics().waiting_for_space);
    wal.close().expect("closed");
}

/// A file that was written before is full of what is retired: a crash keeps no more of it than was under way.
#[test]
fn a_crash_in_a_recycled_file_keeps_one_group_of_it() {
    let directory = scratch(true);
    let tool = Tool::new(directory.path().join("wal"));
    let mut kept = 0;
    for _ in 0..12 {
        let mut writing = tool.write(Write { segment: 4 << 20, retire: true, until: i64::MAX }, None);
        // Through its segments often enough that a recycled one is written.
        let _ = writing.until_acked(if kept == 0 { 16_000 } else { 500 }, PATIENCE);
        writing.kill();
        let tally = tool.audit_by_reading(&tool.promised());
        assert!(tally.sound(), "{tally}");
        let found = landfall::wal::check(&tool.log).expect("a log");
        kept = found.quarantine.iter().map(|file| file.len).max().unwrap_or(0);
    }
    let recycled = Options::default().group_bytes as u64 + 4096;
    assert!(kept > 0, "no recycled file was being written");
    assert!(kept <= recycled, "{kept} bytes of a recycled file were kept");
}
