//! Step five: committed offsets are announced to a consumer group, for lag monitors. They are never read
//! back as positions, and a failure matters to nobody else.

use std::collections::BTreeMap;
use std::time::Duration;

use landfall_lake::fault;
use landfall_sink::Stream;
use tokio::sync::mpsc;

use super::births::blocking;
use crate::kafka::Kafka;

const PERIOD: Duration = Duration::from_secs(5);

pub(super) struct Group {
    pub name: String,
    /// Goes with every announcement, so that two lakes on one group are noticed.
    pub lake: String,
}

/// Until the last stream has ended; then once more.
pub(super) async fn announcer(kafka: Kafka, group: Group, mut committed: mpsc::UnboundedReceiver<(Stream, i64)>) {
    let mut newest: BTreeMap<(String, i32), i64> = BTreeMap::new();
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
        let offsets: Vec<(String, i32, i64)> = std::mem::take(&mut newest)
            .into_iter()
            .map(|((topic, partition), offset)| (topic, partition, offset))
            .collect();
        if !offsets.is_empty() && !foreign {
            foreign = is_foreign(&kafka, &group, &offsets).await;
        }
        if !offsets.is_empty() && !foreign {
            let (name, lake) = (group.name.clone(), group.lake.clone());
            let done = blocking(&kafka, move |kafka| kafka.announce(&name, &offsets, &lake)).await;
            if let Err(error) = done
                && !std::mem::replace(&mut told, true)
            {
                tracing::warn!("committed offsets could not be announced to group {}: {error}", group.name);
            }
            drop(fault::point("pipeline.after_announce"));
        }
        if !open {
            return;
        }
    }
}

/// Two lakes that announce to one group would overwrite each other's offsets: the later one keeps silent.
async fn is_foreign(kafka: &Kafka, group: &Group, offsets: &[(String, i32, i64)]) -> bool {
    let partitions: Vec<(String, i32)> =
        offsets.iter().map(|(topic, partition, _)| (topic.clone(), *partition)).collect();
    let name = group.name.clone();
    let found = blocking(kafka, move |kafka| kafka.announced(&name, &partitions)).await.unwrap_or_default();
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
    foreign.is_some()
}
