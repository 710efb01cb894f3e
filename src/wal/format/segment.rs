//! A segment's name, its header (the first block of the file), and the trailer of a sealed one (the last block).

use std::fmt;

use super::bytes::{array_at, put, u16_at, u32_at, u64_at};
use super::{BLOCK, FAR, FormatError, MAJOR, MINOR, Uuid};

/// Bits of [`SegmentHeader::flags`].
pub mod flags {
    pub const RECYCLED: u32 = 1;
    pub const ZERO_FILLED: u32 = 2;
    /// An operator accepted a loss before this segment: `prev_end_lsn` is below `base_lsn`.
    pub const GAP_BEFORE: u32 = 4;
}

/// `<lane>-<segment number>-<base address>.wal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentName {
    pub seq: u64,
    pub base_lsn: u64,
}

impl SegmentName {
    /// The name's parts, where the name is exactly what would be written for them.
    pub fn parse(name: &str) -> Option<SegmentName> {
        let mut parts = name.strip_suffix(".wal")?.splitn(3, '-');
        let (_lane, seq, base) = (parts.next()?, parts.next()?, parts.next()?);
        let parsed = SegmentName { seq: seq.parse().ok()?, base_lsn: u64::from_str_radix(base, 16).ok()? };
        let sane = (1..FAR).contains(&parsed.seq) && parsed.base_lsn < FAR && parsed.base_lsn.is_multiple_of(BLOCK);
        (sane && parsed.to_string() == name).then_some(parsed)
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:010}-{:016x}.wal", self.seq, self.base_lsn)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentHeader {
    pub uuid: Uuid,
    /// The only one that may write this file.
    pub incarnation: u64,
    pub seq: u64,
    pub base_lsn: u64,
    /// Where the predecessor ended, which is `base_lsn` unless [`flags::GAP_BEFORE`] is set.
    pub prev_end_lsn: u64,
    /// The chain at the predecessor's end.
    pub prev_chain: u32,
    pub flags: u32,
    /// Bytes of groups that the file was made for.
    pub capacity: u64,
    /// Information for people; nothing decides by it.
    pub created_ms: u64,
    /// No group but the seal has a longer body.
    pub max_group: u32,
}

const HEADER_MAGIC: &[u8; 8] = b"LFWALSEG";
const LAST: usize = BLOCK as usize - 4;

impl SegmentHeader {
    pub fn name(&self) -> SegmentName {
        SegmentName { seq: self.seq, base_lsn: self.base_lsn }
    }

    /// Where an address of this segment is in its file.
    pub fn file_offset(&self, lsn: u64) -> u64 {
        BLOCK + (lsn - self.base_lsn)
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut block = vec![0; BLOCK as usize];
        put(&mut block, 0, HEADER_MAGIC);
        put(&mut block, 8, &MAJOR.to_le_bytes());
        put(&mut block, 10, &MINOR.to_le_bytes());
        put(&mut block, 12, &(BLOCK as u32).to_le_bytes());
        put(&mut block, 16, &self.uuid);
        put(&mut block, 32, &self.incarnation.to_le_bytes());
        put(&mut block, 40, &self.seq.to_le_bytes());
        put(&mut block, 48, &self.base_lsn.to_le_bytes());
        put(&mut block, 56, &self.prev_end_lsn.to_le_bytes());
        put(&mut block, 64, &self.prev_chain.to_le_bytes());
        put(&mut block, 72, &(BLOCK as u32).to_le_bytes());
        put(&mut block, 76, &self.flags.to_le_bytes());
        put(&mut block, 80, &self.capacity.to_le_bytes());
        put(&mut block, 88, &self.created_ms.to_le_bytes());
        put(&mut block, 96, &self.max_group.to_le_bytes());
        put(&mut block, 100, &1u32.to_le_bytes());
        let crc = crc32c::crc32c(&block[..LAST]);
        put(&mut block, LAST, &crc.to_le_bytes());
        block
    }

