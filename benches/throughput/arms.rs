//! The arms. Each runs in a process of its own, so that its CPU seconds and its memory are its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use arrow_array::RecordBatch;
use landfall::Landfall;
use landfall::config::StoreKind;
use landfall::kafka::{Constants, Event, Kafka, ReaderLimits, Settings, Start, Turn};
use landfall::pipeline::Budget;
use landfall::sink::{Facts, Head, Isolation, Layout, Plan, Sink, Span, Stream};
use landfall::supervisor::Mode;
use landfall_lake::{Lake, LocalLake};
use landfall_sink_files::{ParquetOptions, ParquetSink};
use serde::{Deserialize, Serialize};

use crate::gauge;
use crate::hasty::HastyLake;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The product's own reader into record batches, which are thrown away.
    Consume,
    /// The product's own sink, fed with batches that were read before the clock started.
    Encode,
    /// `landfall run --once`.
    Whole,
    /// The same with the checkpoints in memory, and nothing synced.
    Hasty,
}

/// What the parent asks of an arm: one argument, as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    pub kind: Kind,
    pub bootstrap: String,
    pub topic: String,
    pub partitions: i32,
    /// In every partition.
    pub records_each: i64,
    pub memory: u64,
    pub workers: usize,
    pub max_size: u64,
    /// An empty directory, on the disk that is measured.
    pub dir: PathBuf,
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

impl Order {
    fn records(&self) -> u64 {
        u64::try_from(self.records_each * i64::from(self.partitions)).unwrap_or_default()
    }

    fn budget(&self) -> Budget {
        Budget::new(usize::try_from(self.memory).unwrap_or(usize::MAX), self.workers)
    }
}

pub fn run(order: &Order) -> anyhow::Result<Cost> {
    let cost = match order.kind {
        Kind::Consume => consume(order),
        Kind::Encode => encode(order),
        Kind::Whole | Kind::Hasty => whole(order),
    }?;
    let (files, file_bytes) = written(&order.dir)?;
    Ok(Cost { files, file_bytes, ..cost })
}

