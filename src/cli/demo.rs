//! `landfall demo`: see it killed, and lose nothing.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::table::{bytes, number};
use super::target::parse_duration;
use super::{Console, Exit, Failure, Render, not_wired};

/// Shows it at work: a Kafka and a producer in this process, and a landfall that is killed every few seconds
#[derive(Debug, Args)]
#[command(
    long_about = "Shows it at work: a Kafka and a producer in this process, and a landfall that is killed every few \
        seconds.\n\nOn Ctrl-C, or after --for, it lands the rest, verifies the lake and counts what was lost and what \
        was repeated, by the producer's own journal. It exits 0 only if both are 0.",
    after_help = "Examples:\n  \
    landfall demo\n  \
    landfall demo --for 30s --kill-every 2s\n  \
    landfall demo --for 30s --output json"
)]
pub struct DemoArgs {
    /// The folder for the lake, the checkpoints and the journal; it must be new or empty
    #[arg(long, value_name = "DIR", default_value = "./landfall-demo")]
    pub dir: PathBuf,
    /// How often landfall is killed with SIGKILL
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub kill_every: Duration,
    /// Stop by itself after this time
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    pub duration: Option<Duration>,
}

/// What the demo counted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DemoResult {
    pub kills: u64,
    /// Records that the broker acknowledged to the producer.
    pub produced: u64,
    pub landed: u64,
    pub lost: u64,
    pub repeated: u64,
    pub files: u64,
    pub bytes: u64,
    pub seconds: f64,
    /// The lake's URL.
    pub lake: String,
    /// To paste into DuckDB.
    pub query: String,
}

impl DemoResult {
    pub fn exit(&self) -> Exit {
        if self.lost == 0 && self.repeated == 0 { Exit::Done } else { Exit::Failure }
    }
}

impl Render for DemoResult {
    fn text(&self) -> String {
        let line = |word: &str, value: String| format!("{word:<10}{value:>12}\n");
        let counts = [
            ("kills", self.kills),
            ("produced", self.produced),
            ("landed", self.landed),
            ("lost", self.lost),
            ("repeated", self.repeated),
        ];
        let mut text: String = counts.into_iter().map(|(word, count)| line(word, number(count))).collect();
        let (files, size) = (number(self.files), bytes(self.bytes));
        text.push_str(&format!("\n{files} files, {size}, in {}\n", self.lake));
        text.push_str(&format!("\nIn DuckDB:\n  {}\n", self.query));
        text
    }
}

pub fn run(args: &DemoArgs, console: &Console) -> Result<Exit, Failure> {
    let result = show(args, console)?;
    console.show(&result)?;
    Ok(result.exit())
}

/// Broker, producer, and the child that is killed; then drain, verify, count.
fn show(_args: &DemoArgs, _console: &Console) -> Result<DemoResult, Failure> {
    Err(not_wired("demo"))
}

#[cfg(test)]
pub fn sample() -> DemoResult {
    DemoResult {
        kills: 6,
        produced: 120_000,
        landed: 120_000,
        lost: 0,
        repeated: 0,
        files: 42,
        bytes: 3_145_728,
        seconds: 30.5,
        lake: "file:///tmp/landfall-demo/lake".into(),
        query: "select topic, count(*) from '/tmp/landfall-demo/lake/*/*/*.parquet' group by topic".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_decides_the_exit_code() {
        let result = sample();
        assert!(result.text().starts_with("kills                6\nproduced       120_000\n"), "{}", result.text());
        assert_eq!(result.exit(), Exit::Done);
        assert_eq!(DemoResult { lost: 1, ..result.clone() }.exit(), Exit::Failure);
        assert_eq!(DemoResult { repeated: 1, ..result }.exit(), Exit::Failure);
    }
}
