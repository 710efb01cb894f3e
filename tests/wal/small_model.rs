//! Every crash state of small logs: at each step of their making, each subset of the blocks (of a single block: the
//! sectors) that were not synced, each length, each set of changes of the directory. And each of those with one group
//! damaged. All of them through the recovery itself.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use landfall::wal::format::GROUP_HEADER;
use landfall::wal::{Acked, AssignReason, Floor, Isolation, Options, Wal, WalError};

use crate::dice::long;
use crate::ledger::{Fault, Ledger, part};
use crate::rig::stream;
use crate::rules::{groups, options};
use crate::sim::{BLOCK, Disk, Image, Machine, SECTOR, put};

/// Segments of a few groups.
fn tiny(recycled: usize) -> Options {
    Options { segment_bytes: 24 << 10, group_bytes: 8 << 10, recycled, ..options() }
}

/// A log of groups of one to three blocks in several segments, and the disk after each change of it; the mark at which
/// some of it was retired.
fn history(recycled: usize, runs: &[i64]) -> (Vec<(Disk, i64)>, Ledger, i64) {
    let machine = Machine::new(1);
    machine.keep_history();
    let (mut ledger, mut retired) = (Ledger::default(), i64::MAX);
    let (wal, _) = Wal::open_on(machine.volume(), tiny(recycled)).unwrap();
    for (step, len) in runs.iter().enumerate() {
        let partition = (step % 2) as i32;
        let id = wal.stream(&stream(partition), Isolation::ReadCommitted).unwrap();
        if wal.next_offset(id).is_none() {
            ledger.sent(partition, 0, 0, wal.start_run(id, 0, AssignReason::Start).unwrap());
        }
        let next = wal.next_offset(id).unwrap();
        let ticket = wal.append(id, part(partition, next, next + len)).unwrap();
        ledger.sent(partition, next, next + len, ticket);
        wal.wait(ticket).unwrap();
        machine.mark(ledger.sent.len() as i64);
        if step == runs.len() / 2 && recycled > 0 {
            retired = ledger.sent.len() as i64;
            ledger.committed = BTreeMap::from([(0, runs[0] + runs[2]), (1, runs[1])]);
            let floor =
                |(partition, committed): (&i32, &i64)| Floor { stream: stream(*partition), committed: *committed };
            wal.retire(&ledger.committed.iter().map(floor).collect::<Vec<_>>()).unwrap();
        }
    }
    wal.close().unwrap();
    (machine.take_history(), ledger, retired)
}

/// Something that a cut may leave undone: sectors of a file.
/// A sector that was written, and where.
type Written = (usize, [u8; SECTOR]);
type Unit = (usize, Vec<Written>);

fn units(disk: &Disk) -> Vec<Unit> {
    let mut blocks: BTreeMap<(usize, usize), Vec<Written>> = BTreeMap::new();
    for (inode, file) in disk.inodes.iter().enumerate() {
        for (sector, versions) in &file.unsynced {
            let last = versions[versions.len() - 1];
            let stored = file.stored.get(sector * SECTOR..(sector + 1) * SECTOR);
            if stored != Some(&last) && !(stored.is_none() && last == [0; SECTOR]) {
                blocks.entry((inode, sector * SECTOR / BLOCK)).or_default().push((*sector, last));
            }
        }
    }
    match blocks.len() {
        1 => blocks
            .into_iter()
            .flat_map(|((inode, _), all)| all.into_iter().map(move |one| (inode, vec![one])))
            .collect(),
        _ => blocks.into_iter().map(|((inode, _), sectors)| (inode, sectors)).collect(),
    }
}

/// Every image that a cut may leave of a disk.
fn states(disk: &Disk, mut each: impl FnMut(Image)) {
    let units = units(disk);
    let lengths: Vec<usize> = disk.inodes.iter().map(|inode| inode.lengths.len() + 1).collect();
    let ops = disk.dir_ops.len();
    let all: usize = (1 << units.len()) * (1 << ops) * lengths.iter().product::<usize>();
    assert!(all < 1 << 16, "{} units, {ops} changes of names, lengths {lengths:?}", units.len());
    for state in 0..all {
        let (written, rest) = (state % (1 << units.len()), state >> units.len());
        let (named, mut rest) = (rest % (1 << ops), rest >> ops);
        let mut names = disk.stored_names.clone();
        disk.dir_ops.iter().enumerate().filter(|(at, _)| named >> at & 1 == 1).for_each(|(_, op)| op.apply(&mut names));
        let mut files: Vec<Vec<u8>> = Vec::new();
        for (inode, choices) in disk.inodes.iter().zip(&lengths) {
            let mut file = inode.stored.clone();
            inode.lengths[..rest % choices].iter().for_each(|len| file.resize(*len, 0));
            rest /= choices;
            files.push(file);
        }
        for (_, (inode, sectors)) in units.iter().enumerate().filter(|(at, _)| written >> at & 1 == 1) {
            sectors.iter().for_each(|(sector, bytes)| put(&mut files[*inode], *sector, bytes));
        }
        each(names.into_iter().map(|(name, inode)| (name, files[inode].clone())).collect());
    }
}

