//! The policies `refetch` and `salvage` on damaged logs: what is read afterwards, what was named, and a crash at every
//! step of a repair.

use std::io;

use landfall::wal::{Acked, Lost, Options, Policy, Recovery, Refetch, Run, Stream, Wal, WalError};

use crate::dice::{long, seed};
use crate::ledger::{Fault, part, read};
use crate::rig::stream;
use crate::rules::{fill, groups, options};
use crate::sim::{BLOCK, Image, Machine, Survives};

/// How far each of the two partitions goes.
const END: i64 = 30;

/// A source that has everything from an offset on.
struct Source(i64);

impl Refetch for Source {
    fn refetch(&mut self, stream: &Stream, from: i64, until: Option<i64>) -> io::Result<Vec<Run>> {
        let until = until.unwrap_or(END);
        let from = from.max(self.0);
        let steps = (from..until).step_by(4);
        Ok(steps.map(|at| part(stream.partition, at, (at + 4).min(until))).collect())
    }
}

fn log() -> Image {
    let machine = Machine::new(1);
    let (wal, _) = Wal::open_on(machine.volume(), options()).unwrap();
    for from in (0..END).step_by(3) {
        for partition in 0..2 {
            fill(&wal, partition, from, from + 3);
        }
    }
    wal.close().unwrap();
    machine.image()
}

/// Each way in which a group, a header, a trailer or a file of the log is damaged.
fn damages(image: &Image) -> Vec<(String, Image)> {
    let mut all = Vec::new();
    let mut with = |what: String, change: &dyn Fn(&mut Image)| {
        let mut image = image.clone();
        change(&mut image);
        all.push((what, image));
    };
    for (name, file) in image.iter().filter(|(name, _)| name.ends_with(".wal")) {
        let bytes = |image: &mut Image, change: &dyn Fn(&mut Vec<u8>)| change(image.get_mut(name).unwrap());
        for (at, header) in groups(file) {
            let end = at + 64 + header.body_len as usize;
            with(format!("{name} {at:#x} header"), &|image| bytes(image, &|file| file[at + 20] ^= 1));
            with(format!("{name} {at:#x} frame"), &|image| bytes(image, &|file| file[at + 64 + 30] ^= 1));
            with(format!("{name} {at:#x} payload"), &|image| bytes(image, &|file| file[end - 9] ^= 1));
            with(format!("{name} {at:#x} zeros"), &|image| bytes(image, &|file| file[at..at + BLOCK].fill(0)));
        }
        with(format!("{name} segment header"), &|image| bytes(image, &|file| file[40] ^= 1));
        let trailer = file.len() - BLOCK;
        with(format!("{name} trailer"), &|image| bytes(image, &|file| file[trailer + 20] ^= 1));
        with(format!("{name} is missing"), &|image| drop(image.remove(name)));
        with(format!("{name} is cut"), &|image| bytes(image, &|file| file.truncate(file.len() / 2)));
    }
    for slot in [0, 1] {
        let flip = |image: &mut Image| image.get_mut("META").unwrap()[slot * 4096 + 40] ^= 1;
        with(format!("META slot {slot}"), &flip);
    }
    with("META is missing".into(), &|image| drop(image.remove("META")));
    all
}

fn open(machine: &Machine, policy: Policy) -> Result<(Wal, Recovery), WalError> {
    let acked = [0, 1].map(|partition| Acked { stream: stream(partition), until: END }).to_vec();
    Wal::open_on(machine.volume(), Options { policy, acked, ..options() })
}

fn refetch() -> Policy {
    Policy::Refetch(Box::new(Source(0)))
}

/// The offsets of a partition that are held; everything that is read is checked.
fn offsets(wal: &Wal, partition: i32) -> Result<Vec<i64>, Fault> {
    Ok(read(wal, partition)?.into_iter().flat_map(|(from, until)| from..until).collect())
}

fn names(lost: &[Lost], partition: i32, offset: i64) -> bool {
    let until = |lost: &Lost| lost.until.unwrap_or(i64::MAX);
    lost.iter().any(|lost| lost.stream.partition == partition && lost.from <= offset && offset < until(lost))
}

/// Nothing is damaged any more, and the same is read again.
fn whole_again(machine: &Machine, what: &str, before: &[Vec<i64>]) {
    let (wal, recovery) = open(machine, Policy::Fail).unwrap_or_else(|error| panic!("{what}, again: {error}"));
    assert!(recovery.damages.is_empty());
    let (full, found) = open_full(wal, machine).unwrap_or_else(|error| panic!("{what}, in full: {error}"));
    assert_eq!(found.damages, Vec::new(), "{what}: the second opening finds damage");
    for partition in 0..2 {
        let read = offsets(&full, partition).unwrap_or_else(|fault| panic!("{what}: {fault:?}"));
        assert_eq!(read, before[partition as usize], "{what}");
    }
}

