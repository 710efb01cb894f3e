//! The rounds: every arm in turn, several times over, so that a neighbour on the machine disturbs all alike.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde::Serialize;

use crate::Options;
use crate::arms::{Kind, Order};
use crate::rig::servers::Server;
use crate::rig::shapes::{Shape, shape};
use crate::rig::work::{Cost, Work};
use crate::rig::{self, gauge};

/// One arm, as seen from outside.
#[derive(Debug, Clone, Serialize)]
pub struct Seen {
    pub cpu_s_per_million: f64,
    pub broker_cpu_s_per_million: f64,
    pub records_per_s: f64,
    pub peak_rss_mb: f64,
    pub seconds: f64,
    pub records: u64,
    pub files: u64,
    pub file_bytes: u64,
    /// Cores that other programs kept busy meanwhile.
    pub others: f64,
}

/// The medians of one shape.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    pub whole_over_ceiling: f64,
    /// The same without the clock: CPU seconds of the parts over those of the whole, brokers included.
    pub parts_over_whole: f64,
    pub cpu_s_per_million: f64,
    pub records_per_s: f64,
    pub peak_rss_mb: f64,
    pub ceiling_records_per_s: f64,
    pub consume: Seen,
    pub encode: Seen,
    pub whole: Seen,
}

/// What only a real broker can show.
#[derive(Debug, Clone, Serialize)]
pub struct OnKafka {
    pub protocol_overhead: f64,
    pub whole: Seen,
    pub hasty: Seen,
    /// One partition, all workers.
    pub hot_partition: Seen,
    /// A hundred partitions at once with `limits.memory` = 192 MiB.
    pub busy_partitions: Seen,
}

#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub cores: usize,
    pub workers: usize,
    pub limits_memory: u64,
    pub rounds: usize,
    pub shapes: BTreeMap<String, Figures>,
    pub kafka: Option<OnKafka>,
    /// Why there is nothing of a real broker.
    pub kafka_missing: Option<String>,
}

pub struct Bench {
    options: Options,
    shapes: Vec<Shape>,
    memory: u64,
    workers: usize,
    cores: usize,
    dir: PathBuf,
}

/// `lake.roll.max_size`, as it is by default.
const FILE: u64 = 128 << 20;
const LITTLE_MEMORY: u64 = 192 << 20;
const BUSY: i32 = 100;

