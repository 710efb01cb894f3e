//! The bytes of the log, format version 1: what `docs/wal-format.md` says, and nothing else. Pure.
//!
//! Everything is little-endian, every checksum is CRC-32C. The checksums of group and frame headers are salted with
//! the log's uuid, so that bytes of a record, however crafted, never pass for a header of this log.

mod bytes;
mod frame;
mod group;
mod index;
mod meta;
mod payload;
mod record;
mod segment;
#[cfg(test)]
mod tests;

pub use frame::{FRAME_HEADER, FrameHeader, FrameType, OFFSETS_SPARSE};
pub use group::{GROUP_HEADER, GroupHeader, flags as group_flags};
pub use index::{Entry, Index, Pair, Stretch};
pub use meta::{META_LEN, Meta};
pub use payload::{AssignReason, GapNote, StreamDef};
pub use record::{Header, Record, Records, TimestampType, encode_record};
pub use segment::{SegmentHeader, SegmentName, Trailer, flags as segment_flags};

/// Unit of addresses: a group starts at a multiple of it, in the file and in the lane.
pub const BLOCK: u64 = 4096;

/// The address of the first group of a lane. Address 0 is nowhere.
pub const FIRST_LSN: u64 = BLOCK;

/// No number or address gets so far: sums of what was read cannot overflow.
const FAR: u64 = 1 << 62;

pub const MAJOR: u16 = 1;
pub const MINOR: u16 = 0;

pub type Uuid = [u8; 16];

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    #[error("{what}: {why}")]
    Damaged { what: &'static str, why: String },
    /// Whole, and written by a release that this one does not understand.
    #[error("{what} has format version {major}, and this release reads version {MAJOR}: use the release that wrote it")]
    Version { what: &'static str, major: u16 },
}

impl FormatError {
    pub(crate) fn damaged(what: &'static str, why: impl Into<String>) -> FormatError {
        FormatError::Damaged { what, why: why.into() }
    }
}

/// Rounds up to a block.
pub fn blocks(len: u64) -> u64 {
    len.div_ceil(BLOCK) * BLOCK
}

/// Rounds up to a multiple of eight, where frames start.
pub fn aligned(len: usize) -> usize {
    len.div_ceil(8) * 8
}

/// The chain before the first group of a lane.
pub fn first_chain(uuid: &Uuid) -> u32 {
    crc32c::crc32c(uuid)
}

fn salted(uuid: &Uuid, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(uuid), bytes)
}
