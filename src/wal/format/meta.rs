//! META: the log's identity, the incarnation that may write, and how far each lane was retired. Two slots, written in
//! turn; the highest valid generation counts.

use super::bytes::{array_at, put, u16_at, u32_at, u64_at};
use super::{BLOCK, FAR, FormatError, MAJOR, MINOR, Uuid};

pub const META_LEN: usize = 2 * SLOT;
const SLOT: usize = BLOCK as usize;
const MAGIC: &[u8; 8] = b"LFWALMTA";
const FLOORS: usize = 56;
const NEWEST: usize = FLOORS + 64 * 16;

/// What a slot says. One lane in this release; the format has room for 64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    pub uuid: Uuid,
    pub generation: u64,
    /// One more at every open for writing, durable before anything else is written.
    pub incarnation: u64,
    /// Everything below it was retired.
    pub floor_lsn: u64,
    /// The first segment that was not.
    pub floor_segment: u64,
    /// A segment with this number has been published, so it must be there (0: none yet). Without it, a newest file
    /// that is lost could not be told from one that never was.
    pub newest_segment: u64,
}

impl Meta {
    /// Where in the file this generation belongs.
    pub fn place(&self) -> u64 {
        (self.generation % 2) * BLOCK
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut slot = vec![0; SLOT];
        put(&mut slot, 0, MAGIC);
        put(&mut slot, 8, &MAJOR.to_le_bytes());
        put(&mut slot, 10, &MINOR.to_le_bytes());
        put(&mut slot, 16, &self.uuid);
        put(&mut slot, 32, &self.generation.to_le_bytes());
        put(&mut slot, 40, &self.incarnation.to_le_bytes());
        put(&mut slot, 48, &1u32.to_le_bytes());
        put(&mut slot, 52, &(BLOCK as u32).to_le_bytes());
        put(&mut slot, FLOORS, &self.floor_lsn.to_le_bytes());
        put(&mut slot, FLOORS + 8, &self.floor_segment.to_le_bytes());
        put(&mut slot, NEWEST, &self.newest_segment.to_le_bytes());
        let crc = crc32c::crc32c(&slot[..SLOT - 4]);
        put(&mut slot, SLOT - 4, &crc.to_le_bytes());
        slot
    }

    /// The slot that counts, and whether the other one is damaged (a slot of zeros was never written).
    pub fn choose(file: &[u8]) -> Result<(Meta, bool), FormatError> {
        let short = || FormatError::damaged("META", format!("it has {} bytes and should have {META_LEN}", file.len()));
        let slots: Vec<&[u8]> = file.chunks(SLOT).take(2).collect();
        if slots.len() < 2 || slots.iter().any(|slot| slot.len() < SLOT) {
            return Err(short());
        }
        let read: Vec<Result<Meta, FormatError>> =
            slots.iter().enumerate().map(|(at, slot)| Meta::slot(at, slot)).collect();
        // A slot of a newer format is no damage to be worked around.
        if let Some(Err(version)) = read.iter().find(|slot| matches!(slot, Err(FormatError::Version { .. }))) {
            return Err(version.clone());
        }
        let damaged = read.iter().zip(&slots).any(|(slot, raw)| slot.is_err() && raw.iter().any(|byte| *byte != 0));
        let newest = read.into_iter().flatten().max_by_key(|slot| slot.generation);
        newest.map(|meta| (meta, damaged)).ok_or_else(|| FormatError::damaged("META", "neither of its slots is valid"))
    }

    fn slot(at: usize, slot: &[u8]) -> Result<Meta, FormatError> {
        if &slot[..8] != MAGIC || crc32c::crc32c(&slot[..SLOT - 4]) != u32_at(slot, SLOT - 4) {
            return Err(FormatError::damaged("META", format!("slot {at} fails its checksum")));
        }
        if u16_at(slot, 8) != MAJOR {
            return Err(FormatError::Version { what: "META", major: u16_at(slot, 8) });
        }
        let meta = Meta {
            uuid: array_at(slot, 16),
            generation: u64_at(slot, 32),
            incarnation: u64_at(slot, 40),
            floor_lsn: u64_at(slot, FLOORS),
            floor_segment: u64_at(slot, FLOORS + 8),
            newest_segment: u64_at(slot, NEWEST),
        };
        if u32_at(slot, 48) != 1 || u64::from(u32_at(slot, 52)) != BLOCK {
            return Err(FormatError::damaged(
                "META",
                "it has several lanes or another block size, which is not in this release",
            ));
        }
        let numbers = [meta.generation, meta.incarnation, meta.floor_lsn, meta.floor_segment, meta.newest_segment];
        if numbers.iter().any(|number| *number >= FAR) {
            return Err(FormatError::damaged("META", format!("slot {at} has a number that no log reaches")));
        }
        if meta.generation % 2 != at as u64 {
            return Err(FormatError::damaged("META", format!("slot {at} holds a generation of the other one")));
        }
        Ok(meta)
    }
}
