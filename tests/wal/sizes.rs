//! Sizes: options that no log can work with, an opening with smaller segments than the one before it, runs and names
//! at their limits.

use std::io;

use landfall::wal::{
    AppendError, AssignReason, Floor, Isolation, Options, Policy, Record, Refetch, Run, Stream, StreamId, Wal, WalError,
};

use crate::rig::stream;
use crate::rules::{groups, options};
use crate::sim::{Image, Machine};

const LONG: usize = 200 << 10;

fn long(offset: i64, len: usize) -> Run {
    let value = vec![offset as u8; len];
    let record = Record { offset, value: Some(&value), ..Record::default() };
    Run::new(&[record], offset + 1)
}

fn opened(wal: &Wal) -> StreamId {
    wal.stream(&stream(0), Isolation::ReadCommitted).unwrap()
}

/// The offsets that are read back, each with the right bytes.
fn offsets(wal: &Wal) -> Vec<i64> {
    let id = opened(wal);
    let mut offsets = Vec::new();
    for (from, until) in wal.held(id) {
        for frame in wal.cursor(id, from, until).unwrap() {
            let frame = frame.unwrap_or_else(|error| panic!("{error}"));
            for record in frame.records().map(Result::unwrap) {
                assert!(record.value.unwrap().iter().all(|byte| *byte == record.offset as u8));
                offsets.push(record.offset);
            }
        }
    }
    offsets
}

fn large() -> Options {
    Options { segment_bytes: 1 << 20, group_bytes: 64 << 10, ..options() }
}

/// `count` records of `len` bytes, each in its own group of one segment of 1 MiB.
fn log(count: i64, len: usize) -> Image {
    let machine = Machine::new(1);
    let (wal, _) = Wal::open_on(machine.volume(), large()).unwrap();
    let id = opened(&wal);
    wal.wait(wal.start_run(id, 0, AssignReason::Start).unwrap()).unwrap();
    for offset in 0..count {
        wal.wait(wal.append(id, long(offset, len)).unwrap()).unwrap();
    }
    wal.close().unwrap();
    machine.image()
}

#[test]
fn options_that_no_log_can_work_with_are_refused_before_anything_is_touched() {
    for (wrong, said) in [
        (Options { segment_bytes: 4096, ..options() }, "segment_bytes is 4096"),
        (Options { segment_bytes: 0, ..options() }, "segment_bytes is 0"),
        (Options { segment_bytes: u64::MAX, ..options() }, "segment_bytes is 18446744073709551615"),
        (Options { segment_bytes: 32 << 10, max_bytes: (64 << 10) - 1, ..options() }, "max_bytes is 65535"),
    ] {
        let machine = Machine::new(1);
        let error = Wal::open_on(machine.volume(), wrong).err().expect("refused");
        assert!(matches!(error, WalError::Options { .. }) && error.to_string().contains(said), "{error}");
        assert!(machine.image().is_empty());
    }
}

