//! Operations that fail, disks that fill up, and threads that meet: the log stops where it must, waits where it may,
//! and loses nothing that it acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use landfall::wal::{AppendError, AssignReason, Floor, Isolation, Options, Wal, WalError};

use crate::ledger::{Ledger, part};
use crate::rig::{open_stream, read_all, run, stream};
use crate::rules::{fill, open, options};
use crate::sim::{How, Machine, Op, Survives};

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(10), "{what} does not come true");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Closes a log, which must not hang.
fn close(wal: Wal) -> Result<(), WalError> {
    let (done, ended) = channel();
    std::thread::spawn(move || done.send(wal.close()));
    ended.recv_timeout(Duration::from_secs(10)).expect("closing hangs")
}

/// Appends, retires and closes until something fails; nothing may be acknowledged after that.
fn work(wal: &Wal, ledger: &mut Ledger) -> bool {
    let mut failed = false;
    for step in 0..60 {
        let partition = step % 2;
        let id = wal.stream(&stream(partition), Isolation::ReadCommitted).unwrap();
        let next = match wal.next_offset(id) {
            Some(next) => next,
            None => {
                match wal.start_run(id, 0, AssignReason::Start) {
                    Ok(ticket) => ledger.sent(partition, 0, 0, ticket),
                    Err(error) => assert!(matches!(error, AppendError::Poisoned(_)), "{error}"),
                }
                0
            }
        };
        let sent = wal.append(id, part(partition, next, next + 2));
        let answer = sent.and_then(|ticket| {
            ledger.sent(partition, next, next + 2, ticket);
            wal.wait(ticket).map(|()| ticket)
        });
        match answer {
            Ok(ticket) => {
                assert!(!failed, "an acknowledgement after a failure");
                ledger.acked(ticket);
            }
            Err(error) => {
                assert!(matches!(error, AppendError::Poisoned(_)), "{error}");
                failed = true;
            }
        }
        if step % 20 == 19 {
            let committed = ledger.acked_until(0).min(ledger.acked_until(1)) / 2;
            let floors = [0, 1].map(|partition| Floor { stream: stream(partition), committed });
            ledger.committed = BTreeMap::from([(0, committed), (1, committed)]);
            failed |= wal.retire(&floors).is_err();
        }
    }
    failed
}

#[test]
fn whatever_fails_stops_the_log_for_good_and_loses_nothing() {
    let (mut stopped, mut rounds) = (0, 0);
    let ops = [Op::Create, Op::Write, Op::SyncData, Op::SetLen, Op::SyncAll, Op::Rename, Op::Unlink, Op::SyncDir];
    for (op, how) in ops.iter().flat_map(|op| [(*op, How::Eio), (*op, How::Drop)]) {
        for skip in [0, 1, 2, 5, 11, 40] {
            let machine = Machine::new(skip + 1);
            let opened = Wal::open_on(machine.volume(), Options { recycled: (skip % 2) as usize, ..options() });
            let (wal, _) = opened.unwrap();
            machine.fault(op, "", skip, how);
            let mut ledger = Ledger::default();
            let failed = work(&wal, &mut ledger);
            let closed = close(wal);
            assert!(
                !failed || closed.is_err(),
                "{op:?} {how:?} {skip}: a log that stopped is closed as if nothing were"
            );
            machine.restart(if skip % 2 == 0 { Survives::Nothing } else { Survives::Some });
            let (wal, _) = open(&machine);
            ledger.verify(&wal).unwrap_or_else(|fault| panic!("{op:?} {how:?} {skip}: {fault:?}"));
            (stopped, rounds) = (stopped + u64::from(failed), rounds + 1);
        }
    }
    println!("failing operations: {rounds} rounds, {stopped} stopped the log, 0 acknowledged lost");
    assert!(stopped > rounds / 3);
}

