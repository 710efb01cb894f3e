//! Step five: committed offsets are announced to a consumer group, for lag monitors. They are never read
//! back as positions, and a failure matters to nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use landfall_lake::fault;
use landfall_sink::Stream;
use tokio::sync::mpsc;

use super::births::blocking;
use crate::kafka::{Announced, Kafka, KafkaError};
use crate::status::Board;

const PERIOD: Duration = Duration::from_secs(5);
/// How often the group is asked whether it still holds what was announced.
const LOOK: Duration = Duration::from_secs(60);

pub(super) struct Group {
    pub name: String,
    /// Goes with every announcement, so that two lakes on one group are noticed.
    pub lake: String,
    /// Shows whether brokers are away: that is said for all, and not here again.
    pub board: Arc<Board>,
}

type Key = (String, i32);

/// What the streams of this process have committed, and what of it the group may not know.
#[derive(Default)]
struct Committed {
    /// With whether the stream has gone to another process, which announces what it commits itself.
    offsets: BTreeMap<Key, (i64, bool)>,
    fresh: BTreeSet<Key>,
}

impl Committed {
    /// `None`: the stream has ended here.
    fn hear(&mut self, stream: Stream, offset: Option<i64>) {
        let key = (stream.topic, stream.partition);
        match offset {
            Some(offset) => {
                self.fresh.insert(key.clone());
                self.offsets.insert(key, (offset, false));
            }
            None if self.fresh.contains(&key) => {
                self.offsets.entry(key).and_modify(|(_, gone)| *gone = true);
            }
            None => drop(self.offsets.remove(&key)),
        }
    }

    /// Of these partitions what the group should be told, which holds `found`. The offset of a stream that has gone
    /// may be older than what its new process announced.
    fn news(&self, found: &[Announced]) -> Vec<(String, i32, i64)> {
        let of = |told: &Announced| {
            let (offset, gone) = self.offsets.get(&(told.topic.clone(), told.partition))?;
            let is_news =
                if *gone { told.offset.is_none_or(|held| held < *offset) } else { told.offset != Some(*offset) };
            is_news.then(|| (told.topic.clone(), told.partition, *offset))
        };
        found.iter().filter_map(of).collect()
    }

    fn announced(&mut self) {
        self.fresh.clear();
        self.offsets.retain(|_, (_, gone)| !*gone);
    }
}

/// Until the last stream has ended; then once more. What could not be announced is announced with the next ones.
pub(super) async fn announcer(
    kafka: Kafka,
    group: Group,
    mut committed: mpsc::UnboundedReceiver<(Stream, Option<i64>)>,
) {
    let mut own = Committed::default();
    let (mut told, mut foreign, mut looked) = (false, false, Instant::now());
    loop {
        let period = tokio::time::sleep(PERIOD);
        tokio::pin!(period);
        let open = loop {
            tokio::select! {
                next = committed.recv() => match next {
                    Some((stream, offset)) => own.hear(stream, offset),
                    None => break false,
                },
                () = &mut period => break true,
            }
        };
        // A process that woke late may have announced what it had committed long ago.
        let all = open && looked.elapsed() >= LOOK && !own.offsets.is_empty();
        if (all || !own.fresh.is_empty()) && !foreign {
            looked = if all { Instant::now() } else { looked };
            match announce(&kafka, &group, &own, all).await {
                Ok(is_foreign) => {
                    foreign = is_foreign;
                    own.announced();
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
async fn announce(kafka: &Kafka, group: &Group, own: &Committed, all: bool) -> Result<bool, KafkaError> {
    let partitions: Vec<Key> =
        if all { own.offsets.keys().cloned().collect() } else { own.fresh.iter().cloned().collect() };
    let name = group.name.clone();
    let found = blocking(kafka, move |kafka| kafka.announced(&name, &partitions)).await?;
    if is_foreign(group, &found) {
        return Ok(true);
    }
    let news = own.news(&found);
    if !news.is_empty() {
        let (name, lake) = (group.name.clone(), group.lake.clone());
        blocking(kafka, move |kafka| kafka.announce(&name, &news, &lake)).await?;
    }
    Ok(false)
}

/// Two lakes that announce to one group would overwrite each other's offsets: the later one keeps silent.
fn is_foreign(group: &Group, found: &[Announced]) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(partition: i32) -> Stream {
        Stream { cluster: "c".into(), topic: "t".into(), topic_id: None, partition }
    }

    fn held(partition: i32, offset: Option<i64>) -> Announced {
        Announced { topic: "t".into(), partition, offset, metadata: String::new() }
    }

    #[test]
    fn what_the_group_holds_already_is_no_news() {
        let mut own = Committed::default();
        (0..3).for_each(|partition| own.hear(stream(partition), Some(100)));
        let found = [held(0, None), held(1, Some(100)), held(2, Some(200))];
        assert_eq!(own.news(&found), [("t".into(), 0, 100), ("t".into(), 2, 100)]);
    }

    #[test]
    fn who_has_given_a_partition_away_does_not_announce_behind_its_new_process() {
        let mut own = Committed::default();
        for partition in 0..2 {
            own.hear(stream(partition), Some(100));
            own.hear(stream(partition), None);
        }
        assert_eq!(own.news(&[held(0, Some(200)), held(1, Some(90))]), [("t".into(), 1, 100)]);
        own.announced();
        assert!(own.offsets.is_empty());
        // It comes back.
        own.hear(stream(0), Some(300));
        own.announced();
        assert_eq!(own.news(&[held(0, Some(250))]), [("t".into(), 0, 300)]);
        own.hear(stream(0), None);
        assert!(own.offsets.is_empty(), "everything of it was announced");
    }
}
