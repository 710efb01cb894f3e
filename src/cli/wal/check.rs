//! `landfall wal check`: recovery without its effects, and every damage by name.

use std::path::Path;

use clap::Args;
use landfall_sink::{Span, Stream};
use serde::Serialize;

use super::LogArg;
use crate::cli::table::{Table, bytes, number, spans};
use crate::cli::{Console, Exit, Failure, Render};
use crate::wal::{Check, Damage, Lost, StreamState, check};

/// Reads every byte of a log and names what is damaged
#[derive(Debug, Args)]
#[command(
    long_about = "Reads every byte of a log and names what is damaged: by file, address, topic, partition and offsets.\n\n\
        What a crash, or a writer at work, leaves behind the last whole group was never acknowledged: it is mentioned, \
        and is no damage. Nothing is changed; opening the log with the policy \"refetch\" or \"salvage\" repairs it.",
    after_help = "Examples:\n  \
    landfall wal check ./wal\n  \
    landfall wal check ./wal --output json | jq '.damages[].lost'\n\n\
Exit codes: 0 nothing is damaged, 65 something is, 74 it could not be read."
)]
pub struct CheckArgs {
    #[command(flatten)]
    pub log: LogArg,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub log: String,
    pub uuid: String,
    pub incarnation: u64,
    /// `clean` or `damage`.
    pub outcome: &'static str,
    /// The log was ended by its writer: a later crash left nothing behind.
    pub closed: bool,
    pub segments: u64,
    pub records: u64,
    pub bytes: u64,
    pub streams: Vec<StreamLine>,
    pub torn: Option<TornLine>,
    pub quarantine: Quarantine,
    pub damages: Vec<DamageLine>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamLine {
    #[serde(flatten)]
    pub stream: Stream,
    pub isolation: &'static str,
    /// Where an append must go on.
    pub next: i64,
    /// What can be read back, each a run.
    pub held: Vec<Span>,
}

/// What was being written when everything stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TornLine {
    pub file: String,
    pub lsn: u64,
    pub bytes: u64,
}

/// What recoveries and repairs took out of the log and kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Quarantine {
    pub files: u64,
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DamageLine {
    pub file: String,
    /// The number of the segment; `null` where the damage is in none.
    pub segment: Option<u64>,
    pub from_lsn: u64,
    pub until_lsn: u64,
    pub what: String,
    pub lost: Vec<LostLine>,
}

/// Offsets that the log held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LostLine {
    #[serde(flatten)]
    pub stream: Stream,
    pub from: i64,
    /// `null`: it is not known whether and how far the stream went on.
    pub until: Option<i64>,
}

impl Verdict {
    fn new(directory: &Path, found: Check) -> Verdict {
        let stream = |state: StreamState| StreamLine {
            isolation: state.isolation.as_str(),
            next: state.next_offset,
            held: state.held.iter().map(|(from, until)| Span::new(*from, *until)).collect(),
            stream: state.stream,
        };
        Verdict {
            log: directory.display().to_string(),
            uuid: found.uuid,
            incarnation: found.incarnation,
            outcome: if found.damages.is_empty() { "clean" } else { "damage" },
            closed: found.closed,
            segments: found.segments.len() as u64,
            records: found.segments.iter().map(|segment| segment.records()).sum(),
            bytes: found.segments.iter().map(|segment| segment.end_lsn - segment.base_lsn).sum(),
            streams: found.streams.into_iter().map(stream).collect(),
            torn: found.torn.filter(|(_, _, bytes)| *bytes > 0).map(|(file, lsn, bytes)| TornLine { file, lsn, bytes }),
            quarantine: Quarantine {
                files: found.quarantine.len() as u64,
                bytes: found.quarantine.iter().map(|file| file.len).sum(),
            },
            damages: found.damages.into_iter().map(DamageLine::from).collect(),
        }
    }
}

impl From<Damage> for DamageLine {
    fn from(damage: Damage) -> DamageLine {
        let Damage { file, segment, from_lsn, until_lsn, what, lost } = damage;
        let line = |Lost { stream, from, until }| LostLine { stream, from, until };
        DamageLine { file, segment, from_lsn, until_lsn, what, lost: lost.into_iter().map(line).collect() }
    }
}

