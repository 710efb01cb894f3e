//! Step five: committed offsets are announced to a consumer group, for lag monitors. They are never read
//! back as positions, and a failure matters to nobody else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use landfall_lake::fault;
use landfall_sink::Stream;
use tokio::sync::mpsc;

use super::births::blocking;
use crate::kafka::{Kafka, KafkaError};
use crate::status::Board;

const PERIOD: Duration = Duration::from_secs(5);

pub(super) struct Group {
    pub name: String,
    /// Goes with every announcement, so that two lakes on one group are noticed.
    pub lake: String,
    /// Shows whether brokers are away: that is said for all, and not here again.
    pub board: Arc<Board>,
}

/// By topic and partition.
type Newest = BTreeMap<(String, i32), i64>;

/// Until the last stream has ended; then once more. What could not be announced is announced with the next ones.
pub(super) async fn announcer(kafka: Kafka, group: Group, mut committed: mpsc::UnboundedReceiver<(Stream, i64)>) {
    let mut newest = Newest::new();
    let (mut told, mut foreign) = (false, false);
    loop {
        let period = tokio::time::sleep(PERIOD);
        tokio::pin!(period);
        let open = loop {
            tokio::select! {
                next = committed.recv() => match next {
                    Some((stream, offset)) => drop(newest.insert((stream.topic, stream.partition), offset)),
                    None => break false,
                },
                () = &mut period => break true,
            }
        };
        if !newest.is_empty() && !foreign {
            match announce(&kafka, &group, &newest).await {
                Ok(is_foreign) => {
                    foreign = is_foreign;
                    newest.clear();
                    if std::mem::take(&mut told) {
                        tracing::info!("committed offsets are announced to group {} again", group.name);
                    }
                }
                Err(error) if !(told || error.is_transient() && group.board.are_brokers_away()) => {
                    told = true;
                    tracing::warn!("committed offsets could not be announced to group {}: {error}", group.name);
                }
                Err(_) => {}
            }
            drop(fault::point("pipeline.after_announce"));
        }
        if !open {
            return;
        }
    }
}

/// Returns whether the group is another lake's: then nothing was announced.
async fn announce(kafka: &Kafka, group: &Group, newest: &Newest) -> Result<bool, KafkaError> {
    let offsets: Vec<(String, i32, i64)> =
        newest.iter().map(|((topic, partition), offset)| (topic.clone(), *partition, *offset)).collect();
    if is_foreign(kafka, group, &offsets).await? {
        return Ok(true);
    }
    let (name, lake) = (group.name.clone(), group.lake.clone());
    blocking(kafka, move |kafka| kafka.announce(&name, &offsets, &lake)).await?;
    Ok(false)
}

/// Two lakes that announce to one group would overwrite each other's offsets: the later one keeps silent.
async fn is_foreign(kafka: &Kafka, group: &Group, offsets: &[(String, i32, i64)]) -> Result<bool, KafkaError> {
    let partitions: Vec<(String, i32)> =
        offsets.iter().map(|(topic, partition, _)| (topic.clone(), *partition)).collect();
    let name = group.name.clone();
    let found = blocking(kafka, move |kafka| kafka.announced(&name, &partitions)).await?;
    let others = |metadata: &String| !metadata.is_empty() && *metadata != group.lake;
    let foreign = found.iter().find(|announced| others(&announced.metadata));
    if let Some(announced) = foreign {
        tracing::error!(
            "group {} has offsets of lake {} at {}/{}: nothing is announced; give each lake a group.id of its own in [kafka.properties]",
            group.name,
            announced.metadata,
            announced.topic,
            announced.partition
        );
    }
    Ok(foreign.is_some())
}
