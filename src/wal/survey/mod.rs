//! The whole log as it lies there: read, never changed. Recovery acts on a survey, and `landfall wal check` shows one.

mod chain;
mod files;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::damage::Damage;
use super::error::WalError;
use super::format::{BLOCK, Index, Meta, SegmentHeader, SegmentName, Trailer, segment_flags};
use super::ledger::Ledger;
use super::ranges::merge;
use super::volume::{FileMeta, LogFile, LogVolume, read_up_to};
use super::walk::{Closed, Expect, Walk, Walked};
use chain::Continue;
use files::{Present, Sorted};

/// How much of what is sealed is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Trailers and indexes: time in proportion to what is not sealed. Payloads are verified when they are read.
    Tail,
    /// Every byte.
    Full,
}

/// A segment that is there.
#[derive(Debug)]
pub struct Segment {
    pub name: SegmentName,
    pub file: String,
    pub header: SegmentHeader,
    pub end_lsn: u64,
    pub sealed: bool,
    pub index: Arc<Index>,
    pub groups: u64,
}

impl Segment {
    fn of(one: &Present, header: &SegmentHeader, walked: Walked) -> Segment {
        Segment {
            name: one.name,
            file: one.file.clone(),
            header: header.clone(),
            end_lsn: walked.end_lsn,
            sealed: walked.sealed,
            index: Arc::new(walked.index),
            groups: walked.groups,
        }
    }
}

/// Where the next segment continues.
#[derive(Debug, Clone, Copy)]
pub struct End {
    pub lsn: u64,
    /// Where what can be trusted without a hole ends: below `lsn` only after damage in the tail.
    pub prev_end_lsn: u64,
    pub chain: u32,
    pub group_seq: u64,
    pub segment: u64,
}

/// What a crash left behind the last whole group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    pub file: String,
    /// Everything from here on was never proven durable.
    pub lsn: u64,
    /// One past the last byte that is not zero; `lsn` where all are.
    pub until_lsn: u64,
    /// The length that the file is cut to.
    pub cut_to: u64,
}

impl Torn {
    fn of(file: &str, walked: &Walked) -> Option<Torn> {
        let (lsn, cut_to) = (walked.end_lsn, walked.cut_to?);
        Some(Torn { file: file.into(), lsn, until_lsn: walked.torn_until.unwrap_or(lsn), cut_to })
    }
}

#[derive(Debug)]
pub struct Survey {
    /// `None`: there is no log here yet.
    pub meta: Option<Meta>,
    pub segments: Vec<Segment>,
    /// Segments below the floor, from a retirement that was interrupted.
    pub retired: Vec<String>,
    /// The same, damaged: from a repair that was interrupted.
    pub unreadable: Vec<String>,
    /// Files that were never published.
    pub scraps: Vec<String>,
    pub free: Vec<String>,
    pub quarantine: Vec<FileMeta>,
    pub torn: Option<Torn>,
    pub clean_close: bool,
    pub end: End,
    pub ledger: Ledger,
}

impl Survey {
    pub fn damages(&self) -> &[Damage] {
        &self.ledger.damages
    }
}

/// Reads a log. An error says that it could not be read or is of a newer format; damage is in the survey.
pub fn survey(volume: &dyn LogVolume, depth: Depth) -> Result<Survey, WalError> {
    let mut reading = Reading { volume, depth, ledger: Ledger::default() };
    let files = volume.list().map_err(WalError::io("listing", volume.display("")))?;
    let sorted = Sorted::new(&files);
    let found = reading.meta(&files, !sorted.segments.is_empty())?;
    let headers = reading.headers(sorted.segments, found.as_ref())?;
    let meta = found.or_else(|| reading.rebuilt_meta(&headers));
    let floor = meta.as_ref().map_or(0, |meta| meta.floor_segment);
    let (below, headers): (Vec<Present>, Vec<Present>) =
        headers.into_iter().partition(|present| present.name.seq < floor);
    let (retired, unreadable): (Vec<Present>, Vec<Present>) =
        below.into_iter().partition(|present| present.header.is_some());
    let headers = headers
        .into_iter()
        .map(|present| reading.with_header(present, meta.as_ref()))
        .collect::<Result<Vec<Present>, WalError>>()?;
    let mut survey = reading.walk(meta, headers)?;
    survey.retired = retired.into_iter().map(|present| present.file).collect();
    survey.unreadable = unreadable.into_iter().map(|present| present.file).collect();
    survey.scraps = sorted.scraps;
    survey.free = sorted.free;
    survey.quarantine = sorted.quarantine;
    Ok(survey)
}

struct Reading<'a> {
    volume: &'a dyn LogVolume,
    depth: Depth,
    ledger: Ledger,
}

