//! The whole log as it lies there: read, never changed. Recovery acts on a survey, and `landfall wal check` shows one.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::damage::Damage;
use super::error::WalError;
use super::format::{
    BLOCK, FIRST_LSN, FormatError, GROUP_HEADER, GroupHeader, Index, META_LEN, Meta, SegmentHeader, SegmentName,
    Trailer, segment_flags,
};
use super::ledger::Ledger;
use super::volume::{FileMeta, LogFile, LogVolume, read_up_to};
use super::walk::{Closed, Expect, Walk, Walked};

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

/// The directory's files by what they are. Names that are none of the log's are left alone.
#[derive(Default)]
struct Sorted {
    segments: Vec<FileMeta>,
    scraps: Vec<String>,
    free: Vec<String>,
    quarantine: Vec<FileMeta>,
}

impl Sorted {
    fn new(files: &[FileMeta]) -> Sorted {
        let mut sorted = Sorted::default();
        for file in files {
            match file.name.as_str() {
                name if name.starts_with("quarantine/") => sorted.quarantine.push(file.clone()),
                name if name.ends_with(".tmp") => sorted.scraps.push(name.into()),
                name if name.starts_with("free-") => sorted.free.push(name.into()),
                name if name.ends_with(".wal") => sorted.segments.push(file.clone()),
                _ => {}
            }
        }
        sorted
    }
}

/// A segment's file, before its groups are read.
struct Present {
    name: SegmentName,
    file: String,
    len: u64,
    /// `None` where the header is damaged: the name must do.
    header: Option<SegmentHeader>,
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

    fn meta(&mut self, files: &[FileMeta], segments: bool) -> Result<Option<Meta>, WalError> {
        if !files.iter().any(|file| file.name == "META") {
            if segments {
                self.named("META", None, 0, 0, "the file is missing, and segments are there");
            }
            return Ok(None);
        }
        let display = self.volume.display("META");
        let bytes = read_up_to(&*self.open("META")?, 0, META_LEN).map_err(WalError::io("reading", &display))?;
        match Meta::choose(&bytes) {
            Ok((meta, _)) => Ok(Some(meta)),
            Err(source @ FormatError::Version { .. }) => Err(WalError::Format { file: display, source }),
            Err(damaged) => {
                self.named("META", None, 0, 0, damaged.to_string());
                Ok(None)
            }
        }
    }

    /// Both slots are lost: what the segments say is enough, since each names the log and its incarnation.
    fn rebuilt_meta(&self, headers: &[Present]) -> Option<Meta> {
        let known = headers.iter().find_map(|present| present.header.as_ref())?;
        let (uuid, first) = (known.uuid, headers.first()?.name);
        let incarnation =
            headers.iter().filter_map(|present| present.header.as_ref()).map(|header| header.incarnation).max()?;
        let newest_segment = headers.last()?.name.seq;
        Some(Meta {
            uuid,
            generation: 0,
            incarnation,
            floor_lsn: first.base_lsn,
            floor_segment: first.seq,
            newest_segment,
        })
    }

    /// A header that is damaged alone takes nothing with it: the name says which segment it is, and the first group
    /// that stands at its own address says whose.
    fn with_header(&mut self, mut present: Present, meta: Option<&Meta>) -> Result<Present, WalError> {
        let (Some(meta), None) = (meta, &present.header) else { return Ok(present) };
        let (display, name) = (self.volume.display(&present.file), present.name);
        let file = self.open(&present.file)?;
        let mut at = BLOCK;
        while at < present.len && name.base_lsn < 1 << 62 {
            let lsn = name.base_lsn + at - BLOCK;
            let block = read_up_to(&*file, at, GROUP_HEADER).map_err(WalError::io("reading", &display))?;
            if let Some(group) = GroupHeader::decode(&block, &meta.uuid).filter(|group| group.lsn == lsn) {
                self.named(
                    &present.file,
                    Some(name.seq),
                    name.base_lsn,
                    name.base_lsn + 1,
                    "the segment's header is damaged; the file's name stands in for it",
                );
                present.header = Some(SegmentHeader {
                    uuid: meta.uuid,
                    incarnation: group.incarnation,
                    seq: name.seq,
                    base_lsn: name.base_lsn,
                    prev_end_lsn: name.base_lsn,
                    // Only the first group says what it continues.
                    prev_chain: if at == BLOCK { group.prev_chain } else { 0 },
                    flags: if at == BLOCK { 0 } else { segment_flags::GAP_BEFORE },
                    capacity: present.len,
                    created_ms: 0,
                    max_group: u32::MAX,
                });
                break;
            }
            at += BLOCK;
        }
        Ok(present)
    }

