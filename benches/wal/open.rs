//! How long a log takes to open, by what it holds.

use std::path::Path;
use std::time::Instant;

use landfall::wal::{AssignReason, Isolation, Options, Record, Run, Stream, Wal};

use crate::Measure;

/// Fills `segments` segments and leaves without closing, so that the last one is not sealed.
pub fn fill(dir: &Path, segment: u64, segments: usize) -> anyhow::Result<Measure> {
    let options = Options { segment_bytes: segment, ballast_bytes: 0, ..Options::default() };
    let (wal, _) = Wal::open(&dir.join("log"), options)?;
    let stream = Stream { cluster: "bench".into(), topic: "events".into(), topic_id: None, partition: 0 };
    let id = wal.stream(&stream, Isolation::ReadCommitted)?;
    wal.start_run(id, 0, AssignReason::Start)?;
    let value = vec![7; 1000];
    let mut offset = 0;
    // Nearly all of the last segment, in records of 1 KB.
    while wal.metrics().durable_lsn < segment * segments as u64 - segment / 8 {
        let records: Vec<Record<'_>> =
            (offset..offset + 64).map(|offset| Record { offset, value: Some(&value), ..Record::default() }).collect();
        offset += 64;
        let ticket = wal.append(id, Run::new(&records, offset))?;
        if offset % 1024 == 0 {
            wal.wait(ticket)?;
        }
    }
    let found = wal.metrics();
    // Not closed, as after a kill: the process that measured it ends here.
    std::mem::forget(wal);
    Ok(Measure { bytes: found.durable_lsn, fsyncs: found.segments, ..Measure::default() })
}

pub fn open(dir: &Path) -> anyhow::Result<Measure> {
    let started = Instant::now();
    let options = Options { ballast_bytes: 0, ..Options::default() };
    let (wal, _) = Wal::open(&dir.join("log"), options)?;
    let open_ms = started.elapsed().as_secs_f64() * 1e3;
    std::mem::forget(wal);
    Ok(Measure { open_ms, ..Measure::default() })
}
