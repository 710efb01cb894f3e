//! One segment from its first group to its end: the frames it holds, the damage in it, and for the last one the rule
//! that tells a torn tail from damage.
//!
//! A group's header is built only after everything before it was synced, and says so in `synced_lsn`. So bytes at an
//! address that fail were durable if a later group says that it was; else they may never have been, and can be cut.

use std::collections::BTreeMap;

use landfall_lake::fault;

use super::damage::{Damage, Lost};
use super::error::WalError;
use super::format::{
    BLOCK, Entry, FrameType, GroupHeader, Index, SegmentHeader, StreamDef, Trailer, first_chain, group_flags,
};
use super::ledger::Ledger;
use super::scan::{BadGroup, FrameAt, GroupReader, unknown};
use super::volume::{LogFile, read_up_to};

/// What the next group must continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expect {
    pub chain: Option<u32>,
    /// `None` where the group before could not be read.
    pub seq: Option<u64>,
}

impl Expect {
    pub fn start(uuid: &[u8; 16]) -> Expect {
        Expect { chain: Some(first_chain(uuid)), seq: Some(1) }
    }

    fn meets(&self, header: &GroupHeader) -> bool {
        if fault::sabotaged("wal_no_lsn_check") {
            return true;
        }
        self.chain.is_none_or(|chain| chain == header.prev_chain) && self.seq.is_none_or(|seq| seq == header.seq)
    }

    fn after(header: &GroupHeader) -> Expect {
        Expect { chain: Some(header.chain()), seq: Some(header.seq + 1) }
    }
}

/// How a segment's end is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// Nothing closed it: it is the last one, and a crash ended it.
    No,
    /// Its successor says where it ends.
    At(u64),
}

/// A segment that was walked.
#[derive(Debug)]
pub struct Walked {
    pub end_lsn: u64,
    pub expect: Expect,
    pub index: Index,
    pub groups: u64,
    pub sealed: bool,
    pub clean_close: bool,
    /// Unproven bytes from `end_lsn` on that are not zero, up to this address.
    pub torn_until: Option<u64>,
    /// The length that the file should have, where it has another.
    pub cut_to: Option<u64>,
}

pub struct Walk<'a> {
    pub display: &'a str,
    pub header: &'a SegmentHeader,
    pub file: &'a dyn LogFile,
    pub ledger: &'a mut Ledger,
    defs: BTreeMap<u32, StreamDef>,
    index: Index,
    groups: u64,
    clean_close: bool,
    /// A damage took groups of which not all frames are known.
    swallowed: bool,
}