/// Parquet files below a directory, and their bytes.
fn written(dir: &std::path::Path) -> anyhow::Result<(u64, u64)> {
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

/// What is measured: connecting and opening count, preparing does not.
struct Stopwatch {
    began: Instant,
    cpu: f64,
    machine: f64,
}

impl Stopwatch {
    fn start() -> anyhow::Result<Stopwatch> {
        let (cpu, machine) = (gauge::cpu_seconds(std::process::id())?, gauge::machine_busy_seconds());
        Ok(Stopwatch { began: Instant::now(), cpu, machine })
    }

    fn stop(self, records: u64) -> anyhow::Result<Cost> {
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

fn consume(order: &Order) -> anyhow::Result<Cost> {
    let watch = Stopwatch::start()?;
    let mine = |worker: usize| (0..order.partitions).filter(move |p| *p as usize % order.workers == worker);
    let counts: Vec<anyhow::Result<u64>> = std::thread::scope(|scope| {
        let read = |worker| {
            let mut rows = 0;
            read(order, mine(worker), |_, batch| {
                rows += batch.num_rows() as u64;
                Ok(())
            })?;
            Ok(rows)
        };
        let threads: Vec<_> = (0..order.workers).map(|worker| scope.spawn(move || read(worker))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| anyhow::bail!("a reader panicked"))).collect()
    });
    let records = counts.into_iter().sum::<anyhow::Result<u64>>()?;
    ensure!(records == order.records(), "{records} records were read of {}", order.records());
    watch.stop(records)
}

/// Reads partitions from their first offset to `records_each` the way a worker of the product does.
fn read(
    order: &Order,
    partitions: impl Iterator<Item = i32>,
    mut each: impl FnMut(i32, RecordBatch) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let budget = order.budget();
    let limits = ReaderLimits {
        queued_bytes: budget.queued_bytes(),
        fetch_bytes: budget.fetch_bytes(),
        ..ReaderLimits::default()
    };
    let settings = Settings::new([("bootstrap.servers".into(), order.bootstrap.clone())].into())?;
    let mut reader = Kafka::connect(&settings)?.reader(Isolation::ReadCommitted, limits)?;
    let topic: Arc<str> = order.topic.as_str().into();
    let start = |partition: i32| Start {
        slot: partition as u32,
        topic: topic.clone(),
        partition,
        from: 0,
        lineage: None,
        stop: Some(order.records_each),
    };
    let starts: Vec<Start> = partitions.map(start).collect();
    let mut left = starts.len();
    reader.assign(starts)?;
    let (mut turn, enough) = (Turn::default(), budget.batch_bytes(order.max_size, left));
    let constants = |slot: u32| Constants { topic: topic.clone(), partition: slot as i32 };
    let deadline = Instant::now() + Duration::from_secs(600);
    while left > 0 {
        reader.poll(Duration::from_millis(20), &mut turn);
        for slot in &turn.touched {
            if reader.columns(*slot).bytes() >= enough {
                each(*slot as i32, reader.columns(*slot).take(&constants(*slot)))?;
            }
        }
        let events: Vec<_> = turn.events.drain(..).collect();
        for (slot, event) in events {
            match event {
                Event::Stop => left -= 1,
                Event::End(_) => {}
                Event::Fault(fault) => anyhow::bail!("{}/{slot}: {fault}", order.topic),
            }
            if !reader.columns(slot).is_empty() {
                each(slot as i32, reader.columns(slot).take(&constants(slot)))?;
            }
        }
        ensure!(Instant::now() < deadline, "{left} partitions of {} were not read in ten minutes", order.topic);
    }
    Ok(())
}

/// As many partitions as fit into this are read first, and encoded again and again.
const SAMPLE: usize = 96 << 20;

fn encode(order: &Order) -> anyhow::Result<Cost> {
    let sample = sample(order)?;
    let set: u64 = sample.iter().flatten().map(|batch| batch.num_rows() as u64).sum();
    ensure!(set > 0, "{} is empty", order.topic);
    let turns = order.records().div_ceil(set);
    let runtime = runtime()?;
    let watch = Stopwatch::start()?;
    for turn in 0..turns {
        let sink = &sink_of(&order.dir.join(format!("turn-{turn}")))?;
        let (sample, runtime) = (&sample, &runtime);
        let done: anyhow::Result<()> = std::thread::scope(|scope| {
            let work = |worker: usize| {
                let mut mine = sample.iter().skip(worker).step_by(order.workers);
                mine.try_for_each(|batches| land(order, sink, batches, runtime))
            };
            let threads: Vec<_> = (0..order.workers).map(|worker| scope.spawn(move || work(worker))).collect();
            threads.into_iter().try_for_each(|t| t.join().unwrap_or_else(|_| anyhow::bail!("an encoder panicked")))
        });
        done?;
    }
    watch.stop(set * turns)
}

/// The batches of the first partitions, as the product's reader cuts them.
fn sample(order: &Order) -> anyhow::Result<Vec<Vec<RecordBatch>>> {
    let first = batches(order, 0..1)?;
    let one: usize = first.iter().flatten().map(RecordBatch::get_array_memory_size).sum();
    let workers = i32::try_from(order.workers)?;
    let partitions = i32::try_from(SAMPLE / one.max(1))?.max(workers).min(order.partitions);
    batches(order, 0..partitions)
}

fn batches(order: &Order, partitions: std::ops::Range<i32>) -> anyhow::Result<Vec<Vec<RecordBatch>>> {
    let mut all = vec![Vec::new(); partitions.len()];
    read(order, partitions, |partition, batch| {
        all[partition as usize].push(batch);
        Ok(())
    })?;
    Ok(all)
}

fn layout() -> Arc<Layout> {
    Arc::new(Layout {
        lake: "bench".into(),
        format: "parquet".into(),
        extension: "parquet".into(),
        path: "{topic}/{partition}".into(),
        isolation: Isolation::ReadCommitted,
    })
}

fn sink_of(dir: &std::path::Path) -> anyhow::Result<ParquetSink> {
    let options = ParquetOptions { row_group_bytes: ROW_GROUP, ..ParquetOptions::default() };
    Ok(ParquetSink::new(Arc::new(LocalLake::open(dir, 4)?), layout(), options)?)
}

/// The default of `lake.parquet.row_group_size`.
const ROW_GROUP: usize = 32 << 20;

/// One file of one partition, to the durable name.
fn land(
    order: &Order,
    sink: &ParquetSink,
    batches: &[RecordBatch],
    runtime: &tokio::runtime::Runtime,
) -> anyhow::Result<()> {
    let partition =
        batches.first().context("a partition is empty")?.column(landfall::sink::envelope::column::PARTITION);
    let partition = arrow_array::cast::as_primitive_array::<arrow_array::types::Int32Type>(partition).value(0);
    let stream = Stream { cluster: "bench".into(), topic: order.topic.clone(), topic_id: None, partition };
    let span = Span::new(0, order.records_each);
    let mut writer = sink.begin(&Head { stream: stream.clone(), from: 0, layout: layout() })?;
    for batch in batches {
        writer.write(batch)?;
    }
    let mut sealed = writer.seal(&Facts { span, gaps: Vec::new() })?;
    let landed = runtime.block_on(sealed.land(&Plan { stream, span, layout: layout() }))?;
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    ensure!(landed.rows == rows as u64, "{} rows stand instead of {rows}", landed.rows);
    Ok(())
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

fn whole(order: &Order) -> anyhow::Result<Cost> {
    let watch = Stopwatch::start()?;
    let lake = order.dir.join("lake");
    let landed = runtime()?.block_on(async {
        let landfall = Landfall::builder()
            .property("bootstrap.servers", &order.bootstrap)
            .topic(&order.topic)
            .lake(&format!("file://{}", lake.display()))
            .state(order.dir.join("state"))
            .max_size(order.max_size)
            .memory(order.memory)
            .workers(order.workers)
            .with(|config| match order.kind {
                Kind::Hasty => config.checkpoint.store = StoreKind::Memory,
                _ => config.checkpoint.store = StoreKind::Sled,
            })
            .open()
            .await?;
        match order.kind {
            Kind::Hasty => {
                let own = Layout { lake: landfall.lake_id().to_owned(), ..(*layout()).clone() };
                let hasty: Arc<dyn Lake> = Arc::new(HastyLake::new(&lake)?);
                let options = ParquetOptions { row_group_bytes: ROW_GROUP, ..ParquetOptions::default() };
                let sink = Arc::new(ParquetSink::new(hasty, Arc::new(own), options)?);
                landfall.run_sink(sink, Mode::Once, std::future::pending()).await?;
            }
            _ => landfall.run_once(std::future::pending()).await?,
        }
        let mut landed = 0;
        for stream in landfall.store().streams().await? {
            landed += landfall.store().load(&stream).await?.map_or(0, |checkpoint| checkpoint.committed());
        }
        anyhow::Ok(u64::try_from(landed)?)
    })?;
    ensure!(landed == order.records(), "{landed} offsets are committed of {}", order.records());
    watch.stop(landed)
}
