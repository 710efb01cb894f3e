//! The log at full rate, in its steady state: segments are retired while it is written, and written again.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use landfall::wal::{AssignReason, Floor, Isolation, Options, Record, Run, Stream, StreamId, Wal};

use crate::{Measure, cpu_seconds, percentile};

const SEGMENT: u64 = 128 << 20;
const RECYCLED: usize = 3;
/// As many as any arm has: each of them can keep a segment from being retired.
const STREAMS: i32 = 64;

fn stream(partition: i32) -> Stream {
    Stream { cluster: "bench".into(), topic: "events".into(), topic_id: None, partition }
}

/// A log with `streams` streams, whose files have all been written before.
fn steady(dir: &Path, streams: i32, group: usize) -> anyhow::Result<(Wal, Vec<StreamId>)> {
    settle(dir)?;
    open(dir, streams, group)
}

fn open(dir: &Path, streams: i32, group: usize) -> anyhow::Result<(Wal, Vec<StreamId>)> {
    let options = Options {
        segment_bytes: SEGMENT,
        group_bytes: group,
        staging_bytes: 2 * group.max(1 << 20),
        recycled: RECYCLED,
        ballast_bytes: 0,
        ..Options::default()
    };
    let (wal, _) = Wal::open(&dir.join("log"), options)?;
    let ids = (0..streams).map(|partition| open_stream(&wal, partition)).collect::<anyhow::Result<Vec<_>>>()?;
    Ok((wal, ids))
}

/// Leaves a log whose recycled files have been written to their ends, also those that an earlier arm closed early: the
/// first write to a block that is only reserved costs a word in the file system's journal.
pub fn settle(dir: &Path) -> anyhow::Result<()> {
    let (wal, ids) = open(dir, STREAMS, 1 << 20)?;
    retire(&wal, &ids)?;
    let (value, first) = (vec![7; 512 << 10], wal.metrics().segments);
    while wal.metrics().segments <= first + RECYCLED as u64 {
        let ticket = append(&wal, ids[0], &value)?;
        wal.wait(ticket)?;
    }
    retire(&wal, &ids)?;
    Ok(wal.close()?)
}

fn open_stream(wal: &Wal, partition: i32) -> anyhow::Result<StreamId> {
    let id = wal.stream(&stream(partition), Isolation::ReadCommitted)?;
    if wal.next_offset(id).is_none() {
        wal.start_run(id, 0, AssignReason::Start)?;
    }
    Ok(id)
}

fn append(wal: &Wal, id: StreamId, value: &[u8]) -> anyhow::Result<landfall::wal::Ticket> {
    let offset = wal.next_offset(id).unwrap_or(0);
    let record = Record { offset, value: Some(value), ..Record::default() };
    Ok(wal.append(id, Run::new(&[record], offset + 1))?)
}

/// As if everything had been landed.
fn retire(wal: &Wal, ids: &[StreamId]) -> anyhow::Result<()> {
    let committed = |partition: usize| wal.next_offset(ids[partition]).unwrap_or(0);
    let floors: Vec<Floor> =
        (0..ids.len()).map(|at| Floor { stream: stream(at as i32), committed: committed(at) }).collect();
    wal.retire(&floors)?;
    Ok(())
}

/// Retires now and then until `done`.
fn keep_retiring(wal: &Wal, ids: &[StreamId], done: &AtomicBool) -> anyhow::Result<()> {
    while !done.load(Ordering::Acquire) {
        std::thread::sleep(Duration::from_millis(20));
        retire(wal, ids)?;
    }
    Ok(())
}

/// Two appenders that never wait for an acknowledgement: groups are as long as they may be.
pub fn open_loop(dir: &Path, group: usize, seconds: u64) -> anyhow::Result<Measure> {
    // A group's total, header and padding included, is what the raw arm writes at a time.
    let (wal, ids) = steady(dir, 2, group - 4096)?;
    let value = vec![7; (group - 4096) / 4 - 256];
    let before = wal.metrics();
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let done = AtomicBool::new(false);
    let appends = std::thread::scope(|scope| -> anyhow::Result<u64> {
        let retiring = scope.spawn(|| keep_retiring(&wal, &ids, &done));
        let appenders: Vec<_> = ids
            .iter()
            .map(|id| {
                let (wal, value) = (&wal, &value);
                scope.spawn(move || -> anyhow::Result<u64> {
                    let mut appends = 0;
                    while started.elapsed() < Duration::from_secs(seconds) {
                        append(wal, *id, value)?;
                        appends += 1;
                    }
                    Ok(appends)
                })
            })
            .collect();
        let mut appends = 0;
        for appender in appenders {
            appends += appender.join().map_err(|_| anyhow::anyhow!("an appender panicked"))??;
        }
        for id in &ids {
            let ticket = append(&wal, *id, &value)?;
            wal.wait(ticket)?;
        }
        done.store(true, Ordering::Release);
        retiring.join().map_err(|_| anyhow::anyhow!("the retiring thread panicked"))??;
        Ok(appends + ids.len() as u64)
    })?;
    let (seconds, cpu_seconds, after) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu, wal.metrics());
    wal.close()?;
    Ok(Measure {
        seconds,
        cpu_seconds,
        bytes: after.bytes - before.bytes,
        payload: appends * value.len() as u64,
        appends,
        fsyncs: after.fsyncs - before.fsyncs,
        ..Measure::default()
    })
}

/// Appenders that each wait for their own record.
pub fn closed_loop(dir: &Path, appenders: usize, record: usize, seconds: u64) -> anyhow::Result<Measure> {
    let (wal, ids) = steady(dir, appenders as i32, 1 << 20)?;
    let value = vec![7; record];
    let taken = Mutex::new(Vec::new());
    let before = wal.metrics();
    let (started, cpu) = (Instant::now(), cpu_seconds());
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let threads: Vec<_> = ids
            .iter()
            .map(|id| {
                let (wal, value, taken) = (&wal, &value, &taken);
                scope.spawn(move || -> anyhow::Result<()> {
                    let mut mine = Vec::new();
                    while started.elapsed() < Duration::from_secs(seconds) {
                        let append_started = Instant::now();
                        let ticket = append(wal, *id, value)?;
                        wal.wait(ticket)?;
                        mine.push(append_started.elapsed().as_micros() as u64);
                    }
                    taken.lock().map_err(|_| anyhow::anyhow!("an appender panicked"))?.extend(mine);
                    Ok(())
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow::anyhow!("an appender panicked"))?)
    })?;
    let (seconds, cpu_seconds, after) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu, wal.metrics());
    retire(&wal, &ids)?;
    wal.close()?;
    let mut taken = taken.into_inner()?;
    Ok(Measure {
        seconds,
        cpu_seconds,
        bytes: after.bytes - before.bytes,
        payload: taken.len() as u64 * record as u64,
        appends: taken.len() as u64,
        fsyncs: after.fsyncs - before.fsyncs,
        p50_us: percentile(&mut taken, 0.5),
        p99_us: percentile(&mut taken, 0.99),
        ..Measure::default()
    })
}