    pub fn decode(block: &[u8]) -> Result<SegmentHeader, FormatError> {
        const WHAT: &str = "the segment's header";
        if block.len() < BLOCK as usize {
            return Err(FormatError::damaged(WHAT, format!("only {} of its {BLOCK} bytes are there", block.len())));
        }
        if &block[..8] != HEADER_MAGIC || crc32c::crc32c(&block[..LAST]) != u32_at(block, LAST) {
            return Err(FormatError::damaged(WHAT, "it fails its checksum"));
        }
        if u16_at(block, 8) != MAJOR {
            return Err(FormatError::Version { what: WHAT, major: u16_at(block, 8) });
        }
        let header = SegmentHeader {
            uuid: array_at(block, 16),
            incarnation: u64_at(block, 32),
            seq: u64_at(block, 40),
            base_lsn: u64_at(block, 48),
            prev_end_lsn: u64_at(block, 56),
            prev_chain: u32_at(block, 64),
            flags: u32_at(block, 76),
            capacity: u64_at(block, 80),
            created_ms: u64_at(block, 88),
            max_group: u32_at(block, 96),
        };
        let known = u32_at(block, 12) == BLOCK as u32 && u32_at(block, 68) == 0 && u32_at(block, 100) == 1;
        let near = [header.incarnation, header.base_lsn, header.prev_end_lsn, header.capacity].iter().all(|n| *n < FAR);
        if !known || !near || !header.base_lsn.is_multiple_of(BLOCK) || !(1..FAR).contains(&header.seq) {
            return Err(FormatError::damaged(
                WHAT,
                "its lane, block size, checksum kind, number or address is none of this release",
            ));
        }
        Ok(header)
    }
}

/// The last block of a sealed segment: where to find the index, without a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    pub seal_lsn: u64,
    pub end_lsn: u64,
    pub seq: u64,
    pub groups: u64,
    pub records: u64,
    /// At the end, the seal included.
    pub chain: u32,
    /// The number of the seal's group.
    pub group_seq: u64,
}

const TRAILER_MAGIC: &[u8; 8] = b"LFWALEND";

impl Trailer {
    pub fn encode(&self, uuid: &Uuid) -> Vec<u8> {
        let mut block = vec![0; BLOCK as usize];
        put(&mut block, 0, TRAILER_MAGIC);
        put(&mut block, 8, &self.seal_lsn.to_le_bytes());
        put(&mut block, 16, &self.end_lsn.to_le_bytes());
        put(&mut block, 24, &self.seq.to_le_bytes());
        put(&mut block, 32, &self.groups.to_le_bytes());
        put(&mut block, 40, &self.records.to_le_bytes());
        put(&mut block, 48, &self.chain.to_le_bytes());
        put(&mut block, 56, &self.group_seq.to_le_bytes());
        put(&mut block, 64, uuid);
        let crc = crc32c::crc32c(&block[..LAST]);
        put(&mut block, LAST, &crc.to_le_bytes());
        block
    }

    /// `None` where the block is no trailer of this segment.
    pub fn decode(block: &[u8], header: &SegmentHeader) -> Option<Trailer> {
        let whole = block.len() == BLOCK as usize && &block[..8] == TRAILER_MAGIC;
        if !whole || crc32c::crc32c(&block[..LAST]) != u32_at(block, LAST) {
            return None;
        }
        let trailer = Trailer {
            seal_lsn: u64_at(block, 8),
            end_lsn: u64_at(block, 16),
            seq: u64_at(block, 24),
            groups: u64_at(block, 32),
            records: u64_at(block, 40),
            chain: u32_at(block, 48),
            group_seq: u64_at(block, 56),
        };
        let ordered =
            header.base_lsn <= trailer.seal_lsn && trailer.seal_lsn < trailer.end_lsn && trailer.end_lsn < 1 << 63;
        let ours = trailer.seq == header.seq && array_at::<16>(block, 64) == header.uuid;
        (ours && ordered && trailer.end_lsn.is_multiple_of(BLOCK) && trailer.seal_lsn.is_multiple_of(BLOCK))
            .then_some(trailer)
    }
}
