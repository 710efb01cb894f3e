//! `landfall verify`: the audit of a lake.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Args;
use landfall_lake::Lake;
use landfall_sink::{Sink, Stream};

use super::engine::{asked, block_on_threads, connect, known_checkpoints, same_owner};
use super::table::{Table, bytes, number, or_dash};
use super::{Console, Exit, Failure, Progress, Render, Target, TargetArg, view};
use crate::checkpoint::Checkpoint;
use crate::config::{Config, LakeUrl, Limits, Properties, StoreKind};
use crate::files::{self, FileAuditor};
use crate::lakes::{self, IO_THREADS};
use crate::origin::Origin;
use crate::verify::{self, Finding, Outcome, Report, Scope, Severity, StreamReport, TopicRows, Topics};

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
Exit codes: 0 nothing is wrong, 65 something is, 69 Kafka cannot be reached, 74 something could not be read."
)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub target: TargetArg,
    /// Also compare with the records that Kafka still holds; needs a configuration
    #[arg(long)]
    pub kafka: bool,
}

/// Shown as a table, and the findings below it; as JSON it is the report itself.
impl Render for Report {
    fn text(&self) -> String {
        let titles = [
            "topic",
            ">partition",
            ">genesis",
            ">until",
            ">next",
            ">files",
            ">rows",
            ">size",
            ">gaps",
            ">in kafka",
            "",
        ];
        let mut table = Table::new(&titles);
        for row in &self.streams {
            table.row([
                row.stream.topic.clone(),
                row.stream.partition.to_string(),
                number(row.genesis),
                number(row.until),
                or_dash(row.next, number),
                number(row.files),
                number(row.rows),
                bytes(row.bytes),
                number(row.gap_offsets),
                or_dash(row.kafka.as_ref(), |compared| number(compared.equal)),
                verdict(row).into(),
            ]);
        }
        let mut text = table.render();
        for row in &self.streams {
            for finding in &row.findings {
                let Finding { severity, message, .. } = finding;
                text.push_str(&format!("{}: {}: {message}\n", row.stream, word(*severity)));
            }
            let found = row.damage + row.unexplained + row.notes + row.unchecked;
            let told = row.findings.len() as u64;
            if found > told {
                text.push_str(&format!("{}: and {} more\n", row.stream, number(found - told)));
            }
        }
        let size = self.streams.iter().map(|row| row.bytes).sum();
        let (files, rows, size) = (number(self.files()), number(self.rows()), bytes(size));
        let verdict = match self.outcome {
            Outcome::Clean => match self.streams.iter().map(|row| row.unexplained).sum::<u64>() {
                0 => "clean".to_string(),
                ranges => format!("clean, but for {} ranges without a file that nothing explains", number(ranges)),
            },
            Outcome::Incomplete => "INCOMPLETE: not everything could be read".to_string(),
            Outcome::Damage => format!("DAMAGE: {}", number(self.damage())),
        };
        text.push_str(&format!("{}: {files} files, {rows} rows, {size}: {verdict}\n", self.lake));
        text
    }
}

fn verdict(row: &StreamReport) -> &'static str {
    match row {
        StreamReport { damage: 1.., .. } => "DAMAGE",
        StreamReport { unchecked: 1.., .. } => "unchecked",
        StreamReport { unexplained: 1.., .. } => "unexplained",
        _ => "ok",
    }
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Damage => "DAMAGE",
        Severity::Unexplained => "unexplained",
        Severity::Note => "note",
        Severity::Unchecked => "unchecked",
    }
}

