//! Finding topics and partitions, and giving birth to streams that landfall meets for the first time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use futures::stream::{self, StreamExt};
use landfall_lake::fault;
use landfall_sink::{Isolation, Stream};

use super::{ASK, Known, Mode, PATIENCE, Run, RunError};
use crate::ambient;
use crate::checkpoint::Checkpoint;
use crate::config::Start;
use crate::kafka::{At, Kafka, KafkaError, MatchedBy, TopicId, TopicMeta};
use crate::origin::{self, Genesis, Identity, OriginError};
use crate::pipeline::{Ends, Phase};
use crate::status::Activity;

/// How many streams are born or looked up at once.
const SIDE_BY_SIDE: usize = 64;
const CORRECT_START: &str =
    "correct source.start (\"latest\" is the end of now), and start again: nothing was written of it";
const GRANT: &str =
    "grant this principal READ and DESCRIBE on the topic, or take it out of kafka.topics, and start again";

/// The cluster's id; a broker that is away is waited for.
pub(super) async fn cluster_id(kafka: &Kafka, mode: Mode) -> Result<String, RunError> {
    let began = Instant::now();
    let mut told = false;
    loop {
        let error = match blocking(kafka, |kafka| kafka.cluster_id(ASK)).await {
            Ok(id) => return Ok(id),
            Err(error) if error.is_permanent() => return Err(error.into()),
            Err(error) => error,
        };
        if mode == Mode::Once && began.elapsed() >= PATIENCE {
            return Err(RunError::Unreachable(error.to_string()));
        }
        if !std::mem::replace(&mut told, true) {
            tracing::warn!("{error}; waiting for a broker, and going on by itself");
        }
        tokio::time::sleep(ambient::jitter(std::time::Duration::from_secs(1))).await;
    }
}

/// Calls that wait for brokers are made away from the async threads.
pub(super) async fn blocking<T: Send + 'static>(
    kafka: &Kafka,
    ask: impl FnOnce(Kafka) -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, KafkaError> {
    let kafka = kafka.clone();
    let asked = tokio::task::spawn_blocking(move || ask(kafka)).await;
    asked.unwrap_or_else(|error| Err(KafkaError::Other(error.to_string())))
}

impl Run {
    /// Looks for topics and partitions that have no task yet, and starts them.
    pub(super) async fn discover(&mut self, cluster: &str) -> Result<(), RunError> {
        let selection = self.plant.selection.clone();
        let found = blocking(&self.works.kafka, move |kafka| kafka.topics(&selection, ASK)).await?;
        self.note_patterns(cluster, &found).await?;
        let (mut fresh, mut later) = (Vec::new(), None);
        let (mut there, mut unclear) = (BTreeSet::new(), BTreeSet::new());
        self.there.clear();
        for topic in found {
            match &topic.problem {
                Some(KafkaError::Missing(_)) => {
                    self.missing(&topic);
                    continue;
                }
                Some(error) if error.is_permanent() => {
                    self.refuse_topic(&topic.name, error.to_string(), GRANT);
                    unclear.insert(topic.name);
                    continue;
                }
                Some(error) => {
                    later.get_or_insert(RunError::Kafka(error.clone()));
                    unclear.insert(topic.name);
                    continue;
                }
                None => {}
            }
            self.missing.remove(&topic.name);
            there.insert(topic.name.clone());
            if self.would_hide(&topic.name) || self.refused.contains_key(&topic.name) {
                continue;
            }
            self.there.insert(topic.name.clone(), topic.partitions);
            if !self.wanted(&topic.name, topic.partitions).is_empty() {
                fresh.push(topic);
            }
        }
        self.refuse_foreign_group().await?;
        self.subscribe(&there, &unclear);
        self.doubt(|stream| !there.contains(&stream.topic) && !unclear.contains(&stream.topic));
        // Also of those that are known: one that was made again has offsets that mean other records.
        let known = self.known.values().map(|known| &known.stream.topic).filter(|topic| there.contains(*topic));
        let names: BTreeSet<&String> = fresh.iter().map(|topic| &topic.name).chain(known).collect();
        let names: Vec<String> = names.into_iter().cloned().collect();
        if names.is_empty() {
            return later.map_or(Ok(()), Err);
        }
        let ids = blocking(&self.works.kafka, move |kafka| kafka.topic_ids(&names)).await?;
        let is_another = |stream: &Stream| match (ids.get(&stream.topic), &stream.topic_id) {
            (Some(TopicId::Id(now)), Some(planned)) => now != planned,
            (Some(TopicId::Missing), _) => true,
            _ => false,
        };
        self.doubt(is_another);
        let mut started = Vec::new();
        for topic in fresh {
            if self.known.values().any(|known| known.stream.topic == topic.name && is_another(&known.stream)) {
                // The streams compare for themselves. What is not started yet must not be forgotten by `--once`.
                if self.mode == Mode::Once && ids.get(&topic.name) == Some(&TopicId::Missing) {
                    let why = format!("topic {} is not known to every broker", topic.name);
                    self.missing.insert(topic.name);
                    later.get_or_insert(KafkaError::Missing(why).into());
                }
                continue;
            }
            let id = ids.get(&topic.name).cloned().unwrap_or(TopicId::Missing);
            match self.start_topic(cluster, &topic, id).await {
                Ok(()) => started.push(topic),
                Err(error @ RunError::StartBeyondEnd { .. }) => {
                    self.refuse_topic(&topic.name, error.to_string(), CORRECT_START);
                }
                Err(RunError::Origin(error)) if !error.is_transient() => {
                    self.refuse_topic(&topic.name, error.to_string(), &way_out(&error));
                }
                Err(RunError::Kafka(error)) if error.is_permanent() => {
                    self.refuse_topic(&topic.name, error.to_string(), GRANT);
                }
                Err(error) => drop(later.get_or_insert(error)),
            }
        }
        if self.sharing.is_none() {
            super::report::found(&started);
        }
        later.map_or(Ok(()), Err)
    }

