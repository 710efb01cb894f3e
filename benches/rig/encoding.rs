//! Encoding alone: the product's own sink, fed with batches that were read before the clock started.

use std::sync::Arc;

use anyhow::{Context, ensure};
use arrow_array::RecordBatch;
use landfall::config::Config;
use landfall::sink::{Facts, Head, Isolation, Layout, Plan, Sink, Span, Stream};
use landfall_lake::Lake;
use landfall_sink_files::{ParquetOptions, ParquetSink};

use super::reading::read;
use super::work::{Cost, Stopwatch, Work};

/// As many partitions as fit into this are read first, or as much of them, and encoded again and again.
const SAMPLE: usize = 96 << 20;
/// So many records say what one takes.
const FEW: i64 = 50_000;

/// Into lakes that `lake_of` makes, one for each time that the sample is encoded.
pub fn encode(work: &Work, lake_of: impl Fn(u64) -> anyhow::Result<Arc<dyn Lake>>) -> anyhow::Result<Cost> {
    let whole = work;
    let (work, sample) = &sample(work)?;
    let set: u64 = sample.iter().flatten().map(|batch| batch.num_rows() as u64).sum();
    ensure!(set > 0, "{} is empty", work.topic);
    let turns = whole.records().div_ceil(set);
    let runtime = runtime()?;
    let watch = Stopwatch::start()?;
    for turn in 0..turns {
        let sink = &sink(lake_of(turn)?, layout())?;
        let runtime = &runtime;
        let done: anyhow::Result<()> = std::thread::scope(|scope| {
            let encode = |worker: usize| {
                let mut mine = sample.iter().skip(worker).step_by(work.workers);
                mine.try_for_each(|batches| land(work, sink, batches, runtime))
            };
            let threads: Vec<_> = (0..work.workers).map(|worker| scope.spawn(move || encode(worker))).collect();
            threads.into_iter().try_for_each(|t| t.join().unwrap_or_else(|_| anyhow::bail!("an encoder panicked")))
        });
        done?;
    }
    watch.stop(set * turns)
}

/// The batches of the first partitions, as the product's reader cuts them, and what they are of the work.
fn sample(work: &Work) -> anyhow::Result<(Work, Vec<Vec<RecordBatch>>)> {
    let few = Work { records_each: work.records_each.min(FEW), ..work.clone() };
    let first = batches(&few, 0..1)?;
    let bytes: usize = first.iter().flatten().map(RecordBatch::get_array_memory_size).sum();
    let one = bytes as f64 / few.records_each.max(1) as f64;
    let workers = i32::try_from(work.workers)?;
    let fit = (SAMPLE as f64 / one.max(1.0)) as i64;
    let records_each = work.records_each.min(fit / i64::from(workers)).max(1);
    let partitions = i32::try_from(fit / records_each)?.max(workers).min(work.partitions);
    let part = Work { records_each, ..work.clone() };
    let batches = batches(&part, 0..partitions)?;
    Ok((part, batches))
}

fn batches(work: &Work, partitions: std::ops::Range<i32>) -> anyhow::Result<Vec<Vec<RecordBatch>>> {
    let mut all = vec![Vec::new(); partitions.len()];
    read(work, partitions, |partition, batch| {
        all[partition as usize].push(batch);
        Ok(())
    })?;
    Ok(all)
}

pub fn layout() -> Arc<Layout> {
    Arc::new(Layout {
        lake: "bench".into(),
        format: "parquet".into(),
        extension: "parquet".into(),
        path: "{topic}/{partition}".into(),
        isolation: Isolation::ReadCommitted,
    })
}

/// As the product makes it.
pub fn sink(lake: Arc<dyn Lake>, layout: Arc<Layout>) -> anyhow::Result<ParquetSink> {
    let row_group_bytes = usize::try_from(Config::default().lake.parquet.row_group_size)?;
    Ok(ParquetSink::new(lake, layout, ParquetOptions { row_group_bytes, ..ParquetOptions::default() })?)
}

/// One file of one partition, to the durable name.
fn land(
    work: &Work,
    sink: &ParquetSink,
    batches: &[RecordBatch],
    runtime: &tokio::runtime::Runtime,
) -> anyhow::Result<()> {
    let partition =
        batches.first().context("a partition is empty")?.column(landfall::sink::envelope::column::PARTITION);
    let partition = arrow_array::cast::as_primitive_array::<arrow_array::types::Int32Type>(partition).value(0);
    let stream = Stream { cluster: "bench".into(), topic: work.topic.clone(), topic_id: None, partition };
    let span = Span::new(0, work.records_each);
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

pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}
