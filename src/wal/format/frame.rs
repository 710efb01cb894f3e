//! The header of a frame: one append, a run of records of one stream, recovered whole or not at all.

use super::bytes::{i64_at, put, u16_at, u32_at, u64_at};
use super::{Uuid, aligned, salted};

pub const FRAME_HEADER: usize = 96;
const MAGIC: &[u8; 4] = b"FRM1";

/// [`FrameHeader::flags`]: offsets between records are missing by right (compacted away, transaction markers).
pub const OFFSETS_SPARSE: u16 = 1;

/// What a frame holds. Readers skip types from 128 on that they do not know, and refuse others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameType {
    Data,
    StreamDef,
    SinkCommit,
    Assign,
    Gap,
    Index,
    Control,
    Other(u8),
}

impl FrameType {
    pub fn code(self) -> u8 {
        match self {
            FrameType::Data => 1,
            FrameType::StreamDef => 2,
            FrameType::SinkCommit => 3,
            FrameType::Assign => 4,
            FrameType::Gap => 5,
            FrameType::Index => 6,
            FrameType::Control => 7,
            FrameType::Other(code) => code,
        }
    }

    pub fn from_code(code: u8) -> FrameType {
        match code {
            1 => FrameType::Data,
            2 => FrameType::StreamDef,
            3 => FrameType::SinkCommit,
            4 => FrameType::Assign,
            5 => FrameType::Gap,
            6 => FrameType::Index,
            7 => FrameType::Control,
            other => FrameType::Other(other),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    pub payload_crc: u32,
    pub payload_len: u32,
    pub kind: FrameType,
    /// 0: none. Others are reserved; this release writes and reads none.
    pub codec: u8,
    pub flags: u16,
    /// Defined by a STREAM_DEF earlier in the same segment.
    pub stream_id: u32,
    pub base_offset: i64,
    pub last_offset: i64,
    /// The stream's next offset before this frame.
    pub prev_next_offset: i64,
    /// The stream's next offset after it.
    pub next_offset: i64,
    pub records: u32,
    pub raw_len: u32,
    pub min_timestamp_ms: i64,
    pub max_timestamp_ms: i64,
    /// −1: unknown.
    pub leader_epoch: i32,
    pub receiver_id: u32,
    pub received_ms: u64,
}

impl FrameHeader {
    /// A frame of no stream.
    pub fn of(kind: FrameType, payload: &[u8]) -> FrameHeader {
        FrameHeader {
            payload_crc: crc32c::crc32c(payload),
            payload_len: payload.len() as u32,
            kind,
            codec: 0,
            flags: 0,
            stream_id: 0,
            base_offset: 0,
            last_offset: 0,
            prev_next_offset: 0,
            next_offset: 0,
            records: 0,
            raw_len: payload.len() as u32,
            min_timestamp_ms: 0,
            max_timestamp_ms: 0,
            leader_epoch: -1,
            receiver_id: 0,
            received_ms: 0,
        }
    }

    pub fn encode(&self, uuid: &Uuid) -> [u8; FRAME_HEADER] {
        let mut bytes = [0; FRAME_HEADER];
        put(&mut bytes, 0, MAGIC);
        put(&mut bytes, 8, &self.payload_crc.to_le_bytes());
        put(&mut bytes, 12, &self.payload_len.to_le_bytes());
        bytes[16] = self.kind.code();
        bytes[17] = self.codec;
        put(&mut bytes, 18, &self.flags.to_le_bytes());
        put(&mut bytes, 20, &self.stream_id.to_le_bytes());
        put(&mut bytes, 24, &self.base_offset.to_le_bytes());
        put(&mut bytes, 32, &self.last_offset.to_le_bytes());
        put(&mut bytes, 40, &self.prev_next_offset.to_le_bytes());
        put(&mut bytes, 48, &self.next_offset.to_le_bytes());
        put(&mut bytes, 56, &self.records.to_le_bytes());
        put(&mut bytes, 60, &self.raw_len.to_le_bytes());
        put(&mut bytes, 64, &self.min_timestamp_ms.to_le_bytes());
        put(&mut bytes, 72, &self.max_timestamp_ms.to_le_bytes());
        put(&mut bytes, 80, &self.leader_epoch.to_le_bytes());
        put(&mut bytes, 84, &self.receiver_id.to_le_bytes());
        put(&mut bytes, 88, &self.received_ms.to_le_bytes());
        let crc = salted(uuid, &bytes[8..]);
        put(&mut bytes, 4, &crc.to_le_bytes());
        bytes
    }

    /// `None` where the bytes are no frame header of the log with this uuid.
    pub fn decode(bytes: &[u8], uuid: &Uuid) -> Option<FrameHeader> {
        if bytes.len() < FRAME_HEADER
            || &bytes[..4] != MAGIC
            || FrameHeader::computed_crc(bytes, uuid) != FrameHeader::stored_crc(bytes)
        {
            return None;
        }
        Some(FrameHeader {
            payload_crc: u32_at(bytes, 8),
            payload_len: u32_at(bytes, 12),
            kind: FrameType::from_code(bytes[16]),
            codec: bytes[17],
            flags: u16_at(bytes, 18),
            stream_id: u32_at(bytes, 20),
            base_offset: i64_at(bytes, 24),
            last_offset: i64_at(bytes, 32),
            prev_next_offset: i64_at(bytes, 40),
            next_offset: i64_at(bytes, 48),
            records: u32_at(bytes, 56),
            raw_len: u32_at(bytes, 60),
            min_timestamp_ms: i64_at(bytes, 64),
            max_timestamp_ms: i64_at(bytes, 72),
            leader_epoch: u32_at(bytes, 80) as i32,
            receiver_id: u32_at(bytes, 84),
            received_ms: u64_at(bytes, 88),
        })
    }

    /// The checksum that stands in a header's bytes.
    pub fn stored_crc(bytes: &[u8]) -> u32 {
        u32_at(bytes, 4)
    }

    /// The checksum that a header's bytes should have.
    pub fn computed_crc(bytes: &[u8], uuid: &Uuid) -> u32 {
        salted(uuid, &bytes[8..FRAME_HEADER])
    }

    /// Header, payload and padding.
    pub fn total(&self) -> usize {
        aligned(FRAME_HEADER + self.payload_len as usize)
    }
}
