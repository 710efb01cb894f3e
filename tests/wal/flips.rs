//! Bit rot, lost and misdirected writes, files that are gone, doubled or renamed: whatever is done to a log, a reader
//! gets what was appended, or is told. The table's last figure, silent, must be 0.
//!
//! A sample by default, everything under `LANDFALL_TEST_ALL=1`; `LANDFALL_SEED` repeats a sample.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use landfall::wal::format::BLOCK;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::base::{Base, build};
use crate::judge::{Class, Naming, Outcome, judge};
use crate::memory::Image;

pub fn everything() -> bool {
    std::env::var("LANDFALL_TEST_ALL").is_ok_and(|all| all == "1")
}

/// The test's seed, printed so that a failure can be repeated.
pub fn seed() -> u64 {
    let seed = std::env::var("LANDFALL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("LANDFALL_SEED={seed}");
    seed
}

/// One way to hurt a log. Files are numbers in the list of its names.
#[derive(Debug, Clone, Copy)]
pub enum Harm {
    Flip {
        file: usize,
        bit: usize,
    },
    Cut {
        file: usize,
        len: usize,
    },
    Zero {
        file: usize,
        at: usize,
        len: usize,
    },
    Garbage {
        file: usize,
        at: usize,
        len: usize,
        seed: u64,
    },
    Double {
        file: usize,
        from: usize,
        to: usize,
        len: usize,
    },
    Swap {
        file: usize,
        one: usize,
        two: usize,
        len: usize,
    },
    /// What stood there before the file was recycled: a write that was lost.
    Stale {
        file: usize,
        at: usize,
        len: usize,
    },
    /// A block of another file at the same place.
    Astray {
        file: usize,
        from: usize,
        at: usize,
        len: usize,
    },
    Missing {
        file: usize,
    },
    /// A copy under a name that begins or ends so.
    Copied {
        file: usize,
        to: &'static str,
    },
    Renamed {
        file: usize,
        to: &'static str,
    },
    Exchanged {
        one: usize,
        two: usize,
    },
}

impl Harm {
    fn class(&self) -> String {
        let size = |len: usize| if len >= 1024 { format!("{} KiB", len / 1024) } else { format!("{len} B") };
        match self {
            Harm::Flip { .. } => "one bit flipped".into(),
            Harm::Cut { .. } => "file cut".into(),
            Harm::Zero { len, .. } => format!("{} zeroed", size(*len)),
            Harm::Garbage { len, .. } => format!("{} garbage", size(*len)),
            Harm::Double { len, .. } => format!("{} duplicated", size(*len)),
            Harm::Swap { len, .. } => format!("{} swapped", size(*len)),
            Harm::Stale { len, .. } => format!("{} of the file's past", size(*len)),
            Harm::Astray { len, .. } => format!("{} of another file", size(*len)),
            Harm::Missing { .. } => "file missing".into(),
            Harm::Copied { .. } => "file copied".into(),
            Harm::Renamed { .. } => "file renamed".into(),
            Harm::Exchanged { .. } => "files exchanged".into(),
        }
    }

    pub fn done(&self, base: &Base, names: &[String]) -> Image {
        let mut image = base.image.clone();
        let bytes = |file: usize| base.image[&names[file]].clone();
        let mut put = |file: usize, change: &mut dyn FnMut(&mut Vec<u8>)| {
            let mut changed = Vec::clone(&bytes(file));
            change(&mut changed);
            image.insert(names[file].clone(), Arc::new(changed));
        };
        match *self {
            Harm::Flip { file, bit } => put(file, &mut |bytes| bytes[bit / 8] ^= 1 << (bit % 8)),
            Harm::Cut { file, len } => put(file, &mut |bytes| bytes.truncate(len)),
            Harm::Zero { file, at, len } => put(file, &mut |bytes| bytes[at..at + len].fill(0)),
            Harm::Garbage { file, at, len, seed } => {
                put(file, &mut |bytes| SmallRng::seed_from_u64(seed).fill(&mut bytes[at..at + len]));
            }
            Harm::Double { file, from, to, len } => put(file, &mut |bytes| bytes.copy_within(from..from + len, to)),
            Harm::Swap { file, one, two, len } => put(file, &mut |bytes| {
                let (low, high) = bytes.split_at_mut(two);
                low[one..one + len].swap_with_slice(&mut high[..len]);
            }),
            Harm::Stale { file, at, len } => {
                let past = &base.past[&names[file]];
                put(file, &mut |bytes| {
                    let len = len.min(past.len().saturating_sub(at));
                    bytes[at..at + len].copy_from_slice(&past[at..at + len]);
                });
            }
            Harm::Astray { file, from, at, len } => {
                let other = bytes(from);
                put(file, &mut |bytes| bytes[at..at + len].copy_from_slice(&other[at..at + len]));
            }
            Harm::Missing { file } => drop(image.remove(&names[file])),
            Harm::Copied { file, to } => drop(image.insert(renamed(&names[file], to), bytes(file))),
            Harm::Renamed { file, to } => {
                image.remove(&names[file]);
                image.insert(renamed(&names[file], to), bytes(file));
            }
            Harm::Exchanged { one, two } => {
                image.insert(names[one].clone(), bytes(two));
                image.insert(names[two].clone(), bytes(one));
            }
        }
        image
    }
}

fn renamed(name: &str, to: &str) -> String {
    if to.starts_with('.') { format!("{name}{to}") } else { to.into() }
}

/// META and the segments: the files that a reader depends on.
pub fn files(base: &Base) -> Vec<String> {
    std::iter::once("META".to_string()).chain(base.segments.iter().cloned()).collect()
}

/// Offsets in a file where something stands that is not filling: where damage hurts.
fn lived(base: &Base, name: &str) -> usize {
    let groups = base.groups.iter().filter(|group| group.file == name);
    let end = groups.map(|group| group.offset + group.header.total() as usize).max();
    end.unwrap_or_else(|| base.image[name].len())
}

pub fn harms(base: &Base, random: &mut SmallRng) -> Vec<Harm> {
    let names = files(base);
    let mut harms = Vec::new();
    let few = |harms: &mut Vec<Harm>, all: &mut dyn Iterator<Item = Harm>, some: usize, random: &mut SmallRng| {
        let all: Vec<Harm> = all.collect();
        if everything() || all.len() <= some {
            harms.extend(all);
        } else {
            harms.extend((0..some).map(|_| all[random.random_range(0..all.len())]));
        }
    };
    for (file, name) in names.iter().enumerate() {
        let (len, lived) = (base.image[name].len(), lived(base, name));
        few(&mut harms, &mut (0..len * 8).map(|bit| Harm::Flip { file, bit }), 300, random);
        // Where everything counts: headers of the file, of groups and frames, the seal.
        let heads = base.groups.iter().filter(|group| group.file == *name).map(|group| group.offset);
        let mut near =
            heads.chain([0]).flat_map(|at| (at * 8..(at + 200).min(len) * 8).map(|bit| Harm::Flip { file, bit }));
        if !everything() {
            few(&mut harms, &mut near, 500, random);
        }
        few(&mut harms, &mut (0..len).map(|len| Harm::Cut { file, len }), 150, random);
        few(&mut harms, &mut (0..lived / 512).map(|at| Harm::Cut { file, len: at * 512 }), 60, random);
        for size in [512, 4096, 65536_usize] {
            let places =
                || (0..=lived.saturating_sub(size) / 512).map(|at| at * 512).filter(|at| at % size.min(4096) == 0);
            let fits = move |at: usize| at + size <= len;
            few(
                &mut harms,
                &mut places().filter(|at| fits(*at)).map(|at| Harm::Zero { file, at, len: size }),
                60,
                random,
            );
            let garbage = |at: usize| Harm::Garbage { file, at, len: size, seed: at as u64 };
            few(&mut harms, &mut places().filter(|at| fits(*at)).map(garbage), 60, random);
            let pairs: Vec<(usize, usize)> = places()
                .filter(|at| fits(*at))
                .flat_map(|one| [1, 2, 7, 16].map(|steps| (one, one + steps * size)))
                .filter(|(_, two)| two + size <= len)
                .collect();
            few(
                &mut harms,
                &mut pairs.iter().map(|(one, two)| Harm::Double { file, from: *one, to: *two, len: size }),
                40,
                random,
            );
            few(
                &mut harms,
                &mut pairs.iter().map(|(one, two)| Harm::Double { file, from: *two, to: *one, len: size }),
                40,
                random,
            );
            few(
                &mut harms,
                &mut pairs.iter().map(|(one, two)| Harm::Swap { file, one: *one, two: *two, len: size }),
                40,
                random,
            );
            if base.past.contains_key(name) {
                few(
                    &mut harms,
                    &mut places().filter(|at| fits(*at)).map(|at| Harm::Stale { file, at, len: size }),
                    60,
                    random,
                );
            }
            for from in (0..names.len()).filter(|from| *from != file) {
                let fits = |at: &usize| at + size <= len.min(base.image[&names[from]].len());
                few(
                    &mut harms,
                    &mut places().filter(fits).map(|at| Harm::Astray { file, from, at, len: size }),
                    30,
                    random,
                );
            }
        }
        harms.push(Harm::Missing { file });
        for to in [".bak", ".tmp", "free-0099", "00-0000000099-00000000a0000000.wal", "x.wal", "quarantine/x.wal"] {
            harms.extend([Harm::Copied { file, to }, Harm::Renamed { file, to }]);
        }
        harms.extend((0..file).map(|one| Harm::Exchanged { one, two: file }));
    }
    harms.push(Harm::Zero { file: 0, at: 0, len: 2 * BLOCK as usize });
    harms
}

/// Judges all of them on two threads.
fn judged(base: &Base, harms: &[Harm]) -> Vec<(usize, Outcome)> {
    let (names, next) = (files(base), AtomicUsize::new(0));
    let work = || {
        let mut done = Vec::new();
        loop {
            let from = next.fetch_add(64, Ordering::Relaxed);
            if from >= harms.len() {
                return done;
            }
            for (at, harm) in harms.iter().enumerate().skip(from).take(64) {
                let outcome = judge(base, &harm.done(base, &names));
                done.push((
                    at,
                    Outcome { note: if worth(&outcome) { outcome.note } else { String::new() }, ..outcome },
                ));
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

fn worth(outcome: &Outcome) -> bool {
    outcome.class == Class::Silent || outcome.unseen || outcome.naming == Naming::Uncovered
}

#[derive(Default)]
struct Row {
    cases: usize,
    classes: [usize; 4],
    namings: [usize; 5],
    unseen: usize,
}

fn table(title: &str, base: &Base, harms: &[Harm], outcomes: &[(usize, Outcome)]) {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for (at, outcome) in outcomes {
        for class in [harms[*at].class(), "~all".into()] {
            let row = rows.entry(class).or_default();
            row.cases += 1;
            row.classes[outcome.class as usize] += 1;
            row.namings[outcome.naming as usize] += 1;
            row.unseen += usize::from(outcome.unseen);
        }
    }
    let bytes: usize = files(base).iter().map(|name| base.image[name].len()).sum();
    println!("\n{title}: {} segments, {} groups, {bytes} bytes", base.segments.len(), base.groups.len());
    println!(
        "                              cases  detected  harmless      torn  silent |  exact   wider  address  uncovered  unseen"
    );
    for (
        class,
        Row {
            cases,
            classes: [detected, harmless, torn, silent],
            namings: [_, exact, wider, address, uncovered],
            unseen,
        },
    ) in &rows
    {
        println!(
            "{class:26} {cases:8}  {detected:8}  {harmless:8}  {torn:8}  {silent:6} | {exact:6}  {wider:6}  {address:7}  {uncovered:9}  {unseen:6}"
        );
    }
    let bad: Vec<_> = outcomes.iter().filter(|(_, outcome)| worth(outcome)).collect();
    let mut kinds = std::collections::BTreeSet::new();
    let differs = |at: &usize, outcome: &Outcome| {
        let what: String = outcome.note.chars().filter(|c| !c.is_ascii_hexdigit()).take(300).collect();
        (harms[*at].class(), outcome.class, outcome.naming, what)
    };
    for (at, outcome) in bad.iter().filter(|(at, outcome)| kinds.insert(differs(at, outcome))).take(12) {
        println!(
            "{:?}: {:?} {:?} unseen {} {}",
            harms[*at], outcome.class, outcome.naming, outcome.unseen, outcome.note
        );
    }
    assert!(bad.is_empty(), "{} of {} cases are not told as they are", bad.len(), outcomes.len());
}

fn hurt(title: &str, closed: bool) {
    let base = build(closed);
    assert_eq!(base.segments.len(), 3);
    assert!(!base.past.is_empty(), "a segment is in a recycled file");
    assert!(base.groups.iter().any(|group| base.is_copy(group.header.lsn)), "copies are in it");
    let harms = harms(&base, &mut SmallRng::seed_from_u64(seed()));
    let outcomes = judged(&base, &harms);
    table(title, &base, &harms, &outcomes);
}

#[test]
fn no_damage_of_a_log_that_a_crash_ended_is_silent() {
    hurt("A log that a crash ended", false);
}

#[test]
fn no_damage_of_a_log_that_was_closed_is_silent() {
    hurt("A log that was closed", true);
}
