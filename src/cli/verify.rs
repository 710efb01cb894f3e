//! `landfall verify`: the audit of a lake.

use clap::Args;
use landfall_sink::Span;
use serde::Serialize;

use super::table::{Table, bytes, number, spans};
use super::{Console, Exit, Failure, Render, Target, TargetArg, not_wired};

/// Audits the lake: no overlap, no hole, rows inside their range, checksums
#[derive(Debug, Args)]
#[command(
    long_about = "Audits the lake: no overlap, no hole, rows inside their range, checksums.\n\n\
        With a configuration the files are held against the checkpoints: a range without its file is damage. With a \
        lake alone such a range is called unexplained, and is no error: somebody may have moved the file away. \
        --kafka also compares with the records that the topics still hold.",
    after_help = "Examples:\n  \
    landfall verify landfall.toml\n  \
    landfall verify --kafka landfall.toml\n  \
    landfall verify file:///data/lake\n\n\
Exit codes: 0 the lake is whole, 65 it is not."
)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub target: TargetArg,
    /// Also compare with the records that Kafka still holds; needs a configuration
    #[arg(long)]
    pub kafka: bool,
}

/// What the audit saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// There are no findings.
    pub ok: bool,
    pub lake: String,
    /// What the files were held against: `checkpoint`, `kafka`.
    pub against: Vec<&'static str>,
    pub files: u64,
    pub rows: u64,
    pub bytes: u64,
    pub streams: Vec<VerifyRow>,
    pub findings: Vec<Finding>,
}

/// What it saw of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyRow {
    pub topic: String,
    pub partition: i32,
    /// The least and the greatest offset that file names cover.
    pub from: i64,
    pub until: i64,
    pub files: u64,
    pub rows: u64,
    /// Recorded in the files.
    pub gaps: Vec<Span>,
    /// Ranges without a file, where only the lake was asked.
    pub unexplained: Vec<Span>,
    pub findings: u64,
}

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub kind: FindingKind,
    pub topic: String,
    pub partition: i32,
    pub from: i64,
    pub until: i64,
    /// Below the lake; `null` where no file is meant.
    pub file: Option<String>,
    pub detail: String,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// A range that the checkpoint calls committed has no file.
    Hole,
    /// Two files cover one offset.
    Overlap,
    /// A file cannot be read, or is not what its checksum or its metadata say.
    Damage,
    /// A row lies outside the range of its file, or out of order.
    Row,
    /// A record that Kafka holds is not in the lake, or differs from it.
    Kafka,
}

impl FindingKind {
    pub fn as_str(self) -> &'static str {
        match self {
            FindingKind::Hole => "hole",
            FindingKind::Overlap => "overlap",
            FindingKind::Damage => "damage",
            FindingKind::Row => "row",
            FindingKind::Kafka => "kafka",
        }
    }
}

impl Verified {
    pub fn new(
        lake: String,
        against: Vec<&'static str>,
        size: u64,
        streams: Vec<VerifyRow>,
        findings: Vec<Finding>,
    ) -> Verified {
        Verified {
            ok: findings.is_empty(),
            lake,
            against,
            files: streams.iter().map(|row| row.files).sum(),
            rows: streams.iter().map(|row| row.rows).sum(),
            bytes: size,
            streams,
            findings,
        }
    }

    pub fn exit(&self) -> Exit {
        if self.ok { Exit::Done } else { Exit::Damage }
    }
}

impl Render for Verified {
    fn text(&self) -> String {
        let titles = ["topic", ">partition", ">from", ">until", ">files", ">rows", ">findings", "gaps", "unexplained"];
        let mut table = Table::new(&titles);
        for row in &self.streams {
            table.row([
                row.topic.clone(),
                row.partition.to_string(),
                number(row.from),
                number(row.until),
                number(row.files),
                number(row.rows),
                number(row.findings),
                spans(&row.gaps),
                spans(&row.unexplained),
            ]);
        }
        let mut text = table.render();
        for finding in &self.findings {
            let Finding { topic, partition, from, until, detail, .. } = finding;
            let file = finding.file.as_deref().map(|file| format!(" {file}")).unwrap_or_default();
            let kind = finding.kind.as_str();
            text.push_str(&format!("{kind}: {topic}/{partition} [{from}, {until}){file}: {detail}\n"));
        }
        let (files, rows, size) = (number(self.files), number(self.rows), bytes(self.bytes));
        let verdict = match self.findings.len() {
            0 => "whole".to_string(),
            1 => "NOT whole: 1 finding".to_string(),
            several => format!("NOT whole: {several} findings"),
        };
        text.push_str(&format!("{}: {files} files, {rows} rows, {size}: {verdict}\n", self.lake));
        text
    }
}

pub fn run(args: &VerifyArgs, console: &Console) -> Result<Exit, Failure> {
    let target = args.target.load(console.env())?;
    if args.kafka && matches!(target, Target::Lake(_)) {
        return Err(Failure::new(
            Exit::Usage,
            "--kafka needs to know how to reach Kafka, and a lake alone does not say it",
        )
        .way_out("name the configuration file in place of the lake"));
    }
    let verified = audit(&target, args.kafka, console)?;
    console.show(&verified)?;
    Ok(verified.exit())
}

/// Reads every file; with `kafka`, also the topics.
fn audit(_target: &Target, _kafka: bool, _console: &Console) -> Result<Verified, Failure> {
    Err(not_wired("verify"))
}

#[cfg(test)]
pub fn sample() -> Verified {
    let row = VerifyRow {
        topic: "orders".into(),
        partition: 0,
        from: 0,
        until: 1234,
        files: 2,
        rows: 1100,
        gaps: vec![Span::new(10, 20)],
        unexplained: vec![],
        findings: 1,
    };
    let finding = Finding {
        kind: FindingKind::Hole,
        topic: "orders".into(),
        partition: 0,
        from: 100,
        until: 200,
        file: None,
        detail: "the checkpoint calls it committed, and no file covers it".into(),
    };
    Verified::new("file:///data/lake".into(), vec!["checkpoint"], 65536, vec![row], vec![finding])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_told_and_decide_the_exit_code() {
        let verified = sample();
        assert_eq!(
            verified.text(),
            "topic   partition  from  until  files   rows  findings  gaps      unexplained\n\
             orders          0     0  1_234      2  1_100         1  [10, 20)\n\
             hole: orders/0 [100, 200): the checkpoint calls it committed, and no file covers it\n\
             file:///data/lake: 2 files, 1_100 rows, 64.0 KiB: NOT whole: 1 finding\n"
        );
        assert_eq!(verified.exit(), Exit::Damage);
        let whole = Verified::new("l".into(), vec![], 0, vec![], vec![]);
        assert_eq!(whole.exit(), Exit::Done);
        assert!(whole.text().ends_with("l: 0 files, 0 rows, 0 B: whole\n"));
    }
}
