//! The tail rule: whether what fails had been durable, and where a file that a crash left is cut.
//!
//! A group's header is built only after everything before it was synced, and says so in `synced_lsn`. So bytes at an
//! address that fail were durable if a later group says that it was; else they may never have been, and can be cut.

use landfall_lake::fault;

use super::super::error::WalError;
use super::super::format::{BLOCK, GroupHeader, Trailer};
use super::super::scan::GroupReader;
use super::super::volume::read_up_to;
use super::{Place, Walk};

/// What stands behind an address that fails.
pub(super) struct Behind {
    /// Headers of groups, each at its own address.
    pub headers: Vec<GroupHeader>,
    /// One past the last block from the address on that is not all zeros.
    pub nonzero_until: Option<u64>,
}

impl Behind {
    /// Whether a later group says that what stands at `at` had been synced.
    pub fn proves(&self, at: u64) -> bool {
        match () {
            () if fault::sabotaged("wal_cut_at_first_bad") => false,
            () if fault::sabotaged("wal_refuse_on_later_group") => !self.headers.is_empty(),
            () => self.headers.iter().any(|header| header.synced_lsn > at),
        }
    }

    /// Looks no further than needed: to the next group, where the end is known, else to one that proves `from`.
    pub fn look(reader: &mut GroupReader<'_>, from: u64, ended: bool) -> std::io::Result<Behind> {
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

impl Walk<'_> {
    /// The length of a tail file that a crash left longer than its groups. A whole trailer behind the seal stays.
    pub(super) fn cut(&self, place: &mut Place) -> Result<Option<u64>, WalError> {
        let io = || WalError::io("reading", self.display);
        let mut keep = self.header.file_offset(place.at);
        let block = read_up_to(self.file, keep, BLOCK as usize).map_err(io())?;
        if place.sealed && Trailer::decode(&block, self.header).is_some_and(|trailer| trailer.end_lsn == place.at) {
            keep += BLOCK;
            place.torn_until = None;
        }
        Ok((self.file.len().map_err(io())? != keep).then_some(keep))
    }
}