#[test]
fn two_segments_are_enough_for_a_log_that_is_landed() {
    let machine = Machine::new(1);
    let (wal, _) = Wal::open_on(machine.volume(), Options { max_bytes: 64 << 10, ..options() }).unwrap();
    let id = opened(&wal);
    wal.start_run(id, 0, AssignReason::Start).unwrap();
    for offset in 0..40 {
        let ticket = wal.append(id, long(offset, 3000)).unwrap();
        let started = std::time::Instant::now();
        while wal.held(id).last().is_none_or(|held| held.1 <= offset) {
            assert!(started.elapsed().as_secs() < 10, "it waits for room that it could have: {:?}", wal.metrics());
            wal.retire(&[Floor { stream: stream(0), committed: offset }]).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        wal.wait(ticket).unwrap();
    }
}

#[test]
fn a_run_that_smaller_segments_have_no_room_for_stays_where_it_is() {
    let machine = Machine::of(log(4, LONG), 1);
    let (wal, _) = Wal::open_on(machine.volume(), options()).unwrap();
    let id = opened(&wal);
    wal.wait(wal.append(id, long(4, 100)).unwrap()).unwrap();
    let copied = wal.copy_forward(id, 0);
    wal.retire(&[Floor { stream: stream(0), committed: 0 }]).unwrap();
    assert_eq!(offsets(&wal), vec![0, 1, 2, 3, 4], "{copied:?}");
    match copied {
        Err(WalError::Options { why }) => {
            assert!(why.contains("offsets 0-1") && why.contains("segment_bytes"), "{why}")
        }
        other => panic!("{other:?}"),
    }
    wal.close().unwrap();
    let (wal, _) = Wal::open_on(machine.volume(), large()).unwrap();
    assert!(wal.copy_forward(opened(&wal), 0).unwrap() > 4 * LONG as u64);
    assert_eq!(wal.retire(&[Floor { stream: stream(0), committed: 0 }]).unwrap().segments, 1);
    assert_eq!(offsets(&wal), vec![0, 1, 2, 3, 4]);
}

/// A source that has everything, one record a run.
struct Source(usize);

impl Refetch for Source {
    fn refetch(&mut self, _: &Stream, from: i64, until: Option<i64>) -> io::Result<Vec<Run>> {
        Ok((from..until.unwrap_or(from)).map(|offset| long(offset, self.0)).collect())
    }
}

/// With the payload of the `at`-th record damaged.
fn damaged(count: i64, len: usize, at: usize) -> Image {
    let mut image = log(count, len);
    let file = image.iter_mut().find(|(name, _)| name.ends_with(".wal")).unwrap().1;
    let longest: Vec<usize> =
        groups(file).into_iter().filter(|(_, group)| group.body_len as usize > len).map(|(at, _)| at).collect();
    let at = longest[at] + 1000;
    file[at] ^= 1;
    image
}

#[test]
fn a_repair_that_smaller_segments_have_no_room_for_loses_nothing() {
    let machine = Machine::of(damaged(4, LONG, 1), 1);
    let policy = || Policy::Refetch(Box::new(Source(LONG)));
    for _ in 0..2 {
        let error = Wal::open_on(machine.volume(), Options { policy: policy(), ..options() }).err();
        assert!(matches!(error, Some(WalError::Options { .. })), "{error:?}");
    }
    let (wal, recovery) = Wal::open_on(machine.volume(), Options { policy: policy(), ..large() }).unwrap();
    assert_eq!(recovery.damages.iter().map(|damage| damage.lost.len()).sum::<usize>(), 1);
    assert_eq!(offsets(&wal), vec![0, 1, 2, 3]);
}

/// What is fetched again stands behind what was whole, out of its order, and the index has an entry point there.
#[test]
fn what_was_fetched_again_is_found_wherever_it_stands() {
    let len = 27_000;
    let machine = Machine::of(damaged(10, len, 3), 1);
    let policy = Policy::Refetch(Box::new(Source(len)));
    let (wal, _) = Wal::open_on(machine.volume(), Options { policy, ..large() }).unwrap();
    assert_eq!(offsets(&wal), (0..10).collect::<Vec<_>>());
    let id = opened(&wal);
    for from in 0..10 {
        let read: Vec<_> = wal.cursor(id, from, 10).unwrap().map(|frame| frame.unwrap().range()).collect();
        assert_eq!(read, (from..10).map(|at| (at, at + 1)).collect::<Vec<_>>());
    }
    wal.close().unwrap();
    let (wal, _) = Wal::open_on(machine.volume(), large()).unwrap();
    assert_eq!(offsets(&wal), (0..10).collect::<Vec<_>>());
}

#[test]
fn offsets_at_their_limits_are_refused_and_nothing_breaks() {
    let machine = Machine::new(1);
    let (wal, _) = Wal::open_on(machine.volume(), options()).unwrap();
    let id = opened(&wal);
    wal.start_run(id, 0, AssignReason::Start).unwrap();
    let record = |offset| Record { offset, ..Record::default() };
    for run in [
        Run::empty(i64::MIN, i64::MAX),
        Run::empty(-5, 3),
        Run::new(&[], i64::MIN),
        Run::new(&[record(-5)], i64::MAX),
        Run::new(&[record(i64::MIN)], i64::MIN),
        Run::new(&[record(i64::MAX)], i64::MAX),
    ] {
        let refused = wal.append(id, run);
        assert!(matches!(refused, Err(AppendError::Invalid { .. })), "{refused:?}");
    }
    wal.wait(wal.append(id, Run::empty(0, i64::MAX)).unwrap()).unwrap();
    assert_eq!(wal.held(id), vec![(0, i64::MAX)]);
}

#[test]
fn a_name_that_a_segment_may_have_no_room_for_is_refused() {
    let machine = Machine::new(1);
    let (wal, _) = Wal::open_on(machine.volume(), options()).unwrap();
    let named = |len: usize| Stream { topic: "t".repeat(len), cluster: String::new(), ..stream(0) };
    assert!(matches!(wal.stream(&named(513), Isolation::ReadCommitted), Err(WalError::Stream { .. })));
    let id = wal.stream(&named(512), Isolation::ReadCommitted).unwrap();
    wal.start_run(id, 0, AssignReason::Start).unwrap();
    for offset in 0..40 {
        wal.wait(wal.append(id, long(offset, 2000)).unwrap()).unwrap();
    }
    drop(wal);
    let (wal, recovery) = Wal::open_on(machine.volume(), options()).unwrap();
    assert_eq!(recovery.streams[0].next_offset, 40);
    wal.close().unwrap();
    let prepared = (32 << 10) + 3 * 4096;
    assert!(machine.image().iter().filter(|(name, _)| name.ends_with(".wal")).all(|(_, file)| file.len() < prepared));
}
