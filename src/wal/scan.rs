//! Reading groups: the one place where bytes of a segment become frames. Nothing is believed that is not bound by
//! checksums to the log, to the incarnation and to its own address.

use std::io;

use landfall_lake::fault;

use super::format::{
    BLOCK, FRAME_HEADER, FrameHeader, FrameType, GROUP_HEADER, GroupHeader, SegmentHeader, aligned, group_flags,
};
use super::volume::LogFile;

/// A first look: enough for a small group, and for the header of a long one.
const LOOK: usize = 8 * 1024;

/// A group whose header and frame headers are proven.
#[derive(Debug)]
pub struct Group {
    pub header: GroupHeader,
    pub frames: Vec<FrameAt>,
}

#[derive(Debug, Clone, Copy)]
pub struct FrameAt {
    pub header: FrameHeader,
    /// Where the payload starts in the reader's buffer.
    pub payload: usize,
    /// False where the payload fails its checksum; true also where it was not looked at.
    pub sound: bool,
}

impl FrameAt {
    pub fn payload<'a>(&self, reader: &'a GroupReader<'_>) -> &'a [u8] {
        &reader.bytes[self.payload..self.payload + self.header.payload_len as usize]
    }
}

/// Why there is no whole group at an address.
#[derive(Debug)]
pub struct BadGroup {
    pub why: &'static str,
    /// The header, where that is proven.
    pub header: Option<GroupHeader>,
    /// Frames of it that are proven all the same, the unsound ones included.
    pub frames: Vec<FrameAt>,
}

/// Reads groups of one segment, one at a time.
pub struct GroupReader<'a> {
    pub file: &'a dyn LogFile,
    pub segment: &'a SegmentHeader,
    file_len: u64,
    bytes: Vec<u8>,
    deep: bool,
}

