//! Where a process with nothing to do may help: partitions of others whose records are later than they should be.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use landfall_sink::Isolation;
use tokio::task::JoinHandle;

use super::births::blocking;
use super::sharing::{Key, refuse_foreign};
use super::{ASK, Run, RunError};
use crate::kafka::{Announced, At, Kafka, KafkaError};

/// A worker that found nothing to do for so long may help elsewhere.
const IDLE: Duration = Duration::from_secs(2);
/// A partition that was helped with, in vain or not, is left alone for so long.
const REST: Duration = Duration::from_secs(30);
/// What has not been announced for so long after it should have been landed is behind.
const SLACK: Duration = Duration::from_secs(10);
/// How often the group is asked what it knows; with thousands of partitions less often.
const OFTEN: Duration = Duration::from_secs(5);
const SELDOM: Duration = Duration::from_secs(20);
const MANY: usize = 500;

/// What is known of the partitions of others.
#[derive(Default)]
pub(super) struct Lookout {
    /// Those with records that are not announced yet.
    behind: BTreeMap<Key, Behind>,
    rests: HashMap<Key, Instant>,
    looked: Option<Instant>,
    looking: Option<JoinHandle<Result<Group, KafkaError>>>,
}

/// Since when `end` has not been reached.
struct Behind {
    end: i64,
    since: Instant,
    lag: i64,
}

impl Lookout {
    /// The partition is left alone for a while.
    pub fn rest(&mut self, key: Key) {
        self.rests.insert(key, Instant::now());
    }

    fn is_due(&self, partitions: usize) -> bool {
        let pause = if partitions > MANY { SELDOM } else { OFTEN };
        partitions > 0 && self.looking.is_none() && self.looked.is_none_or(|looked| looked.elapsed() >= pause)
    }

    /// What is announced is no position, but tells where it is worth to look for one. Where nothing was announced there
    /// is no owner to be helped.
    fn note(&mut self, group: &Group, others: &BTreeSet<Key>, helps: &BTreeSet<Key>) {
        let announced = |told: &Announced| Some(((told.topic.clone(), told.partition), told.offset?));
        let announced: HashMap<Key, i64> = group.announced.iter().filter_map(announced).collect();
        self.behind.retain(|key, _| others.contains(key) || helps.contains(key));
        for (key, end) in &group.ends {
            let Some(done) = announced.get(key).filter(|done| **done < *end) else {
                self.behind.remove(key);
                continue;
            };
            let fresh = || Behind { end: *end, since: Instant::now(), lag: 0 };
            let behind = self.behind.entry(key.clone()).or_insert_with(fresh);
            if *done >= behind.end {
                *behind = fresh();
            }
            behind.lag = end - done;
        }
    }

    /// Of those that are late by more than `late` the one that is the furthest behind.
    fn furthest(&mut self, late: Duration, helps: &BTreeSet<Key>) -> Option<Key> {
        self.rests.retain(|_, since| since.elapsed() < REST);
        let is_free = |key: &Key| !self.rests.contains_key(key) && !helps.contains(key);
        let is_late = |(key, behind): &(&Key, &Behind)| behind.since.elapsed() > late && is_free(key);
        self.behind.iter().filter(is_late).max_by_key(|(_, behind)| behind.lag).map(|(key, _)| key.clone())
    }
}

impl Run {
    /// Hears what was found out of the group, and asks anew when it is time. Returns whether there is a partition to
    /// be helped with.
    pub(super) async fn look_around(&mut self) -> Result<bool, RunError> {
        let isolation = self.plant.sink.layout().isolation;
        let all: Vec<Key> = self.partitions().collect();
        let others = all.iter().filter(|key| !self.known.contains_key(*key) && self.phase(&key.0, key.1).is_none());
        let others: BTreeSet<Key> = others.cloned().collect();
        let Some(sharing) = &mut self.sharing else { return Ok(false) };
        let lookout = &mut sharing.lookout;
        if let Some(answer) = lookout.looking.take_if(|looking| looking.is_finished())
            && let Ok(Ok(group)) = answer.await
        {
            refuse_foreign(&self.plant, &group.announced)?;
            lookout.note(&group, &others, &sharing.helps);
        }
        if lookout.is_due(all.len()) {
            lookout.looked = Some(Instant::now());
            let (group, kafka) = (self.plant.group.clone(), self.works.kafka.clone());
            let ask = move |kafka: Kafka| ask(&kafka, &group, all, &others, isolation);
            lookout.looking = Some(tokio::spawn(async move { blocking(&kafka, ask).await }));
        }
        let hands = self.works.crew.idle_for(isolation, IDLE);
        if !sharing.share.borrow().is_member || sharing.helps.len() >= hands {
            return Ok(false);
        }
        let Some(key) = lookout.furthest(self.plant.roll.max_age + SLACK, &sharing.helps) else { return Ok(false) };
        tracing::debug!("{}/{} is behind: this process may help", key.0, key.1);
        Ok(sharing.helps.insert(key))
    }

    /// What could not be started is not helped with.
    pub(super) fn give_up_vain_help(&mut self) {
        let Some(sharing) = &mut self.sharing else { return };
        let is_started = |key: &Key| self.known.get(key).is_some_and(|known| known.phase.is_some());
        let vain: Vec<Key> = sharing.helps.iter().filter(|key| !is_started(key)).cloned().collect();
        for key in vain {
            sharing.helps.remove(&key);
            sharing.lookout.rest(key);
        }
    }
}

/// What the group's coordinator and the brokers tell.
struct Group {
    announced: Vec<Announced>,
    /// Of partitions that other processes plan.
    ends: BTreeMap<Key, i64>,
}

fn ask(
    kafka: &Kafka,
    group: &str,
    all: Vec<Key>,
    others: &BTreeSet<Key>,
    isolation: Isolation,
) -> Result<Group, KafkaError> {
    let announced = kafka.announced(group, &all)?;
    let asks: Vec<(String, i32, At)> = others.iter().map(|(topic, at)| (topic.clone(), *at, At::End)).collect();
    let ends = kafka.list_offsets(&asks, isolation, ASK)?;
    let ends = others.iter().cloned().zip(ends).filter_map(|(key, end)| Some((key, end.ok()?.offset))).collect();
    Ok(Group { announced, ends })
}