    /// These streams compare their topic with the one that is there.
    fn doubt(&self, is_doubtful: impl Fn(&Stream) -> bool) {
        let streams = self.known.values().map(|known| &known.stream);
        streams.filter(|stream| is_doubtful(stream)).for_each(|stream| self.works.doubt(stream));
    }

    /// A topic whose files would stand where landfall keeps its own. A name in the configuration is refused
    /// there; this is for what a pattern finds.
    fn would_hide(&mut self, topic: &str) -> bool {
        let stream = Stream { cluster: String::new(), topic: topic.to_owned(), topic_id: None, partition: 0 };
        let directory = self.plant.sink.layout().directory(&stream);
        let collides = directory.split('/').next() == Some("_landfall");
        if collides {
            let why = format!("its files would stand below {directory}, and _landfall belongs to landfall itself");
            self.refuse_topic(topic, why, "give lake.path a directory in front, as in data/{topic}/{partition}");
        }
        collides
    }

    /// A topic that a pattern matches later than at its first use starts at its first offsets.
    async fn note_patterns(&mut self, cluster: &str, found: &[TopicMeta]) -> Result<(), RunError> {
        let selection = self.plant.selection.clone();
        let mut matched: BTreeMap<&str, Vec<String>> = selection.patterns().map(|p| (p, Vec::new())).collect();
        for topic in found {
            if let MatchedBy::Pattern(pattern) = &topic.matched_by {
                matched.entry(pattern).or_default().push(topic.name.clone());
            }
        }
        for (pattern, topics) in matched {
            if !self.patterns.contains_key(pattern) {
                let used = self.plant.origin.first_use_of_pattern(cluster, pattern, &topics).await?;
                self.patterns.insert(pattern.to_owned(), used);
            }
        }
        Ok(())
    }

    /// Waited for; with `--once` it is an error, after the others have landed.
    fn missing(&mut self, topic: &TopicMeta) {
        let known = self.known.values().any(|known| known.stream.topic == topic.name);
        // One that was there before stops its streams, which say so.
        if self.missing.insert(topic.name.clone()) && self.mode == Mode::Forever && !known {
            tracing::warn!("topic {} does not exist; waiting until it is created", topic.name);
        }
    }

    /// A topic that cannot be landed stops alone; the others go on.
    fn refuse_topic(&mut self, topic: &str, why: String, way_out: &str) {
        if self.refused.insert(topic.to_owned(), why.clone()).is_none() {
            let stream = Stream { cluster: String::new(), topic: topic.to_owned(), topic_id: None, partition: -1 };
            self.refuse(stream, format!("topic {topic}: {why}"), way_out);
        }
    }

    fn refuse(&mut self, stream: Stream, why: String, way_out: &str) {
        tracing::error!("{why}. Way out: {way_out}. The others go on");
        let stopped = Activity::Stopped { why: why.clone(), way_out: way_out.to_owned() };
        self.works.board.activity(&stream, stopped);
        self.stopped.push((stream, why, way_out.to_owned()));
    }

