//! The broker's own segment files: where a batch stands on the disk, and a byte of it turned over.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::Broker;

/// The fixed part of a record batch (version 2) on the disk.
const HEADER: u64 = 61;

/// One record batch in a segment file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBatch {
    pub file: PathBuf,
    pub position: u64,
    pub length: u64,
    pub first: i64,
    pub last: i64,
}

/// The batches of a partition in the order of their offsets.
pub fn batches(broker: &Broker, topic: &str, partition: i32) -> Vec<StoredBatch> {
    let dir = broker.log_dir().join(format!("{topic}-{partition}"));
    let mut segments: Vec<PathBuf> = std::fs::read_dir(&dir)
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    segments.sort();
    segments.iter().flat_map(|segment| in_segment(segment)).collect()
}

fn in_segment(path: &Path) -> Vec<StoredBatch> {
    let bytes = std::fs::read(path).expect("a segment");
    let number = |at: usize, width: usize| {
        let field = bytes[at..at + width].iter();
        field.fold(0i64, |sum, byte| (sum << 8) | i64::from(*byte))
    };
    let mut found = Vec::new();
    let mut at = 0usize;
    while at as u64 + HEADER <= bytes.len() as u64 {
        let (first, size, last) = (number(at, 8), number(at + 8, 4), number(at + 23, 4));
        let length = 12 + usize::try_from(size).expect("a size");
        if size == 0 || at + length > bytes.len() {
            break;
        }
        found.push(StoredBatch {
            file: path.into(),
            position: at as u64,
            length: length as u64,
            first,
            last: first + last,
        });
        at += length;
    }
    found
}

/// Turns over one bit in the middle of the batch's records. Do it while the broker is down: it then serves
/// the batch without looking at its checksum, as it would serve what a failing disk gives back.
pub fn flip(batch: &StoredBatch) {
    let file = File::options().read(true).write(true).open(&batch.file).expect("a segment");
    let at = batch.position + HEADER + (batch.length - HEADER) / 2;
    let mut byte = [0u8];
    file.read_exact_at(&mut byte, at).expect("a byte");
    byte[0] ^= 0x10;
    file.write_all_at(&byte, at).expect("a byte");
    file.sync_all().expect("on the disk");
}
