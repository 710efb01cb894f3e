//! Reading a range of a stream back: through the segments' indexes, within one run, never above what is durable.

use std::sync::Arc;

use landfall_sink::Stream;

use super::Core;
use super::catalog::Live;
use super::damage::{Damage, Lost};
use super::error::WalError;
use super::format::{FormatError, FrameHeader, FrameType, GroupHeader, Record, Records, group_flags};
use super::scan::GroupReader;
use super::stage::StreamId;
use super::volume::LogFile;

/// A frame that was read back: a run of records as it was appended. Only its records in the cursor's range count.
#[derive(Debug, Clone)]
pub struct Frame {
    header: FrameHeader,
    payload: Vec<u8>,
    lsn: u64,
    from: i64,
    until: i64,
}

impl Frame {
    /// The part of the cursor's range that this frame covers, `[from, until)`.
    pub fn range(&self) -> (i64, i64) {
        (self.from, self.until)
    }

    /// The address of its group.
    pub fn lsn(&self) -> u64 {
        self.lsn
    }

    pub fn leader_epoch(&self) -> i32 {
        self.header.leader_epoch
    }

    pub fn receiver(&self) -> u32 {
        self.header.receiver_id
    }

    pub fn received_ms(&self) -> u64 {
        self.header.received_ms
    }

    /// The records of [`Frame::range`], in order.
    pub fn records(&self) -> impl Iterator<Item = Result<Record<'_>, FormatError>> {
        let FrameHeader { records, base_offset, min_timestamp_ms, .. } = self.header;
        let range = self.from..self.until;
        Records::new(&self.payload, records, base_offset, min_timestamp_ms)
            .filter(move |record| record.as_ref().map_or(true, |record| range.contains(&record.offset)))
    }
}

/// Reads `[from, until)` of a stream, frame by frame. After an error it has ended. It must not outlive its log: once
/// that is closed, another opening may write over the files that it reads, and what it finds there it calls damage.
pub struct Cursor {
    core: Arc<Core>,
    id: StreamId,
    stream: Stream,
    at: i64,
    until: i64,
    open: Option<Open>,
    ready: std::collections::VecDeque<Frame>,
}

/// A segment that is being read.
struct Open {
    live: Arc<Live>,
    file: Box<dyn LogFile>,
    repair: bool,
    lsn: u64,
    /// The offset that it was opened for.
    from: i64,
    /// Address of the last group that has a frame of the stream.
    last_lsn: u64,
}

impl Core {
    pub(super) fn cursor(self: &Arc<Core>, id: StreamId, from: i64, until: i64) -> Result<Cursor, WalError> {
        let door = self.stage.door(id).ok_or(WalError::Closed)?;
        let held = self.catalog.held(id.0);
        let inside = held.iter().any(|(start, end)| *start <= from && until <= *end);
        if from < until && !inside {
            return Err(WalError::NotHeld { stream: door.stream, offset: first_missing(&held, from), held });
        }
        Ok(Cursor {
            core: self.clone(),
            id,
            stream: door.stream,
            at: from,
            until,
            open: None,
            ready: Default::default(),
        })
    }
}

fn first_missing(held: &[(i64, i64)], from: i64) -> i64 {
    held.iter().find(|(start, end)| *start <= from && from < *end).map_or(from, |(_, end)| *end)
}

