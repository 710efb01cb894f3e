//! The header of a group: the bytes of one write and one fdatasync.

use super::bytes::{put, u32_at, u64_at};
use super::{FAR, Uuid, blocks, salted};

pub const GROUP_HEADER: usize = 64;
const MAGIC: &[u8; 4] = b"GRP1";

/// Bits of [`GroupHeader::flags`].
pub mod flags {
    pub const SEAL: u32 = 1;
    pub const HEARTBEAT: u32 = 2;
    pub const CLEAN_CLOSE: u32 = 4;
    /// Frames that stood further down in the log or were fetched again: they do not move a stream's next offset.
    pub const REPAIR: u32 = 8;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupHeader {
    /// Its own address: stale, recycled and misdirected blocks do not have it.
    pub lsn: u64,
    pub incarnation: u64,
    /// One more per group of the lane, across segments.
    pub seq: u64,
    /// Every byte below it had been synced with success before this header was built.
    pub synced_lsn: u64,
    pub body_len: u32,
    pub frames: u32,
    pub prev_chain: u32,
    /// Over the checksums of the frames' headers, in order.
    pub frames_crc: u32,
    pub flags: u32,
}

impl GroupHeader {
    pub fn encode(&self, uuid: &Uuid) -> [u8; GROUP_HEADER] {
        let mut bytes = [0; GROUP_HEADER];
        put(&mut bytes, 0, MAGIC);
        put(&mut bytes, 8, &self.lsn.to_le_bytes());
        put(&mut bytes, 16, &self.incarnation.to_le_bytes());
        put(&mut bytes, 24, &self.seq.to_le_bytes());
        put(&mut bytes, 32, &self.synced_lsn.to_le_bytes());
        put(&mut bytes, 40, &self.body_len.to_le_bytes());
        put(&mut bytes, 44, &self.frames.to_le_bytes());
        put(&mut bytes, 48, &self.prev_chain.to_le_bytes());
        put(&mut bytes, 52, &self.frames_crc.to_le_bytes());
        let chain = crc32c::crc32c(&bytes[8..56]);
        put(&mut bytes, 56, &chain.to_le_bytes());
        put(&mut bytes, 60, &self.flags.to_le_bytes());
        let crc = salted(uuid, &bytes[8..]);
        put(&mut bytes, 4, &crc.to_le_bytes());
        bytes
    }

    /// `None` where the bytes are no group header of the log with this uuid.
    pub fn decode(bytes: &[u8], uuid: &Uuid) -> Option<GroupHeader> {
        if bytes.len() < GROUP_HEADER || &bytes[..4] != MAGIC {
            return None;
        }
        if salted(uuid, &bytes[8..GROUP_HEADER]) != u32_at(bytes, 4) {
            return None;
        }
        let header = GroupHeader {
            lsn: u64_at(bytes, 8),
            incarnation: u64_at(bytes, 16),
            seq: u64_at(bytes, 24),
            synced_lsn: u64_at(bytes, 32),
            body_len: u32_at(bytes, 40),
            frames: u32_at(bytes, 44),
            prev_chain: u32_at(bytes, 48),
            frames_crc: u32_at(bytes, 52),
            flags: u32_at(bytes, 60),
        };
        let near = [header.lsn, header.incarnation, header.seq].iter().all(|number| *number < FAR);
        (near && header.chain() == u32_at(bytes, 56) && header.body_len.is_multiple_of(8)).then_some(header)
    }

    /// What the next group's `prev_chain` must be.
    pub fn chain(&self) -> u32 {
        let mut bytes = [0; 48];
        put(&mut bytes, 0, &self.lsn.to_le_bytes());
        put(&mut bytes, 8, &self.incarnation.to_le_bytes());
        put(&mut bytes, 16, &self.seq.to_le_bytes());
        put(&mut bytes, 24, &self.synced_lsn.to_le_bytes());
        put(&mut bytes, 32, &self.body_len.to_le_bytes());
        put(&mut bytes, 36, &self.frames.to_le_bytes());
        put(&mut bytes, 40, &self.prev_chain.to_le_bytes());
        put(&mut bytes, 44, &self.frames_crc.to_le_bytes());
        crc32c::crc32c(&bytes)
    }

    /// Header, frames and padding.
    pub fn total(&self) -> u64 {
        blocks(GROUP_HEADER as u64 + u64::from(self.body_len))
    }

    pub fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}
