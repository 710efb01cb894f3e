//! Opening for writing: what a survey found is acted on, once, in an order that may be interrupted at any step and
//! run again.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::time::{Duration, Instant};

use landfall_lake::fault;
use landfall_sink::{Isolation, Stream};

use super::damage::{Damage, Lost};
use super::error::WalError;
use super::format::{BLOCK, FIRST_LSN, GROUP_HEADER, GroupHeader, META_LEN, Meta, segment_flags};
use super::meta_file::MetaFile;
use super::options::{Acked, Options, Policy};
use super::stage::Door;
use super::survey::{Depth, End, Survey, Torn, held, survey};
use super::volume::{LogVolume, read_up_to};

/// What the last process left, and what was done about it.
#[must_use = "offsets that were acknowledged may be named in it"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    pub tail: Tail,
    /// Offsets that somebody was told are here and that are not: bit rot in the very last group, or a disk that lied.
    /// Fetch them again from the source.
    pub tail_lost: Vec<Lost>,
    /// Damage that was repaired or given up, by the policy.
    pub damages: Vec<Damage>,
    /// Every stream of the log.
    pub streams: Vec<StreamState>,
    pub took: Duration,
}

/// How the log ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tail {
    /// There was no log.
    New,
    /// At a group's end. `closed`: by [`super::Wal::close`].
    Clean { closed: bool },
    /// Bytes behind the last whole group were cut off; they were never acknowledged.
    Torn { file: String, lsn: u64, bytes: u64 },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamState {
    pub stream: Stream,
    pub isolation: Isolation,
    /// Where an append must go on; `None` where only its name is left.
    pub next_offset: i64,
    /// What can be read back, `[from, until)`, each a run.
    pub held: Vec<(i64, i64)>,
}

/// A log that is ready to be written, before its threads run.
pub(super) struct Opened {
    pub meta: MetaFile,
    pub survey: Survey,
    pub end: End,
    pub doors: BTreeMap<u32, Door>,
    pub recovery: Recovery,
    pub quarantined: u64,
}

/// Steps 1 to 7 of an opening. The caller holds the lock.
pub(super) fn recover(volume: &dyn LogVolume, options: &Options) -> Result<Opened, WalError> {
    let started = Instant::now();
    // A repair must know of all damage before it moves anything.
    let depth = if matches!(options.policy, Policy::Fail) { Depth::Tail } else { Depth::Full };
    let mut survey = survey(volume, depth)?;
    if !survey.damages().is_empty() && matches!(options.policy, Policy::Fail) {
        return Err(WalError::Damaged(survey.damages().to_vec()));
    }
    let step = |point, file: &str| fault::point(point).map_err(WalError::io("recovering", volume.display(file)));
    step("wal.recover.before_incarnation", "META")?;
    let meta = incarnate(volume, &survey)?;
    step("wal.recover.after_incarnation", "META")?;
    let mut tail = match (&survey.meta, survey.clean_close) {
        (None, _) => Tail::New,
        (Some(_), closed) => Tail::Clean { closed },
    };
    settle(volume, &survey)?;
    if let Some(torn) = survey.torn.clone() {
        let bytes = cut(volume, &mut survey, &torn, options.group_bytes as u64)?;
        if bytes > 0 {
            tail = Tail::Torn { file: volume.display(&torn.file), lsn: torn.lsn, bytes };
        }
    }
    sweep(volume, &mut survey, options.recycled)?;
    step("wal.recover.after_sweep", "")?;
    let streams = streams(&survey);
    let recovery = Recovery {
        tail,
        tail_lost: tail_lost(&options.acked, &streams),
        damages: survey.damages().to_vec(),
        streams,
        took: started.elapsed(),
    };
    let (doors, end) = (doors(&survey), survey.end);
    let quarantined = survey.quarantine.iter().map(|file| file.len).sum();
    Ok(Opened { meta, end, doors, recovery, quarantined, survey })
}

/// A new incarnation, durable before anything else is written. Higher than any that a segment names: META's newest
/// slot may be the damaged one.
fn incarnate(volume: &dyn LogVolume, survey: &Survey) -> Result<MetaFile, WalError> {
    let seen = survey.segments.iter().map(|segment| segment.header.incarnation).max().unwrap_or(0);
    match &survey.meta {
        None => {
            let uuid = u128::from_str_radix(&crate::ambient::random_id(), 16).unwrap_or(1).to_le_bytes();
            let meta =
                Meta { uuid, generation: 1, incarnation: 1, floor_lsn: FIRST_LSN, floor_segment: 1, newest_segment: 0 };
            MetaFile::create(volume, meta)
        }
        // Both slots were lost: the file is made anew.
        Some(meta) if meta.generation == 0 => {
            let incarnation = meta.incarnation.max(seen) + 1;
            MetaFile::create(volume, Meta { generation: 1, incarnation, ..meta.clone() })
        }
        Some(meta) => {
            let file = MetaFile::open(volume, meta.clone())?;
            file.update(|meta| meta.incarnation = meta.incarnation.max(seen) + 1)?;
            Ok(file)
        }
    }
}

/// What was read may stand in memory only: the last process was killed after a write, or an opening after its cut. It is
/// durable before anything is built on it.
fn settle(volume: &dyn LogVolume, survey: &Survey) -> Result<(), WalError> {
    let Some(last) = survey.segments.last() else { return Ok(()) };
    let file = volume.open(&last.file, true).map_err(WalError::io("opening", volume.display(&last.file)))?;
    file.sync_all().map_err(WalError::io("syncing", volume.display(&last.file)))
}

