//! Frames of closed segments, appended again: of a stream that lags, so that it does not keep the others' segments, or
//! of segments that are damaged, before they leave the log.

use std::io;
use std::sync::Arc;

use super::catalog::Live;
use super::error::{AppendError, WalError};
use super::format::{BLOCK, FRAME_HEADER, FrameHeader, FrameType, GroupHeader, group_flags};
use super::scan::{BadGroup, FrameAt, GroupReader};
use super::stage::{StreamId, Ticket};
use super::volume::LogFile;
use super::{Core, Damage};

/// What is copied of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// One stream's frames, or copies of them, that reach above an offset. They must be whole.
    Of { key: (u32, bool), above: i64 },
    /// Everything that is sound.
    Sound,
}

impl Part {
    fn wants(self, frame: &FrameAt, repair: bool) -> bool {
        let kind = matches!(frame.header.kind, FrameType::Data | FrameType::Gap);
        frame.sound
            && kind
            && match self {
                Part::Sound => true,
                Part::Of { key, above } => key == (frame.header.stream_id, repair) && frame.header.next_offset > above,
            }
    }
}

impl Core {
    /// Copies what a stream has in closed segments and is not committed to the log's end, so that those segments can
    /// be retired. Returns the bytes of payload that were copied.
    pub(super) fn copy_forward(self: &Arc<Core>, id: StreamId, committed: i64) -> Result<u64, WalError> {
        let mut copied = 0;
        let segments = self.catalog.segments();
        for live in &segments[..segments.len().saturating_sub(1)] {
            for repair in [false, true] {
                let key = (id.0, repair);
                let needed = live
                    .with_index(|index| index.entries.get(&key).is_some_and(|entry| entry.until() > Some(committed)));
                if !needed || !live.is_closed() || live.is_forwarded(key) {
                    continue;
                }
                let (bytes, ticket) = self.copy(live, Part::Of { key, above: committed })?;
                if let Some(ticket) = ticket {
                    self.stage.wait(ticket).map_err(AppendError::into_wal)?;
                }
                copied += bytes;
                live.forwarded.write().unwrap_or_else(|dead| dead.into_inner()).insert(key);
            }
        }
        Ok(copied)
    }

    /// Appends frames of a segment again. Returns the bytes of payload, and the ticket of the last one.
    pub(super) fn copy(&self, live: &Live, part: Part) -> Result<(u64, Option<Ticket>), WalError> {
        let display = self.volume.display(&live.file);
        let file = match self.open_live(live) {
            Ok(Some(file)) => file,
            // Retired meanwhile: nobody needs it any more.
            Ok(None) => return Ok((0, None)),
            Err(error) => return Err(WalError::io("opening", display)(error)),
        };
        let io = || WalError::io("reading", &display);
        let mut reader = GroupReader::new(&*file, &live.header, true).map_err(io())?;
        let (mut at, mut bytes, mut ticket) = (live.header.base_lsn, 0, None);
        while at < live.end().min(reader.limit()) {
            let (header, frames) = match reader.group(at).map_err(io())? {
                Ok(group) => (group.header, group.frames),
                Err(bad) if part != Part::Sound => return Err(self.not_whole(live, at, &bad)),
                Err(BadGroup { header: Some(header), frames, .. }) => (header, frames),
                Err(_) => {
                    at += BLOCK;
                    continue;
                }
            };
            let (more, last) = self.copy_group(&reader, &header, &frames, part)?;
            (bytes, ticket) = (bytes + more, last.or(ticket));
            at += header.total();
        }
        Ok((bytes, ticket))
    }

    fn copy_group(
        &self,
        reader: &GroupReader<'_>,
        group: &GroupHeader,
        frames: &[FrameAt],
        part: Part,
    ) -> Result<(u64, Option<Ticket>), WalError> {
        let (mut bytes, mut ticket) = (0, None);
        for frame in frames.iter().filter(|frame| part.wants(frame, group.has(group_flags::REPAIR))) {
            if self.stage.door(StreamId(frame.header.stream_id)).is_none() {
                continue;
            }
            let mut whole = vec![0; FRAME_HEADER];
            whole.extend_from_slice(frame.payload(reader));
            whole.resize(frame.header.total(), 0);
            bytes += u64::from(frame.header.payload_len);
            ticket = Some(self.append_repair(frame.header, whole)?);
        }
        Ok((bytes, ticket))
    }

    /// Appends a frame that does not move its stream. An earlier opening may have had larger segments and may have
    /// taken longer runs: what a segment of now has no room for must not get into one.
    pub(super) fn append_repair(&self, header: FrameHeader, frame: Vec<u8>) -> Result<Ticket, WalError> {
        let most = self.options.longest();
        if frame.len() > most {
            let stream = self.stage.door(StreamId(header.stream_id)).map_or_else(String::new, |door| {
                format!("{} offsets {}-{}", door.stream, header.prev_next_offset, header.next_offset)
            });
            let (bytes, least) = (frame.len(), 2 * frame.len());
            let why = format!(
                "the run {stream} has {bytes} bytes, and a segment of now takes at most {most} at once: open the log \
                 with segment_bytes of {least} or more"
            );
            return Err(WalError::Options { why });
        }
        self.stage.repair(header, frame).map_err(AppendError::into_wal)
    }

    /// A segment's file, for reading; `None` where it was retired since the segment was looked up.
    pub(super) fn open_live(&self, live: &Live) -> io::Result<Option<Box<dyn LogFile>>> {
        match self.volume.open(&live.file, false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.catalog.has(live.header.seq) => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// A copy for a retirement must be whole.
    fn not_whole(&self, live: &Live, at: u64, bad: &BadGroup) -> WalError {
        WalError::Damaged(vec![Damage {
            file: self.volume.display(&live.file),
            segment: Some(live.header.seq),
            from_lsn: at,
            until_lsn: live.end(),
            what: format!("{} while it was copied forward", bad.why),
            lost: Vec::new(),
        }])
    }
}
