//! Which partitions this process plans: those that the consumer group gives to it, and at times a piece of a backlog
//! that another process plans. The group decides whose turn it is; what stands is decided by the checkpoints alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use landfall_sink::Stream;
use tokio::sync::watch;

use super::births::blocking;
use super::{ASK, Known, Plant, Run, RunError};
use crate::kafka::{At, Kafka, KafkaError, Membership, Share};
use crate::pipeline::Phase;

/// By topic and partition.
pub(super) type Key = (String, i32);

/// A worker that found nothing to do for so long may help elsewhere.
const IDLE: Duration = Duration::from_secs(2);
/// A partition that was helped with, in vain or not, is left alone for so long.
const REST: Duration = Duration::from_secs(20);
/// Partitions that are named one by one.
const NAMED: usize = 20;

/// The place of this process in its group.
pub(super) struct Sharing {
    membership: Membership,
    share: watch::Receiver<Share>,
    subscribed: BTreeSet<String>,
    /// What the group had given when it was last looked.
    has: BTreeSet<Key>,
    /// Partitions of others whose backlog this process takes pieces of.
    helps: BTreeSet<Key>,
    rests: HashMap<Key, Instant>,
    /// Partitions of others, and how far behind they were when it was last looked.
    behind: BTreeMap<Key, i64>,
    began: Instant,
    /// What was said of the group.
    told: Option<String>,
}

impl Sharing {
    pub fn join(kafka: &Kafka, group: &str) -> Result<Sharing, KafkaError> {
        let (tell, share) = watch::channel(Share::default());
        let membership = kafka.join(group, move |share| drop(tell.send(share)))?;
        Ok(Sharing {
            membership,
            share,
            subscribed: BTreeSet::new(),
            has: BTreeSet::new(),
            helps: BTreeSet::new(),
            rests: HashMap::new(),
            behind: BTreeMap::new(),
            began: Instant::now(),
            told: None,
        })
    }

    /// Until the group has given or taken something.
    pub async fn changed(&mut self) {
        if self.share.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn subscribe(&mut self, topics: BTreeSet<String>) {
        if !topics.is_empty() && topics != self.subscribed {
            self.membership.subscribe(topics.iter().cloned().collect());
            self.subscribed = topics;
        }
    }

    fn owns(&self, key: &Key) -> bool {
        self.share.borrow().partitions.contains(key)
    }

    /// What this process does with a partition; `None`: nothing.
    fn phase(&self, key: &Key) -> Option<Phase> {
        match self.owns(key) {
            true => Some(Phase::Running),
            false => self.helps.contains(key).then_some(Phase::Helping),
        }
    }
}

/// Whether this process is to share the lake's partitions with others.
pub(super) fn join(plant: &Plant) -> Result<Option<Sharing>, KafkaError> {
    plant.shares.then(|| Sharing::join(&plant.kafka, &plant.group)).transpose()
}

impl Run {
    /// What this process does with a partition; `None`: nothing.
    pub(super) fn phase(&self, topic: &str, partition: i32) -> Option<Phase> {
        match &self.sharing {
            Some(sharing) => sharing.phase(&(topic.to_owned(), partition)),
            None => Some(Phase::Running),
        }
    }

    /// Partitions that are to be started here.
    pub(super) fn wanted(&self, topic: &str, partitions: i32) -> Vec<i32> {
        let is_known = |partition: i32| self.known.contains_key(&(topic.to_owned(), partition));
        let is_wanted = |partition: &i32| !is_known(*partition) && self.phase(topic, *partition).is_some();
        (0..partitions).filter(is_wanted).collect()
    }

    pub(super) fn subscribe(&mut self, there: &BTreeSet<String>) {
        if let Some(sharing) = &mut self.sharing {
            let could_land = |topic: &&String| !self.refused.contains_key(*topic);
            sharing.subscribe(there.iter().filter(could_land).cloned().collect());
        }
    }

