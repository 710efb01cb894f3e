//! Looking into a log that may be in use or damaged: never writes, takes no lock.

use std::path::Path;

use super::damage::{Damage, Lost};
use super::error::WalError;
use super::format::{Entry, FrameHeader, FrameType, Records, StreamDef, group_flags};
use super::options::Acked;
use super::recover::StreamState;
use super::scan::GroupReader;
use super::survey::{Depth, Survey, held, survey};
use super::volume::{FileMeta, LogVolume, RealVolume};

/// What [`check`] found.
#[derive(Debug)]
pub struct Check {
    pub uuid: String,
    pub incarnation: u64,
    pub segments: Vec<SegmentLine>,
    pub streams: Vec<StreamState>,
    /// Every byte that had been durable and is not what it was. Empty: the log is whole.
    pub damages: Vec<Damage>,
    pub closed: bool,
    /// Bytes behind the last whole group, `(file, address, bytes)`: what a crash or a running writer leaves there.
    pub torn: Option<(String, u64, u64)>,
    pub quarantine: Vec<FileMeta>,
}

/// One segment of a log.
#[derive(Debug)]
pub struct SegmentLine {
    pub file: String,
    pub seq: u64,
    pub base_lsn: u64,
    pub end_lsn: u64,
    pub sealed: bool,
    pub incarnation: u64,
    pub created_ms: u64,
    pub groups: u64,
    pub entries: Vec<Entry>,
}

impl SegmentLine {
    pub fn records(&self) -> u64 {
        self.entries.iter().fold(0, |sum, entry| sum.saturating_add(entry.records))
    }
}

/// How often a log is looked at again that was written meanwhile.
const LOOKS: usize = 50;

fn look(volume: &dyn LogVolume, depth: Depth) -> Result<Survey, WalError> {
    let survey = steady(volume, depth)?;
    if survey.meta.is_none() && survey.damages().is_empty() {
        return Err(WalError::NoLog { directory: volume.display("") });
    }
    Ok(survey)
}

fn existing(directory: &Path) -> Result<RealVolume, WalError> {
    RealVolume::existing(directory).map_err(WalError::io("opening", directory.display().to_string()))
}

/// A survey that does not take for damage what a writer did while it was made: segments that were published or given
/// back, a tail that had grown when what stands behind it was looked at. What is damaged is found twice in the same way.
fn steady(volume: &dyn LogVolume, depth: Depth) -> Result<Survey, WalError> {
    let mut before = survey(volume, depth);
    for _ in 0..LOOKS {
        match &before {
            Ok(found) if found.damages().is_empty() => break,
            Err(WalError::Format { .. }) => break,
            _ => {}
        }
        let again = survey(volume, depth);
        let same = match (&before, &again) {
            // Also where the writer went on meanwhile: what it does moves, damage stays.
            (Ok(before), Ok(again)) => before.damages() == again.damages(),
            (Err(before), Err(again)) => before.to_string() == again.to_string(),
            _ => false,
        };
        before = again;
        if same {
            break;
        }
    }
    before
}

/// The recovery of the log in a directory, without its effects; every byte is read.
pub fn check(directory: &Path) -> Result<Check, WalError> {
    check_on(&existing(directory)?)
}

/// [`check`] of a volume of one's own.
pub fn check_on(volume: &dyn LogVolume) -> Result<Check, WalError> {
    let survey = look(volume, Depth::Full)?;
    let mut held = held(&survey.segments);
    let streams = survey.ledger.streams.iter().map(|(id, known)| StreamState {
        stream: known.def.stream.clone(),
        isolation: known.def.isolation,
        next_offset: known.next,
        held: held.remove(id).unwrap_or_default(),
    });
    let uuid = survey
        .meta
        .as_ref()
        .map_or_else(String::new, |meta| meta.uuid.iter().map(|byte| format!("{byte:02x}")).collect());
    Ok(Check {
        uuid,
        incarnation: survey.meta.as_ref().map_or(0, |meta| meta.incarnation),
        streams: streams.collect(),
        damages: survey.damages().to_vec(),
        closed: survey.clean_close,
        torn: survey
            .torn
            .as_ref()
            .filter(|torn| torn.until_lsn > torn.lsn)
            .map(|torn| (volume.display(&torn.file), torn.lsn, torn.until_lsn - torn.lsn)),
        quarantine: survey.quarantine.clone(),
        segments: lines(&survey),
    })
}

/// The segments of the log in a directory, oldest first, by their indexes.
pub fn segments(directory: &Path) -> Result<Vec<SegmentLine>, WalError> {
    Ok(lines(&look(&existing(directory)?, Depth::Tail)?))
}

fn lines(survey: &Survey) -> Vec<SegmentLine> {
    let line = |segment: &super::survey::Segment| SegmentLine {
        file: segment.file.clone(),
        seq: segment.name.seq,
        base_lsn: segment.header.base_lsn,
        end_lsn: segment.end_lsn,
        sealed: segment.sealed,
        incarnation: segment.header.incarnation,
        created_ms: segment.header.created_ms,
        groups: segment.groups,
        entries: segment.index.entries.values().cloned().collect(),
    };
    survey.segments.iter().map(line).collect()
}

/// Every sound frame of records in the order of the log: its stream, its header and its records. Damage is stepped
/// over; [`check`] names it.
pub fn frames(
    directory: &Path,
    each: impl FnMut(&StreamDef, &FrameHeader, Records<'_>) -> std::io::Result<()>,
) -> Result<(), WalError> {
    frames_on(&existing(directory)?, each)
}

/// [`frames`] of a volume of one's own.
pub fn frames_on(
    volume: &dyn LogVolume,
    mut each: impl FnMut(&StreamDef, &FrameHeader, Records<'_>) -> std::io::Result<()>,
) -> Result<(), WalError> {
    let survey = look(volume, Depth::Full)?;
    for segment in &survey.segments {
        let io = || WalError::io("reading", volume.display(&segment.file));
        let file = match volume.open(&segment.file, false) {
            // Given back meanwhile: what it held has landed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            opened => opened.map_err(io())?,
        };
        let mut reader = GroupReader::new(&*file, &segment.header, true).map_err(io())?;
        let mut at = segment.header.base_lsn;
        while at < segment.end_lsn.min(reader.limit()) {
            let (header, frames) = match reader.group(at).map_err(io())? {
                Ok(group) => (group.header, group.frames),
                Err(bad) => match bad.header {
                    Some(header) => (header, bad.frames),
                    None => {
                        at += super::format::BLOCK;
                        continue;
                    }
                },
            };
            let repair = header.has(group_flags::REPAIR);
            for frame in frames
                .iter()
                .filter(|frame| frame.sound && frame.header.kind == FrameType::Data && frame.header.codec == 0)
            {
                let FrameHeader { stream_id, records, base_offset, min_timestamp_ms, .. } = frame.header;
                if let Some(entry) = segment.index.entries.get(&(stream_id, repair)) {
                    let records = Records::new(frame.payload(&reader), records, base_offset, min_timestamp_ms);
                    each(&entry.def, &frame.header, records).map_err(io())?;
                }
            }
            at += header.total();
        }
    }
    Ok(())
}

impl Check {
    /// Offsets that somebody was told are in the log and that are not.
    pub fn missing(&self, acked: &[Acked]) -> Vec<Lost> {
        super::recover::tail_lost(acked, &self.streams)
    }
}