impl Cursor {
    fn advance(&mut self) -> Result<Option<Frame>, WalError> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                self.at = frame.until;
                return Ok(Some(frame));
            }
            if self.at >= self.until {
                return Ok(None);
            }
            if let Some(open) = self.open.as_ref().filter(|open| open.lsn > open.last_lsn)
                && open.from == self.at
            {
                let what = "the segment's index has offsets that no group of it has";
                return Err(self.damaged(open.live.header.base_lsn, None, what, self.at, None));
            }
            if self.open.as_ref().is_none_or(|open| open.lsn > open.last_lsn) {
                self.open = Some(self.segment()?);
            }
            self.group()?;
        }
    }

    /// The segment in which the next offset stands.
    fn segment(&self) -> Result<Open, WalError> {
        // Once more for every segment that was retired while it was looked at.
        while let Some(found) = self.find()? {
            if let Some(open) = found {
                return Ok(open);
            }
        }
        Err(WalError::NotHeld { stream: self.stream.clone(), offset: self.at, held: self.core.catalog.held(self.id.0) })
    }

    /// `Some(None)`: it was there, and is not any more.
    fn find(&self) -> Result<Option<Option<Open>>, WalError> {
        for live in self.core.catalog.segments() {
            for repair in [false, true] {
                let found = live.with_index(|index| {
                    let entry = index.entries.get(&(self.id.0, repair))?;
                    let has = entry.stretches.iter().any(|stretch| stretch.from <= self.at && self.at < stretch.until);
                    has.then(|| (entry.start(self.at), entry.last_lsn))
                });
                if let Some((lsn, last_lsn)) = found {
                    let display = self.core.volume.display(&live.file);
                    let file = self.core.open_live(&live).map_err(WalError::io("opening", display))?;
                    let open = |file| Open { live, file, repair, lsn, from: self.at, last_lsn };
                    return Ok(Some(file.map(open)));
                }
            }
        }
        Ok(None)
    }

    /// Reads one group and keeps what it has of the range.
    fn group(&mut self) -> Result<(), WalError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let display = self.core.volume.display(&open.live.file);
        let io = || WalError::io("reading", &display);
        let mut reader = GroupReader::new(&*open.file, &open.live.header, false).map_err(io())?;
        debug_assert!(open.lsn < open.live.end(), "W8: only what is durable is read");
        let lsn = open.lsn;
        let group = match reader.group(lsn).map_err(io())? {
            Ok(group) => group,
            Err(bad) => return Err(self.damaged(lsn, bad.header.as_ref(), bad.why, self.at, None)),
        };
        open.lsn += group.header.total();
        if group.header.has(group_flags::REPAIR) != open.repair {
            return Ok(());
        }
        let mut next = self.at;
        for frame in &group.frames {
            let header = &frame.header;
            let ours = header.kind == FrameType::Data && header.stream_id == self.id.0;
            if !ours || header.next_offset <= next || header.prev_next_offset > next || next >= self.until {
                continue;
            }
            let payload = frame.payload(&reader);
            if header.codec != 0 {
                let what = "a frame has a codec that this release does not know";
                let (from, until) = (header.prev_next_offset, Some(header.next_offset));
                return Err(self.damaged(lsn, Some(&group.header), what, from, until));
            }
            if crc32c::crc32c(payload) != header.payload_crc {
                let what = "the payload of a frame fails its checksum";
                return Err(self.damaged(
                    lsn,
                    Some(&group.header),
                    what,
                    header.prev_next_offset,
                    Some(header.next_offset),
                ));
            }
            let until = header.next_offset.min(self.until);
            self.ready.push_back(Frame { header: *header, payload: payload.to_vec(), lsn, from: next, until });
            next = until;
        }
        Ok(())
    }

    fn damaged(&self, lsn: u64, group: Option<&GroupHeader>, what: &str, from: i64, until: Option<i64>) -> WalError {
        let Some(open) = &self.open else { return WalError::Closed };
        WalError::Damaged(vec![Damage {
            file: self.core.volume.display(&open.live.file),
            segment: Some(open.live.header.seq),
            from_lsn: lsn,
            until_lsn: group.map_or(open.last_lsn, |group| lsn + group.total()),
            what: what.into(),
            lost: vec![Lost { stream: self.stream.clone(), from, until }],
        }])
    }
}

impl Iterator for Cursor {
    type Item = Result<Frame, WalError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance().transpose();
        if matches!(next, Some(Err(_))) {
            self.at = self.until;
            self.ready.clear();
        }
        next
    }
}
