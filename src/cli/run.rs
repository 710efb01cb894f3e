//! `landfall run`: land, until stopped or until the end of now.

use std::future::Future;
use std::time::{Duration, Instant};

use clap::Args;
use landfall_sink::Span;
use serde::Serialize;

use super::engine::{block_on, stopped};
use super::progress::{Bar, Progress};
use super::table::{Table, bytes, number};
use super::{ConfigArg, Console, Exit, Failure, Render};
use crate::Landfall;
use crate::config::Config;
use crate::status::{Activity, StreamStatus};
use crate::supervisor::RunError;

/// Lands the topics until it is stopped; with --once, up to their ends of now
#[derive(Debug, Args)]
#[command(
    long_about = "Lands the topics until it is stopped; with --once, up to their ends of now.\n\n\
        Start it again after any end, also after kill -9: it goes on where it was, and neither loses nor repeats a \
        record. SIGTERM or Ctrl-C finishes the batches under way (limits.shutdown) and exits 0; a second signal ends \
        at once. A stream that cannot go on stops alone, says why and how to go on; the others continue.",
    after_help = "Examples:\n  \
    landfall run landfall.toml\n  \
    landfall run --once landfall.toml         for cron: exits 0 only if every partition got to its end\n  \
    LANDFALL__LAKE__ROLL__MAX_AGE=5m landfall run"
)]
pub struct RunArgs {
    #[command(flatten)]
    pub config: ConfigArg,
    /// Land up to the last stable offsets of now, then exit
    #[arg(long)]
    pub once: bool,
}

/// What `run --once` did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunResult {
    pub streams: Vec<RunRow>,
    pub files: u64,
    pub records: u64,
    pub bytes: u64,
    pub seconds: f64,
}

/// What it did to one stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunRow {
    pub topic: String,
    pub partition: i32,
    /// The offsets that this run landed.
    pub from: i64,
    pub until: i64,
    pub files: u64,
    pub records: u64,
    pub bytes: u64,
    pub gaps: Vec<Span>,
    /// It got to the end that was found at the start.
    pub reached: bool,
    /// Why not, and the way out.
    pub reason: Option<String>,
}

impl RunResult {
    pub fn new(streams: Vec<RunRow>, seconds: f64) -> RunResult {
        RunResult {
            files: streams.iter().map(|row| row.files).sum(),
            records: streams.iter().map(|row| row.records).sum(),
            bytes: streams.iter().map(|row| row.bytes).sum(),
            streams,
            seconds,
        }
    }
}

impl Render for RunResult {
    fn text(&self) -> String {
        let titles = ["topic", ">partition", ">from", ">until", ">records", ">files", ">bytes", "state"];
        let mut table = Table::new(&titles);
        for row in &self.streams {
            table.row([
                row.topic.clone(),
                row.partition.to_string(),
                number(row.from),
                number(row.until),
                number(row.records),
                number(row.files),
                bytes(row.bytes),
                if row.reached { "at its end" } else { "STOPPED" }.into(),
            ]);
        }
        let mut text = table.render();
        for row in &self.streams {
            if let Some(reason) = &row.reason {
                text.push_str(&format!("{}/{} stopped: {reason}\n", row.topic, row.partition));
            }
        }
        let (records, files, size) = (number(self.records), number(self.files), bytes(self.bytes));
        text.push_str(&format!("{records} records in {files} files, {size}, in {:.1} s\n", self.seconds));
        text
    }
}

pub fn run(args: &RunArgs, console: &Console) -> Result<Exit, Failure> {
    let config = args.config.load_and_warn(console.env())?;
    land(&config, args.once, console)
}

/// Runs the supervisor until a signal; with `once` until every stream is at its end, and shows a [`RunResult`].
fn land(config: &Config, once: bool, console: &Console) -> Result<Exit, Failure> {
    if std::env::var_os(crate::demo::DIE_WITH_PARENT).is_some() {
        let signal = Some(rustix::process::Signal::TERM);
        rustix::process::set_parent_process_death_signal(signal)
            .map_err(|error| Failure::new(Exit::Failure, format!("cannot follow the parent process: {error}")))?;
    }
    let began = Instant::now();
    let (streams, landed) = block_on(async {
        let mut stop = Box::pin(stopped());
        let landfall = tokio::select! {
            biased;
            () = &mut stop => return Ok((Vec::new(), ended_early(once))),
            // In a task of its own: what it waits for on the local disk must not keep the signals waiting.
            opened = tokio::spawn(Landfall::open(config.clone())) => match opened {
                Ok(opened) => opened?,
                Err(error) => return Err(Failure::new(Exit::Failure, format!("opening failed: {error}"))),
            },
        };
        let landed = if once {
            let bar = console.bar("landing", "records");
            watched(&landfall, landfall.run_once(stop), &bar).await
        } else {
            landfall.run(stop).await
        };
        Ok((rows(&landfall), landed))
    })?;
    if once {
        console.show(&RunResult::new(streams, began.elapsed().as_secs_f64()))?;
    }
    landed?;
    Ok(Exit::Done)
}

/// Asked to stop before the lake was open: a store that answers slowly is probed for a while.
fn ended_early(once: bool) -> Result<(), RunError> {
    if once { Err(RunError::Interrupted { streams: 0 }) } else { Ok(()) }
}

/// Feeds the bar while `run` runs.
async fn watched(
    landfall: &Landfall,
    run: impl Future<Output = Result<(), RunError>>,
    bar: &Bar,
) -> Result<(), RunError> {
    tokio::pin!(run);
    loop {
        tokio::select! {
            ended = &mut run => return ended,
            () = tokio::time::sleep(Duration::from_millis(200)) => {
                let totals = landfall.board().totals();
                let total = totals.records + u64::try_from(totals.lag).unwrap_or(0);
                bar.feed(Progress { total, done: totals.records, bytes: totals.bytes });
            }
        }
    }
}

fn rows(landfall: &Landfall) -> Vec<RunRow> {
    let row = |status: StreamStatus| RunRow {
        from: status.began.unwrap_or(status.genesis),
        until: status.committed,
        files: status.files,
        records: status.records,
        bytes: status.bytes,
        gaps: status.gaps,
        reached: status.activity == Activity::Done,
        reason: match status.activity {
            Activity::Stopped { why, way_out } => Some(format!("{why}; {way_out}")),
            Activity::Waiting { why } => Some(why),
            Activity::Landing | Activity::Done => None,
        },
        topic: status.stream.topic,
        partition: status.stream.partition,
    };
    landfall.board().rows().into_iter().map(row).collect()
}

#[cfg(test)]
pub fn sample() -> RunResult {
    let row = RunRow {
        topic: "orders".into(),
        partition: 0,
        from: 0,
        until: 1234,
        files: 2,
        records: 1230,
        bytes: 65536,
        gaps: vec![],
        reached: true,
        reason: None,
    };
    RunResult::new(vec![row], 1.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_and_what_stopped_are_told() {
        let mut other = sample().streams.remove(0);
        other.partition = 1;
        other.reached = false;
        other.reason = Some("the records [5, 9) are gone".into());
        let result = RunResult::new(vec![sample().streams.remove(0), other], 2.0);
        assert_eq!(
            result.text(),
            "topic   partition  from  until  records  files     bytes  state\n\
             orders          0     0  1_234    1_230      2  64.0 KiB  at its end\n\
             orders          1     0  1_234    1_230      2  64.0 KiB  STOPPED\n\
             orders/1 stopped: the records [5, 9) are gone\n\
             2_460 records in 4 files, 128.0 KiB, in 2.0 s\n"
        );
    }
}
