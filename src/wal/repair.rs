//! Damage in what had been durable, under a policy that goes on: everything that is whole is copied to the log's end,
//! what is lost is fetched again or given up with a note, and only then the damaged segments leave the log for the
//! quarantine. Interrupted anywhere, the next opening finds the damage again and starts over.

use std::sync::Arc;

use super::Core;
use super::copy::Part;
use super::damage::{Damage, Lost};
use super::error::{AppendError, WalError};
use super::format::{FRAME_HEADER, FrameHeader, FrameType, GapNote, aligned};
use super::options::{Policy, Refetch};
use super::run::Run;
use super::stage::{StreamId, Ticket};

impl Core {
    /// Ends with a log without damage. The committer is running.
    pub(super) fn repair(self: &Arc<Core>, damages: &[Damage], policy: Policy) -> Result<(), WalError> {
        let (mut source, give_up) = match policy {
            Policy::Fail => return Ok(()),
            Policy::Refetch(source) => (Some(source), false),
            Policy::Salvage(source) => (source, true),
        };
        let segments = self.catalog.segments();
        let worst = damages.iter().map(|damage| damage.until_lsn).max().unwrap_or(0);
        let through = segments.iter().take_while(|live| live.header.base_lsn < worst).count();
        // A word of it in the log, which also makes the segment that continues behind the damage.
        let mut last = Some(self.note_repair(damages.len())?);
        for live in &segments[..through] {
            last = self.copy(live, Part::Sound)?.1.or(last);
        }
        drop(segments);
        for lost in damages.iter().flat_map(|damage| &damage.lost) {
            last = self.restore(lost, source.as_deref_mut(), give_up)?.or(last);
        }
        if let Some(ticket) = last {
            self.stage.wait(ticket).map_err(WalError::Append)?;
        }
        let hit = |seq: u64| damages.iter().any(|damage| damage.segment == Some(seq));
        match through {
            // All of the damage lies before what is left.
            0 => self.raise_floor(0)?,
            through => self.drop_oldest(through, hit)?,
        }
        self.quarantine_strays()
    }

    fn note_repair(&self, damages: usize) -> Result<Ticket, WalError> {
        let payload = format!("repair of {damages} damages");
        let header = FrameHeader::of(FrameType::Control, payload.as_bytes());
        let mut frame = vec![0; FRAME_HEADER];
        frame.extend(payload.as_bytes());
        frame.resize(aligned(frame.len()), 0);
        self.stage.repair(header, frame).map_err(AppendError::into_wal)
    }

    /// Files that look like segments and are none of this log's: another's, renamed, or without a header.
    fn quarantine_strays(&self) -> Result<(), WalError> {
        let io = |op, file: &str| WalError::io(op, self.volume.display(file));
        let ours: Vec<String> = self.catalog.segments().iter().map(|live| live.file.clone()).collect();
        for file in self.volume.list().map_err(io("listing", ""))? {
            if file.name.ends_with(".wal") && !file.name.contains('/') && !ours.contains(&file.name) {
                self.volume
                    .rename(&file.name, &format!("quarantine/{}", file.name))
                    .map_err(io("quarantining", &file.name))?;
            }
        }
        self.volume.sync_dir().map_err(io("syncing", ""))
    }

    fn restore(
        &self,
        lost: &Lost,
        source: Option<&mut (dyn Refetch + 'static)>,
        give_up: bool,
    ) -> Result<Option<Ticket>, WalError> {
        let Some((id, door)) = self.stage.find(&lost.stream) else { return Ok(None) };
        let failed = |source| WalError::Refetch {
            stream: lost.stream.clone(),
            from: lost.from,
            until: lost.until.unwrap_or(-1),
            source,
        };
        let runs = match source {
            Some(source) => source.refetch(&lost.stream, lost.from.max(0), lost.until).map_err(failed)?,
            None => Vec::new(),
        };
        // Where it is not known whether the stream began before, it began with what the source gives, or behind it.
        let start = || runs.first().map(Run::base_offset).or(lost.until).unwrap_or(0);
        let (mut at, mut last) = (if lost.from < 0 { start() } else { lost.from }, None);
        for run in runs {
            if let Some(why) = run.flaw().or((run.base_offset() < at).then(|| "its runs overlap".into())) {
                return Err(WalError::Append(AppendError::Invalid { stream: lost.stream.clone(), why }));
            }
            if run.base_offset() > at && !run.is_sparse() {
                break;
            }
            let next = run.next_offset();
            // Behind the stream's end it is the stream that goes on; below it, it is a repair.
            last = Some(match at >= door {
                true => self.stage.append(id, run, true).map_err(AppendError::into_wal)?,
                false => self.repaired(id, run, at)?,
            });
            at = next;
        }
        match lost.until.filter(|until| at < *until) {
            None => Ok(last),
            Some(until) if give_up => self.note_gap(id, at, until).map(Some),
            Some(until) => Err(WalError::Refetch {
                stream: lost.stream.clone(),
                from: at,
                until,
                source: std::io::Error::new(
                    std::io::ErrorKind::NotFound,
                    "the source no longer has them; open the log with the policy \"salvage\" to give them up",
                ),
            }),
        }
    }

    fn repaired(&self, id: StreamId, run: Run, at: i64) -> Result<Ticket, WalError> {
        let header = FrameHeader { stream_id: id.0, prev_next_offset: at, ..run.header };
        self.append_repair(header, run.frame)
    }

    /// Offsets that an operator gave up.
    fn note_gap(&self, id: StreamId, from: i64, until: i64) -> Result<Ticket, WalError> {
        tracing::warn!(stream = id.0, from, until, "these offsets of the log were damaged and are given up");
        let payload = GapNote { note: "damaged, and salvaged without them".into() }.encode();
        let header = FrameHeader {
            stream_id: id.0,
            base_offset: from,
            last_offset: until - 1,
            prev_next_offset: from,
            next_offset: until,
            ..FrameHeader::of(FrameType::Gap, &payload)
        };
        let mut frame = vec![0; FRAME_HEADER];
        frame.extend(payload);
        frame.resize(aligned(frame.len()), 0);
        self.stage.repair(header, frame).map_err(AppendError::into_wal)
    }
}

impl AppendError {
    pub(super) fn into_wal(self) -> WalError {
        match self {
            AppendError::Poisoned(poison) => WalError::Poisoned(poison),
            other => WalError::Append(other),
        }
    }
}