#[derive(Debug, Default)]
struct Found {
    states: u64,
    damaged: u64,
    refused: u64,
    by_watermark: u64,
    when_read: u64,
    harmless: u64,
}

fn open(image: &Image, acked: Vec<Acked>) -> Result<(Wal, Vec<landfall::wal::Lost>), WalError> {
    let opened = Wal::open_on(Machine::of(image.clone(), 1).volume(), Options { acked, ..tiny(1) });
    opened.map(|(wal, recovery)| (wal, recovery.tail_lost))
}

fn after_a_crash(image: &Image, ledger: &Ledger, found: &mut Found) {
    found.states += 1;
    match open(image, watermark(ledger)) {
        Ok((wal, lost)) => {
            ledger.verify(&wal).unwrap_or_else(|fault| panic!("{fault:?}"));
            assert!(lost.is_empty(), "a plain crash is called a loss: {lost:?}");
        }
        Err(error) => panic!("a plain crash is called damage: {error}"),
    }
}

fn watermark(ledger: &Ledger) -> Vec<Acked> {
    let acked = |partition| Acked { stream: stream(partition), until: ledger.acked_until(partition) };
    let above = |acked: &Acked| {
        let committed = ledger.committed.get(&acked.stream.partition).copied().unwrap_or(0);
        acked.until > committed
    };
    [0, 1].map(acked).into_iter().filter(above).collect()
}

/// One group of the image is damaged: its header, what it holds, or all of it.
fn with_damage(image: &Image, ledger: &Ledger, found: &mut Found) {
    for (name, file) in image.iter().filter(|(name, _)| name.ends_with(".wal")) {
        for (at, header) in groups(file) {
            let end = at + GROUP_HEADER + header.body_len as usize;
            for kind in 0..4 {
                let mut image = image.clone();
                let bytes = image.get_mut(name).unwrap();
                match kind {
                    0 => bytes[at + 20] ^= 1,
                    1 => bytes[at + GROUP_HEADER + 30] ^= 1,
                    2 => bytes[end - 9] ^= 1,
                    _ => bytes[at..at + BLOCK].fill(0),
                }
                found.damaged += 1;
                hit(&image, ledger, found, &format!("{name} at {at:#x}, {kind}"));
            }
        }
    }
}

fn hit(image: &Image, ledger: &Ledger, found: &mut Found, say: &str) {
    let (wal, lost) = match open(image, watermark(ledger)) {
        Ok(opened) => opened,
        Err(WalError::Damaged(_)) => return found.refused += 1,
        Err(error) => panic!("{say}: {error}"),
    };
    match ledger.verify(&wal) {
        Ok(()) => found.harmless += 1,
        Err(Fault::Named(WalError::Damaged(_))) => found.when_read += 1,
        Err(Fault::Lost(_)) if !lost.is_empty() => found.by_watermark += 1,
        Err(fault) => panic!("{say}: not noticed: {fault:?}"),
    }
}

/// How many files are recycled, and the records of each group in turn.
const SHAPES: [(usize, &[i64]); 5] = [
    (0, &[1, 1, 6, 1, 10, 2, 1, 1]),
    (0, &[10, 10, 10, 10, 10]),
    (1, &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
    (2, &[1, 6, 1, 1, 1, 8, 1, 1, 5, 1, 1, 1, 1, 2]),
    (2, &[7, 2, 9, 9, 1, 10, 3, 8, 8, 1, 12, 4]),
];

#[test]
fn every_crash_state_of_a_small_log_is_recovered_and_every_damage_is_noticed() {
    let (mut found, started) = (Found::default(), Instant::now());
    let most = Duration::from_secs(if long() { 900 } else { 20 });
    let every = if long() { 1 } else { 4 };
    for (recycled, runs) in SHAPES {
        let (history, ledger, retired) = history(recycled, runs);
        let mut seen = HashSet::new();
        for (disk, mark) in &history {
            let mut then = ledger.clone();
            if *mark < retired {
                then.committed.clear();
            }
            then.sent.iter_mut().take(*mark as usize).for_each(|sent| sent.acked = true);
            states(disk, |image| {
                let mut hasher = DefaultHasher::new();
                (&image, mark).hash(&mut hasher);
                if !seen.insert(hasher.finish()) {
                    return;
                }
                after_a_crash(&image, &then, &mut found);
                if found.states % every == 0 && started.elapsed() < most {
                    with_damage(&image, &then, &mut found);
                }
            });
        }
    }
    println!("small model: {found:?}; 0 acknowledged lost, 0 false alarms, 0 not noticed; {:?}", started.elapsed());
    assert!(found.states > 1000 && found.damaged > 2000 && found.by_watermark > 0 && found.refused > 0);
}
