//! Measures what landing in a bucket costs: `make bench-s3`. See docs/benchmarks.md.
//!
//! The store is the S3 server of the tests, on this machine. Every figure is a ratio of arms that took turns in one
//! run, or a time beside that of the local disk. Each arm is this program started again.

mod apart;
mod arms;
mod blind;
mod fleet;
mod landing;
mod line;
mod listener;
mod member;
mod parts;
mod quota;
#[path = "../rig/mod.rs"]
mod rig;
mod rounds;
mod starts;
mod steady;
mod store;
mod table;

use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use landfall::config::units;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What can be measured alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// A backlog of each shape: wall, CPU seconds, signing.
    Landing,
    /// The same with files of 128 MiB from a real Kafka.
    Kafka,
    /// From plan to commit, and requests per batch.
    Steady,
    /// Births and a restart with many partitions.
    Starts,
    /// A restart with few and with many files.
    Files,
    /// Several processes.
    Fleet,
}

/// Measures what landing in a bucket costs, and writes target/bench-s3.json.
#[derive(Debug, Clone, Parser)]
pub struct Options {
    /// What is measured.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Part::Landing, Part::Kafka, Part::Steady, Part::Starts, Part::Files, Part::Fleet])]
    pub parts: Vec<Part>,
    /// Rounds of each arm; medians are shown.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Shapes of records to land.
    #[arg(long, value_delimiter = ',', default_values_t = ["100B".to_owned(), "1KB".into(), "json".into()])]
    pub shapes: Vec<String>,
    /// More or fewer records.
    #[arg(long, default_value_t = 1.0)]
    pub scale: f64,
    /// `limits.memory` of every arm.
    #[arg(long, default_value = "512MiB")]
    pub memory: String,
    /// Landfall has the first core to itself, and the servers have the others, as where they are elsewhere.
    #[arg(long)]
    pub apart: bool,
    /// `limits.workers`; 0 is one for each core.
    #[arg(long, default_value_t = 0)]
    pub workers: usize,
    /// Records of 100 B in two partitions of the real Kafka: enough for files of 128 MiB.
    #[arg(long, default_value_t = 24_000_000)]
    pub kafka_records: i64,
    /// Seconds of a steady run.
    #[arg(long, default_value_t = 20)]
    pub seconds: u64,
    /// Partitions of the starts.
    #[arg(long, default_value_t = 2000)]
    pub partitions: i32,
    /// Data files that a restart should not depend on.
    #[arg(long, default_value_t = 20_000)]
    pub files: i64,
    /// Milliseconds that an answer of the far store takes longer.
    #[arg(long, default_value_t = 25)]
    pub far_ms: u64,
    /// Megabytes a second on the way to the far store.
    #[arg(long, default_value_t = 100)]
    pub far_mb: u64,
    /// Lakes and brokers are made below this directory, and removed.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Arm of a round, started by this program itself.
    #[arg(long, hide = true)]
    arm: Option<String>,
    #[arg(long, hide = true, num_args = 1..)]
    playground: Option<Vec<String>>,
    /// What cargo says to every benchmark.
    #[arg(long = "bench", hide = true)]
    _bench: bool,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if let Some(topics) = &options.playground {
        return rig::servers::serve_playground(topics);
    }
    if let Some(order) = &options.arm {
        return arms::run(&serde_json::from_str(order).context("--arm")?);
    }
    let memory = units::parse_size(&options.memory).context("--memory is a size such as 512MiB")?;
    let report = parts::measure(&options, memory)?;
    table::print(&report);
    println!("\nwritten to {}", table::write(&report)?.display());
    Ok(())
}