impl Bench {
    pub fn new(options: &Options, memory: u64) -> anyhow::Result<Bench> {
        let find = |name: &String| shape(name).with_context(|| format!("no shape {name}: 100B, 1KB, json"));
        let cores = std::thread::available_parallelism()?.get();
        let root = options.dir.clone().unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).to_owned());
        let dir = root.join(format!("bench-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        Ok(Bench {
            options: options.clone(),
            shapes: options.shapes.iter().map(find).collect::<anyhow::Result<_>>()?,
            memory,
            workers: if options.workers == 0 { cores } else { options.workers },
            cores,
            dir: dir.canonicalize()?,
        })
    }

    pub fn run(&self) -> anyhow::Result<Report> {
        let mut shapes = BTreeMap::new();
        for shape in &self.shapes {
            shapes.insert(shape.name.to_owned(), self.shape(shape)?);
        }
        let mut kafka_missing = None;
        let kafka = match self.options.no_kafka {
            true => Err(anyhow::anyhow!("--no-kafka was given")),
            false => self.kafka(),
        };
        let kafka = kafka.map_err(|why| kafka_missing = Some(format!("{why:#}"))).ok();
        Ok(Report {
            cores: self.cores,
            workers: self.workers,
            limits_memory: self.memory,
            rounds: self.options.rounds,
            shapes,
            kafka,
            kafka_missing,
        })
    }

    fn shape(&self, shape: &Shape) -> anyhow::Result<Figures> {
        let each = (shape.records as f64 * self.options.scale) as i64 / i64::from(shape.partitions);
        let server = Server::playground(&[(shape.name, shape.partitions)])?;
        eprintln!("{}: writing {} records", shape.name, each * i64::from(shape.partitions));
        server.fill(shape.name, shape.partitions, each, shape)?;
        let mut seen: BTreeMap<&str, Vec<Seen>> = BTreeMap::new();
        for round in 1..=self.options.rounds {
            for (name, kind) in [("consume", Kind::Consume), ("encode", Kind::Encode), ("whole", Kind::Whole)] {
                let order = self.order(kind, &server, shape.name, shape.partitions, each);
                let arm = self.arm(&server, order)?;
                eprintln!("{}: round {round} {name:8} {}", shape.name, line(&arm));
                seen.entry(name).or_default().push(arm);
            }
        }
        let of = |name: &str| medians(seen.get(name).map_or(&[], Vec::as_slice));
        Ok(self.figures(of("consume")?, of("encode")?, of("whole")?))
    }

    fn figures(&self, consume: Seen, encode: Seen, whole: Seen) -> Figures {
        let broker = whole.broker_cpu_s_per_million;
        let parts = consume.cpu_s_per_million + encode.cpu_s_per_million + broker;
        let ceiling = self.cores as f64 / parts * 1e6;
        Figures {
            whole_over_ceiling: whole.records_per_s / ceiling,
            parts_over_whole: parts / (whole.cpu_s_per_million + broker),
            cpu_s_per_million: whole.cpu_s_per_million,
            records_per_s: whole.records_per_s,
            peak_rss_mb: whole.peak_rss_mb,
            ceiling_records_per_s: ceiling,
            consume,
            encode,
            whole,
        }
    }

    fn kafka(&self) -> anyhow::Result<OnKafka> {
        let server = match &self.options.bootstrap {
            Some(bootstrap) => Server::given(bootstrap, self.options.broker_pid),
            None => Server::kafka(&self.dir)?,
        };
        let small = shape("100B").context("the shape of 100 B")?;
        let run = std::process::id();
        let all = self.options.kafka_records;
        let topics = [("large", 2, all / 2), ("hot", 1, all / 3), ("busy", BUSY, all / 2 / i64::from(BUSY))];
        for (name, partitions, each) in topics {
            eprintln!("kafka {name}: writing {} records", each * i64::from(partitions));
            server.create(&format!("{name}-{run}"), partitions)?;
            server.fill(&format!("{name}-{run}"), partitions, each, &small)?;
        }
        let mut seen: [Vec<Seen>; 4] = Default::default();
        for round in 1..=self.options.rounds {
            let arms = [(Kind::Whole, 0), (Kind::Hasty, 0), (Kind::Whole, 1), (Kind::Whole, 2)];
            for (at, (kind, topic)) in arms.into_iter().enumerate() {
                let (name, partitions, each) = topics[topic];
                let mut order = self.order(kind, &server, &format!("{name}-{run}"), partitions, each);
                if name == "busy" {
                    order.work.memory = LITTLE_MEMORY;
                }
                let arm = self.arm(&server, order)?;
                eprintln!("kafka: round {round} {name} {kind:?} {}", line(&arm));
                seen[at].push(arm);
            }
        }
        let (whole, hasty) = (medians(&seen[0])?, medians(&seen[1])?);
        Ok(OnKafka {
            protocol_overhead: whole.cpu_s_per_million / hasty.cpu_s_per_million - 1.0,
            whole,
            hasty,
            hot_partition: medians(&seen[2])?,
            busy_partitions: medians(&seen[3])?,
        })
    }

    fn order(&self, kind: Kind, server: &Server, topic: &str, partitions: i32, records_each: i64) -> Order {
        let work = Work {
            bootstrap: server.bootstrap.clone(),
            topic: topic.into(),
            partitions,
            records_each,
            memory: self.memory,
            workers: self.workers,
            max_size: FILE,
        };
        Order { kind, work, dir: self.dir.join("arm") }
    }

    /// One arm in a child, on an empty directory that is removed afterwards.
    fn arm(&self, server: &Server, order: Order) -> anyhow::Result<Seen> {
        let broker = || server.pid.map_or(Ok(0.0), gauge::cpu_seconds);
        std::fs::create_dir_all(&order.dir)?;
        let broker_before = broker()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--arm").arg(serde_json::to_string(&order)?).stdin(Stdio::null()).stderr(Stdio::inherit());
        let output = command.output()?;
        // Encoding alone asks the broker only while it prepares.
        let broker = if order.kind == Kind::Encode { 0.0 } else { broker()? - broker_before };
        std::fs::remove_dir_all(&order.dir)?;
        ensure!(output.status.success(), "{:?} of {} failed", order.kind, order.work.topic);
        let cost: Cost = serde_json::from_slice(&output.stdout).context("an arm's answer")?;
        let millions = cost.records as f64 / 1e6;
        Ok(Seen {
            cpu_s_per_million: cost.cpu_seconds / millions,
            broker_cpu_s_per_million: broker / millions,
            records_per_s: cost.records as f64 / cost.seconds,
            peak_rss_mb: cost.peak_rss_mb,
            seconds: cost.seconds,
            records: cost.records,
            files: cost.files,
            file_bytes: cost.file_bytes,
            others: ((cost.machine_cpu_seconds - cost.cpu_seconds - broker) / cost.seconds).max(0.0),
        })
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn line(seen: &Seen) -> String {
    format!(
        "{:.3} CPU s/M, broker {:.3}, {:.2} M/s, {:.0} MB, {:.1} s, others {:.1} cores",
        seen.cpu_s_per_million,
        seen.broker_cpu_s_per_million,
        seen.records_per_s / 1e6,
        seen.peak_rss_mb,
        seen.seconds,
        seen.others
    )
}

/// The median of each figure on its own; of memory, the worst.
fn medians(rounds: &[Seen]) -> anyhow::Result<Seen> {
    ensure!(!rounds.is_empty(), "--rounds must be at least 1");
    let median = |of: fn(&Seen) -> f64| rig::median(rounds.iter().map(of));
    Ok(Seen {
        cpu_s_per_million: median(|seen| seen.cpu_s_per_million),
        broker_cpu_s_per_million: median(|seen| seen.broker_cpu_s_per_million),
        records_per_s: median(|seen| seen.records_per_s),
        peak_rss_mb: rounds.iter().map(|seen| seen.peak_rss_mb).fold(0.0, f64::max),
        seconds: median(|seen| seen.seconds),
        records: rounds[0].records,
        files: rounds[0].files,
        file_bytes: rounds[0].file_bytes,
        others: median(|seen| seen.others),
    })
}
