//! The disk's own limit: write, fdatasync, and nothing else, over files whose blocks were written before, which is what
//! a log finds in its recycled segments.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::{Measure, cpu_seconds, percentile};

/// As the log's segments.
pub const FILE: u64 = 128 << 20;
pub const FILES: usize = 3;

pub fn write(dir: &Path, bytes: usize, seconds: u64) -> anyhow::Result<Measure> {
    let files = (0..FILES).map(|number| prepared(dir, number)).collect::<anyhow::Result<Vec<_>>>()?;
    let buffer: Vec<u8> = (0..bytes).map(|at| ((at * 31) >> 3) as u8).collect();
    let (mut taken, mut at, mut file) = (Vec::new(), 0, 0);
    let (started, cpu) = (Instant::now(), cpu_seconds());
    while started.elapsed() < Duration::from_secs(seconds) {
        if at + bytes as u64 > FILE {
            (at, file) = (0, (file + 1) % FILES);
        }
        let write = Instant::now();
        files[file].write_all_at(&buffer, at)?;
        files[file].sync_data()?;
        taken.push(write.elapsed().as_micros() as u64);
        at += bytes as u64;
    }
    let written = taken.len() as u64 * bytes as u64;
    Ok(Measure {
        seconds: started.elapsed().as_secs_f64(),
        bytes: written,
        payload: written,
        appends: taken.len() as u64,
        fsyncs: taken.len() as u64,
        cpu_seconds: cpu_seconds() - cpu,
        p50_us: percentile(&mut taken, 0.5),
        p99_us: percentile(&mut taken, 0.99),
        ..Measure::default()
    })
}

fn prepared(dir: &Path, number: usize) -> anyhow::Result<File> {
    let path = dir.join(format!("raw-{number}"));
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| path.display().to_string())?;
    if file.metadata()?.len() < FILE {
        let zeros = vec![0; 1 << 20];
        for block in 0..FILE >> 20 {
            file.write_all_at(&zeros, block << 20)?;
        }
        file.sync_all()?;
    }
    Ok(file)
}
