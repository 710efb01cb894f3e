//! The write-ahead log on its own, and a tool to try it from outside:
//!
//! ```text
//! wal write DIR --streams 4 --record-bytes 100 --records N   appends; prints "stream offset" when it is durable
//! wal read DIR                                               prints "stream offset crc32c-of-value" in order
//! ```
//!
//! `write` goes on where the log ends, so it can be killed at any moment and started again. A value is a function of
//! its stream and offset, so whoever reads it can check it.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use landfall::wal::{AssignReason, Floor, Isolation, Options, Record, Run, Stream, Wal};

type AnyError = Box<dyn std::error::Error>;

fn main() -> Result<(), AnyError> {
    let mut args = std::env::args().skip(1);
    let (Some(command), Some(directory)) = (args.next(), args.next()) else {
        return Err("usage: wal write DIR [--streams 4] [--record-bytes 100] [--records N] [--segment-bytes B] [--retire] | wal read DIR".into());
    };
    let directory = PathBuf::from(directory);
    match command.as_str() {
        "write" => write(&directory, &Wanted::parse(args)?),
        "read" => read(&directory),
        other => Err(format!("{other} is no command: write or read").into()),
    }
}

struct Wanted {
    streams: i32,
    record_bytes: usize,
    /// How many records of each stream the log shall hold in the end.
    records: i64,
    segment_bytes: u64,
    /// Gives segments back as if somebody had landed all but the newest records.
    retire: bool,
}

impl Wanted {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Wanted, AnyError> {
        let mut wanted =
            Wanted { streams: 4, record_bytes: 100, records: i64::MAX, segment_bytes: 128 << 20, retire: false };
        while let Some(name) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{name} needs a value"));
            match name.as_str() {
                "--streams" => wanted.streams = value()?.parse()?,
                "--record-bytes" => wanted.record_bytes = value()?.parse()?,
                "--records" => wanted.records = value()?.parse()?,
                "--segment-bytes" => wanted.segment_bytes = value()?.parse()?,
                "--retire" => wanted.retire = true,
                other => return Err(format!("{other} is no option").into()),
            }
        }
        Ok(wanted)
    }
}

fn stream(partition: i32) -> Stream {
    Stream { cluster: "example".into(), topic: "events".into(), topic_id: None, partition }
}

/// Bytes that anybody can compute again; those of another stream or offset differ.
fn value(partition: i32, offset: i64, len: usize) -> Vec<u8> {
    let mut seed = (partition as u64) << 48 ^ offset as u64 ^ 0x9e37_79b9_7f4a_7c15;
    let word = |seed: &mut u64| {
        *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        *seed >> 56
    };
    (0..len).map(|_| word(&mut seed) as u8).collect()
}

fn write(directory: &Path, wanted: &Wanted) -> Result<(), AnyError> {
    let options = Options { segment_bytes: wanted.segment_bytes, ballast_bytes: 0, ..Options::default() };
    let (wal, recovery) = Wal::open(directory, options)?;
    eprintln!("opened in {:?}: {:?}", recovery.took, recovery.tail);
    for lost in &recovery.tail_lost {
        eprintln!("lost: {lost}");
    }
    let at: Vec<AtomicI64> = (0..wanted.streams).map(|_| AtomicI64::new(0)).collect();
    std::thread::scope(|scope| {
        let (wal, at) = (&wal, &at[..]);
        let write = |partition: i32| {
            move || {
                let ended = append(wal, partition, wanted, at).map_err(|error| error.to_string());
                // Nobody waits for one that has ended.
                at[partition as usize].store(i64::MAX, Ordering::Relaxed);
                ended
            }
        };
        let writers: Vec<_> = (0..wanted.streams).map(|partition| scope.spawn(write(partition))).collect();
        writers.into_iter().try_for_each(|writer| writer.join().unwrap_or_else(|_| Err("a writer panicked".into())))
    })?;
    Ok(wal.close()?)
}

/// With `--retire`, how far a stream may get ahead of the slowest one, whose newest records keep everybody's segments:
/// on a small disk the log would be full of what is waiting for it, and whoever retires would wait as well.
const LEAD: i64 = 64;

/// One receiver: a run, and its acknowledgement when it is durable.
fn append(wal: &Wal, partition: i32, wanted: &Wanted, at: &[AtomicI64]) -> Result<(), AnyError> {
    let id = wal.stream(&stream(partition), Isolation::ReadCommitted)?;
    let mut offset = match wal.next_offset(id) {
        Some(next) => next,
        None => {
            wal.start_run(id, 0, AssignReason::Start)?;
            0
        }
    };
    while offset < wanted.records {
        at[partition as usize].store(offset, Ordering::Relaxed);
        let slowest = || at.iter().map(|at| at.load(Ordering::Relaxed)).min().unwrap_or(0);
        while wanted.retire && offset - slowest() > LEAD {
            std::thread::sleep(Duration::from_micros(100));
        }
        let value = value(partition, offset, wanted.record_bytes);
        let record = Record { offset, value: Some(&value), ..Record::default() };
        let ticket = wal.append(id, Run::new(&[record], offset + 1))?;
        wal.wait(ticket)?;
        // One write a line, so that a killed process leaves no half line behind.
        io::stdout().write_all(format!("{partition} {offset}\n").as_bytes())?;
        offset += 1;
        if wanted.retire && partition == 0 && offset % 64 == 0 {
            let committed = |p| {
                wal.stream(&stream(p), Isolation::ReadCommitted).ok().and_then(|id| wal.next_offset(id)).unwrap_or(0)
                    - 32
            };
            let floors: Vec<Floor> =
                (0..wanted.streams).map(|p| Floor { stream: stream(p), committed: committed(p) }).collect();
            wal.retire(&floors)?;
        }
    }
    Ok(())
}

fn read(directory: &Path) -> Result<(), AnyError> {
    let mut out = BufWriter::new(io::stdout().lock());
    let (wal, recovery) = Wal::open(directory, Options { ballast_bytes: 0, ..Options::default() })?;
    // Not all of 0 to n: a writer that was killed early may have begun with any of them.
    let mut partitions: Vec<i32> = recovery.streams.iter().map(|state| state.stream.partition).collect();
    partitions.sort_unstable();
    for partition in partitions {
        let id = wal.stream(&stream(partition), Isolation::ReadCommitted)?;
        for (from, until) in wal.held(id) {
            for frame in wal.cursor(id, from, until)? {
                for record in frame?.records() {
                    let record = record?;
                    let crc = crc32c::crc32c(record.value.unwrap_or_default());
                    writeln!(out, "{partition} {} {crc:08x}", record.offset)?;
                }
            }
        }
    }
    Ok(out.flush()?)
}
