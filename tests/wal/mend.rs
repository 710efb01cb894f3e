//! A damaged log that is opened under a policy that goes on: afterwards it is whole, holds everything that was sound,
//! and, where the source still has it, everything that was not. And frames of kinds that are not known.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use landfall::wal::format::{FrameHeader, GroupHeader};
use landfall::wal::{Options, Policy, Record, Refetch, Run, Stream, Wal, WalError, check_on, frames_on};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::allocations::most;
use crate::base::{Base, MOST, Made, build, digest, isolation, options, stream};
use crate::flips::{Harm, everything, files, harms, seed};
use crate::memory::{Image, Memory};

/// A source that still has everything from a stream's first offset in the log on; over what the log jumped, nothing is.
struct Source(BTreeMap<i32, ((i64, i64), Vec<i64>)>);

impl Source {
    fn of(base: &Base) -> Source {
        let hull = |held: &[(i64, i64)]| (held[0].0, held[held.len() - 1].1);
        let all = base.truth.iter();
        Source(all.map(|(at, truth)| (*at, (hull(&truth.held), truth.records.keys().copied().collect()))).collect())
    }
}

impl Refetch for Source {
    fn refetch(&mut self, stream: &Stream, from: i64, until: Option<i64>) -> io::Result<Vec<Run>> {
        let ((first, end), offsets) = &self.0[&stream.partition];
        let (start, end) = ((*first).max(from), (*end).min(until.unwrap_or(i64::MAX)));
        if start >= end {
            return Ok(Vec::new());
        }
        let inside = offsets.iter().filter(|offset| (start..end).contains(*offset));
        let made: Vec<Made> = inside.map(|offset| Made::new(stream.partition, *offset, MOST)).collect();
        let records: Vec<Record<'_>> = made.iter().map(Made::record).collect();
        Ok(vec![if records.is_empty() { Run::empty(start, end) } else { Run::new(&records, end).sparse() }])
    }
}

type Records = BTreeSet<(i32, i64, u32)>;

fn sound(volume: &Memory) -> Records {
    let mut sound = Records::new();
    frames_on(volume, |def, _, records| {
        sound.extend(records.flatten().map(|record| (def.stream.partition, record.offset, digest(&record))));
        Ok(())
    })
    .unwrap();
    sound
}

fn read(wal: &Wal, base: &Base) -> Records {
    let mut got = Records::new();
    for partition in base.truth.keys() {
        let id = wal.stream(&stream(*partition), isolation(*partition)).unwrap();
        for (from, until) in wal.held(id) {
            for frame in wal.cursor(id, from, until).unwrap() {
                let frame = frame.unwrap();
                for record in frame.records() {
                    let record = record.unwrap();
                    assert!(got.insert((*partition, record.offset, digest(&record))), "{partition} {}", record.offset);
                }
            }
        }
    }
    got
}

fn truth(base: &Base) -> Records {
    let of = |(partition, truth): (&i32, &crate::base::Truth)| {
        let partition = *partition;
        truth.records.clone().into_iter().map(move |(offset, digest)| (partition, offset, digest))
    };
    base.truth.iter().flat_map(of).collect()
}

/// Opens under a policy, and again as if nothing had been; returns what is read then.
fn mended(base: &Base, image: &Image, policy: Policy) -> Result<(Records, Vec<String>), WalError> {
    let volume = Memory::of(image);
    let options_of = |policy| Options { acked: base.acked.clone(), policy, ..options() };
    let (wal, recovery) = Wal::open_on(Arc::new(volume.clone()), options_of(policy))?;
    let (at_once, lost) = (read(&wal, base), recovery.tail_lost.iter().map(|lost| lost.to_string()).collect());
    wal.close()?;
    assert_eq!(check_on(&volume)?.damages, vec![], "it was repaired");
    let (wal, again) = Wal::open_on(Arc::new(volume.clone()), options_of(Policy::Fail))?;
    assert_eq!(again.damages, vec![]);
    assert_eq!(read(&wal, base), at_once, "the next opening finds what this one left");
    Ok((at_once, lost))
}

