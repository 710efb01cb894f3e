//! What a reader of a damaged log gets, held against what was appended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use landfall::wal::{Check, Damage, Options, Tail, Wal, WalError, check_on, frames_on};

use crate::base::{Base, digest, isolation, options, stream};
use crate::memory::{Image, Memory};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Opening, reading or checking says so.
    Detected,
    /// Everything is there, and nothing was said.
    Harmless,
    /// What stood at the end without a later group that proves it is cut; only a watermark tells of it, and it does.
    Torn,
    /// Something is wrong, missing or invented, and nobody was told.
    Silent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Naming {
    /// Nothing to name.
    None,
    /// Exactly the offsets that cannot be read.
    Exact,
    /// Those and more.
    Wider,
    /// A stream that nothing readable defines, or copies and their seal: the address is named.
    ByAddress,
    /// Unreadable offsets that no damage names.
    Uncovered,
}

#[derive(Debug)]
pub struct Outcome {
    pub class: Class,
    pub naming: Naming,
    /// Opening or reading failed, and a check says that all is well.
    pub unseen: bool,
    pub note: String,
}

/// Opens, reads and checks a damaged log.
pub fn judge(base: &Base, image: &Image) -> Outcome {
    let volume = Memory::of(image);
    let check = check_on(&volume);
    let damages = check.as_ref().map_or(&[][..], |check| check.damages.as_slice());
    let (naming, mut note) = match &check {
        Ok(check) => named(base, &volume, check),
        Err(error) => (Naming::None, error.to_string()),
    };
    let checked = check.is_err() || !damages.is_empty();
    let options = Options { acked: base.acked.clone(), ..options() };
    let read = match Wal::open_on(Arc::new(volume.clone()), options) {
        Err(error) => {
            let untouched = volume.image().iter().eq(image.iter());
            let expected = matches!(error, WalError::Damaged(_) | WalError::Format { .. });
            Read { error: true, silent: (!untouched || !expected).then(|| format!("refused by {error}")), lost: false }
        }
        Ok((wal, recovery)) => read(base, image, &wal, &recovery, check.as_ref().ok()),
    };
    let class = match (&read.silent, read.error || checked, read.lost) {
        (Some(why), _, _) => {
            note = format!("{why}; check: {note}");
            Class::Silent
        }
        (None, true, _) => Class::Detected,
        (None, false, true) => Class::Torn,
        (None, false, false) => Class::Harmless,
    };
    Outcome { class, naming, unseen: read.error && !checked, note }
}

struct Read {
    error: bool,
    /// Why nobody could know.
    silent: Option<String>,
    /// Something is missing, and the watermark names it.
    lost: bool,
}

fn read(base: &Base, image: &Image, wal: &Wal, recovery: &landfall::wal::Recovery, check: Option<&Check>) -> Read {
    let mut all = Read { error: false, silent: None, lost: false };
    if recovery.streams.iter().any(|state| !base.truth.keys().any(|partition| stream(*partition) == state.stream)) {
        all.silent = Some("a stream was invented".into());
    }
    for (partition, truth) in &base.truth {
        let id = wal.stream(&stream(*partition), isolation(*partition)).unwrap();
        let (mut got, mut failed) = (BTreeMap::new(), false);
        for (from, until) in wal.held(id) {
            let read = wal.cursor(id, from, until).and_then(|cursor| {
                for frame in cursor {
                    let frame = frame?;
                    for record in frame.records() {
                        let Ok(record) = record else { return Err(WalError::Closed) };
                        if got.insert(record.offset, digest(&record)).is_some() {
                            all.silent = Some(format!("{partition}: offset {} twice", record.offset));
                        }
                    }
                }
                Ok(())
            });
            match read {
                Ok(()) => {}
                Err(WalError::Damaged(damages)) => {
                    failed = true;
                    let names = |damage: &Damage| damage.lost.iter().any(|lost| lost.stream == stream(*partition));
                    if !damages.iter().any(names) {
                        all.silent = Some(format!("{partition}: the reader's error does not name the stream"));
                    }
                }
                Err(error) => all.silent = Some(format!("{partition}: {error}")),
            }
        }
        all.error |= failed;
        if let Some((offset, _)) = got.iter().find(|(offset, digest)| truth.records.get(offset) != Some(digest)) {
            all.silent = Some(format!("{partition}: offset {offset} is wrong or invented"));
        }
        let told = recovery.tail_lost.iter().find(|lost| lost.stream == stream(*partition));
        let missing: Vec<i64> = truth.records.keys().filter(|offset| !got.contains_key(offset)).copied().collect();
        let next = wal.next_offset(id);
        let unnamed = missing.iter().find(|offset| told.is_none_or(|lost| **offset < lost.from));
        if let (Some(offset), false) = (unnamed, failed) {
            all.silent = Some(format!("{partition}: offset {offset} is missing"));
        }
        if next != Some(truth.next) && told.is_none() {
            all.silent = Some(format!("{partition}: goes on at {next:?} and not at {}", truth.next));
        }
        if told.is_some() {
            all.lost = true;
        }
    }
    if all.lost {
        let end = match &recovery.tail {
            Tail::Torn { lsn, .. } => *lsn,
            _ => check.and_then(|check| check.segments.last()).map_or(0, |line| line.end_lsn),
        };
        if let Some(group) = proof(base, image, end) {
            all.silent =
                Some(format!("the end at {end:#x} was cut, and the group at {group:#x} proves that it was synced"));
        }
    }
    all
}

