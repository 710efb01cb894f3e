//! Measures the write-ahead log against the disk's own limit: `make bench-wal`. See docs/wal.md.
//!
//! Every figure is a ratio of two arms that ran turn about in one run, medians of the rounds. Each arm is this program
//! started again, so that CPU seconds and memory are its own.

mod append;
mod open;
mod raw;
mod report;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};
use clap::Parser;
use serde::{Deserialize, Serialize};

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Measures the write-ahead log, and writes target/bench-wal.json.
#[derive(Debug, Clone, Parser)]
pub struct Options {
    /// Rounds of each pair; medians are shown.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Seconds of each arm.
    #[arg(long, default_value_t = 2)]
    pub seconds: u64,
    /// Logs are made below this directory, and removed; a tmpfs would show nothing.
    #[arg(long, default_value = "target")]
    pub dir: PathBuf,
    /// The program that drives the logs that others would take; see benches/wal/peers.
    #[arg(long)]
    pub peers: Option<PathBuf>,
    #[arg(long, hide = true)]
    arm: Option<String>,
    /// What cargo says to every benchmark.
    #[arg(long = "bench", hide = true)]
    _bench: bool,
}

/// What an arm is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Order {
    /// One thread that writes and syncs as much at a time, over files that were written before.
    Raw {
        bytes: usize,
    },
    /// Two threads that append as fast as the log takes it, in groups of at most as much.
    Append {
        group: usize,
    },
    /// Threads that each wait for their record to be durable before they append the next.
    Closed {
        appenders: usize,
        record: usize,
    },
    /// Fills a log and ends without closing it.
    Fill {
        segment: u64,
        segments: usize,
    },
    Open,
}

/// What an arm has measured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Measure {
    pub seconds: f64,
    /// Bytes handed to the kernel.
    pub bytes: u64,
    /// Bytes of records.
    pub payload: u64,
    pub appends: u64,
    pub fsyncs: u64,
    pub cpu_seconds: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub peak_rss_mb: f64,
    pub open_ms: f64,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if let Some(order) = &options.arm {
        let order: Order = serde_json::from_str(order).context("--arm")?;
        println!("{}", serde_json::to_string(&run(&order, &options)?)?);
        return Ok(());
    }
    std::fs::create_dir_all(&options.dir)?;
    report::report(&options)
}

fn run(order: &Order, options: &Options) -> anyhow::Result<Measure> {
    let mut measure = match *order {
        Order::Raw { bytes } => raw::write(&options.dir, bytes, options.seconds)?,
        Order::Append { group } => append::open_loop(&options.dir, group, options.seconds)?,
        Order::Closed { appenders, record } => append::closed_loop(&options.dir, appenders, record, options.seconds)?,
        Order::Fill { segment, segments } => open::fill(&options.dir, segment, segments)?,
        Order::Open => open::open(&options.dir)?,
    };
    measure.peak_rss_mb = peak_rss_mb();
    Ok(measure)
}

/// Starts this program for one arm.
pub fn arm(order: &Order, options: &Options, dir: &std::path::Path) -> anyhow::Result<Measure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--arm").arg(serde_json::to_string(order)?).arg("--dir").arg(dir);
    command.arg("--seconds").arg(options.seconds.to_string());
    let output = command.stderr(std::process::Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("{order:?} ended with {}", output.status);
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The median of a few values; their order is lost.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// The value below which a share of the others lies.
pub fn percentile(values: &mut [u64], share: f64) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    values.sort_unstable();
    values[((values.len() - 1) as f64 * share).round() as usize] as f64
}

/// CPU seconds of this process, user and system.
pub fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn peak_rss_mb() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    let kib = line.split_whitespace().next().and_then(|number| number.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) * 1024.0 / 1e6
}
