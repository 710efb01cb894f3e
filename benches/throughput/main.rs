//! Measures what landing costs: `make bench`. See docs/benchmarks.md.
//!
//! For every shape of record, in one run and turn about: reading alone, encoding alone, and the whole. Each
//! arm is this program started again, so that CPU seconds and memory are its own; medians of the rounds are
//! printed and written to `target/bench.json`.

mod arms;
mod hasty;
#[path = "../rig/mod.rs"]
mod rig;
mod rounds;
mod table;

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use landfall::config::units;
use rounds::Bench;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Measures what landing costs, and writes target/bench.json.
#[derive(Debug, Clone, Parser)]
pub struct Options {
    /// Rounds of each arm; medians are shown.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Shapes to measure.
    #[arg(long, value_delimiter = ',', default_values_t = ["100B".to_owned(), "1KB".into(), "json".into()])]
    pub shapes: Vec<String>,
    /// More or fewer records.
    #[arg(long, default_value_t = 1.0)]
    pub scale: f64,
    /// `limits.memory` of every arm.
    #[arg(long, default_value = "512MiB")]
    pub memory: String,
    /// `limits.workers`; 0 is one for each core.
    #[arg(long, default_value_t = 0)]
    pub workers: usize,
    /// A Kafka that runs already, instead of the one that is started for what needs a real broker.
    #[arg(long)]
    pub bootstrap: Option<String>,
    /// The process whose CPU seconds are the broker's, with --bootstrap.
    #[arg(long)]
    pub broker_pid: Option<u32>,
    /// Only what the in-process broker can show.
    #[arg(long)]
    pub no_kafka: bool,
    /// Records of 100 B in two partitions of the real Kafka: enough for files of 128 MiB.
    #[arg(long, default_value_t = 24_000_000)]
    pub kafka_records: i64,
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
        let order: arms::Order = serde_json::from_str(order).context("--arm")?;
        println!("{}", serde_json::to_string(&arms::run(&order)?)?);
        return Ok(());
    }
    let memory = units::parse_size(&options.memory).context("--memory is a size such as 512MiB")?;
    let report = Bench::new(&options, memory)?.run()?;
    table::print(&report);
    let path = table::write(&report)?;
    println!("\nwritten to {}", path.display());
    Ok(())
}