/// A group that still stands where it stood and says that `end` had been synced.
fn proof(base: &Base, image: &Image, end: u64) -> Option<u64> {
    let stands = |group: &&crate::base::Group| {
        let bytes = image.get(&group.file).and_then(|bytes| bytes.get(group.offset..group.offset + 64));
        group.header.synced_lsn > end && bytes == Some(&group.bytes[..])
    };
    base.groups.iter().find(stands).map(|group| group.header.lsn)
}

/// Holds what the damages name against what cannot be read.
fn named(base: &Base, volume: &Memory, check: &Check) -> (Naming, String) {
    if check.damages.is_empty() {
        return (Naming::None, String::new());
    }
    let note = check.damages.iter().map(|damage| format!("\n    {damage}")).collect();
    let mut readable: BTreeSet<(i32, i64)> = BTreeSet::new();
    let walked = frames_on(volume, |def, _, records| {
        for record in records.flatten() {
            let partition = def.stream.partition;
            let right = base.truth.get(&partition).and_then(|truth| truth.records.get(&record.offset));
            if right == Some(&digest(&record)) {
                readable.insert((partition, record.offset));
            }
        }
        Ok(())
    });
    if walked.is_err() {
        return (Naming::Uncovered, format!("{note} {walked:?}"));
    }
    let missing = check.missing(&base.acked);
    let (mut by_address, mut exact) = (false, true);
    for (partition, truth) in &base.truth {
        let stream = stream(*partition);
        let named = check.damages.iter().flat_map(|damage| &damage.lost).chain(&missing);
        let lost = || named.clone().filter(|lost| lost.stream == stream);
        let known = check.streams.iter().any(|state| state.stream == stream);
        let names =
            |offset: i64| lost().any(|lost| lost.from <= offset && lost.until.is_none_or(|until| offset < until));
        exact &= lost().all(|lost| lost.until.is_some());
        for offset in truth.records.keys() {
            let (lost, gone) = (names(*offset), !readable.contains(&(*partition, *offset)));
            // Only the seal knows of copies that are gone.
            let copies = |offset: &i64| truth.lsns[offset].iter().all(|lsn| base.is_copy(*lsn));
            let at = |lsn: &u64| check.damages.iter().any(|damage| damage.from_lsn <= *lsn && *lsn < damage.until_lsn);
            match (gone, lost) {
                (true, false) if (!known || copies(offset)) && truth.lsns[offset].iter().all(at) => by_address = true,
                (true, false) => return (Naming::Uncovered, format!("{note}\n    {partition}: {offset} is not named")),
                (false, true) => exact = false,
                _ => {}
            }
        }
    }
    match (by_address, exact) {
        (true, _) => (Naming::ByAddress, note),
        (false, true) => (Naming::Exact, note),
        (false, false) => (Naming::Wider, note),
    }
}
