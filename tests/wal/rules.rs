//! One test for each rule that can be broken on purpose (`landfall::wal::SABOTAGES`), on the simulated disk.

use std::sync::mpsc::channel;
use std::time::Duration;

use landfall::wal::format::{GROUP_HEADER, GroupHeader, SegmentHeader};
use landfall::wal::{
    AppendError, AssignReason, Floor, Isolation, Options, Recovery, Stream, StreamId, Ticket, Wal, WalError,
};

use crate::rig::{open_stream, read_all, run, stream};
use crate::sim::{Image, Machine, Op, Survives};

/// Small segments, and no group that nobody asked for.
pub fn options() -> Options {
    Options {
        segment_bytes: 32 << 10,
        group_bytes: 8 << 10,
        ballast_bytes: 0,
        heartbeat: Duration::from_secs(3600),
        ..Options::default()
    }
}

pub fn open(machine: &Machine) -> (Wal, Recovery) {
    Wal::open_on(machine.volume(), options()).unwrap()
}

/// Appends `[from, until)` one record a group, each durable before the next.
pub fn fill(wal: &Wal, partition: i32, from: i64, until: i64) -> StreamId {
    let id = open_stream(wal, partition);
    for offset in from..until {
        wal.wait(wal.append(id, run(partition, offset, offset + 1)).unwrap()).unwrap();
    }
    id
}

fn ends_in<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, ended) = channel();
    std::thread::spawn(move || done.send(work()));
    ended.recv_timeout(Duration::from_secs(10)).unwrap_or_else(|_| panic!("{what} does not end"))
}

#[test]
fn an_acknowledged_run_survives_a_power_cut() {
    let machine = Machine::new(1);
    let (wal, _) = open(&machine);
    fill(&wal, 0, 0, 5);
    machine.restart(Survives::OnlyNames);
    drop(wal);
    assert_eq!(read_all(&open(&machine).0, 0), (0..5).collect::<Vec<_>>());
}

#[test]
fn the_name_of_a_segment_is_durable_before_anything_in_it_is_acknowledged() {
    let machine = Machine::new(1);
    let (wal, _) = open(&machine);
    fill(&wal, 0, 0, 30);
    machine.restart(Survives::OnlyBytes);
    drop(wal);
    assert_eq!(read_all(&open(&machine).0, 0), (0..30).collect::<Vec<_>>());
}

#[test]
fn a_sync_that_failed_is_not_tried_again() {
    let machine = Machine::new(1);
    let (wal, _) = open(&machine);
    let id = fill(&wal, 0, 0, 3);
    let before = machine.count(Op::SyncData, ".wal");
    machine.fault(Op::SyncData, ".wal", 0, crate::sim::How::Drop);
    let ticket = wal.append(id, run(0, 3, 4)).unwrap();
    assert!(matches!(wal.wait(ticket), Err(AppendError::Poisoned(_))));
    assert!(matches!(wal.append(id, run(0, 4, 5)), Err(AppendError::Poisoned(_))));
    assert!(wal.close().is_err());
    assert_eq!(machine.count(Op::SyncData, ".wal") - before, 1, "one sync, and none after it failed");
    machine.restart(Survives::Nothing);
    let read = read_all(&open(&machine).0, 0);
    assert!(read.len() >= 3, "{read:?}");
}

#[test]
fn nothing_is_acknowledged_after_a_write_that_failed() {
    let machine = Machine::new(1);
    let (wal, _) = open(&machine);
    let id = fill(&wal, 0, 0, 3);
    machine.fault(Op::Write, ".wal", 0, crate::sim::How::Eio);
    for offset in 3..6 {
        let ticket = wal.append(id, run(0, offset, offset + 1));
        let answer = ticket.and_then(|ticket| wal.wait(ticket));
        assert!(matches!(answer, Err(AppendError::Poisoned(_))), "{answer:?}");
    }
}

/// A log of one segment with `groups` groups that nobody closed, and its file's name.
fn torn_off(groups: i64) -> (Image, String) {
    let machine = Machine::new(1);
    let (wal, _) = open(&machine);
    fill(&wal, 0, 0, groups);
    machine.restart(Survives::Nothing);
    drop(wal);
    let image = machine.image();
    let name = image.keys().find(|name| name.ends_with(".wal")).unwrap().clone();
    (image, name)
}

/// Where the groups of a segment start, by their headers.
pub fn groups(file: &[u8]) -> Vec<(usize, GroupHeader)> {
    let segment = SegmentHeader::decode(&file[..4096]).unwrap();
    let mut at = 4096;
    std::iter::from_fn(|| {
        let header = GroupHeader::decode(file.get(at..at + GROUP_HEADER)?, &segment.uuid)?;
        let found = (at, header);
        let here = header.lsn == segment.base_lsn + at as u64 - 4096;
        at += header.total() as usize;
        here.then_some(found)
    })
    .collect()
}