impl<'a> Walk<'a> {
    pub fn new(display: &'a str, header: &'a SegmentHeader, file: &'a dyn LogFile, ledger: &'a mut Ledger) -> Walk<'a> {
        Walk {
            display,
            header,
            file,
            ledger,
            defs: BTreeMap::new(),
            index: Index::default(),
            groups: 0,
            clean_close: false,
            swallowed: false,
        }
    }

    /// By the trailer and the index alone, where they are whole. What the groups hold is verified when it is read.
    pub fn by_trailer(mut self, trailer: &Trailer) -> Result<Option<Walked>, WalError> {
        let mut reader = self.reader(true)?;
        let Some((index, seal)) = self.seal_index(&mut reader, trailer)? else { return Ok(None) };
        self.clean_close = seal.has(group_flags::CLEAN_CLOSE);
        for ((id, repair), entry) in &index.entries {
            if *repair {
                self.ledger.meet(*id, &entry.def);
            } else {
                self.see(*id, &entry.def, entry.def.first_next, entry.next_offset, trailer.seal_lsn);
            }
        }
        Ok(Some(Walked {
            end_lsn: trailer.end_lsn,
            expect: Expect::after(&seal),
            index,
            groups: trailer.groups,
            sealed: true,
            clean_close: self.clean_close,
            torn_until: None,
            cut_to: None,
        }))
    }

    fn seal_index(
        &self,
        reader: &mut GroupReader<'_>,
        trailer: &Trailer,
    ) -> Result<Option<(Index, GroupHeader)>, WalError> {
        let Ok(group) = reader.group(trailer.seal_lsn).map_err(WalError::io("reading", self.display))? else {
            return Ok(None);
        };
        let fits = group.header.has(group_flags::SEAL)
            && group.header.chain() == trailer.chain
            && group.header.seq == trailer.group_seq
            && trailer.seal_lsn + group.header.total() == trailer.end_lsn;
        let index = group.frames.iter().find(|frame| frame.header.kind == FrameType::Index);
        Ok(index
            .filter(|_| fits)
            .and_then(|frame| Index::decode(frame.payload(reader)).ok())
            .map(|index| (index, group.header)))
    }

    /// Group by group. `trailer` is a whole trailer at the file's end.
    pub fn groups(
        mut self,
        mut expect: Expect,
        closed: Closed,
        trailer: Option<&Trailer>,
        deep: bool,
    ) -> Result<Walked, WalError> {
        let mut reader = self.reader(deep)?;
        let end = match (trailer, closed) {
            (Some(trailer), _) => Some(trailer.end_lsn),
            (None, Closed::At(end)) => Some(end),
            (None, Closed::No) => None,
        };
        let seal = match trailer {
            Some(trailer) => self.seal_index(&mut reader, trailer)?,
            None => None,
        };
        // Where the seal is whole, a damaged definition takes nothing with it.
        for ((id, _), entry) in seal.iter().flat_map(|(index, _)| &index.entries) {
            self.defs.insert(*id, entry.def.clone());
        }
        let mut at = self.header.base_lsn;
        let mut sealed_at = None;
        let mut torn_until = None;
        while end.is_none_or(|end| at < end) && sealed_at.is_none() {
            let io = WalError::io("reading", self.display);
            let bad = match reader.group(at).map_err(io)? {
                Ok(group) if expect.meets(&group.header) => {
                    self.take(&group.frames, &group.header, &reader);
                    if group.header.has(group_flags::SEAL) {
                        sealed_at = Some(at);
                    }
                    expect = Expect::after(&group.header);
                    at += group.header.total();
                    continue;
                }
                Ok(_) => {
                    BadGroup { why: "the group does not follow the one before it", header: None, frames: Vec::new() }
                }
                Err(bad) => bad,
            };
            let behind = Behind::look(&mut reader, at, end.is_some()).map_err(WalError::io("reading", self.display))?;
            if end.is_none() && !behind.proves(at) {
                torn_until = behind.nonzero_until;
                break;
            }
            let resume = behind.headers.iter().find(|header| header.lsn > at && end.is_none_or(|end| header.lsn < end));
            let most = end.unwrap_or(reader.limit());
            // A header that is proven says where its group ends; what fails behind it is another damage.
            let own = bad.header.map(|header| at + header.total()).filter(|own| *own <= most);
            let until = own.unwrap_or_else(|| resume.map_or(most, |header| header.lsn));
            self.salvage(&bad, &reader, at, until);
            // The group behind one whose header is proven can still be held against it.
            let header = bad.header.filter(|header| at + header.total() == until);
            expect = header.as_ref().map_or(Expect { chain: None, seq: None }, Expect::after);
            at = until;
        }
        let sealed = trailer.is_some() && sealed_at.is_some();
        if let (Some(trailer), Some((index, group))) = (trailer, &seal) {
            self.compare_index(trailer, index, group);
        }
        if seal.is_none() && self.swallowed {
            self.ledger.undefined();
        }
        let cut_to = self.cut(at, sealed, sealed_at.is_some(), end.is_none(), &mut torn_until)?;
        Ok(Walked {
            end_lsn: at,
            expect,
            index: self.index,
            groups: self.groups,
            sealed,
            clean_close: self.clean_close,
            torn_until,
            cut_to,
        })
    }

    /// The length of a tail file that a crash left longer than its groups. A whole trailer behind the seal stays.
    fn cut(
        &self,
        end: u64,
        sealed: bool,
        seal: bool,
        tail: bool,
        torn_until: &mut Option<u64>,
    ) -> Result<Option<u64>, WalError> {
        if sealed || !tail {
            return Ok(None);
        }
        let io = || WalError::io("reading", self.display);
        let mut keep = self.header.file_offset(end);
        let block = read_up_to(self.file, keep, BLOCK as usize).map_err(io())?;
        if seal && Trailer::decode(&block, self.header).is_some_and(|trailer| trailer.end_lsn == end) {
            keep += BLOCK;
            *torn_until = None;
        }
        Ok((self.file.len().map_err(io())? != keep).then_some(keep))
    }

    /// What the seal says about streams settles what a damage in this segment swallowed.
    fn compare_index(&mut self, trailer: &Trailer, index: &Index, seal: &GroupHeader) {
        self.clean_close |= seal.has(group_flags::CLEAN_CLOSE);
        let mut behind = false;
        for ((id, repair), entry) in &index.entries {
            let known = self.ledger.streams.get(id).map_or(entry.def.first_next, |known| known.next);
            if !repair && known != entry.next_offset {
                behind = true;
                self.see(*id, &entry.def, entry.next_offset, entry.next_offset, trailer.seal_lsn);
            }
        }
        let hit = self.ledger.damages.iter().any(|damage| damage.segment == Some(self.header.seq));
        if hit {
            // Frames that cannot be read are in the index all the same, so it knows more than the scan.
            self.ledger.close(true);
            self.name_copies(index);
        } else if behind || *index != self.index {
            let what = "the index in the seal is not that of the groups";
            self.ledger.named(self.new_damage(trailer.seal_lsn, trailer.end_lsn, what));
        }
    }

    /// Copies move no stream, so that nothing after them tells of their loss: the seal does.
    fn name_copies(&mut self, index: &Index) {
        for (key, entry) in index.entries.iter().filter(|((_, repair), _)| *repair) {
            self.ledger.meet(key.0, &entry.def);
            let mut found: Vec<(i64, i64)> = self.index.entries.get(key).map_or_else(Vec::new, Entry::ranges);
            found.sort_unstable();
            for (from, until) in entry.ranges() {
                let lost = without((from, until), &found);
                self.ledger.lost_copies(self.header.seq, &entry.def.stream, &lost);
            }
        }
    }

    fn reader(&self, deep: bool) -> Result<GroupReader<'a>, WalError> {
        GroupReader::new(self.file, self.header, deep).map_err(WalError::io("reading", self.display))
    }

    fn take(&mut self, frames: &[FrameAt], group: &GroupHeader, reader: &GroupReader<'_>) {
        self.groups += 1;
        self.clean_close = group.has(group_flags::CLEAN_CLOSE);
        for frame in frames {
            self.frame(frame, group, reader);
        }
    }

    fn frame(&mut self, frame: &FrameAt, group: &GroupHeader, reader: &GroupReader<'_>) {
        let header = &frame.header;
        let lsn = group.lsn;
        if unknown(header.kind) || header.codec != 0 {
            let what = format!(
                "a frame of type {} and codec {}, which this release does not know",
                header.kind.code(),
                header.codec
            );
            self.ledger.named(self.new_damage(lsn, lsn + group.total(), &what));
            return;
        }
        self.ledger.max_id = self.ledger.max_id.max(header.stream_id);
        match header.kind {
            FrameType::StreamDef if frame.sound => match StreamDef::decode(frame.payload(reader)) {
                Ok(def) => drop(self.defs.insert(header.stream_id, def)),
                Err(error) => self.damage(lsn, lsn + group.total(), &error.to_string()),
            },
            FrameType::Data | FrameType::Assign | FrameType::Gap => self.moved(frame, group),
            _ => {}
        }
    }

    fn moved(&mut self, frame: &FrameAt, group: &GroupHeader) {
        let (header, lsn) = (&frame.header, group.lsn);
        let known =
            self.defs.get(&header.stream_id).or(self.ledger.streams.get(&header.stream_id).map(|known| &known.def));
        let Some(def) = known.cloned() else {
            let what = format!("a frame of a stream that is nowhere defined (id {})", header.stream_id);
            self.ledger.named(self.new_damage(lsn, lsn + group.total(), &what));
            return;
        };
        let repair = group.has(group_flags::REPAIR);
        if repair {
            self.ledger.meet(header.stream_id, &def);
        } else {
            self.see(header.stream_id, &def, header.prev_next_offset, header.next_offset, lsn);
        }
        if frame.sound {
            self.index.note(header, &def, lsn, repair);
        }
    }

    fn see(&mut self, id: u32, def: &StreamDef, prev_next: i64, next: i64, lsn: u64) {
        if let Err((why, lost)) = self.ledger.see(id, def, prev_next, next) {
            let damage = self.new_damage(lsn, lsn + BLOCK, &why);
            self.ledger.named(Damage { lost: lost.into_iter().map(|lost| *lost).collect(), ..damage });
        }
    }

    /// Takes what is proven of a group that is hit, and names what is not.
    fn salvage(&mut self, bad: &BadGroup, reader: &GroupReader<'_>, at: u64, until: u64) {
        let unsound = bad.frames.iter().any(|frame| !frame.sound);
        let whole = |header: &GroupHeader| unsound && bad.frames.len() == header.frames as usize;
        let end = bad.header.as_ref().filter(|header| whole(header)).map(|header| at + header.total());
        if end.is_none() {
            self.damage(at, until, bad.why);
        }
        let Some(group) = bad.header else { return };
        for frame in &bad.frames {
            self.frame(frame, &group, reader);
            if !frame.sound {
                let lost = self.lost(frame);
                self.ledger.named(Damage { lost, ..self.new_damage(at, end.unwrap_or(until), bad.why) });
            }
        }
        // All frames of this one are known; what else is hit before the next one are not.
        if let Some(end) = end.filter(|end| *end < until) {
            self.damage(end, until, "no group of this log starts here");
        }
        if end.is_none() {
            self.ledger.within();
        }
    }

    /// What a frame held whose header is whole and whose payload is not.
    fn lost(&self, frame: &FrameAt) -> Vec<Lost> {
        let (header, id) = (&frame.header, frame.header.stream_id);
        let def = self.defs.get(&id).or(self.ledger.streams.get(&id).map(|known| &known.def));
        let def = def.filter(|_| header.kind == FrameType::Data);
        let lost = |def: &StreamDef| Lost {
            stream: def.stream.clone(),
            from: header.prev_next_offset,
            until: Some(header.next_offset),
        };
        def.map(lost).into_iter().collect()
    }

    fn damage(&mut self, from: u64, until: u64, what: &str) {
        let damage = self.new_damage(from, until, what);
        self.swallowed = true;
        self.ledger.swallowed(damage);
    }

    fn new_damage(&self, from_lsn: u64, until_lsn: u64, what: &str) -> Damage {
        let (file, segment) = (self.display.to_string(), Some(self.header.seq));
        Damage { file, segment, from_lsn, until_lsn, what: what.into(), lost: Vec::new() }
    }
}