impl<'a> GroupReader<'a> {
    /// `deep` verifies payloads too.
    pub fn new(file: &'a dyn LogFile, segment: &'a SegmentHeader, deep: bool) -> io::Result<GroupReader<'a>> {
        Ok(GroupReader { file_len: file.len()?, file, segment, bytes: Vec::new(), deep })
    }

    /// One past the last address that the file has room for.
    pub fn limit(&self) -> u64 {
        self.segment.base_lsn + self.file_len.saturating_sub(BLOCK)
    }

    /// The group at an address. Whether it follows the one before is the caller's to check.
    pub fn group(&mut self, lsn: u64) -> io::Result<Result<Group, BadGroup>> {
        self.fill(lsn, 0, LOOK)?;
        let Some(header) = self.decode_header(lsn) else {
            return Ok(Err(BadGroup { why: "no group of this log starts here", header: None, frames: Vec::new() }));
        };
        let len = GROUP_HEADER + header.body_len as usize;
        if !header.has(group_flags::SEAL) && header.body_len > self.segment.max_group {
            return Ok(Err(BadGroup {
                why: "the group is longer than the segment allows",
                header: None,
                frames: Vec::new(),
            }));
        }
        if lsn + len as u64 > self.limit() {
            return Ok(Err(BadGroup {
                why: "the file ends inside the group",
                header: Some(header),
                frames: Vec::new(),
            }));
        }
        if len > self.bytes.len() {
            self.fill(lsn, self.bytes.len(), len)?;
        }
        if self.bytes.len() < len {
            return Ok(Err(BadGroup {
                why: "the file ends inside the group",
                header: Some(header),
                frames: Vec::new(),
            }));
        }
        Ok(self.frames(header, len))
    }

    fn frames(&self, header: GroupHeader, len: usize) -> Result<Group, BadGroup> {
        let body = &self.bytes[..len];
        let mut frames = Vec::with_capacity((header.frames as usize).min(len / FRAME_HEADER));
        let (mut at, mut crc, mut bent) = (GROUP_HEADER, 0, None);
        while at < len {
            let Some(frame) = frame_at(body, at, &self.segment.uuid) else {
                // One header that is hit may be stepped over, if the others then still prove to be the group's.
                if bent.is_some() || at + FRAME_HEADER > len {
                    bent = Some(None);
                    break;
                }
                let mended = mend(&body[at..], crc, &self.segment.uuid, header.frames_crc);
                let Some((skip, rest)) = mended else {
                    bent = Some(None);
                    break;
                };
                crc = rest;
                bent = Some(Some(at));
                at += skip;
                continue;
            };
            crc = crc32c::crc32c_append(crc, &FrameHeader::stored_crc(&body[at..]).to_le_bytes());
            let payload = at + FRAME_HEADER;
            let end = payload + frame.payload_len as usize;
            let sound = !self.deep || crc32c::crc32c(&body[payload..end]) == frame.payload_crc;
            frames.push(FrameAt { header: frame, payload, sound });
            at += frame.total();
        }
        let bad = |why, frames| Err(BadGroup { why, header: Some(header), frames });
        let counted = frames.len() + usize::from(bent.is_some()) == header.frames as usize;
        match bent {
            None if crc != header.frames_crc || !counted => {
                bad("the group's frames are not those of its header", Vec::new())
            }
            None if frames.iter().all(|frame| frame.sound) => Ok(Group { header, frames }),
            None => bad("a payload fails its checksum", frames),
            Some(Some(_)) if crc == header.frames_crc && counted => {
                bad("the header of a frame fails its checksum", frames)
            }
            Some(_) => bad("the header of a frame fails its checksum", Vec::new()),
        }
    }

    fn decode_header(&self, lsn: u64) -> Option<GroupHeader> {
        let header = GroupHeader::decode(&self.bytes, &self.segment.uuid)?;
        if fault::sabotaged("wal_no_lsn_check") {
            return Some(header);
        }
        (header.lsn == lsn && header.incarnation == self.segment.incarnation && header.synced_lsn <= lsn)
            .then_some(header)
    }

    /// Makes the buffer hold the file from `lsn` on, up to `until` bytes; the first `have` are there already.
    fn fill(&mut self, lsn: u64, have: usize, until: usize) -> io::Result<()> {
        let offset = self.segment.file_offset(lsn);
        let until = (self.file_len.saturating_sub(offset)).min(until as u64) as usize;
        self.bytes.resize(until, 0);
        let mut at = have;
        while at < until {
            let read = self.file.read_at(&mut self.bytes[at..], offset + at as u64)?;
            if read == 0 {
                self.bytes.truncate(at);
                break;
            }
            at += read;
        }
        Ok(())
    }
}

/// A valid frame header whose payload ends inside the group.
fn frame_at(body: &[u8], at: usize, uuid: &[u8; 16]) -> Option<FrameHeader> {
    let frame = FrameHeader::decode(body.get(at..at + FRAME_HEADER)?, uuid)?;
    (at + aligned(FRAME_HEADER + frame.payload_len as usize) <= body.len()).then_some(frame)
}

/// Steps over the one frame whose header is hit: to the next place from which valid headers fill the group and, with
/// the hit one's checksum as it stands or as it computes, give the group's `frames_crc`. Returns how far that is and
/// the running checksum behind the hit header.
fn mend(rest: &[u8], crc: u32, uuid: &[u8; 16], frames_crc: u32) -> Option<(usize, u32)> {
    let behind =
        (FRAME_HEADER..=rest.len()).step_by(8).find(|at| *at == rest.len() || frame_at(rest, *at, uuid).is_some())?;
    let candidates = [FrameHeader::stored_crc(rest), FrameHeader::computed_crc(rest, uuid)];
    candidates.into_iter().map(|own| crc32c::crc32c_append(crc, &own.to_le_bytes())).find_map(|start| {
        let (mut at, mut crc) = (behind, start);
        while at < rest.len() {
            let frame = frame_at(rest, at, uuid)?;
            crc = crc32c::crc32c_append(crc, &FrameHeader::stored_crc(&rest[at..]).to_le_bytes());
            at += frame.total();
        }
        (crc == frames_crc).then_some((behind, start))
    })
}

/// Whether frames of this type mean something that this release must understand and does not.
pub fn unknown(kind: FrameType) -> bool {
    matches!(kind, FrameType::Other(code) if code < 128)
}