#[test]
fn what_was_proven_durable_is_not_cut_away() {
    let (mut image, name) = torn_off(5);
    let file = image.get_mut(&name).unwrap();
    let (at, _) = groups(file)[2];
    file[at + 200] ^= 1;
    let error = Wal::open_on(Machine::of(image.clone(), 1).volume(), options()).err();
    let Some(WalError::Damaged(damages)) = error else { panic!("{error:?}") };
    assert_eq!(damages.len(), 1, "{damages:?}");
    // The run's start may have a group of its own.
    let lost = &damages[0].lost[0];
    assert!([1, 2].contains(&lost.from) && lost.until == Some(lost.from + 1), "{damages:?}");
}

#[test]
fn a_later_group_proves_only_what_it_says_was_synced() {
    // As a writer with two groups in flight leaves it: the last group was written, the one before it was not.
    let (mut image, name) = torn_off(5);
    let file = image.get_mut(&name).unwrap();
    let uuid = SegmentHeader::decode(&file[..4096]).unwrap().uuid;
    let found = groups(file);
    let [.., (before, torn), (last, header)] = found[..] else { panic!("{found:?}") };
    file[before + 200] ^= 1;
    let in_flight = GroupHeader { synced_lsn: torn.lsn, ..header };
    file[last..last + GROUP_HEADER].copy_from_slice(&in_flight.encode(&uuid));
    let (wal, recovery) = Wal::open_on(Machine::of(image.clone(), 1).volume(), options()).unwrap();
    assert!(matches!(recovery.tail, landfall::wal::Tail::Torn { lsn, .. } if lsn == torn.lsn), "{recovery:?}");
    assert_eq!(read_all(&wal, 0), vec![0, 1, 2]);
}

#[test]
fn a_segment_ends_with_its_seal_before_the_next_one_begins() {
    let machine = Machine::new(1);
    let (wal, _) = open(&machine);
    fill(&wal, 0, 0, 30);
    machine.restart(Survives::Nothing);
    drop(wal);
    assert_eq!(read_all(&open(&machine).0, 0), (0..30).collect::<Vec<_>>());
    let image = machine.image();
    let files: Vec<&Vec<u8>> = image.iter().filter(|(name, _)| name.ends_with(".wal")).map(|(_, file)| file).collect();
    assert!(files.len() > 2);
    for file in &files[..files.len() - 1] {
        let header = SegmentHeader::decode(&file[..4096]).unwrap();
        assert!(landfall::wal::format::Trailer::decode(&file[file.len() - 4096..], &header).is_some());
    }
}

#[test]
fn a_group_in_the_place_of_another_is_not_read() {
    let machine = Machine::new(1);
    let (wal, _) = open(&machine);
    fill(&wal, 0, 0, 5);
    wal.close().unwrap();
    let mut image = machine.image();
    let file = image.iter_mut().find(|(name, _)| name.ends_with(".wal")).unwrap().1;
    let found = groups(file);
    let (from, to) = (found[1].0, found[3].0);
    file.copy_within(from..from + 4096, to);
    let (wal, _) = open(&Machine::of(image, 1));
    let id = open_stream(&wal, 0);
    let read = ends_in("reading", move || {
        let cursor = wal.cursor(id, 0, 5).unwrap();
        cursor.take(20).map(|frame| frame.map(|frame| frame.range())).collect::<Result<Vec<_>, _>>()
    });
    assert!(matches!(read, Err(WalError::Damaged(_))), "{read:?}");
}

#[test]
fn a_recycled_file_does_not_bring_back_what_it_held() {
    let machine = Machine::new(1);
    let wal = several(&machine, 9);
    assert!(wal.retire(&floor(40)).unwrap().segments > 2);
    fill(&wal, 0, 40, 57);
    machine.restart(Survives::OnlyBytes);
    drop(wal);
    let (wal, _) = Wal::open_on(machine.volume(), options()).unwrap_or_else(|error| panic!("{error}"));
    let read = read_all(&wal, 0);
    assert!(read.is_sorted() && read.last() == Some(&56), "{read:?}");
}

#[test]
fn nobody_writes_the_file_of_an_earlier_opening() {
    let machine = Machine::new(1);
    for round in 0..4 {
        let (wal, _) = open(&machine);
        let there: Vec<String> = machine.image().into_keys().filter(|name| name.ends_with(".wal")).collect();
        machine.disk().journal.clear();
        fill(&wal, 0, round * 2, round * 2 + 2);
        if round % 2 == 0 {
            wal.close().unwrap();
        } else {
            machine.restart(Survives::Nothing);
        }
        for name in there {
            assert_eq!(machine.count(Op::Write, &name), 0, "{name} was written again");
        }
    }
    assert_eq!(read_all(&open(&machine).0, 0), (0..8).collect::<Vec<_>>());
}

fn several(machine: &Machine, recycled: usize) -> Wal {
    let (wal, _) = Wal::open_on(machine.volume(), Options { recycled, ..options() }).unwrap();
    fill(&wal, 0, 0, 40);
    wal
}

