//! Which partitions this process plans: those that the consumer group gives to it, and at times a piece of a backlog
//! that another process plans. The group decides whose turn it is; what stands is decided by the checkpoints alone.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use landfall_sink::Stream;
use tokio::sync::watch;

use super::births::blocking;
use super::lookout::Lookout;
use super::{Known, Plant, Run, RunError};
use crate::kafka::{Announced, Kafka, KafkaError, Membership, Share};
use crate::pipeline::Phase;

/// By topic and partition.
pub(super) type Key = (String, i32);

/// Who is no member for so long should know why.
const JOINING: Duration = Duration::from_secs(15);
/// Partitions that are named one by one.
const NAMED: usize = 20;

/// The place of this process in its group.
pub(super) struct Sharing {
    membership: Membership,
    pub(super) share: watch::Receiver<Share>,
    subscribed: BTreeSet<String>,
    /// What the group had given when it was last looked.
    has: BTreeSet<Key>,
    /// Partitions of others whose backlog this process takes pieces of.
    pub(super) helps: BTreeSet<Key>,
    pub(super) lookout: Lookout,
    joining: Instant,
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
            lookout: Lookout::default(),
            joining: Instant::now(),
            told: None,
        })
    }

    /// Until the group has given or taken something, or nothing will be heard of it any more.
    pub async fn changed(&mut self) {
        drop(self.share.changed().await);
    }

    fn subscribe(&mut self, topics: BTreeSet<String>) {
        if !topics.is_empty() && topics != self.subscribed {
            if self.subscribed.is_empty() {
                self.joining = Instant::now();
            }
            self.membership.subscribe(topics.iter().cloned().collect());
            self.subscribed = topics;
        }
    }

    /// Who is no member plans nothing, and says so.
    fn say_why_not(&mut self, share: &Share, group: &str) {
        let is_waiting = !share.is_member && !self.subscribed.is_empty() && self.joining.elapsed() > JOINING;
        let why = match &share.trouble {
            Some(trouble) => trouble.to_string(),
            None if is_waiting => "it does not answer".to_owned(),
            None => return self.told = None,
        };
        if self.told.as_ref() != Some(&why) {
            tracing::warn!(
                "the consumer group {group}: {why}; waiting for it: it says which partitions are planned here \
                 (source.assignment = \"all\" needs no group)"
            );
            self.told = Some(why);
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

    /// A topic that the brokers were not clear about for a moment is not given up.
    pub(super) fn subscribe(&mut self, there: &BTreeSet<String>, unclear: &BTreeSet<String>) {
        if let Some(sharing) = &mut self.sharing {
            let doubtful = unclear.intersection(&sharing.subscribed);
            let could_land = |topic: &&String| !self.refused.contains_key(*topic);
            sharing.subscribe(there.iter().chain(doubtful).filter(could_land).cloned().collect());
        }
    }

    /// Tells every stream what has become of it in the group.
    pub(super) fn heed_share(&mut self) -> Result<(), RunError> {
        let Some(sharing) = &mut self.sharing else { return Ok(()) };
        if sharing.share.has_changed().is_err() {
            let group = &self.plant.group;
            return Err(RunError::Fatal(format!(
                "this process is out of group {group} and cannot join it again (see above); nothing is lost: start again"
            )));
        }
        let share = sharing.share.borrow_and_update().clone();
        if let Some(trouble) = share.trouble.as_ref().filter(|trouble| trouble.is_permanent()) {
            return Err(trouble.clone().into());
        }
        sharing.say_why_not(&share, &self.plant.group);
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
        self.known.retain(|key, known| {
            let done = is_done_with(key, known);
            if done {
                self.works.forget(&known.stream);
            }
            !done
        });
        Ok(())
    }

    /// Of a stream whose task has ended: whether it is to be started again at once.
    pub(super) fn released(&mut self, stream: &Stream) -> bool {
        let Some(sharing) = &mut self.sharing else { return false };
        let key = (stream.topic.clone(), stream.partition);
        if sharing.helps.remove(&key) {
            sharing.lookout.rest(key.clone());
        }
        self.known.remove(&key);
        self.works.forget(stream);
        drop(self.works.announce.send((stream.clone(), None)));
        sharing.owns(&key)
    }

    /// Before the group is joined: it must not be another lake's, which would land what this one is to land.
    pub(super) async fn refuse_foreign_group(&self) -> Result<(), RunError> {
        let is_joined = self.sharing.as_ref().is_none_or(|sharing| !sharing.subscribed.is_empty());
        let all: Vec<Key> = self.partitions().collect();
        if is_joined || all.is_empty() {
            return Ok(());
        }
        let group = self.plant.group.clone();
        let announced = blocking(&self.works.kafka, move |kafka| kafka.announced(&group, &all)).await?;
        refuse_foreign(&self.plant, &announced)
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = Key> {
        self.there.iter().flat_map(|(topic, count)| (0..*count).map(|partition| (topic.clone(), partition)))
    }
}

/// Two lakes on one group would each land what the group gives to them, and no more.
pub(super) fn refuse_foreign(plant: &Plant, announced: &[Announced]) -> Result<(), RunError> {
    let lake = plant.origin.lake_id();
    let is_foreign = |told: &&Announced| !told.metadata.is_empty() && told.metadata != lake;
    match announced.iter().find(is_foreign) {
        None => Ok(()),
        Some(told) => Err(KafkaError::Config(format!(
            "the consumer group {} is used by lake {} (at {}/{}), and this is lake {lake}: each would land a part. Give \
             each lake a group.id of its own in [kafka.properties], or none; if that lake is gone, delete the group",
            plant.group, told.metadata, told.topic, told.partition
        ))
        .into()),
    }
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
