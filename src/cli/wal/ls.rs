//! `landfall wal ls`: a line for each segment.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::LogArg;
use crate::ambient::now_ms;
use crate::cli::table::{Table, bytes, number};
use crate::cli::{Console, Exit, Failure, Render};
use crate::config::units::show_duration;
use crate::wal::{SegmentLine, segments};

/// Lists the segments of a log, oldest first
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    landfall wal ls ./wal\n  \
    landfall wal ls ./wal --output json | jq '.segments[].file'")]
pub struct LsArgs {
    #[command(flatten)]
    pub log: LogArg,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listing {
    pub log: String,
    pub segments: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    pub file: String,
    /// Addresses: the first of it and the first behind it.
    pub from_lsn: u64,
    pub until_lsn: u64,
    /// Written to its end; the others end where the log was when its process ended, or are being written.
    pub sealed: bool,
    pub streams: u64,
    pub records: u64,
    pub bytes: u64,
    /// Seconds since it was begun.
    pub age: u64,
}

impl Row {
    fn new(line: &SegmentLine, now_ms: u64) -> Row {
        let streams: BTreeSet<_> = line.entries.iter().map(|entry| &entry.def.stream).collect();
        Row {
            file: line.file.clone(),
            from_lsn: line.base_lsn,
            until_lsn: line.end_lsn,
            sealed: line.sealed,
            streams: streams.len() as u64,
            records: line.records(),
            bytes: line.end_lsn - line.base_lsn,
            age: now_ms.saturating_sub(line.created_ms) / 1000,
        }
    }
}

impl Render for Listing {
    fn text(&self) -> String {
        let mut table = Table::new(&["segment", ">from", ">until", "sealed", ">streams", ">records", ">size", ">age"]);
        for row in &self.segments {
            table.row([
                row.file.clone(),
                format!("{:#x}", row.from_lsn),
                format!("{:#x}", row.until_lsn),
                if row.sealed { "yes" } else { "no" }.into(),
                number(row.streams),
                number(row.records),
                bytes(row.bytes),
                show_duration(Duration::from_secs(row.age)),
            ]);
        }
        table.render()
    }
}

pub fn run(args: &LsArgs, console: &Console) -> Result<Exit, Failure> {
    let directory = &args.log.directory;
    let now = u64::try_from(now_ms()).unwrap_or(0);
    let segments = segments(directory)?.iter().map(|line| Row::new(line, now)).collect();
    console.show(&Listing { log: directory.display().to_string(), segments })?;
    Ok(Exit::Done)
}

#[cfg(test)]
pub fn sample() -> Listing {
    let row = Row {
        file: "00-0000000007-0000000000780000.wal".into(),
        from_lsn: 0x0078_0000,
        until_lsn: 0x0079_0000,
        sealed: true,
        streams: 2,
        records: 1234,
        bytes: 65536,
        age: 90,
    };
    Listing { log: "./wal".into(), segments: vec![row] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_a_line() {
        assert_eq!(
            sample().text(),
            "segment                                 from     until  sealed  streams  records      size  age\n\
             00-0000000007-0000000000780000.wal  0x780000  0x790000  yes           2    1_234  64.0 KiB  90s\n"
        );
    }
}
