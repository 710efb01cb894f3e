//! One segment from its first group to its end: the frames it holds, the damage in it, and for the last one whether its
//! tail is torn.

mod frames;
mod seal;
mod tail;

use std::collections::BTreeMap;

use landfall_lake::fault;

use super::error::WalError;
use super::format::{GroupHeader, Index, SegmentHeader, StreamDef, Trailer, first_chain, group_flags};
use super::ledger::Ledger;
use super::scan::{BadGroup, GroupReader};
use super::volume::LogFile;
use tail::Behind;

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

/// Where a walk group by group is.
struct Place {
    at: u64,
    /// Where the segment ends, if something says so.
    end: Option<u64>,
    expect: Expect,
    /// The seal was met.
    sealed: bool,
    torn_until: Option<u64>,
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

    /// Group by group. `trailer` is a whole trailer at the file's end.
    pub fn groups(
        mut self,
        expect: Expect,
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
        let mut place = Place { at: self.header.base_lsn, end, expect, sealed: false, torn_until: None };
        self.go_through(&mut reader, &mut place)?;
        if let (Some(trailer), Some((index, group))) = (trailer, &seal) {
            self.compare_index(trailer, index, group);
        }
        if seal.is_none() && self.swallowed {
            self.ledger.undefined();
        }
        let sealed = trailer.is_some() && place.sealed;
        let cut_to = if sealed || end.is_some() { None } else { self.cut(&mut place)? };
        Ok(Walked {
            end_lsn: place.at,
            expect: place.expect,
            index: self.index,
            groups: self.groups,
            sealed,
            clean_close: self.clean_close,
            torn_until: place.torn_until,
            cut_to,
        })
    }

    fn go_through(&mut self, reader: &mut GroupReader<'_>, place: &mut Place) -> Result<(), WalError> {
        while place.end.is_none_or(|end| place.at < end) && !place.sealed {
            let bad = match reader.group(place.at).map_err(WalError::io("reading", self.display))? {
                Ok(group) if place.expect.meets(&group.header) => {
                    self.take(&group.frames, &group.header, reader);
                    place.sealed = group.header.has(group_flags::SEAL);
                    place.expect = Expect::after(&group.header);
                    place.at += group.header.total();
                    continue;
                }
                Ok(_) => {
                    BadGroup { why: "the group does not follow the one before it", header: None, frames: Vec::new() }
                }
                Err(bad) => bad,
            };
            if !self.step_over(reader, place, &bad)? {
                break;
            }
        }
        Ok(())
    }

    /// Names the damage at an address and goes on behind it. False: it is none, but where a crash ended the log.
    fn step_over(&mut self, reader: &mut GroupReader<'_>, place: &mut Place, bad: &BadGroup) -> Result<bool, WalError> {
        let (at, end) = (place.at, place.end);
        let behind = Behind::look(reader, at, end.is_some()).map_err(WalError::io("reading", self.display))?;
        if end.is_none() && !behind.proves(at) {
            place.torn_until = behind.nonzero_until;
            return Ok(false);
        }
        let resume = behind.headers.iter().find(|header| header.lsn > at && end.is_none_or(|end| header.lsn < end));
        let most = end.unwrap_or(reader.limit());
        // A header that is proven says where its group ends; what fails behind it is another damage.
        let own = bad.header.map(|header| at + header.total()).filter(|own| *own <= most);
        let until = own.unwrap_or_else(|| resume.map_or(most, |header| header.lsn));
        self.salvage(bad, reader, at, until);
        // The group behind one whose header is proven can still be held against it.
        let header = bad.header.filter(|header| at + header.total() == until);
        place.expect = header.as_ref().map_or(Expect { chain: None, seq: None }, Expect::after);
        place.at = until;
        Ok(true)
    }

    fn reader(&self, deep: bool) -> Result<GroupReader<'a>, WalError> {
        GroupReader::new(self.file, self.header, deep).map_err(WalError::io("reading", self.display))
    }
}