#[test]
fn an_opening_that_meets_a_failure_changes_nothing_that_matters() {
    let (mut rounds, mut failed) = (0, 0);
    for op in [Op::Create, Op::Write, Op::SyncData, Op::SetLen, Op::SyncAll, Op::Rename, Op::Unlink, Op::SyncDir] {
        for (skip, how) in [(0, How::Eio), (0, How::Full), (1, How::Eio), (1, How::Full)] {
            let machine = Machine::new(skip + 7);
            let (wal, _) = open(&machine);
            fill(&wal, 0, 0, 20);
            let id = open_stream(&wal, 0);
            machine.hold_syncs(true);
            wal.append(id, run(0, 20, 25)).unwrap();
            until("the write", || machine.disk().inodes.iter().any(|inode| !inode.unsynced.is_empty()));
            machine.restart(Survives::OnlyNames);
            drop(wal);
            machine.fault(op, "", skip, how);
            failed += u64::from(Wal::open_on(machine.volume(), options()).is_err());
            rounds += 1;
            machine.kill();
            machine.restart(Survives::Some);
            let read = read_all(&open(&machine).0, 0);
            assert!(read.len() >= 20 && read == (0..read.len() as i64).collect::<Vec<_>>(), "{op:?} {how:?} {read:?}");
        }
    }
    println!("failing openings: {rounds} rounds, {failed} did not open, 0 acknowledged lost");
}

#[test]
fn a_retirement_that_fails_wakes_those_who_wait_for_room() {
    let machine = Machine::new(1);
    let (wal, _) =
        Wal::open_on(machine.volume(), Options { recycled: 0, staging_bytes: 64 << 10, ..options() }).unwrap();
    let id = fill(&wal, 0, 0, 40);
    machine.disk().capacity = Some(0);
    let wal = Arc::new(wal);
    let (done, ended) = channel();
    let appender = wal.clone();
    std::thread::spawn(move || {
        let error = (40..).find_map(|offset| {
            let sent = appender.append(id, run(0, offset, offset + 1));
            sent.and_then(|ticket| appender.wait(ticket)).err()
        });
        drop(appender);
        done.send(error).unwrap();
    });
    until("waiting for space", || wal.metrics().waiting_for_space);
    machine.fault(Op::SyncData, "META", 0, How::Drop);
    let before = machine.count(Op::SyncData, "META");
    assert!(wal.retire(&[Floor { stream: stream(0), committed: 40 }]).is_err());
    let error = ended.recv_timeout(Duration::from_secs(10)).expect("it still waits");
    assert!(matches!(error, Some(AppendError::Poisoned(_))), "{error:?}");
    until("the last reference", || Arc::strong_count(&wal) == 1);
    assert!(close(Arc::into_inner(wal).unwrap()).is_err());
    assert_eq!(machine.count(Op::SyncData, "META") - before, 1, "META is not synced again after that failed");
}

#[test]
fn a_full_disk_is_waited_out_and_the_log_goes_on_by_itself() {
    for make_room in ["retire", "space"] {
        let machine = Machine::new(1);
        let (wal, _) = Wal::open_on(machine.volume(), Options { recycled: 0, ..options() }).unwrap();
        let id = fill(&wal, 0, 0, 40);
        let used: usize = machine.image().values().map(Vec::len).sum();
        machine.disk().capacity = Some(used + 1000);
        let wal = Arc::new(wal);
        let appender = wal.clone();
        let (done, ended) = channel();
        std::thread::spawn(move || {
            for offset in 40..120 {
                appender.wait(appender.append(id, run(0, offset, offset + 1)).unwrap()).unwrap();
            }
            drop(appender);
            done.send(()).unwrap();
        });
        until("waiting for space", || wal.metrics().waiting_for_space);
        assert!(ended.recv_timeout(Duration::from_millis(200)).is_err(), "nothing goes on by itself");
        if make_room == "space" {
            machine.disk().capacity = None;
        }
        let started = Instant::now();
        while ended.recv_timeout(Duration::from_millis(5)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(10), "{make_room}: it does not go on");
            if make_room == "retire" {
                let committed = wal.held(id).last().unwrap().1;
                wal.retire(&[Floor { stream: stream(0), committed }]).unwrap();
            }
        }
        assert!(!wal.metrics().waiting_for_space);
        close(Arc::into_inner(wal).unwrap()).unwrap();
        machine.disk().capacity = None;
        assert_eq!(read_all(&open(&machine).0, 0).last(), Some(&119));
    }
}

