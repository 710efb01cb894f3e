//! `landfall demo`: see it killed, and lose nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;

use super::engine::stopped;
use super::progress::Bar;
use super::table::{bytes, number};
use super::target::parse_duration;
use super::{Console, Exit, Failure, Render};
use crate::demo::{CLEAN, DemoOptions, DemoResult, Moment};

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
    /// Events a second
    #[arg(long, value_name = "EVENTS", default_value_t = 3_000)]
    pub rate: u32,
}

fn exit(result: &DemoResult) -> Exit {
    if result.lost == 0 && result.repeated == 0 && result.verify == CLEAN { Exit::Done } else { Exit::Failure }
}

impl Render for DemoResult {
    fn text(&self) -> String {
        let line = |word: &str, value: String| format!("{word:<10}{value:>12}\n");
        let counts = [
            ("kills", self.kills.into()),
            ("produced", self.produced),
            ("landed", self.landed),
            ("lost", self.lost),
            ("repeated", self.repeated),
        ];
        let mut text: String = counts.into_iter().map(|(word, count)| line(word, number(count))).collect();
        let (files, size) = (number(self.files), bytes(self.bytes));
        text.push_str(&format!("{:<10}{:>12}\n\n{files} files, {size}, in {}\n", "verify", self.verify, self.lake));
        text.push_str(&format!("\nIn DuckDB:\n  {}\n", self.query));
        text
    }
}

pub fn run(args: &DemoArgs, console: &Console) -> Result<Exit, Failure> {
    let result = show(args, console)?;
    console.show(&result)?;
    Ok(exit(&result))
}

/// Broker, producer, and the child that is killed; then drain, verify, count.
fn show(args: &DemoArgs, console: &Console) -> Result<DemoResult, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    stop_at_ctrl_c(stop.clone())?;
    let options =
        DemoOptions { dir: args.dir.clone(), kill_every: args.kill_every, lasts: args.duration, rate: args.rate };
    let mut screen = Screen::new(console);
    let result = crate::demo::demo(&options, &stop, |moment| screen.show(moment));
    screen.close();
    result.map_err(|error| failure(&error))
}

fn failure(error: &anyhow::Error) -> Failure {
    if error.chain().any(|cause| cause.is::<std::io::Error>()) {
        return Failure::new(Exit::Io, format!("{error:#}"))
            .way_out("give --dir a folder that this user may write, on a disk with space");
    }
    Failure::new(Exit::Failure, format!("{error:#}"))
}

/// The demo's own threads are plain ones, so the signal sets a flag.
fn stop_at_ctrl_c(stop: Arc<AtomicBool>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Exit::Failure, format!("no runtime: {error}")))?;
    std::thread::spawn(move || {
        runtime.block_on(stopped());
        stop.store(true, Ordering::Relaxed);
        // Stays for the second signal, which ends the process at once.
        runtime.block_on(std::future::pending::<()>());
    });
    Ok(())
}

/// What a person sees meanwhile: a line of rates, and above it what happens.
struct Screen {
    line: Bar,
    live: bool,
    /// When rates were last told, and what had been produced and landed by then.
    last: (Duration, u64, u64),
}

/// Without a terminal, a line of rates now and then.
const LIVE_EVERY: Duration = Duration::from_secs(2);
const QUIET_EVERY: Duration = Duration::from_secs(5);
/// So many new files are named one by one.
const NAMED: usize = 4;

impl Screen {
    fn new(console: &Console) -> Screen {
        let line = console.line();
        Screen { live: line.is_shown(), line, last: (Duration::ZERO, 0, 0) }
    }

    fn show(&mut self, moment: &Moment) {
        if let Some(note) = &moment.note {
            self.say(moment, &format!("** {note}"));
        }
        if self.live {
            moment.new_files.iter().take(NAMED).for_each(|file| self.say(moment, &format!("   {file}")));
            let more = moment.new_files.len().saturating_sub(NAMED);
            if more > 0 {
                self.say(moment, &format!("   and {more} more files"));
            }
        }
        let every = if self.live { LIVE_EVERY } else { QUIET_EVERY };
        let (since, produced, landed) = self.last;
        if moment.elapsed < since + every {
            return;
        }
        self.last = (moment.elapsed, moment.produced, moment.landed);
        let passed = (moment.elapsed - since).as_secs_f64();
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / passed;
        let lag = moment.produced.saturating_sub(moment.landed);
        let rates = format!(
            "produced {} ({:.0}/s)  landed {} ({:.0}/s)  lag {}  files {}  kills {}",
            number(moment.produced),
            rate(moment.produced, produced),
            number(moment.landed),
            rate(moment.landed, landed),
            number(lag),
            number(moment.files),
            moment.kills
        );
        if self.live { self.line.say(&rates) } else { self.say(moment, &rates) }
    }

    fn say(&self, moment: &Moment, text: &str) {
        self.line.above(&format!("{:>5.1} s  {text}", moment.elapsed.as_secs_f64()));
    }

    fn close(&mut self) {
        self.line.finish();
    }
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
        verify: "clean".into(),
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
        assert_eq!(exit(&result), Exit::Done);
        assert_eq!(exit(&DemoResult { lost: 1, ..result.clone() }), Exit::Failure);
        assert_eq!(exit(&DemoResult { repeated: 1, ..result }), Exit::Failure);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_a_failure_of_the_disk() {
        let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let told = failure(&anyhow::Error::from(denied).context("creating /x"));
        assert_eq!((told.code, told.hint.is_some()), (Exit::Io, true));
        assert_eq!(failure(&anyhow::anyhow!("other")).code, Exit::Failure);
    }
}