    async fn start_topic(&mut self, cluster: &str, topic: &TopicMeta, id: TopicId) -> Result<(), RunError> {
        let shown = match id {
            TopicId::Id(id) => Some(id),
            TopicId::Unsupported => {
                self.had_no_id(cluster, &topic.name).await?;
                None
            }
            // Deleted between two questions, or young and not known to every broker: the next round sees it, and
            // `--once` may not end before.
            TopicId::Missing if self.mode == Mode::Once => {
                self.missing.insert(topic.name.clone());
                let why = format!("topic {} is not known to every broker", topic.name);
                return Err(KafkaError::Missing(why).into());
            }
            TopicId::Missing => return Ok(()),
            TopicId::Failed(error) => return Err(error.into()),
        };
        let Identity { topic_id, adopted } = self.plant.origin.identify(cluster, &topic.name, shown.as_deref()).await?;
        let streams: Vec<Stream> = self
            .wanted(&topic.name, topic.partitions)
            .into_iter()
            .map(|partition| Stream {
                cluster: cluster.to_owned(),
                topic: topic.name.clone(),
                topic_id: topic_id.clone(),
                partition,
            })
            .collect();
        let asked = self.ask_ends(&streams).await?;
        let genesis = self.genesis(cluster, topic, topic_id.as_deref()).await?;
        // Those whose leader does not answer are left for the next round.
        let mut silent = None;
        let (mut ready, mut ends) = (Vec::new(), Vec::new());
        for (stream, asked) in streams.into_iter().zip(asked) {
            match asked {
                Ok(asked) => {
                    ready.push(stream);
                    ends.push(asked);
                }
                Err(error) => drop(silent.get_or_insert(error)),
            }
        }
        let streams = ready;
        self.plant.origin.look_for_marks(&streams).await?;
        let started: Vec<Result<Checkpoint, OriginError>> = {
            let born = streams.iter().map(|stream| self.be_born(stream, &genesis, adopted.as_deref()));
            stream::iter(born).buffered(SIDE_BY_SIDE).collect().await
        };
        let mut later = silent.map(RunError::Kafka);
        for ((checkpoint, stream), (ends, asked)) in started.into_iter().zip(&streams).zip(ends) {
            match checkpoint {
                Ok(checkpoint) => {
                    self.works.remember_ends(&checkpoint.stream, ends, asked);
                    let target = (self.mode == Mode::Once).then_some(ends.end);
                    self.start(checkpoint, target);
                }
                Err(error) if error.is_transient() => drop(later.get_or_insert(RunError::from(error))),
                Err(error) if self.phase(&stream.topic, stream.partition) == Some(Phase::Helping) => {
                    // Its owner meets it, too, and is the one to say so.
                    tracing::debug!("{stream}: cannot be helped: {error}");
                }
                Err(error) => {
                    let known = Known { stream: stream.clone(), phase: None };
                    self.known.insert((stream.topic.clone(), stream.partition), known);
                    self.refuse(stream.clone(), error.to_string(), &way_out(&error));
                }
            }
        }
        later.map_or(Ok(()), Err)
    }

    /// Where this lake knows an id of the topic, brokers that tell none now are waited for.
    async fn had_no_id(&self, cluster: &str, topic: &str) -> Result<(), RunError> {
        match self.plant.origin.identify(cluster, topic, None).await {
            Err(OriginError::Recreated { why, .. }) => {
                let why = format!("topic {topic}: the brokers do not tell its id, and this lake knows one ({why})");
                Err(KafkaError::Unreachable(why).into())
            }
            Err(error) => Err(error.into()),
            Ok(_) => Ok(()),
        }
    }

    async fn be_born(
        &self,
        stream: &Stream,
        genesis: &Genesis,
        adopted: Option<&str>,
    ) -> Result<Checkpoint, OriginError> {
        let plant = &self.plant;
        let (origin, store, sink) = (plant.origin.as_ref(), plant.store.as_ref(), plant.sink.as_ref());
        let checkpoint = origin::birth(origin, store, sink, stream, genesis, adopted).await?;
        // A shared store never lacks its newest versions, and a start must not depend on the number of files. Only
        // the very first version may be a late create in a tree that was deleted.
        let checkpoint = match store.is_shared() && checkpoint.version > 1 {
            true => checkpoint,
            false => origin::reconcile(origin, store, sink, stream, checkpoint).await?,
        };
        if fault::sabotaged("start_at_group_offset") {
            return self.moved_to_the_group(checkpoint).await;
        }
        Ok(checkpoint)
    }

    /// Only for a test that breaks this rule: the group's offset is taken for the position.
    async fn moved_to_the_group(&self, checkpoint: Checkpoint) -> Result<Checkpoint, OriginError> {
        let (group, partition) = (self.plant.group.clone(), checkpoint.stream.partition);
        let at = [(checkpoint.stream.topic.clone(), partition)];
        let told = blocking(&self.works.kafka, move |kafka| kafka.announced(&group, &at)).await;
        let Some(next) = told.ok().and_then(|told| told.first()?.offset) else { return Ok(checkpoint) };
        let (version, nonce) = (checkpoint.version + 1, ambient::random_id());
        let moved = Checkpoint { next, version, nonce, ..checkpoint.clone() };
        self.plant.store.swap(Some(checkpoint.version), &moved).await?;
        Ok(moved)
    }