fn exit(outcome: Outcome) -> Exit {
    match outcome {
        Outcome::Clean => Exit::Done,
        Outcome::Damage => Exit::Damage,
        Outcome::Incomplete => Exit::Io,
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
    let report = audit(&target, args.kafka, console)?;
    console.show(&report)?;
    Ok(exit(report.outcome))
}

/// Reads every file; with `kafka`, also the topics.
fn audit(target: &Target, kafka: bool, console: &Console) -> Result<Report, Failure> {
    let workers = match target {
        Target::Config(config) => config.limits.workers_or_cores(),
        Target::Lake(_) => Limits::default().workers_or_cores(),
    };
    block_on_threads(workers, async {
        let (url, config) = match target {
            Target::Config(config) => (&config.lake.url, Some(config.as_ref())),
            Target::Lake(url) => (url, None),
        };
        if let Some(config) = config {
            same_owner(config).await?;
        }
        let topics = match config {
            Some(config) if kafka => Some(topics(config).await?),
            _ => None,
        };
        // Before the first listing: what is committed by now must be there.
        let checkpoints = match config {
            Some(config) => checkpoints(config, console).await?,
            None => checkpoints_in(url).await?,
        };
        let environment = Properties::default();
        let options = config.map_or(&environment, |config| &config.lake.options);
        let lake = lakes::open_to_read(url, options, workers.max(IO_THREADS))?;
        let origin = Origin::open(lake.clone()).await?;
        let sink = sink(config, &origin, &lake).await?;
        let bar = console.bar("verify", "files");
        let feed = |at: verify::Progress| {
            bar.feed(Progress { total: at.files, done: at.files_done, bytes: at.bytes_done });
        };
        let scope = Scope {
            origin: &origin,
            sink: sink.as_ref(),
            auditor: Arc::new(FileAuditor::new(lake)),
            checkpoints,
            topic: topics.as_ref().map(|topics| topics as &dyn TopicRows),
            parallel: workers,
            progress: bar.is_shown().then_some(&feed as &(dyn Fn(verify::Progress) + Sync)),
        };
        Ok(verify::verify(scope).await?)
    })
}

async fn topics(config: &Config) -> Result<Topics, Failure> {
    asked(&connect(config)?, |kafka| Topics::reach(kafka.clone())).await
}

async fn checkpoints(config: &Config, console: &Console) -> Result<Option<BTreeMap<Stream, Checkpoint>>, Failure> {
    let Some(known) = known_checkpoints(config).await? else {
        let store = match config.checkpoint.store {
            StoreKind::Lake => config.lake.url.to_string(),
            StoreKind::Sled | StoreKind::Memory => config.checkpoint.path.display().to_string(),
        };
        console.remark(&format!("there is no checkpoint store in {store}: the files are held against nothing"));
        return Ok(None);
    };
    Ok(Some(by_stream(known)))
}

/// Of a lake that keeps its own.
async fn checkpoints_in(url: &LakeUrl) -> Result<Option<BTreeMap<Stream, Checkpoint>>, Failure> {
    let lake = lakes::open_to_read(url, &Properties::default(), IO_THREADS)?;
    let origin = Origin::open(lake).await?;
    Ok(view::of_origin(&origin).await?.map(by_stream))
}

fn by_stream(known: Vec<Checkpoint>) -> BTreeMap<Stream, Checkpoint> {
    known.into_iter().map(|checkpoint| (checkpoint.stream.clone(), checkpoint)).collect()
}

/// Every layout of the lake is looked at, whichever the sink has.
async fn sink(config: Option<&Config>, origin: &Origin, lake: &Arc<dyn Lake>) -> Result<Arc<dyn Sink>, Failure> {
    let layout = match config {
        Some(config) => Arc::new(files::layout(config, origin.lake_id())),
        None => match origin.layouts().await?.into_iter().next() {
            Some(layout) => layout,
            // Nothing was planned here yet, so there is nothing to find.
            None => Arc::new(files::layout(&Config::default(), origin.lake_id())),
        },
    };
    Ok(files::reader(lake, &layout)?)
}

#[cfg(test)]
pub fn sample() -> Report {
    let hole = Finding {
        severity: Severity::Damage,
        kind: verify::Kind::Hole,
        range: Some(landfall_sink::Span::new(100, 200)),
        name: None,
        message: "[100, 200) is committed, and no file holds it".into(),
    };
    let row = StreamReport {
        stream: Stream { cluster: "lkc-1".into(), topic: "orders".into(), topic_id: None, partition: 0 },
        genesis: 0,
        until: 1234,
        next: Some(1234),
        files: 2,
        rows: 1100,
        bytes: 65536,
        gap_offsets: 10,
        planned: vec![],
        kafka: None,
        damage: 1,
        unexplained: 0,
        notes: 0,
        unchecked: 0,
        findings: vec![hole],
    };
    Report {
        lake: "file:///data/lake".into(),
        lake_id: "6f1d8a".into(),
        against: "checkpoint",
        kafka: false,
        outcome: Outcome::Damage,
        streams: vec![row],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_told_below_the_table() {
        let mut report = sample();
        assert_eq!(
            report.text(),
            "topic   partition  genesis  until   next  files   rows      size  gaps  in kafka\n\
             orders          0        0  1_234  1_234      2  1_100  64.0 KiB    10         -  DAMAGE\n\
             orders/0: DAMAGE: [100, 200) is committed, and no file holds it\n\
             file:///data/lake: 2 files, 1_100 rows, 64.0 KiB: DAMAGE: 1\n"
        );
        report.streams[0].damage = 70;
        report.streams[0].notes = 32;
        assert!(report.text().contains("orders/0: and 101 more\n"), "{}", report.text());
        report.streams.clear();
        report.outcome = Outcome::Clean;
        assert!(report.text().ends_with("file:///data/lake: 0 files, 0 rows, 0 B: clean\n"));
    }

    #[test]
    fn only_a_clean_lake_is_success() {
        let codes = [Outcome::Clean, Outcome::Damage, Outcome::Incomplete].map(|outcome| exit(outcome).code());
        assert_eq!(codes, [0, 65, 74]);
    }
}
