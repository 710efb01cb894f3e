//! What a receiver appends: a run of records of one stream, encoded and checksummed before any lock is taken.

use super::format::{FRAME_HEADER, FrameHeader, FrameType, OFFSETS_SPARSE, Record, aligned, encode_record};

/// Records of one stream, `[base_offset, next_offset)`. Taken whole or not at all.
#[derive(Debug, Clone)]
pub struct Run {
    pub(super) header: FrameHeader,
    /// Room for the frame's header, the payload, zeros up to a multiple of eight.
    pub(super) frame: Vec<u8>,
    /// Why it cannot be appended.
    pub(super) flaw: Option<String>,
    sparse: bool,
    holes: bool,
}

impl Run {
    /// `next_offset` is where the source goes on: one past the last record, or further where transaction markers or
    /// compacted offsets follow it.
    pub fn new(records: &[Record<'_>], next_offset: i64) -> Run {
        let base = records.first().map_or(next_offset, |record| record.offset);
        let min = records.iter().map(|record| record.timestamp_ms).min().unwrap_or(0);
        let max = records.iter().map(|record| record.timestamp_ms).max().unwrap_or(0);
        let size: usize = records
            .iter()
            .map(|record| 32 + record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len))
            .sum();
        let mut frame = Vec::with_capacity(aligned(FRAME_HEADER + size));
        frame.resize(FRAME_HEADER, 0);
        for record in records {
            encode_record(&mut frame, record, base, min);
        }
        let last = records.last().map_or(base.wrapping_sub(1), |record| record.offset);
        let rising = records.windows(2).all(|pair| pair[0].offset < pair[1].offset);
        let flaw = match () {
            () if base < 0 => Some(format!("it starts at offset {base}")),
            () if !rising => Some("its offsets do not rise".to_string()),
            () if next_offset <= last => Some(format!("it ends at offset {last}, and goes on at {next_offset}")),
            () if u32::try_from(frame.len()).is_err() => Some("it is longer than 4 GiB".to_string()),
            () => None,
        };
        let mut header = FrameHeader::of(FrameType::Data, &frame[FRAME_HEADER..]);
        header.base_offset = base;
        header.last_offset = last;
        header.next_offset = next_offset;
        header.records = records.len() as u32;
        (header.min_timestamp_ms, header.max_timestamp_ms) = (min, max);
        frame.resize(aligned(frame.len()), 0);
        let holes = next_offset.wrapping_sub(base) != records.len() as i64;
        Run { header, frame, flaw, sparse: false, holes }
    }

    /// Records that are not there before `next_offset`: markers or compacted offsets at the end of a partition.
    pub fn empty(base_offset: i64, next_offset: i64) -> Run {
        let mut run = Run::new(&[], next_offset).sparse();
        run.header.base_offset = base_offset;
        run.header.last_offset = base_offset.wrapping_sub(1);
        if base_offset < 0 || next_offset <= base_offset {
            run.flaw = Some(format!("it is empty, {base_offset}-{next_offset}"));
        }
        run
    }

    /// Offsets are missing by right, in the run or before it.
    pub fn sparse(mut self) -> Run {
        self.header.flags |= OFFSETS_SPARSE;
        self.sparse = true;
        self
    }

    pub fn leader_epoch(mut self, epoch: i32) -> Run {
        self.header.leader_epoch = epoch;
        self
    }

    pub fn receiver(mut self, id: u32) -> Run {
        self.header.receiver_id = id;
        self
    }

    pub fn received_ms(mut self, ms: u64) -> Run {
        self.header.received_ms = ms;
        self
    }

    pub fn base_offset(&self) -> i64 {
        self.header.base_offset
    }

    pub fn next_offset(&self) -> i64 {
        self.header.next_offset
    }

    pub(super) fn is_sparse(&self) -> bool {
        self.sparse
    }

    pub(super) fn flaw(&self) -> Option<String> {
        let holes = (self.holes && !self.sparse).then(|| "offsets are missing in it; say so with sparse()".to_string());
        self.flaw.clone().or(holes)
    }
}
