//! The disk's own limit: write, fdatasync, and nothing else, over the very files that the log has recycled and will
//! write again. Files of its own would lie elsewhere on the disk, which alone makes a sync a fifth faster or slower.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::{Measure, append, cpu_seconds, percentile};

pub fn write(dir: &Path, bytes: usize, seconds: u64) -> anyhow::Result<Measure> {
    let files = recycled(dir)?;
    let buffer: Vec<u8> = (0..bytes).map(|at| ((at * 31) >> 3) as u8).collect();
    let (mut taken, mut at, mut file) = (Vec::new(), 0, 0);
    let (started, cpu) = (Instant::now(), cpu_seconds());
    while started.elapsed() < Duration::from_secs(seconds) {
        if at + bytes as u64 > files[file].1 {
            (at, file) = (0, (file + 1) % files.len());
        }
        let write = Instant::now();
        files[file].0.write_all_at(&buffer, at)?;
        files[file].0.sync_data()?;
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

/// Files that a log has written and retired, with their lengths. What stands in them means nothing to it.
fn recycled(dir: &Path) -> anyhow::Result<Vec<(File, u64)>> {
    append::settle(dir)?;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir.join("log"))? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("free-")) {
            let file = OpenOptions::new().write(true).open(&path).with_context(|| path.display().to_string())?;
            let len = file.metadata()?.len();
            files.push((file, len));
        }
    }
    anyhow::ensure!(!files.is_empty(), "the log in {} has recycled nothing", dir.display());
    Ok(files)
}