/// What is left of a range when the others, which are sorted, are taken out.
fn without(range: (i64, i64), others: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let (mut at, mut left) = (range.0, Vec::new());
    for (from, until) in others.iter().filter(|(_, until)| *until > range.0) {
        if *from > at {
            left.push((at, (*from).min(range.1)));
        }
        at = at.max(*until);
        if at >= range.1 {
            break;
        }
    }
    if at < range.1 {
        left.push((at, range.1));
    }
    left.retain(|(from, until)| from < until);
    left
}

/// What stands behind an address that fails.
struct Behind {
    /// Headers of groups, each at its own address.
    headers: Vec<GroupHeader>,
    /// One past the last block from the address on that is not all zeros.
    nonzero_until: Option<u64>,
}

impl Behind {
    /// Whether a later group says that what stands at `at` had been synced.
    fn proves(&self, at: u64) -> bool {
        match () {
            () if fault::sabotaged("wal_cut_at_first_bad") => false,
            () if fault::sabotaged("wal_refuse_on_later_group") => !self.headers.is_empty(),
            () => self.headers.iter().any(|header| header.synced_lsn > at),
        }
    }

    /// Looks no further than needed: to the next group, where the end is known, else to one that proves `from`.
    fn look(reader: &mut GroupReader<'_>, from: u64, ended: bool) -> std::io::Result<Behind> {
        let mut behind = Behind { headers: Vec::new(), nonzero_until: None };
        let (mut at, limit) = (from, reader.limit());
        while at < limit {
            let chunk = read_up_to(reader.file, reader.segment.file_offset(at), 1 << 20)?;
            for (block, bytes) in chunk.chunks(BLOCK as usize).enumerate() {
                let lsn = at + block as u64 * BLOCK;
                if bytes.iter().all(|byte| *byte == 0) {
                    continue;
                }
                behind.nonzero_until = Some(lsn + bytes.len() as u64);
                let header = GroupHeader::decode(bytes, &reader.segment.uuid);
                let ours = |header: &GroupHeader| header.lsn == lsn && header.incarnation == reader.segment.incarnation;
                behind.headers.extend(header.filter(ours).filter(|_| lsn > from));
                if !behind.headers.is_empty() && (ended || behind.proves(from)) {
                    return Ok(behind);
                }
            }
            if chunk.is_empty() {
                break;
            }
            at += chunk.len() as u64;
        }
        Ok(behind)
    }
}
