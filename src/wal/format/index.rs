//! The index of a segment: per stream which offsets stand in it and where to start reading. The writer keeps it while
//! it writes, a scan rebuilds it, and the seal holds it; all three by [`Index::note`].

use std::collections::BTreeMap;

use super::bytes::Fields;
use super::frame::FrameType;
use super::{BLOCK, FormatError, FrameHeader, StreamDef};

/// Bytes of one stream between two places where a reader may start.
const STRIDE: u64 = 256 * 1024;

/// What a segment holds, by stream id and by whether the frames stood elsewhere before (a group of repair).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    pub entries: BTreeMap<(u32, bool), Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub def: StreamDef,
    /// The stream's next offset after the last frame.
    pub next_offset: i64,
    /// The groups of the first and of the last frame.
    pub first_lsn: u64,
    pub last_lsn: u64,
    pub records: u64,
    /// Stored bytes of payload.
    pub bytes: u64,
    pub min_timestamp_ms: i64,
    pub max_timestamp_ms: i64,
    /// In the order of the log; they neither touch nor overlap, unless the frames are copies.
    pub stretches: Vec<Stretch>,
    /// Where to start for an offset, one for about every 256 KiB of the stream.
    pub pairs: Vec<Pair>,
}

/// Offsets that are held without a hole, `[from, until)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    pub from: i64,
    pub until: i64,
}

/// The first frame of a group from which on a reader finds `offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    pub offset: i64,
    pub lsn: u64,
}

impl Entry {
    fn new(def: StreamDef, lsn: u64) -> Entry {
        Entry {
            next_offset: def.first_next,
            def,
            first_lsn: lsn,
            last_lsn: lsn,
            records: 0,
            bytes: 0,
            min_timestamp_ms: i64::MAX,
            max_timestamp_ms: i64::MIN,
            stretches: Vec::new(),
            pairs: Vec::new(),
        }
    }

    /// The address from which a forward scan meets every frame that holds `offset` or more. Copies may stand in any
    /// order, and pairs are few: only where all offsets rise does a pair say that nothing above it stands before it.
    pub fn start(&self, offset: i64) -> u64 {
        let rising = self.stretches.is_sorted_by(|one, next| one.until <= next.from);
        let before = if rising { self.pairs.partition_point(|pair| pair.offset <= offset) } else { 0 };
        if before == 0 { self.first_lsn } else { self.pairs[before - 1].lsn }
    }

    /// What is held, `[from, until)`, in the order of the log.
    pub fn ranges(&self) -> Vec<(i64, i64)> {
        self.stretches.iter().map(|stretch| (stretch.from, stretch.until)).collect()
    }

    /// One past the highest offset that is held.
    pub fn until(&self) -> Option<i64> {
        self.stretches.iter().map(|stretch| stretch.until).max()
    }

    fn note(&mut self, frame: &FrameHeader, lsn: u64) {
        self.last_lsn = lsn;
        self.next_offset = frame.next_offset;
        if frame.kind != FrameType::Data {
            return;
        }
        if self.bytes / STRIDE != (self.bytes + u64::from(frame.payload_len)) / STRIDE || self.pairs.is_empty() {
            self.pairs.push(Pair { offset: frame.prev_next_offset, lsn });
        }
        match self.stretches.last_mut() {
            Some(last) if last.until == frame.prev_next_offset => last.until = frame.next_offset,
            _ => self.stretches.push(Stretch { from: frame.prev_next_offset, until: frame.next_offset }),
        }
        self.records += u64::from(frame.records);
        self.bytes += u64::from(frame.payload_len);
        if frame.records > 0 {
            self.min_timestamp_ms = self.min_timestamp_ms.min(frame.min_timestamp_ms);
            self.max_timestamp_ms = self.max_timestamp_ms.max(frame.max_timestamp_ms);
        }
    }
}

const WHAT: &str = "the segment's index";
const LEAST_ENTRY: usize = 88;

impl Index {
    /// Takes a frame into account. The stream must have been defined in this segment.
    pub fn note(&mut self, frame: &FrameHeader, def: &StreamDef, lsn: u64, repair: bool) {
        let entry = self.entries.entry((frame.stream_id, repair)).or_insert_with(|| Entry::new(def.clone(), lsn));
        entry.note(frame, lsn);
    }