fn one(base: &Base, names: &[String], harm: &Harm) -> &'static str {
    let image = harm.done(base, names);
    let Ok(check) = check_on(&Memory::of(&image)) else { return "refused" };
    if check.damages.is_empty() {
        return "whole";
    }
    let (kept, all) = (sound(&Memory::of(&image)), truth(base));
    let (got, _) = mended(base, &image, Policy::Salvage(None)).unwrap();
    assert!(got.is_subset(&all), "nothing is invented");
    let gone: Vec<_> = kept.difference(&got).collect();
    assert!(gone.is_empty(), "what was sound was not salvaged: {gone:?}\n{:?}", check.damages);
    let (got, told) = mended(base, &image, Policy::Refetch(Box::new(Source::of(base)))).unwrap();
    assert!(got.is_subset(&all), "nothing is invented");
    let named = |partition: i32, offset: i64| {
        let lost = check.damages.iter().flat_map(|damage| &damage.lost).filter(|lost| lost.stream == stream(partition));
        lost.into_iter().any(|lost| lost.from <= offset && lost.until.is_none_or(|until| offset < until))
    };
    let missing: Vec<_> = all.difference(&got).filter(|(partition, offset, _)| named(*partition, *offset)).collect();
    assert!(missing.is_empty(), "named, and not fetched again: {missing:?} ({told:?})\n{:?}", check.damages);
    if got == all { "mended" } else { "mended in part" }
}

#[test]
fn a_damaged_log_is_whole_again_after_a_repair() {
    let mut random = SmallRng::seed_from_u64(seed());
    for closed in [false, true] {
        let base = build(closed);
        let names = files(&base);
        let harms = harms(&base, &mut random);
        let mut figures: BTreeMap<&str, usize> = BTreeMap::new();
        let cases = if everything() { 20_000 } else { 500 };
        for _ in 0..cases {
            let harm = &harms[random.random_range(0..harms.len())];
            let done = std::panic::catch_unwind(|| one(&base, &names, harm));
            let done = done.unwrap_or_else(|_| panic!("{harm:?}"));
            *figures.entry(done).or_default() += 1;
        }
        println!("closed: {closed}: {figures:?}");
    }
}

/// Changes a byte of the first DATA frame's header in the last segment, and signs the group again.
fn with_frame(base: &Base, change: impl Fn(&mut [u8])) -> Image {
    let uuid: [u8; 16] = base.image["META"][16..32].try_into().unwrap();
    let salted = |bytes: &[u8]| crc32c::crc32c_append(crc32c::crc32c(&uuid), bytes);
    let last = base.groups.last().unwrap();
    let mut bytes = Vec::clone(&base.image[&last.file]);
    let (mut at, end, mut crcs) = (last.offset + 64, last.offset + 64 + last.header.body_len as usize, 0);
    let mut changed = false;
    while at < end {
        let frame = FrameHeader::decode(&bytes[at..], &uuid).unwrap();
        if frame.kind.code() == 1 && !changed {
            change(&mut bytes[at..at + 96]);
            let crc = salted(&bytes[at + 8..at + 96]).to_le_bytes();
            bytes[at + 4..at + 8].copy_from_slice(&crc);
            changed = true;
        }
        crcs = crc32c::crc32c_append(crcs, &bytes[at + 4..at + 8]);
        at += frame.total();
    }
    assert!(changed);
    let group = GroupHeader { frames_crc: crcs, ..last.header };
    bytes[last.offset..last.offset + 64].copy_from_slice(&group.encode(&uuid));
    let mut image = base.image.clone();
    image.insert(last.file.clone(), Arc::new(bytes));
    image
}

#[test]
fn a_frame_of_an_unknown_kind_is_named_and_one_that_may_be_ignored_is_not() {
    let base = build(false);
    for (change, said) in [(16, "a frame of type 99 and codec 0"), (17, "a frame of type 1 and codec 99")] {
        let image = with_frame(&base, |frame| frame[change] = 99);
        let check = check_on(&Memory::of(&image)).unwrap();
        assert!(check.damages.len() == 1 && check.damages[0].what.starts_with(said), "{:?}", check.damages);
        let refused = Wal::open_on(Arc::new(Memory::of(&image)), options()).err().unwrap();
        assert!(refused.to_string().contains(said), "{refused}");
    }
    // A new kind moves no stream, so it is put where no frame of the stream follows.
    let image = with_frame(&base, |frame| frame[16] = 200);
    assert_eq!(check_on(&Memory::of(&image)).unwrap().damages, vec![]);
    let (_wal, recovery) = Wal::open_on(Arc::new(Memory::of(&image)), options()).unwrap();
    assert_eq!(recovery.damages, vec![]);
}

#[test]
fn the_number_of_a_stream_takes_no_room() {
    let base = build(false);
    let image = with_frame(&base, |frame| frame[20..24].fill(0xff));
    let check = check_on(&Memory::of(&image)).unwrap();
    assert!(check.damages[0].what.contains("nowhere defined (id 4294967295)"), "{:?}", check.damages);
    let salvage = || mended(&base, &image, Policy::Salvage(None)).unwrap().0.len();
    let (read, held) = most(salvage);
    assert!(read > 100 && held < 16 << 20, "{read} records, {held} bytes");
}
