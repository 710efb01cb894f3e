//! The directory's files, and what their first blocks say: which log this is, and which segments are there.

use super::super::error::WalError;
use super::super::format::{
    BLOCK, FormatError, GROUP_HEADER, GroupHeader, META_LEN, Meta, SegmentHeader, SegmentName, segment_flags,
};
use super::super::volume::{FileMeta, read_up_to};
use super::Reading;

/// The directory's files by what they are. Names that are none of the log's are left alone.
#[derive(Default)]
pub(super) struct Sorted {
    pub segments: Vec<FileMeta>,
    pub scraps: Vec<String>,
    pub free: Vec<String>,
    pub quarantine: Vec<FileMeta>,
}

impl Sorted {
    pub fn new(files: &[FileMeta]) -> Sorted {
        let mut sorted = Sorted::default();
        for file in files {
            match file.name.as_str() {
                name if name.starts_with("quarantine/") => sorted.quarantine.push(file.clone()),
                name if name.ends_with(".tmp") => sorted.scraps.push(name.into()),
                name if name.starts_with("free-") => sorted.free.push(name.into()),
                name if name.ends_with(".wal") => sorted.segments.push(file.clone()),
                _ => {}
            }
        }
        sorted
    }
}

/// A segment's file, before its groups are read.
pub(super) struct Present {
    pub name: SegmentName,
    pub file: String,
    pub len: u64,
    /// `None` where the header is damaged: the name must do.
    pub header: Option<SegmentHeader>,
}

impl Reading<'_> {
    pub(super) fn meta(&mut self, files: &[FileMeta], segments: bool) -> Result<Option<Meta>, WalError> {
        if !files.iter().any(|file| file.name == "META") {
            if segments {
                self.named("META", None, 0, 0, "the file is missing, and segments are there");
            }
            return Ok(None);
        }
        let display = self.volume.display("META");
        let bytes = read_up_to(&*self.open("META")?, 0, META_LEN).map_err(WalError::io("reading", &display))?;
        match Meta::choose(&bytes) {
            Ok((meta, _)) => Ok(Some(meta)),
            Err(source @ FormatError::Version { .. }) => Err(WalError::Format { file: display, source }),
            Err(damaged) => {
                self.named("META", None, 0, 0, damaged.to_string());
                Ok(None)
            }
        }
    }

    /// Both slots are lost: what the segments say is enough, since each names the log and its incarnation.
    pub(super) fn rebuilt_meta(&self, headers: &[Present]) -> Option<Meta> {
        let known = headers.iter().find_map(|present| present.header.as_ref())?;
        let (uuid, first) = (known.uuid, headers.first()?.name);
        let incarnation =
            headers.iter().filter_map(|present| present.header.as_ref()).map(|header| header.incarnation).max()?;
        let newest_segment = headers.last()?.name.seq;
        Some(Meta {
            uuid,
            generation: 0,
            incarnation,
            floor_lsn: first.base_lsn,
            floor_segment: first.seq,
            newest_segment,
        })
    }

    /// A header that is damaged alone takes nothing with it: the name says which segment it is, and the first group
    /// that stands at its own address says whose.
    pub(super) fn with_header(&mut self, mut present: Present, meta: Option<&Meta>) -> Result<Present, WalError> {
        let (Some(meta), None) = (meta, &present.header) else { return Ok(present) };
        let (display, name) = (self.volume.display(&present.file), present.name);
        let file = self.open(&present.file)?;
        let mut at = BLOCK;
        while at < present.len && name.base_lsn < 1 << 62 {
            let lsn = name.base_lsn + at - BLOCK;
            let block = read_up_to(&*file, at, GROUP_HEADER).map_err(WalError::io("reading", &display))?;
            if let Some(group) = GroupHeader::decode(&block, &meta.uuid).filter(|group| group.lsn == lsn) {
                self.named(
                    &present.file,
                    Some(name.seq),
                    name.base_lsn,
                    name.base_lsn + 1,
                    "the segment's header is damaged; the file's name stands in for it",
                );
                present.header = Some(SegmentHeader {
                    uuid: meta.uuid,
                    incarnation: group.incarnation,
                    seq: name.seq,
                    base_lsn: name.base_lsn,
                    prev_end_lsn: name.base_lsn,
                    // Only the first group says what it continues.
                    prev_chain: if at == BLOCK { group.prev_chain } else { 0 },
                    flags: if at == BLOCK { 0 } else { segment_flags::GAP_BEFORE },
                    capacity: present.len,
                    created_ms: 0,
                    max_group: u32::MAX,
                });
                break;
            }
            at += BLOCK;
        }
        Ok(present)
    }

    pub(super) fn headers(&mut self, files: Vec<FileMeta>, meta: Option<&Meta>) -> Result<Vec<Present>, WalError> {
        let (mut present, mut misnamed) = (Vec::new(), Vec::new());
        for FileMeta { name: file, len } in files {
            let bytes = read_up_to(&*self.open(&file)?, 0, BLOCK as usize)
                .map_err(WalError::io("reading", self.volume.display(&file)))?;
            let header = match SegmentHeader::decode(&bytes) {
                Ok(header) => Some(header),
                Err(source @ FormatError::Version { .. }) => {
                    return Err(WalError::Format { file: self.volume.display(&file), source });
                }
                Err(_) => None,
            };
            let foreign = |header: &SegmentHeader| meta.is_some_and(|meta| meta.uuid != header.uuid);
            match (SegmentName::parse(&file), header) {
                (_, Some(header)) if foreign(&header) => {
                    self.named(&file, None, 0, 0, "the segment belongs to another log")
                }
                // Renamed, or swapped with another: the header says which one it is.
                (name, Some(header)) if name != Some(header.name()) => {
                    let what = format!("the file holds the segment {}", header.name());
                    self.named(&file, Some(header.seq), header.base_lsn, header.base_lsn + 1, what);
                    misnamed.push(Present { name: header.name(), file, len, header: Some(header) });
                }
                (Some(name), header) => present.push(Present { name, file, len, header }),
                (None, _) => self.named(&file, None, 0, 0, "neither its name nor its header says which segment it is"),
            }
        }
        // What it holds can be read all the same, unless the right file is there too.
        for one in misnamed {
            if present.iter().all(|other: &Present| other.name.seq != one.name.seq) {
                present.push(one);
            }
        }
        present.sort_by_key(|present| present.name);
        Ok(present)
    }
}
