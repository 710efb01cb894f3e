//! What a run says of itself while all is well: where it begins, and now and then what has landed.

use std::sync::Arc;
use std::time::Duration;

use super::Plant;
use crate::kafka::TopicMeta;
use crate::status::{Board, Totals};

const PERIOD: Duration = Duration::from_secs(30);
/// Topics that are named one by one; a pattern may match thousands.
const NAMED: usize = 20;

pub(super) fn begins(plant: &Plant, cluster: &str) {
    tracing::info!(
        "Kafka cluster {cluster}; lake {} (id {}); {} checkpoint store {}; group {}",
        plant.origin.lake().url(),
        plant.origin.lake_id(),
        plant.store.kind(),
        plant.store.id(),
        plant.group
    );
}

/// Topics with partitions that were not landed before in this run.
pub(super) fn found(topics: &[TopicMeta]) {
    for topic in topics.iter().take(NAMED) {
        tracing::info!("landing topic {} with {} partition(s)", topic.name, topic.partitions);
    }
    if topics.len() > NAMED {
        tracing::info!("landing {} topics more", topics.len() - NAMED);
    }
}

/// Every half a minute in which something landed, until it is aborted.
pub(super) async fn keep_telling(board: Arc<Board>) {
    let mut told = board.totals();
    loop {
        tokio::time::sleep(PERIOD).await;
        let now = board.totals();
        if let Some(line) = line(told, now) {
            tracing::info!("{line}");
        }
        told = now;
    }
}

/// What the whole run landed.
pub(super) fn ends(board: &Board) {
    let Totals { files, records, bytes, .. } = board.totals();
    tracing::info!("landed {records} records in {files} files, {bytes} bytes, in this run");
}

fn line(before: Totals, now: Totals) -> Option<String> {
    let files = now.files - before.files;
    let (records, bytes) = (now.records - before.records, now.bytes - before.bytes);
    let stopped = if now.stopped > 0 { format!("; {} stream(s) stopped", now.stopped) } else { String::new() };
    (files > 0).then(|| {
        format!("landed {records} records in {files} files, {bytes} bytes; {} records behind{stopped}", now.lag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_told() {
        let before = Totals { files: 2, records: 10, bytes: 100, ..Totals::default() };
        assert_eq!(line(before, before), None);
        let now = Totals { files: 3, records: 15, bytes: 160, lag: 4, stopped: 1, ..before };
        assert_eq!(
            line(before, now).as_deref(),
            Some("landed 5 records in 1 files, 60 bytes; 4 records behind; 1 stream(s) stopped")
        );
    }
}
