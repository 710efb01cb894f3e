//! One arm at a time, in a process of its own, on a lake of its own: what it cost, and what its servers did meanwhile.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Options;
use crate::apart;
use crate::arms::{Kind, Order};
use crate::line::Line;
use crate::rig::gauge;
use crate::rig::servers::Server;
use crate::rig::work::{Cost, Work};
use crate::store::{self, Place, S3Server};

/// One arm, as seen from outside. CPU seconds are for a million records.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Seen {
    pub cpu_s_per_million: f64,
    pub broker_cpu_s_per_million: f64,
    pub store_cpu_s_per_million: f64,
    pub records_per_s: f64,
    pub peak_rss_mb: f64,
    pub records: u64,
    pub files: u64,
    pub file_bytes: u64,
    /// Cores that other programs kept busy meanwhile.
    pub others: f64,
}

/// Where a lake of an arm stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    Disk,
    Bucket {
        signed: bool,
    },
    /// The same bucket at the end of a long line.
    Far,
}

pub const BUCKET: Where = Where::Bucket { signed: false };
pub const SIGNED: Where = Where::Bucket { signed: true };

/// A topic of a broker, with so many records in each partition.
pub struct Topic<'a> {
    pub server: &'a Server,
    pub name: String,
    pub partitions: i32,
    pub records_each: i64,
}

/// The machine that the arms run on.
pub struct Bench {
    pub options: Options,
    pub memory: u64,
    pub workers: usize,
    pub cores: usize,
    pub store: S3Server,
    far: Line,
    pub dir: PathBuf,
    lakes: AtomicUsize,
}

/// `lake.roll.max_size`, `max_age` and `max_records` as they are by default.
const MAX_SIZE: u64 = 128 << 20;
const MAX_AGE: Duration = Duration::from_secs(60);
const MAX_RECORDS: u64 = 10_000_000;

/// A lake that is removed with this value.
pub struct Site {
    pub place: Place,
    /// For spools, and for the lake on the disk.
    pub dir: PathBuf,
    /// Where its objects stand, as files.
    pub objects: PathBuf,
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.objects);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Bench {
    pub fn new(options: &Options, memory: u64) -> anyhow::Result<Bench> {
        let cores = std::thread::available_parallelism()?.get();
        if options.apart {
            apart::leave_the_first_core(cores)?;
        }
        let own = if options.apart { 1 } else { cores };
        let root = options.dir.clone().unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).to_owned());
        let dir = root.join(format!("bench-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        let store = S3Server::start(store::Kind::Versitygw);
        let rate = options.far_mb.max(1) as f64 * 1e6;
        Ok(Bench {
            far: Line::before(store.port, Duration::from_millis(options.far_ms), rate)?,
            options: options.clone(),
            memory,
            workers: if options.workers == 0 { own } else { options.workers },
            cores,
            store,
            dir: dir.canonicalize()?,
            lakes: AtomicUsize::new(0),
        })
    }

    /// A lake that nobody has used.
    pub fn site(&self, at: Where) -> anyhow::Result<Site> {
        let name = format!("lake-{}", self.lakes.fetch_add(1, Ordering::Relaxed));
        let dir = self.dir.join(&name);
        std::fs::create_dir_all(&dir)?;
        Ok(match at {
            Where::Disk => {
                let objects = dir.join("lake");
                Site { place: Place::disk(&objects), objects, dir }
            }
            Where::Bucket { signed } => {
                let place = Place::bucket(&self.store, &name, signed);
                Site { place, objects: self.store.objects(&name), dir }
            }
            Where::Far => {
                let place = Place::bucket(&self.store, &name, false).through(self.far.port);
                Site { place, objects: self.store.objects(&name), dir }
            }
        })
    }

    pub fn order(&self, kind: Kind, topic: &Topic<'_>, site: &Site) -> Order {
        let work = Work {
            bootstrap: topic.server.bootstrap.clone(),
            topic: topic.name.clone(),
            partitions: topic.partitions,
            records_each: topic.records_each,
            memory: self.memory,
            workers: self.workers,
            max_size: MAX_SIZE,
        };
        let (place, dir) = (site.place.clone(), site.dir.clone());
        Order { kind, work, place, max_age: MAX_AGE, max_records: MAX_RECORDS, dir }
    }

    /// The answer of an arm.
    pub fn ask<A: DeserializeOwned>(&self, order: &Order) -> anyhow::Result<A> {
        let mut command = arm(order)?;
        if self.options.apart {
            command = apart::on_the_first_core(&command);
        }
        let output = command.output()?;
        ensure!(output.status.success(), "{:?} of {} failed", order.kind, order.work.topic);
        serde_json::from_slice(&output.stdout).context("an arm's answer")
    }

    /// The cost of an arm, and of its servers meanwhile.
    pub fn cost(&self, topic: &Topic<'_>, order: &Order, site: &Site) -> anyhow::Result<Seen> {
        let cpu = |pid: Option<u32>| pid.map_or(Ok(0.0), gauge::cpu_seconds);
        let (broker, store) = (cpu(topic.server.pid)?, cpu(self.store.pid())?);
        let cost: Cost = self.ask(order)?;
        // Encoding alone asks the broker only while it prepares.
        let broker = if order.kind == Kind::Encode { 0.0 } else { cpu(topic.server.pid)? - broker };
        let store = cpu(self.store.pid())? - store;
        let (files, file_bytes) =
            if site.objects.exists() { crate::rig::work::written(&site.objects)? } else { (0, 0) };
        let millions = cost.records as f64 / 1e6;
        Ok(Seen {
            cpu_s_per_million: cost.cpu_seconds / millions,
            broker_cpu_s_per_million: broker / millions,
            store_cpu_s_per_million: store / millions,
            records_per_s: cost.records as f64 / cost.seconds,
            peak_rss_mb: cost.peak_rss_mb,
            records: cost.records,
            files,
            file_bytes,
            others: ((cost.machine_cpu_seconds - cost.cpu_seconds - broker - store) / cost.seconds).max(0.0),
        })
    }
}

/// An arm as a process that is not started yet.
pub fn arm(order: &Order) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--arm").arg(serde_json::to_string(order)?);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    Ok(command)
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
        let _ = std::fs::remove_dir_all(self.store.objects(""));
    }
}