fn floor(committed: i64) -> [Floor; 1] {
    [Floor { stream: stream(0), committed }]
}

#[test]
fn the_floor_is_durable_before_a_segment_goes() {
    for recycled in [0, 4] {
        for step in 1..30 {
            let machine = Machine::new(step);
            let wal = several(&machine, recycled);
            machine.cut_after(step);
            let retired = wal.retire(&floor(40));
            let finished = retired.is_ok_and(|retired| retired.segments > 2);
            machine.restart(Survives::OnlyNames);
            drop(wal);
            let opened = Wal::open_on(machine.volume(), options());
            let (wal, _) = opened.unwrap_or_else(|error| panic!("cut at step {step} of a retirement: {error}"));
            assert_eq!(read_all(&wal, 0).last(), Some(&39));
            if finished {
                break;
            }
        }
    }
}

#[test]
fn the_oldest_segment_goes_first() {
    for (recycled, op) in [(0, Op::Unlink), (9, Op::Rename)] {
        let machine = Machine::new(1);
        let wal = several(&machine, recycled);
        machine.disk().journal.clear();
        assert!(wal.retire(&floor(40)).unwrap().segments > 2);
        let journal = machine.disk().journal.clone();
        let gone: Vec<String> = journal
            .into_iter()
            .filter(|(of, name)| *of == op && name.starts_with("00-"))
            .map(|(_, name)| name)
            .collect();
        assert!(gone.len() > 2 && gone.is_sorted(), "{gone:?}");
    }
}

/// Everybody who can wait for a log is waiting when it stops: for durability, for room, and a task.
#[test]
fn who_waits_is_woken_when_the_log_stops() {
    let machine = Machine::new(1);
    let (wal, _) =
        Wal::open_on(machine.volume(), Options { staging_bytes: 4 << 10, group_bytes: 1 << 10, ..options() }).unwrap();
    let id = fill(&wal, 0, 0, 3);
    machine.fault(Op::SyncData, ".wal", 0, crate::sim::How::Drop);
    machine.hold_syncs(true);
    let wal = std::sync::Arc::new(wal);
    let (done, ended) = channel();
    let task = wal.durable(wal.append(id, run(0, 3, 4)).unwrap());
    let told = done.clone();
    std::thread::spawn(move || told.send(block_on(task).unwrap_err()));
    for partition in [10, 11, 12] {
        let (wal, done) = (wal.clone(), done.clone());
        std::thread::spawn(move || {
            let error = (0..).find_map(|offset| {
                // The first run is waited for, or the room for the next ones.
                let sent = match offset {
                    0 => wal.start_run(
                        wal.stream(&stream(partition), Isolation::ReadCommitted).ok()?,
                        0,
                        AssignReason::Start,
                    ),
                    _ => wal.append(open_stream(&wal, partition), run(partition, offset - 1, offset)),
                };
                sent.and_then(|ticket: Ticket| if partition == 10 { wal.wait(ticket) } else { Ok(()) }).err()
            });
            done.send(error.unwrap())
        });
    }
    std::thread::sleep(Duration::from_millis(200));
    machine.hold_syncs(false);
    for _ in 0..4 {
        let error = ended.recv_timeout(Duration::from_secs(5)).expect("somebody still waits");
        assert!(matches!(error, AppendError::Poisoned(_)), "{error:?}");
    }
}

/// Waits for a future on this thread.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn a_topic_that_was_made_again_is_another_stream() {
    let machine = Machine::new(1);
    let (wal, _) = open(&machine);
    fill(&wal, 0, 0, 5);
    let again = Stream { topic_id: Some("AAAAAAAAAAAAAAAAAAAAAQ".into()), ..stream(0) };
    let id = wal.stream(&again, Isolation::ReadCommitted).unwrap();
    assert_eq!(wal.next_offset(id), None);
    wal.start_run(id, 0, AssignReason::Start).unwrap();
    wal.wait(wal.append(id, run(0, 0, 2)).unwrap()).unwrap();
    wal.close().unwrap();
    let (wal, recovery) = open(&machine);
    let next: Vec<(Stream, i64)> =
        recovery.streams.iter().map(|state| (state.stream.clone(), state.next_offset)).collect();
    assert_eq!(next, vec![(stream(0), 5), (again, 2)]);
    assert_eq!(read_all(&wal, 0), (0..5).collect::<Vec<_>>());
}

#[test]
fn readers_see_nothing_that_is_not_durable() {
    let machine = Machine::new(1);
    let (wal, _) = open(&machine);
    let id = fill(&wal, 0, 0, 3);
    machine.hold_syncs(true);
    let ticket = wal.append(id, run(0, 3, 5)).unwrap();
    for _ in 0..100 {
        assert_eq!(wal.held(id), vec![(0, 3)]);
        assert!(wal.cursor(id, 0, 5).is_err());
        std::thread::sleep(Duration::from_millis(1));
    }
    machine.hold_syncs(false);
    wal.wait(ticket).unwrap();
    assert_eq!(wal.held(id), vec![(0, 5)]);
}
