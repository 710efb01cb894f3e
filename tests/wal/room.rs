//! Room: a full disk with files in the pool, a group that makes the index long, many who wait at once.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use landfall::wal::{AppendError, AssignReason, Floor, Isolation, Options, Record, Run, Wal};

use crate::rig::{read_all, run, stream};
use crate::rules::{fill, options};
use crate::sim::Machine;

/// A file of the pool lacks the blocks that its seal cut off; there may be no room for them, and enough in two files.
#[test]
fn a_full_disk_goes_on_with_what_the_pool_holds() {
    let machine = Machine::new(1);
    let (wal, _) = Wal::open_on(machine.volume(), Options { recycled: 50, ..options() }).unwrap();
    let id = fill(&wal, 0, 0, 40);
    let used = || machine.image().values().map(Vec::len).sum::<usize>();
    let now = used();
    machine.disk().capacity = Some(now);
    let wal = Arc::new(wal);
    let appender = wal.clone();
    let (done, ended) = channel();
    std::thread::spawn(move || {
        for offset in 40..120 {
            appender.wait(appender.append(id, run(0, offset, offset + 1)).unwrap()).unwrap();
        }
        done.send(()).unwrap();
    });
    while !wal.metrics().waiting_for_space || ended.recv_timeout(Duration::from_millis(300)).is_ok() {
        std::thread::sleep(Duration::from_millis(1));
    }
    // What the last seal gave back, somebody else takes.
    let now = used();
    machine.disk().capacity = Some(now);
    let started = Instant::now();
    while ended.recv_timeout(Duration::from_millis(5)).is_err() {
        assert!(started.elapsed() < Duration::from_secs(10), "it does not go on: {:?}", machine.image().keys());
        let committed = wal.held(id).last().unwrap().1;
        wal.retire(&[Floor { stream: stream(0), committed }]).unwrap();
    }
    assert_eq!(read_all(&wal, 0).last(), Some(&119));
}

/// Every jump is a stretch of the index, so a group can make the seal much longer than it was.
#[test]
fn a_group_of_many_runs_leaves_room_for_the_seal() {
    let machine = Machine::new(1);
    let capacity = 4 << 20;
    let sizes = Options { segment_bytes: capacity, group_bytes: 1 << 20, ..options() };
    let (wal, _) = Wal::open_on(machine.volume(), sizes).unwrap();
    let id = wal.stream(&stream(0), Isolation::ReadCommitted).unwrap();
    wal.wait(wal.start_run(id, 0, AssignReason::Start).unwrap()).unwrap();
    let record = |offset, value| Record { offset, value: Some(value), ..Record::default() };
    let (mut next, long) = (0, vec![0; 12 << 10]);
    while wal.metrics().bytes < 3_201_024 {
        wal.wait(wal.append(id, Run::new(&[record(next, &long)], next + 1)).unwrap()).unwrap();
        next += 1;
    }
    machine.hold_syncs(true);
    let mut last = wal.append(id, Run::new(&[record(next, &long)], next + 1)).unwrap();
    while machine.disk().inodes.iter().all(|inode| inode.unsynced.is_empty()) {
        std::thread::sleep(Duration::from_millis(1));
    }
    for _ in 0..4500 {
        next += 2;
        wal.start_run(id, next, AssignReason::Repositioned).unwrap();
        last = wal.append(id, Run::new(&[record(next, b"")], next + 1)).unwrap();
    }
    machine.hold_syncs(false);
    wal.wait(last).unwrap();
    wal.close().unwrap();
    let prepared = (capacity + 3 * 4096) as usize;
    for (name, file) in machine.image().iter().filter(|(name, _)| name.ends_with(".wal")) {
        assert!(file.len() < prepared, "{name} was made with {prepared} bytes and has {}", file.len());
    }
}

/// Short runs always find room. One that is longer than all of it must not wait for a moment without any of them.
#[test]
fn a_long_run_is_not_overtaken() {
    let machine = Machine::new(1);
    let (wal, _) = Wal::open_on(machine.volume(), Options { staging_bytes: 10 << 10, ..options() }).unwrap();
    let (short, long) = (fill(&wal, 0, 0, 1), fill(&wal, 1, 0, 1));
    machine.hold_syncs(true);
    wal.append(short, run(0, 1, 2)).unwrap();
    let value = vec![0; 12 << 10];
    let longest = Run::new(&[Record { offset: 1, value: Some(&value), ..Record::default() }], 2);
    std::thread::scope(|scope| {
        let appended = scope.spawn(|| wal.append(long, longest));
        let refused = (2..50).find_map(|at| {
            std::thread::sleep(Duration::from_millis(20));
            wal.try_append(short, run(0, at, at + 1)).err()
        });
        let staged = wal.metrics().staged_bytes;
        machine.hold_syncs(false);
        assert!(matches!(refused, Some(AppendError::Full)), "{refused:?}");
        assert!(staged < 8 << 10, "there was no room for anybody: {staged} bytes");
        wal.wait(appended.join().unwrap().unwrap()).unwrap();
    });
    let next = wal.next_offset(short).unwrap();
    wal.append(short, run(0, next, next + 1)).unwrap();
}

#[test]
fn a_run_starts_at_an_offset_that_there_is() {
    let machine = Machine::new(1);
    let (wal, _) = Wal::open_on(machine.volume(), options()).unwrap();
    let id = wal.stream(&stream(0), Isolation::ReadCommitted).unwrap();
    for offset in [-1, i64::MIN] {
        let refused = wal.start_run(id, offset, AssignReason::Start);
        assert!(matches!(refused, Err(AppendError::Invalid { .. })), "{refused:?}");
    }
    assert_eq!(wal.next_offset(id), None);
}

#[test]
fn many_tasks_may_wait_at_once() {
    struct Deaf;
    impl std::task::Wake for Deaf {
        fn wake(self: Arc<Self>) {}
    }
    let machine = Machine::new(1);
    let (wal, _) = Wal::open_on(machine.volume(), Options { staging_bytes: 64 << 20, ..options() }).unwrap();
    let id = fill(&wal, 0, 0, 1);
    machine.hold_syncs(true);
    let most = 60_000;
    let tickets: Vec<_> = (1..most)
        .map(|at| wal.append(id, Run::new(&[Record { offset: at, ..Record::default() }], at + 1)).unwrap())
        .collect();
    let waker = Arc::new(Deaf).into();
    let mut context = std::task::Context::from_waker(&waker);
    let started = Instant::now();
    let mut tasks: Vec<_> = tickets.iter().map(|ticket| Box::pin(wal.durable(*ticket))).collect();
    assert!(tasks.iter_mut().all(|task| task.as_mut().poll(&mut context).is_pending()));
    let took = started.elapsed();
    println!("{most} first polls took {took:?}");
    machine.hold_syncs(false);
    wal.wait(*tickets.last().unwrap()).unwrap();
    assert!(tasks.iter_mut().all(|task| task.as_mut().poll(&mut context).is_ready()));
    assert!(took < Duration::from_secs(1), "{most} first polls took {took:?}");
}