/// With every byte read, which is what the other policies do.
fn open_full(wal: Wal, machine: &Machine) -> Result<(Wal, Recovery), WalError> {
    drop(wal);
    open(machine, refetch())
}

#[test]
fn after_a_refetch_everything_is_there_again() {
    let image = log();
    let (mut cases, mut found, mut tail_lost) = (0, 0, 0);
    for (what, damaged) in damages(&image) {
        let machine = Machine::of(damaged, 1);
        let (wal, recovery) = open(&machine, refetch()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let read = [0, 1].map(|partition| offsets(&wal, partition).unwrap_or_else(|fault| panic!("{what}: {fault:?}")));
        for (partition, read) in read.iter().enumerate() {
            // The end of the last segment is proven by nothing behind it: only the watermark tells.
            let there = |offset: &i64| read.contains(offset) || !names(&recovery.tail_lost, partition as i32, *offset);
            let expected: Vec<i64> = (0..END).filter(there).collect();
            assert_eq!(*read, expected, "{what}, orders/{partition}: {:?}", recovery.damages);
            tail_lost += END as usize - expected.len();
        }
        wal.close().unwrap();
        whole_again(&machine, &what, &read);
        (cases, found) = (cases + 1, found + usize::from(!recovery.damages.is_empty()));
    }
    println!("refetch: {cases} damaged logs, {found} with named damage, all whole again");
    assert!(found > cases / 2 && tail_lost < 5, "{found} of {cases}, {tail_lost} lost at the end");
}

#[test]
fn after_a_salvage_what_is_missing_is_what_was_named() {
    let image = log();
    let (mut cases, mut lost_records, mut saved) = (0, 0, 0);
    for (what, damaged) in damages(&image) {
        let machine = Machine::of(damaged, 1);
        let (wal, recovery) = open(&machine, Policy::Salvage(None)).unwrap_or_else(|error| panic!("{what}: {error}"));
        let lost: Vec<Lost> =
            recovery.damages.iter().flat_map(|damage| damage.lost.clone()).chain(recovery.tail_lost.clone()).collect();
        let read = [0, 1].map(|partition| offsets(&wal, partition).unwrap_or_else(|fault| panic!("{what}: {fault:?}")));
        for (partition, read) in (0..).zip(&read) {
            for offset in 0..END {
                let (there, named) = (read.contains(&offset), names(&lost, partition, offset));
                assert!(there || named, "{what}: orders/{partition} {offset} is missing and not named: {lost:?}");
                // Where a definition was hit, frames are named that a later one makes readable again.
                saved += u64::from(there && named);
                lost_records += u64::from(!there);
            }
        }
        wal.close().unwrap();
        whole_again(&machine, &what, &read);
        cases += 1;
    }
    println!(
        "salvage: {cases} damaged logs, {lost_records} offsets missing, every one of them named; {saved} named and saved"
    );
    assert!(lost_records > 0);
}

#[test]
fn a_repair_may_end_at_every_step_and_is_done_again() {
    let image = log();
    let all = damages(&image);
    let (mut openings, seed) = (0, seed("ended repairs"));
    let every = if long() { 1 } else { all.len() / 12 };
    for (what, damaged) in all.into_iter().step_by(every) {
        for (step, kill) in (1..200).flat_map(|step| [(step, true), (step, false)]) {
            let machine = Machine::of(damaged.clone(), seed + step);
            machine.cut_after(step);
            let ended = open(&machine, refetch());
            let finished = !machine.is_off();
            if kill {
                machine.kill()
            } else {
                machine.restart(Survives::Some)
            }
            drop(ended);
            let say = format!("{what}, step {step}, kill {kill}");
            let (wal, _) = open(&machine, refetch()).unwrap_or_else(|error| panic!("{say}: {error}"));
            let read =
                [0, 1].map(|partition| offsets(&wal, partition).unwrap_or_else(|fault| panic!("{say}: {fault:?}")));
            assert!(read.iter().all(|read| *read == (0..END).collect::<Vec<_>>()), "{say}: {read:?}");
            machine.restart(Survives::Nothing);
            drop(wal);
            whole_again(&machine, &say, &read);
            openings += 2;
            if finished {
                break;
            }
        }
    }
    println!("ended repairs: {openings} openings");
}
