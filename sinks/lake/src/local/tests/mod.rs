//! What the local disk must do, shown on a real one.

mod crash;
mod disk;
mod files;
mod listing;
mod locks;

use std::path::Path;

use bytes::Bytes;
use futures::StreamExt;

use super::*;
use crate::block_on;

/// A lake in a directory of its own, in both ways of making drafts.
fn both() -> Vec<(tempfile::TempDir, LocalLake)> {
    [false, true].into_iter().map(fresh).collect()
}

fn fresh(named: bool) -> (tempfile::TempDir, LocalLake) {
    let dir = tempfile::tempdir().unwrap();
    let lake = LocalLake::open_with(&dir.path().join("lake"), 4, named).unwrap();
    (dir, lake)
}

fn staged(lake: &LocalLake, content: &[u8]) -> Box<dyn Staged> {
    let mut staged = lake.stage().unwrap();
    staged.write(content).unwrap();
    staged
}

fn names(lake: &dyn Lake, prefix: &str, after: Option<&str>) -> Vec<String> {
    block_on(async {
        let listing = lake.list(prefix, after).await.unwrap();
        listing.map(|entry| entry.unwrap().path).collect().await
    })
}

fn text(lake: &dyn Lake, path: &str) -> Option<String> {
    block_on(lake.read(path)).unwrap().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

/// Every file below a directory, as the operating system shows it.
fn on_disk(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(on_disk(&entry.path()));
        } else {
            found.push(entry.path().display().to_string());
        }
    }
    found
}