#[test]
fn the_limit_of_the_whole_log_is_waited_out_too() {
    let machine = Machine::new(1);
    let most = Options { max_bytes: 100 << 10, ..options() };
    let (wal, _) = Wal::open_on(machine.volume(), most).unwrap();
    let id = open_stream(&wal, 0);
    let wal = Arc::new(wal);
    let appender = wal.clone();
    let thread = std::thread::spawn(move || {
        for offset in 0..200 {
            appender.wait(appender.append(id, run(0, offset, offset + 1)).unwrap()).unwrap();
        }
    });
    let mut waits = 0;
    while !thread.is_finished() {
        assert!(wal.metrics().disk_bytes <= (100 << 10) + (32 << 10), "{}", wal.metrics().disk_bytes);
        if wal.metrics().waiting_for_space {
            waits += 1;
            let committed = wal.held(id).last().unwrap().1;
            wal.retire(&[Floor { stream: stream(0), committed }]).unwrap();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    thread.join().unwrap();
    assert!(waits > 0);
}

#[test]
fn closing_a_log_that_waits_for_space_does_not_hang() {
    for op in [Op::Create, Op::Rename] {
        let machine = Machine::new(1);
        let (wal, _) = Wal::open_on(machine.volume(), Options { recycled: 0, ..options() }).unwrap();
        let id = fill(&wal, 0, 0, 10);
        machine.disk().faults.push(crate::sim::Fault { op, file: "new-", skip: 0, times: u64::MAX, how: How::Full });
        let tickets: Vec<_> = (10..80).map(|offset| wal.append(id, run(0, offset, offset + 1)).unwrap()).collect();
        std::thread::sleep(Duration::from_millis(300));
        let waiting = wal.durable(tickets[69]);
        assert!(close(wal).is_err(), "{op:?}: what found no room is told");
        drop(waiting);
        machine.heal();
        machine.restart(Survives::Nothing);
        let read = read_all(&open(&machine).0, 0);
        assert!(read.len() >= 10 && read == (0..read.len() as i64).collect::<Vec<_>>());
    }
}

#[test]
fn no_more_is_taken_than_the_bound_allows() {
    let machine = Machine::new(1);
    let bound = 16 << 10;
    let (wal, _) = Wal::open_on(machine.volume(), Options { staging_bytes: bound, ..options() }).unwrap();
    fill(&wal, 0, 0, 3);
    machine.hold_syncs(true);
    let wal = Arc::new(wal);
    let threads: Vec<_> = (1..5)
        .map(|partition| {
            let wal = wal.clone();
            std::thread::spawn(move || {
                let id = open_stream(&wal, partition);
                let tickets = (0..60).map(|offset| wal.append(id, run(partition, offset, offset + 1)).unwrap()).max();
                wal.wait(tickets.unwrap()).unwrap();
            })
        })
        .collect();
    for _ in 0..100 {
        assert!(wal.metrics().staged_bytes <= bound as u64, "{}", wal.metrics().staged_bytes);
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(wal.metrics().staged_bytes > bound as u64 / 2, "the bound is reached");
    assert!(threads.iter().all(|thread| !thread.is_finished()));
    let id = open_stream(&wal, 0);
    let refused = wal.try_append(id, run(0, 3, 30));
    assert!(matches!(refused, Err(AppendError::Full)), "{refused:?}");
    machine.hold_syncs(false);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    (1..5).for_each(|partition| assert_eq!(read_all(&wal, partition).len(), 60));
}

#[test]
fn two_receivers_of_one_partition_never_put_an_offset_in_twice() {
    let machine = Machine::new(1);
    let (wal, _) = open(&machine);
    let id = open_stream(&wal, 0);
    let start = std::sync::Barrier::new(3);
    let taken: i64 = std::thread::scope(|scope| {
        let receiver = |step: i64| {
            let (wal, start) = (&wal, &start);
            scope.spawn(move || {
                let (mut at, mut taken, mut refused) = (0, 0, 0);
                start.wait();
                while at < 600 {
                    std::thread::yield_now();
                    match wal.append(id, run(0, at, at + step)) {
                        Ok(_) => (at, taken) = (at + step, taken + step),
                        Err(AppendError::Duplicate { next, .. }) => (at, refused) = (next, refused + 1),
                        // The other one was faster: what lies between is being read again.
                        Err(AppendError::Gap { expected, .. }) => at = expected,
                        Err(error) => panic!("{error}"),
                    }
                }
                println!("a receiver of {step} at a time: {taken} taken, {refused} refused");
                taken
            })
        };
        let receivers = [receiver(3), receiver(5), receiver(1)];
        receivers.into_iter().map(|receiver| receiver.join().unwrap()).sum()
    });
    let next = wal.next_offset(id).unwrap();
    assert_eq!(taken, next);
    close(wal).unwrap();
    assert_eq!(read_all(&open(&machine).0, 0), (0..next).collect::<Vec<_>>());
}