    pub fn records(&self) -> u64 {
        self.entries.values().fold(0, |sum, entry| sum.saturating_add(entry.records))
    }

    /// Whether every address in it is one of a group of its segment, `[base, seal)`.
    pub fn lies_within(&self, base: u64, seal: u64) -> bool {
        let within = |lsn: u64| (base..seal).contains(&lsn) && lsn.is_multiple_of(BLOCK);
        let entry = |entry: &Entry| {
            within(entry.first_lsn) && within(entry.last_lsn) && entry.pairs.iter().all(|pair| within(pair.lsn))
        };
        self.entries.values().all(entry)
    }

    /// How long [`Index::encode`] will be: the writer keeps so much free for the seal.
    pub fn encoded_len(&self) -> usize {
        let entry = |entry: &Entry| {
            let def = 40 + entry.def.stream.cluster.len() + entry.def.stream.topic.len();
            LEAST_ENTRY + def + 16 * (entry.stretches.len() + entry.pairs.len())
        };
        8 + self.entries.values().map(entry).sum::<usize>()
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_len());
        bytes.extend((self.entries.len() as u64).to_le_bytes());
        for ((id, repair), entry) in &self.entries {
            // A definition was encoded when its stream was opened, so it can be.
            let def = entry.def.encode().unwrap_or_default();
            bytes.extend(id.to_le_bytes());
            bytes.extend(u32::from(*repair).to_le_bytes());
            bytes.extend((def.len() as u32).to_le_bytes());
            bytes.extend((entry.stretches.len() as u32).to_le_bytes());
            bytes.extend((entry.pairs.len() as u32).to_le_bytes());
            bytes.extend([0; 4]);
            bytes.extend(entry.next_offset.to_le_bytes());
            for field in [entry.first_lsn, entry.last_lsn, entry.records, entry.bytes] {
                bytes.extend(field.to_le_bytes());
            }
            for field in [entry.min_timestamp_ms, entry.max_timestamp_ms] {
                bytes.extend(field.to_le_bytes());
            }
            bytes.extend([0; 8]);
            bytes.extend(def);
            for stretch in &entry.stretches {
                bytes.extend(stretch.from.to_le_bytes());
                bytes.extend(stretch.until.to_le_bytes());
            }
            for pair in &entry.pairs {
                bytes.extend(pair.offset.to_le_bytes());
                bytes.extend(pair.lsn.to_le_bytes());
            }
        }
        bytes
    }

    pub fn decode(payload: &[u8]) -> Result<Index, FormatError> {
        let mut fields = Fields::new(WHAT, payload);
        let claimed = fields.u64()?;
        let count = fields.count(claimed, LEAST_ENTRY)?;
        let mut index = Index::default();
        for _ in 0..count {
            let (key, entry) = Index::entry(&mut fields)?;
            index.entries.insert(key, entry);
        }
        if !fields.is_empty() || index.entries.len() != count {
            return Err(FormatError::damaged(WHAT, "its entries do not fill it, each stream once"));
        }
        Ok(index)
    }

    fn entry(fields: &mut Fields<'_>) -> Result<((u32, bool), Entry), FormatError> {
        let (id, repair) = (fields.u32()?, fields.u32()? == 1);
        let (def, stretches, pairs) = (fields.u32()?, fields.u32()?, fields.u32()?);
        fields.u32()?;
        let next_offset = fields.i64()?;
        let (first_lsn, last_lsn, records, bytes) = (fields.u64()?, fields.u64()?, fields.u64()?, fields.u64()?);
        let (min_timestamp_ms, max_timestamp_ms) = (fields.i64()?, fields.i64()?);
        fields.u64()?;
        let def = StreamDef::decode(fields.take(def as usize)?)?;
        let stretches = (0..fields.count(stretches.into(), 16)?)
            .map(|_| Ok(Stretch { from: fields.i64()?, until: fields.i64()? }))
            .collect::<Result<_, FormatError>>()?;
        let pairs = (0..fields.count(pairs.into(), 16)?)
            .map(|_| Ok(Pair { offset: fields.i64()?, lsn: fields.u64()? }))
            .collect::<Result<_, FormatError>>()?;
        let entry = Entry {
            def,
            next_offset,
            first_lsn,
            last_lsn,
            records,
            bytes,
            min_timestamp_ms,
            max_timestamp_ms,
            stretches,
            pairs,
        };
        Ok(((id, repair), entry))
    }
}