    fn headers(&mut self, files: Vec<FileMeta>, meta: Option<&Meta>) -> Result<Vec<Present>, WalError> {
        let (mut present, mut misnamed) = (Vec::new(), Vec::new());
        for FileMeta { name: file, len } in files {
            let bytes = read_up_to(&*self.open(&file)?, 0, BLOCK as usize)
                .map_err(WalError::io("reading", self.volume.display(&file)))?;
            let header = match SegmentHeader::decode(&bytes) {
                Ok(header) => Some(header),
                Err(source @ FormatError::Version { .. }) => {
                    return Err(WalError::Format { file: self.volume.display(&file), source });
                }
                Err(_) => None,
            };
            let foreign = |header: &SegmentHeader| meta.is_some_and(|meta| meta.uuid != header.uuid);
            match (SegmentName::parse(&file), header) {
                (_, Some(header)) if foreign(&header) => {
                    self.named(&file, None, 0, 0, "the segment belongs to another log")
                }
                // Renamed, or swapped with another: the header says which one it is.
                (name, Some(header)) if name != Some(header.name()) => {
                    let what = format!("the file holds the segment {}", header.name());
                    self.named(&file, Some(header.seq), header.base_lsn, header.base_lsn + 1, what);
                    misnamed.push(Present { name: header.name(), file, len, header: Some(header) });
                }
                (Some(name), header) => present.push(Present { name, file, len, header }),
                (None, _) => self.named(&file, None, 0, 0, "neither its name nor its header says which segment it is"),
            }
        }
        // What it holds can be read all the same, unless the right file is there too.
        for one in misnamed {
            if present.iter().all(|other: &Present| other.name.seq != one.name.seq) {
                present.push(one);
            }
        }
        present.sort_by_key(|present| present.name);
        Ok(present)
    }