impl Reading<'_> {
    fn named(&mut self, file: &str, segment: Option<u64>, from_lsn: u64, until_lsn: u64, what: impl Into<String>) {
        let file = self.volume.display(file);
        self.ledger.named(Damage { file, segment, from_lsn, until_lsn, what: what.into(), lost: Vec::new() });
    }

    fn swallowed(&mut self, file: &str, segment: Option<u64>, from_lsn: u64, until_lsn: u64, what: impl Into<String>) {
        let file = self.volume.display(file);
        self.ledger.swallowed(Damage { file, segment, from_lsn, until_lsn, what: what.into(), lost: Vec::new() });
    }

    fn swallowed_segment(
        &mut self,
        file: &str,
        segment: Option<u64>,
        from_lsn: u64,
        until_lsn: u64,
        what: impl Into<String>,
    ) {
        let file = self.volume.display(file);
        let damage = Damage { file, segment, from_lsn, until_lsn, what: what.into(), lost: Vec::new() };
        self.ledger.swallowed(damage);
        self.ledger.undefined();
    }

    fn open(&self, file: &str) -> Result<Box<dyn LogFile>, WalError> {
        self.volume.open(file, false).map_err(WalError::io("opening", self.volume.display(file)))
    }

    fn walk(mut self, meta: Option<Meta>, present: Vec<Present>) -> Result<Survey, WalError> {
        let mut at = Continue::start(meta.as_ref());
        let (mut segments, mut torn, mut clean_close) = (Vec::new(), None, false);
        for (place, one) in present.iter().enumerate() {
            self.continues(one, &mut at);
            let next = present.get(place + 1);
            let Some(header) = &one.header else {
                at = self.headless(one, next, &at);
                continue;
            };
            let walked = self.segment(one, header, at.expect, next.filter(|next| next.name.seq == one.name.seq + 1))?;
            clean_close = walked.clean_close;
            let mut lsn = walked.end_lsn;
            if next.is_none() {
                let damaged = self.ledger.damages.iter().any(|damage| damage.segment == Some(one.name.seq));
                if damaged && !walked.sealed {
                    // Behind damage the addresses go on where no byte of this file can be mistaken for a later one.
                    lsn = header.base_lsn + one.len.max(BLOCK).next_multiple_of(BLOCK) - BLOCK;
                } else {
                    torn = Torn::of(&one.file, &walked);
                }
            }
            at = Continue::behind(header, &walked, lsn);
            segments.push(Segment::of(one, header, walked));
        }
        self.newest_missing(meta.as_ref(), &at);
        self.ledger.close(false);
        let end = at.end(meta.as_ref().map_or(0, |meta| meta.newest_segment));
        let ledger = self.ledger;
        let (retired, unreadable, scraps, free, quarantine) = Default::default();
        Ok(Survey { meta, segments, retired, unreadable, scraps, free, quarantine, torn, clean_close, end, ledger })
    }

    fn segment(
        &mut self,
        one: &Present,
        header: &SegmentHeader,
        expect: Expect,
        next: Option<&Present>,
    ) -> Result<Walked, WalError> {
        let display = self.volume.display(&one.file);
        let file = self.open(&one.file)?;
        let trailer = self.trailer(&*file, header, one.len, &display)?;
        if let (Depth::Tail, Some(trailer)) = (self.depth, &trailer)
            && let Some(walked) = Walk::new(&display, header, &*file, &mut self.ledger).by_trailer(trailer)?
        {
            return Ok(walked);
        }
        let closed = match next.map(|next| (next.header.as_ref(), next.name.base_lsn)) {
            None => Closed::No,
            Some((Some(next), _)) if next.flags & segment_flags::GAP_BEFORE != 0 => Closed::No,
            Some((_, base)) => Closed::At(base),
        };
        // What was closed is only hopped over, unless everything is to be read.
        let deep = self.depth == Depth::Full || closed == Closed::No;
        Walk::new(&display, header, &*file, &mut self.ledger).groups(expect, closed, trailer.as_ref(), deep)
    }

    /// The trailer, where the file ends right behind it: it was cut there after the seal had been synced.
    fn trailer(
        &self,
        file: &dyn LogFile,
        header: &SegmentHeader,
        len: u64,
        display: &str,
    ) -> Result<Option<Trailer>, WalError> {
        let Some(offset) = len.checked_sub(BLOCK).filter(|offset| *offset > BLOCK) else { return Ok(None) };
        let block = read_up_to(file, offset, BLOCK as usize).map_err(WalError::io("reading", display))?;
        Ok(Trailer::decode(&block, header).filter(|trailer| header.file_offset(trailer.end_lsn) == offset))
    }
}

/// What a log holds of each stream, `[from, until)`, neighbours merged.
pub fn held(segments: &[Segment]) -> BTreeMap<u32, Vec<(i64, i64)>> {
    let mut held: BTreeMap<u32, Vec<(i64, i64)>> = BTreeMap::new();
    for segment in segments {
        for ((id, _), entry) in &segment.index.entries {
            held.entry(*id).or_default().extend(entry.stretches.iter().map(|stretch| (stretch.from, stretch.until)));
        }
    }
    held.values_mut().for_each(merge);
    held
}