/// Cuts what was never proven durable, after a copy of it is. Returns how many bytes that are.
fn cut(volume: &dyn LogVolume, survey: &mut Survey, torn: &Torn, group: u64) -> Result<u64, WalError> {
    let display = volume.display(&torn.file);
    let io = |op| WalError::io(op, &display);
    let Some(segment) = survey.segments.iter().find(|segment| segment.file == torn.file) else { return Ok(0) };
    // On a full disk these make room, the last one first: nothing is kept in any of them.
    let mut spare = survey.free.clone();
    spare.push("reserve".into());
    spare.extend(survey.scraps.iter().cloned());
    let file = volume.open(&torn.file, true).map_err(io("opening"))?;
    let from = segment.header.file_offset(torn.lsn);
    let mut len = torn.until_lsn - torn.lsn;
    // Only one group is ever under way. What else stands in a file that was used before is what was retired with it.
    if segment.header.flags & segment_flags::RECYCLED != 0 {
        let head = read_up_to(&*file, from, GROUP_HEADER).map_err(io("reading"))?;
        let written = GroupHeader::decode(&head, &segment.header.uuid).filter(|header| header.lsn == torn.lsn);
        len = len.min(written.map_or(group + BLOCK, |header| header.total()));
    }
    if len > 0 {
        let bytes = read_up_to(&*file, from, len as usize).map_err(io("reading"))?;
        // What was reserved behind them makes room for their copy. All but one block: a file that ends right behind a
        // trailer is one whose seal had been synced.
        if file.len().map_err(io("reading"))? > from + len + BLOCK {
            file.set_len(from + len + BLOCK).map_err(io("cutting"))?;
        }
        quarantine(volume, &format!("{}.{:016x}.tail", torn.file, torn.lsn), &bytes, &mut spare)?;
        survey.free.retain(|file| spare.contains(file));
    }
    fault::point("wal.recover.after_quarantine").map_err(io("recovering"))?;
    file.set_len(torn.cut_to).map_err(io("cutting"))?;
    fault::point("wal.recover.after_cut").map_err(io("recovering"))?;
    file.sync_all().map_err(io("syncing"))?;
    Ok(len)
}

/// Keeps bytes that are taken out of the log. As long as the disk is full, one file after another of `spare` goes.
fn quarantine(volume: &dyn LogVolume, name: &str, bytes: &[u8], spare: &mut Vec<String>) -> Result<(), WalError> {
    let (temporary, name) = ("new-quarantine.tmp", format!("quarantine/{name}"));
    let display = volume.display(&name);
    let io = |op| WalError::io(op, &display);
    let keep = || {
        let file = volume.create(temporary, bytes.len() as u64)?;
        file.write_at(&[IoSlice::new(bytes)], 0)?;
        file.sync_all()?;
        volume.rename(temporary, &name)
    };
    loop {
        match keep() {
            Err(error) if super::volume::is_full(&error) => {
                let Some(file) = spare.pop() else { return Err(io("quarantining")(error)) };
                volume.unlink(&file).map_err(WalError::io("deleting", volume.display(&file)))?;
            }
            kept => break kept.and_then(|()| volume.sync_dir()).map_err(io("quarantining")),
        }
    }
}

/// Removes what was never published, what an interrupted retirement left, and what the pool is not to hold.
fn sweep(volume: &dyn LogVolume, survey: &mut Survey, pool: usize) -> Result<(), WalError> {
    let beyond = survey.free.split_off(survey.free.len().min(pool));
    for file in survey.scraps.iter().chain(&survey.retired).chain(&beyond) {
        volume.unlink(file).map_err(WalError::io("deleting", volume.display(file)))?;
    }
    for file in &survey.unreadable {
        let kept = format!("quarantine/{file}");
        volume.rename(file, &kept).map_err(WalError::io("quarantining", volume.display(file)))?;
    }
    // Also for what an earlier process did and did not live to sync: a file of the pool must not have its old name again
    // when something else stands in it.
    volume.sync_dir().map_err(WalError::io("syncing", volume.display("")))
}

fn doors(survey: &Survey) -> BTreeMap<u32, Door> {
    let door = |known: &super::ledger::Known| {
        let (stream, isolation) = (known.def.stream.clone(), known.def.isolation);
        Door { stream, isolation, next: Some(known.next) }
    };
    survey.ledger.streams.iter().map(|(id, known)| (*id, door(known))).collect()
}

fn streams(survey: &Survey) -> Vec<StreamState> {
    let mut held = held(&survey.segments);
    let state = |(id, known): (&u32, &super::ledger::Known)| StreamState {
        stream: known.def.stream.clone(),
        isolation: known.def.isolation,
        next_offset: known.next,
        held: held.remove(id).unwrap_or_default(),
    };
    survey.ledger.streams.iter().map(state).collect()
}

pub(super) fn tail_lost(acked: &[Acked], streams: &[StreamState]) -> Vec<Lost> {
    let lost = |acked: &Acked| {
        let known = streams.iter().filter(|state| state.stream == acked.stream).map(|state| state.next_offset).max();
        let from = known.unwrap_or(acked.until);
        let never = known.is_none();
        (from < acked.until || never).then(|| Lost {
            stream: acked.stream.clone(),
            from: if never { 0 } else { from },
            until: Some(acked.until),
        })
    };
    acked.iter().filter_map(lost).collect()
}

const _: () = assert!(META_LEN == 8192, "two slots of a block");