    fn walk(mut self, meta: Option<Meta>, present: Vec<Present>) -> Result<Survey, WalError> {
        let uuid = meta.as_ref().map_or([0; 16], |meta| meta.uuid);
        let floor = meta.as_ref().map_or((0, 0), |meta| (meta.floor_segment, meta.floor_lsn));
        let start = if floor.0 == 0 { (1, FIRST_LSN) } else { floor };
        let mut at =
            Continue { seq: start.0, lsn: Some(start.1), prev_end: start.1, expect: Expect { chain: None, seq: None } };
        if floor.0 == 0 {
            at.expect = Expect::start(&uuid);
        }
        let (mut segments, mut torn, mut clean_close) = (Vec::new(), None, false);
        let last = present.len().checked_sub(1);
        for (place, one) in present.iter().enumerate() {
            self.continues(one, &mut at);
            let next = present.get(place + 1);
            let Some(header) = &one.header else {
                let end = next.map_or(one.name.base_lsn + one.len.saturating_sub(BLOCK), |next| next.name.base_lsn);
                self.swallowed_segment(
                    &one.file,
                    Some(one.name.seq),
                    one.name.base_lsn,
                    end,
                    "the segment's header is damaged",
                );
                at = Continue {
                    seq: one.name.seq + 1,
                    lsn: Some(end),
                    prev_end: at.prev_end,
                    expect: Expect { chain: None, seq: None },
                };
                continue;
            };
            let walked = self.segment(one, header, at.expect, next.filter(|next| next.name.seq == one.name.seq + 1))?;
            let damaged = self.ledger.damages.iter().any(|damage| damage.segment == Some(one.name.seq));
            clean_close = walked.clean_close;
            if Some(place) == last
                && let Some(cut_to) = walked.cut_to
            {
                let until_lsn = walked.torn_until.unwrap_or(walked.end_lsn);
                torn = Some(Torn { file: one.file.clone(), lsn: walked.end_lsn, until_lsn, cut_to });
            }
            // Behind damage the addresses go on where no byte of this file can be mistaken for a later one.
            let dirty = damaged && !walked.sealed && Some(place) == last;
            let lsn = if dirty {
                torn = None;
                header.base_lsn + one.len.max(BLOCK).next_multiple_of(BLOCK) - BLOCK
            } else {
                walked.end_lsn
            };
            at = Continue { seq: one.name.seq + 1, lsn: Some(lsn), prev_end: walked.end_lsn, expect: walked.expect };
            segments.push(Segment {
                name: one.name,
                file: one.file.clone(),
                header: header.clone(),
                end_lsn: walked.end_lsn,
                sealed: walked.sealed,
                index: Arc::new(walked.index),
                groups: walked.groups,
            });
        }
        self.newest_missing(meta.as_ref(), &at);
        self.ledger.close(false);
        let newest = meta.as_ref().map_or(0, |meta| meta.newest_segment);
        let end = End {
            lsn: at.lsn.unwrap_or(FIRST_LSN),
            prev_end_lsn: at.prev_end,
            chain: at.expect.chain.unwrap_or(0),
            group_seq: at.expect.seq.unwrap_or(1),
            segment: at.seq.max(newest + 1),
        };
        let ledger = self.ledger;
        let (retired, unreadable, scraps, free, quarantine) = Default::default();
        Ok(Survey { meta, segments, retired, unreadable, scraps, free, quarantine, torn, clean_close, end, ledger })
    }

    /// Whether a segment follows what came before it.
    fn continues(&mut self, one: &Present, at: &mut Continue) {
        if one.name.seq != at.seq {
            let from = at.lsn.unwrap_or(at.prev_end);
            let what = match one.name.seq - 1 {
                before if before == at.seq => format!("segment {before} is missing"),
                before => format!("segments {} to {before} are missing", at.seq),
            };
            self.swallowed_segment("", None, from, one.name.base_lsn, what);
            at.expect = Expect { chain: None, seq: None };
        } else if let Some(header) = &one.header {
            let gap = header.flags & segment_flags::GAP_BEFORE != 0;
            let chained = at.expect.chain.is_none_or(|chain| chain == header.prev_chain);
            if !gap && (at.lsn.is_some_and(|lsn| lsn != header.base_lsn) || !chained) {
                let from = at.prev_end.min(header.base_lsn);
                self.swallowed(
                    &one.file,
                    None,
                    from,
                    header.base_lsn,
                    "the segment does not continue the one before it",
                );
                at.expect = Expect { chain: None, seq: None };
            }
        }
        if let Some(header) = &one.header {
            at.expect.chain = Some(header.prev_chain);
        }
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

    /// META remembers the newest segment that was published: without it, that file's loss would look like a log that
    /// ends there.
    fn newest_missing(&mut self, meta: Option<&Meta>, at: &Continue) {
        if let Some(meta) = meta.filter(|meta| meta.newest_segment >= at.seq) {
            let lsn = at.lsn.unwrap_or(at.prev_end);
            let what = format!("the newest segment, {}, is missing", meta.newest_segment);
            self.swallowed("", None, lsn, lsn, what);
        }
    }
}

/// Where the next segment must go on.
struct Continue {
    seq: u64,
    lsn: Option<u64>,
    prev_end: u64,
    expect: Expect,
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

/// Sorts ranges and joins those that touch or overlap.
pub fn merge(ranges: &mut Vec<(i64, i64)>) {
    ranges.sort_unstable();
    let mut merged: Vec<(i64, i64)> = Vec::with_capacity(ranges.len());
    for (from, until) in ranges.drain(..) {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(until),
            _ => merged.push((from, until)),
        }
    }
    *ranges = merged;
}
