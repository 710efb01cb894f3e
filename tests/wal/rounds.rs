//! Written, closed or dropped, opened again: everything is there, once, in order.

use landfall::wal::{AppendError, Floor, Tail};

use crate::rig::{open, open_stream, read_all, run, stream};

#[test]
fn what_was_appended_is_read_back_across_segments_and_openings() {
    let directory = tempfile::tempdir().unwrap();
    let mut next = 0;
    for round in 0..4 {
        let (wal, recovery) = open(directory.path());
        if round == 0 {
            assert_eq!(recovery.tail, Tail::New);
        } else {
            assert_eq!(recovery.tail, Tail::Clean { closed: true });
        }
        let ids = [open_stream(&wal, 0), open_stream(&wal, 1)];
        for step in 0..100 {
            let until = next + 1 + step % 5;
            let tickets = ids.map(|id| wal.append(id, run(if id == ids[0] { 0 } else { 1 }, next, until)).unwrap());
            wal.wait(tickets[1]).unwrap();
            next = until;
        }
        for partition in 0..2 {
            assert_eq!(read_all(&wal, partition), (0..next).collect::<Vec<_>>());
        }
        wal.close().unwrap();
    }
}

#[test]
fn the_door_refuses_what_was_there_and_what_jumps() {
    let directory = tempfile::tempdir().unwrap();
    let (wal, _) = open(directory.path());
    let id = open_stream(&wal, 0);
    wal.wait(wal.append(id, run(0, 0, 10)).unwrap()).unwrap();
    assert!(matches!(wal.append(id, run(0, 9, 12)), Err(AppendError::Duplicate { base: 9, next: 10, .. })));
    assert!(matches!(wal.append(id, run(0, 11, 12)), Err(AppendError::Gap { base: 11, expected: 10, .. })));
    wal.wait(wal.append(id, run(0, 11, 12).sparse()).unwrap()).unwrap();
    assert_eq!(wal.held(id), vec![(0, 12)]);
    wal.start_run(id, 20, landfall::wal::AssignReason::Assigned).unwrap();
    wal.wait(wal.append(id, run(0, 20, 22)).unwrap()).unwrap();
    assert_eq!(wal.held(id), vec![(0, 12), (20, 22)]);
    assert!(wal.cursor(id, 5, 21).is_err(), "a cursor stays within one run");
}

#[test]
fn the_oldest_segments_go_when_every_stream_is_below_its_floor() {
    let directory = tempfile::tempdir().unwrap();
    let (wal, _) = open(directory.path());
    let ids = [open_stream(&wal, 0), open_stream(&wal, 1)];
    for from in (0..600).step_by(3) {
        wal.append(ids[0], run(0, from, from + 3)).unwrap();
    }
    wal.wait(wal.append(ids[1], run(1, 0, 3)).unwrap()).unwrap();
    let before = wal.metrics().segments;
    let floor = |partition, committed| Floor { stream: stream(partition), committed };
    assert_eq!(wal.retire(&[floor(0, 0)]).unwrap().pinned_by, Some(stream(0)));
    let retired = wal.retire(&[floor(0, 600)]).unwrap();
    assert!(before > 2 && retired.segments as u64 == before - 1, "{before} segments, {retired:?}");
    assert_eq!(read_all(&wal, 1), vec![0, 1, 2]);
    wal.close().unwrap();
    let (wal, _) = open(directory.path());
    assert_eq!(read_all(&wal, 1), vec![0, 1, 2]);
    assert!(!read_all(&wal, 0).contains(&0));
}

#[test]
fn a_lagging_stream_is_copied_forward_and_read_from_there() {
    let directory = tempfile::tempdir().unwrap();
    let (wal, _) = open(directory.path());
    let ids = [open_stream(&wal, 0), open_stream(&wal, 1)];
    wal.append(ids[1], run(1, 0, 5)).unwrap();
    for from in (0..600).step_by(3) {
        wal.append(ids[0], run(0, from, from + 3)).unwrap();
    }
    wal.wait(wal.append(ids[1], run(1, 5, 9)).unwrap()).unwrap();
    let floor = Floor { stream: stream(0), committed: 600 };
    assert_eq!(wal.retire(std::slice::from_ref(&floor)).unwrap().pinned_by, Some(stream(1)));
    assert!(wal.copy_forward(ids[1], 0).unwrap() > 0);
    assert!(wal.retire(&[floor]).unwrap().segments > 0);
    assert_eq!(read_all(&wal, 1), (0..9).collect::<Vec<_>>());
    wal.wait(wal.append(ids[1], run(1, 9, 12)).unwrap()).unwrap();
    wal.close().unwrap();
    let (wal, _) = open(directory.path());
    assert_eq!(read_all(&wal, 1), (0..12).collect::<Vec<_>>());
    let id = open_stream(&wal, 1);
    assert_eq!(wal.next_offset(id), Some(12));
}

#[test]
fn one_process_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let (_wal, _) = open(directory.path());
    let second = landfall::wal::Wal::open(directory.path(), crate::rig::options());
    let error = second.err().unwrap().to_string();
    assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
}
