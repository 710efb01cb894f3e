//! What an arm is to land, and what it cost.

use std::io;
use std::path::Path;
use std::time::Instant;

use landfall::pipeline::Budget;
use serde::{Deserialize, Serialize};

use super::gauge;

/// A topic, and what may be used to land it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Work {
    pub bootstrap: String,
    pub topic: String,
    pub partitions: i32,
    /// In every partition.
    pub records_each: i64,
    pub memory: u64,
    pub workers: usize,
    pub max_size: u64,
}

impl Work {
    pub fn records(&self) -> u64 {
        u64::try_from(self.records_each * i64::from(self.partitions)).unwrap_or_default()
    }

    pub fn budget(&self) -> Budget {
        Budget::new(usize::try_from(self.memory).unwrap_or(usize::MAX), self.workers)
    }
}

/// What an arm answers, as JSON on its standard output.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cost {
    pub records: u64,
    pub seconds: f64,
    pub cpu_seconds: f64,
    pub peak_rss_mb: f64,
    /// What the whole machine did meanwhile, this arm included.
    pub machine_cpu_seconds: f64,
    /// What it wrote.
    pub files: u64,
    pub file_bytes: u64,
}

/// What is measured: connecting and opening count, preparing does not.
pub struct Stopwatch {
    began: Instant,
    cpu: f64,
    machine: f64,
}

impl Stopwatch {
    pub fn start() -> anyhow::Result<Stopwatch> {
        let (cpu, machine) = (gauge::cpu_seconds(std::process::id())?, gauge::machine_busy_seconds());
        Ok(Stopwatch { began: Instant::now(), cpu, machine })
    }

    pub fn stop(self, records: u64) -> anyhow::Result<Cost> {
        Ok(Cost {
            records,
            seconds: self.began.elapsed().as_secs_f64(),
            cpu_seconds: gauge::cpu_seconds(std::process::id())? - self.cpu,
            peak_rss_mb: gauge::peak_rss_mb(),
            machine_cpu_seconds: gauge::machine_busy_seconds() - self.machine,
            files: 0,
            file_bytes: 0,
        })
    }
}

/// Parquet files below a directory, and their bytes.
pub fn written(dir: &Path) -> io::Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            let below = written(&path)?;
            (files, bytes) = (files + below.0, bytes + below.1);
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            (files, bytes) = (files + 1, bytes + path.metadata()?.len());
        }
    }
    Ok((files, bytes))
}