    /// The first offsets of a topic: frozen when it is first seen, whatever `source.start` says later.
    async fn genesis(&self, cluster: &str, topic: &TopicMeta, topic_id: Option<&str>) -> Result<Genesis, RunError> {
        let origin = &self.plant.origin;
        let id = topic_id.unwrap_or("-");
        if let Some(genesis) = origin.genesis(cluster, &topic.name, id).await? {
            return Ok(genesis);
        }
        let start = match &topic.matched_by {
            MatchedBy::Pattern(pattern) if !self.patterns.get(pattern).is_some_and(|used| used.knew(&topic.name)) => {
                Start::Earliest
            }
            _ => self.plant.start.clone(),
        };
        let isolation = self.plant.sink.layout().isolation;
        let first = resolve_start(&self.works.kafka, &topic.name, topic.partitions, &start, isolation).await?;
        refuse_beyond_the_end(&self.works.kafka, &topic.name, &start, isolation).await?;
        Ok(origin
            .freeze_genesis(Genesis::new(cluster, &topic.name, topic_id.map(str::to_owned), first, start_text(&start)))
            .await?)
    }

    async fn ask_ends(&self, streams: &[Stream]) -> Result<Vec<Result<(Ends, Instant), KafkaError>>, RunError> {
        let isolation = self.plant.sink.layout().isolation;
        Ok(super::ends::ask(&self.works.kafka, streams, isolation).await?)
    }
}

/// An offset that is not there yet is a mistake, which must not be frozen.
async fn refuse_beyond_the_end(
    kafka: &Kafka,
    topic: &str,
    start: &Start,
    isolation: Isolation,
) -> Result<(), RunError> {
    let Start::Offsets(topics) = start else { return Ok(()) };
    let given: Vec<(i32, i64)> = topics.get(topic).into_iter().flatten().map(|(at, offset)| (*at, *offset)).collect();
    let asks: Vec<(String, i32, At)> = given.iter().map(|(at, _)| (topic.to_owned(), *at, At::End)).collect();
    let ends = blocking(kafka, move |kafka| kafka.list_offsets(&asks, isolation, ASK)).await?;
    for ((partition, offset), end) in given.into_iter().zip(ends) {
        let end = match end {
            Ok(end) => end.offset,
            // It may be created later.
            Err(KafkaError::Missing(_)) => continue,
            Err(error) => return Err(error.into()),
        };
        if offset > end {
            return Err(RunError::StartBeyondEnd { topic: topic.into(), partition, offset, end });
        }
    }
    Ok(())
}

fn way_out(error: &OriginError) -> String {
    let told = error.way_out().map(|text| format!("{text}; then start again"));
    told.unwrap_or_else(|| "nothing was changed: do as the message says, and start again".into())
}

/// For people who look into the lake.
fn start_text(start: &Start) -> String {
    match start {
        Start::Earliest => "earliest".into(),
        Start::Latest => "latest".into(),
        Start::Time(ms) => format!("records from {ms} ms since 1970 on"),
        Start::Offsets(_) => "explicit offsets".into(),
    }
}

/// The first offset of each partition, as `source.start` says.
pub async fn resolve_start(
    kafka: &Kafka,
    topic: &str,
    partitions: i32,
    start: &Start,
    isolation: Isolation,
) -> Result<Vec<i64>, KafkaError> {
    let given = match start {
        Start::Offsets(topics) => topics.get(topic).cloned().unwrap_or_default(),
        _ => BTreeMap::new(),
    };
    let at = match start {
        Start::Earliest | Start::Offsets(_) => At::Start,
        Start::Latest => At::End,
        Start::Time(ms) => At::Time(*ms),
    };
    let asked: Vec<i32> = (0..partitions).filter(|partition| !given.contains_key(partition)).collect();
    let asks: Vec<(String, i32, At)> = asked.iter().map(|partition| (topic.to_owned(), *partition, at)).collect();
    let answers = blocking(kafka, move |kafka| kafka.list_offsets(&asks, isolation, ASK)).await?;
    let mut first = given;
    for (partition, answer) in asked.into_iter().zip(answers) {
        first.insert(partition, answer?.offset);
    }
    Ok((0..partitions).filter_map(|partition| first.get(&partition).copied()).collect())
}