impl From<&DamageLine> for Damage {
    fn from(line: &DamageLine) -> Damage {
        let DamageLine { file, segment, from_lsn, until_lsn, what, lost } = line.clone();
        let lost = lost.into_iter().map(|LostLine { stream, from, until }| Lost { stream, from, until }).collect();
        Damage { file, segment, from_lsn, until_lsn, what, lost }
    }
}

impl Render for Verdict {
    fn text(&self) -> String {
        let mut table = Table::new(&["topic", ">partition", "isolation", ">next", "held"]);
        for line in &self.streams {
            let Stream { topic, partition, .. } = &line.stream;
            let held = spans(&line.held);
            table.row([topic.clone(), partition.to_string(), line.isolation.into(), number(line.next), held]);
        }
        let mut text = table.render();
        for damage in &self.damages {
            text.push_str(&format!("DAMAGE: {}\n", Damage::from(damage)));
        }
        if let Some(TornLine { file, lsn, bytes: torn }) = &self.torn {
            text.push_str(&format!(
                "{file} at {lsn:#x}: {} behind the last whole group, never acknowledged: no damage\n",
                bytes(*torn)
            ));
        }
        if self.quarantine.files > 0 {
            let Quarantine { files, bytes: size } = self.quarantine;
            text.push_str(&format!("quarantine: {} files, {}\n", number(files), bytes(size)));
        }
        let (segments, records, size) = (number(self.segments), number(self.records), bytes(self.bytes));
        let verdict = match self.damages.len() as u64 {
            0 => "clean".into(),
            damages => format!("DAMAGE: {}", number(damages)),
        };
        let closed = if self.closed { "closed" } else { "not closed" };
        text.push_str(&format!("{}: {segments} segments, {records} records, {size}, {closed}: {verdict}\n", self.log));
        text
    }
}

pub fn run(args: &CheckArgs, console: &Console) -> Result<Exit, Failure> {
    let verdict = Verdict::new(&args.log.directory, check(&args.log.directory)?);
    console.show(&verdict)?;
    if verdict.damages.is_empty() {
        return Ok(Exit::Done);
    }
    console.remark(
        "Opened with the policy \"refetch\" the log takes these offsets from Kafka again; with \"salvage\" it gives them up",
    );
    Ok(Exit::Damage)
}

#[cfg(test)]
pub fn sample() -> Verdict {
    let stream = Stream { cluster: "lkc-1".into(), topic: "orders".into(), topic_id: None, partition: 0 };
    let file = "./wal/00-0000000007-0000000000780000.wal".to_string();
    let lost = vec![LostLine { stream: stream.clone(), from: 400, until: Some(410) }];
    let held = vec![Span::new(100, 400), Span::new(410, 1234)];
    Verdict {
        log: "./wal".into(),
        uuid: "2f9c1b7a5d3e4f60718293a4b5c6d7e8".into(),
        incarnation: 3,
        outcome: "damage",
        closed: false,
        segments: 2,
        records: 1124,
        bytes: 131072,
        streams: vec![StreamLine { stream, isolation: "read_committed", next: 1234, held }],
        torn: Some(TornLine { file: "./wal/00-0000000008-0000000000790000.wal".into(), lsn: 0x0079_2000, bytes: 5000 }),
        quarantine: Quarantine { files: 1, bytes: 4096 },
        damages: vec![DamageLine {
            file,
            segment: Some(7),
            from_lsn: 0x0078_3000,
            until_lsn: 0x0078_4000,
            what: "a payload fails its checksum".into(),
            lost,
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_told_by_file_address_and_offsets() {
        assert_eq!(
            sample().text(),
            "topic   partition  isolation        next  held\n\
             orders          0  read_committed  1_234  [100, 400) [410, 1234)\n\
             DAMAGE: ./wal/00-0000000007-0000000000780000.wal at 0x783000-0x784000: a payload fails its checksum; \
             lost: orders/0 offsets 400-410\n\
             ./wal/00-0000000008-0000000000790000.wal at 0x792000: 4.9 KiB behind the last whole group, never \
             acknowledged: no damage\n\
             quarantine: 1 files, 4.0 KiB\n\
             ./wal: 2 segments, 1_124 records, 128.0 KiB, not closed: DAMAGE: 1\n"
        );
    }
}