    /// Tells every stream what has become of it in the group.
    pub(super) fn heed_share(&mut self) -> Result<(), RunError> {
        let Some(sharing) = &mut self.sharing else { return Ok(()) };
        let share = sharing.share.borrow_and_update().clone();
        if let Some(trouble) = share.trouble {
            if trouble.is_permanent() {
                return Err(trouble.into());
            }
            let text = trouble.to_string();
            if sharing.told.as_ref() != Some(&text) {
                tracing::warn!("the consumer group {}: {text}; trying again", self.plant.group);
                sharing.told = Some(text);
            }
        }
        let before = std::mem::replace(&mut sharing.has, share.partitions.clone());
        tell(share.partitions.difference(&before), "plans", share.partitions.len());
        tell(before.difference(&share.partitions), "gives up", share.partitions.len());
        sharing.helps.retain(|key| !share.partitions.contains(key));
        for (key, known) in &self.known {
            let Some(phase) = &known.phase else { continue };
            let before = *phase.borrow();
            match (before, sharing.phase(key)) {
                (Phase::Running, None | Some(Phase::Helping)) => {
                    phase.send_replace(Phase::Draining);
                }
                (Phase::Helping | Phase::Draining, Some(Phase::Running)) => {
                    phase.send_replace(Phase::Running);
                }
                _ => {}
            }
        }
        // Those that could not be started are somebody else's to try now.
        let is_done_with = |key: &Key, known: &Known| known.phase.is_none() && !share.partitions.contains(key);
        self.known.retain(|key, known| !is_done_with(key, known));
        Ok(())
    }

    /// Of a stream whose task has ended: whether it is to be started again at once.
    pub(super) fn released(&mut self, stream: &Stream) -> bool {
        let Some(sharing) = &mut self.sharing else { return false };
        let key = (stream.topic.clone(), stream.partition);
        if sharing.helps.remove(&key) {
            sharing.rests.insert(key.clone(), Instant::now());
        }
        self.known.remove(&key);
        self.works.forget(stream);
        sharing.owns(&key)
    }

    /// Where workers have nothing to do, the partition that is the furthest behind may be helped with. Returns whether
    /// there is one to be started.
    pub(super) async fn look_for_work(&mut self) -> bool {
        let isolation = self.plant.sink.layout().isolation;
        let others = self.partitions_of_others();
        let Some(sharing) = &mut self.sharing else { return false };
        sharing.rests.retain(|_, since| since.elapsed() < REST);
        let is_member = sharing.share.borrow().is_member && sharing.began.elapsed() > IDLE;
        let hands = self.works.crew.idle_for(isolation, IDLE);
        if !is_member || sharing.helps.len() >= hands || others.is_empty() {
            sharing.behind.clear();
            return false;
        }
        // What is announced is no position, but tells where it is worth to look for one.
        let group = self.plant.group.clone();
        let Ok(behind) = blocking(&self.works.kafka, move |kafka| behind(&kafka, &group, others, isolation)).await
        else {
            return false;
        };
        // Behind at two looks: what has just come is its owner's.
        let before = std::mem::replace(&mut sharing.behind, behind);
        let lasts = |key: &Key| before.get(key).is_some_and(|before| *before > 0) && !sharing.rests.contains_key(key);
        let furthest = sharing.behind.iter().filter(|(key, lag)| **lag > 0 && lasts(key)).max_by_key(|(_, lag)| **lag);
        let Some((key, lag)) = furthest.map(|(key, lag)| (key.clone(), *lag)) else { return false };
        tracing::debug!("{}/{} is {lag} records behind: may help", key.0, key.1);
        sharing.helps.insert(key)
    }

    fn partitions_of_others(&self) -> Vec<Key> {
        let all = self.there.iter().flat_map(|(topic, count)| (0..*count).map(|partition| (topic.clone(), partition)));
        all.filter(|key| !self.known.contains_key(key) && self.phase(&key.0, key.1).is_none()).collect()
    }
}

/// How far each partition is behind, by what was announced of it.
fn behind(
    kafka: &Kafka,
    group: &str,
    partitions: Vec<Key>,
    isolation: landfall_sink::Isolation,
) -> Result<BTreeMap<Key, i64>, KafkaError> {
    let asks: Vec<(String, i32, At)> =
        partitions.iter().map(|(topic, partition)| (topic.clone(), *partition, At::End)).collect();
    let ends = kafka.list_offsets(&asks, isolation, ASK)?;
    let announced = kafka.announced(group, &partitions)?;
    let announced: HashMap<Key, i64> =
        announced.into_iter().filter_map(|told| Some(((told.topic, told.partition), told.offset?))).collect();
    let lag = |(key, end): (Key, Result<crate::kafka::OffsetAt, KafkaError>)| {
        let end = end.ok()?.offset;
        let lag = end - announced.get(&key).copied().unwrap_or(0);
        Some((key, lag))
    };
    Ok(partitions.into_iter().zip(ends).filter_map(lag).collect())
}

fn tell<'a>(keys: impl Iterator<Item = &'a Key>, what: &str, now: usize) {
    let mut names: Vec<String> = keys.map(|(topic, partition)| format!("{topic}/{partition}")).collect();
    if names.is_empty() {
        return;
    }
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    tracing::info!("this process {what} {}{more}; {now} partition(s) in all", names.join(", "));
}
