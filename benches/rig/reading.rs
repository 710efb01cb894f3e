//! Reading alone: the product's own reader, from a topic into record batches.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use arrow_array::RecordBatch;
use landfall::kafka::{Constants, Event, Kafka, ReaderLimits, Settings, Start, Turn};
use landfall::sink::Isolation;

use super::work::{Cost, Stopwatch, Work};

/// Into record batches, which are thrown away.
pub fn consume(work: &Work) -> anyhow::Result<Cost> {
    let watch = Stopwatch::start()?;
    let mine = |worker: usize| (0..work.partitions).filter(move |p| *p as usize % work.workers == worker);
    let counts: Vec<anyhow::Result<u64>> = std::thread::scope(|scope| {
        let read = |worker| {
            let mut rows = 0;
            read(work, mine(worker), |_, batch| {
                rows += batch.num_rows() as u64;
                Ok(())
            })?;
            Ok(rows)
        };
        let threads: Vec<_> = (0..work.workers).map(|worker| scope.spawn(move || read(worker))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| anyhow::bail!("a reader panicked"))).collect()
    });
    let records = counts.into_iter().sum::<anyhow::Result<u64>>()?;
    ensure!(records == work.records(), "{records} records were read of {}", work.records());
    watch.stop(records)
}

/// Reads partitions from their first offset to `records_each` the way a worker of the product does.
pub fn read(
    work: &Work,
    partitions: impl Iterator<Item = i32>,
    mut each: impl FnMut(i32, RecordBatch) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let budget = work.budget();
    let limits = ReaderLimits {
        queued_bytes: budget.queued_bytes(),
        fetch_bytes: budget.fetch_bytes(),
        ..ReaderLimits::default()
    };
    let settings = Settings::new([("bootstrap.servers".into(), work.bootstrap.clone())].into())?;
    let mut reader = Kafka::connect(&settings)?.reader(Isolation::ReadCommitted, limits)?;
    let topic: Arc<str> = work.topic.as_str().into();
    let start = |partition: i32| Start {
        slot: partition as u32,
        topic: topic.clone(),
        partition,
        from: 0,
        lineage: None,
        stop: Some(work.records_each),
    };
    let starts: Vec<Start> = partitions.map(start).collect();
    let mut left = starts.len();
    reader.assign(starts)?;
    let (mut turn, enough) = (Turn::default(), budget.batch_bytes(work.max_size, left));
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
                Event::Fault(fault) => anyhow::bail!("{}/{slot}: {fault}", work.topic),
            }
            if !reader.columns(slot).is_empty() {
                each(slot as i32, reader.columns(slot).take(&constants(slot)))?;
            }
        }
        ensure!(Instant::now() < deadline, "{left} partitions of {} were not read in ten minutes", work.topic);
    }
    Ok(())
}
