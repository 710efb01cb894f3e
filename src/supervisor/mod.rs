//! All streams of a process: topics are found, streams are born and given to tasks, ends are asked for,
//! committed offsets are announced, and everything ends cleanly.

mod announce;
mod births;
mod ends;
mod lookout;
mod operator;
mod report;
mod sharing;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use landfall_sink::{Sink, Stream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::checkpoint::CheckpointStore;
use crate::config::Start;
use crate::kafka::{Kafka, KafkaError, Selection};
use crate::origin::{Origin, PatternUse};
use crate::pipeline::{Budget, Crew, Identity, Nudge, OnGap, Outcome, Phase, StreamTask, Works};
use crate::plan::Roll;
use crate::status::{Activity, Board};

pub use births::resolve_start;
pub use operator::{Desk, Operator};
use sharing::{Key, Sharing};

/// How often new topics and partitions are looked for.
const DISCOVERY: Duration = Duration::from_secs(5);
/// How often it is looked whether the lake was given to another owner.
const OWNER: Duration = Duration::from_secs(30);
/// How long `--once` waits for brokers that do not answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one question to the brokers may take.
const ASK: Duration = Duration::from_secs(10);

/// Everything that a run needs; made by [`crate::Landfall`].
pub struct Plant {
    pub kafka: Kafka,
    pub store: Arc<dyn CheckpointStore>,
    pub sink: Arc<dyn Sink>,
    pub origin: Arc<Origin>,
    pub selection: Selection,
    pub start: Start,
    pub roll: Roll,
    pub on_gap: OnGap,
    pub memory: usize,
    pub workers: usize,
    pub shutdown: Duration,
    /// The consumer group that committed offsets are announced to.
    pub group: String,
    /// Whether that group says which partitions are planned here.
    pub shares: bool,
    /// This process, as its plans name it.
    pub maker: String,
    pub truncation_wait: Duration,
    pub board: Arc<Board>,
    pub operator: Operator,
}

/// How far a run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Forever,
    /// Up to the last stable offsets that are found at the start.
    Once,
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("Kafka does not answer: {0}")]
    Unreachable(String),
    #[error("{}", stopped_text(.0))]
    Stopped(Vec<(Stream, String, String)>),
    #[error("{}", interrupted_text(*.streams))]
    Interrupted { streams: usize },
    /// With `--once`: topics that are named and do not exist, and the streams that stopped besides.
    #[error("{}", missing_text(.topics, .stopped))]
    MissingTopics { topics: Vec<String>, stopped: Vec<(Stream, String, String)> },
    #[error("source.start says offset {offset} for {topic}/{partition}, and the partition ends at {end}")]
    StartBeyondEnd { topic: String, partition: i32, offset: i64, end: i64 },
    #[error("{0}")]
    Fatal(String),
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error(transparent)]
    Origin(#[from] crate::origin::OriginError),
}

impl RunError {
    /// What to do about it, where the message does not say it already.
    pub fn way_out(&self) -> Option<String> {
        match self {
            RunError::Stopped(stopped) => Some(ways_out(stopped).join("\n")),
            RunError::MissingTopics { stopped, .. } => {
                let ways = std::iter::once(CREATE.to_owned()).chain(ways_out(stopped));
                Some(ways.collect::<Vec<String>>().join("\n"))
            }
            RunError::Interrupted { .. } => Some("run it again: it goes on where it was".into()),
            RunError::Unreachable(_) => {
                Some("check bootstrap.servers in [kafka.properties], and whether the brokers run".into())
            }
            RunError::Origin(error) => error.way_out(),
            RunError::StartBeyondEnd { .. } => Some("correct source.start".into()),
            RunError::Fatal(_) | RunError::Kafka(_) => None,
        }
    }
}

const CREATE: &str = "create what does not exist, or correct kafka.topics";

fn interrupted_text(streams: usize) -> String {
    match streams {
        0 => "stopped before every partition was found".into(),
        streams => format!("stopped before {streams} partition(s) were at their ends"),
    }
}

fn stopped_text(stopped: &[(Stream, String, String)]) -> String {
    let reasons: Vec<&str> = stopped.iter().map(|(_, why, _)| why.as_str()).collect();
    format!("{} stream(s) stopped:\n{}", stopped.len(), reasons.join("\n"))
}

fn missing_text(topics: &[String], stopped: &[(Stream, String, String)]) -> String {
    let lines = topics.iter().map(|topic| format!("topic {topic} does not exist"));
    let stopped = (!stopped.is_empty()).then(|| stopped_text(stopped));
    lines.chain(stopped).collect::<Vec<String>>().join("\n")
}

/// One for each stream, by name where there are several; equal ones once.
fn ways_out(stopped: &[(Stream, String, String)]) -> Vec<String> {
    let mut ways: Vec<(String, Vec<String>)> = Vec::new();
    for (stream, _, way) in stopped {
        // A whole topic stands as partition -1.
        let name = if stream.partition < 0 { stream.topic.clone() } else { stream.to_string() };
        match ways.iter_mut().find(|(other, _)| other == way) {
            Some((_, names)) => names.push(name),
            None => ways.push((way.clone(), vec![name])),
        }
    }
    let several = ways.len() > 1;
    let text = |(way, names): (String, Vec<String>)| if several { format!("{}: {way}", names.join(", ")) } else { way };
    ways.into_iter().map(text).collect()
}

/// One run: from the first question to the brokers to the last commit.
struct Run {
    works: Arc<Works>,
    plant: Plant,
    mode: Mode,
    tasks: JoinSet<(Stream, Outcome)>,
    /// Partitions that have a task or had one in this run.
    known: HashMap<Key, Known>,
    /// The topics that were found, and how many partitions they have.
    there: BTreeMap<String, i32>,
    /// Where the partitions are shared with other processes.
    sharing: Option<Sharing>,
    /// Topics whose streams cannot be started, and why it was said.
    refused: BTreeMap<String, String>,
    missing: BTreeSet<String>,
    /// What each pattern matched when this lake first used it.
    patterns: BTreeMap<String, PatternUse>,
    stopped: Vec<(Stream, String, String)>,
    /// Streams that were asked to end before they were at their target.
    unfinished: usize,
}

/// A stream of this run.
struct Known {
    stream: Stream,
    /// How its task is told what to do; `None` where it could not be started.
    phase: Option<watch::Sender<Phase>>,
}

/// Lands until `stop` is ready, or, with [`Mode::Once`], until every stream is where it was to get.
pub async fn run(plant: Plant, mode: Mode, stop: impl Future<Output = ()>) -> Result<(), RunError> {
    let (fatal, mut fatals) = mpsc::unbounded_channel();
    let (announce, announcements) = mpsc::unbounded_channel();
    tokio::pin!(stop);
    let cluster = tokio::select! {
        cluster = births::cluster_id(&plant.kafka, mode) => cluster?,
        () = &mut stop => return interrupted(mode, 0),
    };
    let mut run = Run::new(plant, mode, announce, fatal).await?;
    let announcer = tokio::spawn(announce::announcer(run.plant.kafka.clone(), run.group(), announcements));
    let asker = tokio::spawn(ends::keep_asking(run.works.clone()));
    let board = run.plant.board.clone();
    let teller = tokio::spawn(report::keep_telling(board.clone()));
    report::begins(&run.plant, &cluster);
    let ended = tokio::select! {
        ended = run.until_done(&cluster) => ended.map(|()| true),
        () = &mut stop => Ok(false),
        Some(why) = fatals.recv() => Err(RunError::Fatal(why)),
    };
    asker.abort();
    teller.abort();
    run.drain().await;
    run.works.crew.dismiss();
    let sharing = run.sharing.take();
    let stopped = std::mem::take(&mut run.stopped);
    let missing: Vec<String> = std::mem::take(&mut run.missing).into_iter().collect();
    let unfinished = run.unfinished;
    drop(run);
    // What ends the process may have been said by the last stream, whose end was seen first.
    let fatal = fatals.try_recv().ok();
    report::ends(&board);
    // The announcer ends with the last stream; it is best effort, so it is not waited for long.
    drop(tokio::time::timeout(Duration::from_secs(3), announcer).await);
    // What is left in the group is taken over when nothing is under way here any more.
    drop(tokio::task::spawn_blocking(move || drop(sharing)).await);
    if let Some(why) = fatal {
        return Err(RunError::Fatal(why));
    }
    let went_through = ended?;
    match (missing, stopped) {
        _ if mode == Mode::Forever => Ok(()),
        (topics, stopped) if !topics.is_empty() => Err(RunError::MissingTopics { topics, stopped }),
        (_, stopped) if !stopped.is_empty() => Err(RunError::Stopped(stopped)),
        _ if unfinished > 0 || !went_through => interrupted(mode, unfinished),
        _ => Ok(()),
    }
}

/// `--once` succeeds only if every stream got to its end.
fn interrupted(mode: Mode, streams: usize) -> Result<(), RunError> {
    if mode == Mode::Once { Err(RunError::Interrupted { streams }) } else { Ok(()) }
}

impl Run {
    async fn new(
        plant: Plant,
        mode: Mode,
        announce: mpsc::UnboundedSender<(Stream, Option<i64>)>,
        fatal: mpsc::UnboundedSender<String>,
    ) -> Result<Run, RunError> {
        plant.origin.record_layout(&plant.sink.layout()).await?;
        let budget = Arc::new(Budget::new(plant.memory, plant.workers));
        let crew = Crew::new(plant.kafka.clone(), plant.sink.clone(), plant.roll.clone(), budget, fatal.clone());
        let works = Works {
            kafka: plant.kafka.clone(),
            store: plant.store.clone(),
            sink: plant.sink.clone(),
            origin: plant.origin.clone(),
            identity: Identity::new(plant.kafka.clone()),
            crew,
            roll: plant.roll.clone(),
            on_gap: plant.on_gap,
            board: plant.board.clone(),
            maker: plant.maker.clone(),
            truncation_wait: plant.truncation_wait,
            ends: Mutex::default(),
            doubts: Mutex::default(),
            layouts: Mutex::default(),
            announce,
            fatal,
        };
        // `--once` has a target of its own, and is over before a group has come to rest.
        let sharing = if mode == Mode::Forever { sharing::join(&plant)? } else { None };
        Ok(Run {
            works: Arc::new(works),
            plant,
            mode,
            there: BTreeMap::new(),
            sharing,
            tasks: JoinSet::new(),
            known: HashMap::new(),
            refused: BTreeMap::new(),
            missing: BTreeSet::new(),
            patterns: BTreeMap::new(),
            stopped: Vec::new(),
            unfinished: 0,
        })
    }

    fn group(&self) -> announce::Group {
        announce::Group {
            name: self.plant.group.clone(),
            lake: self.plant.origin.lake_id().to_owned(),
            board: self.plant.board.clone(),
        }
    }

    /// Forever, or until every stream of `--once` has ended.
    async fn until_done(&mut self, cluster: &str) -> Result<(), RunError> {
        let began = Instant::now();
        let mut told = String::new();
        let mut looked = Instant::now();
        let given_up = loop {
            if self.plant.store.is_shared() && looked.elapsed() > OWNER {
                looked = Instant::now();
                match self.plant.origin.still_owner().await {
                    Err(error) if !error.is_transient() => return Err(error.into()),
                    _ => {}
                }
            }
            self.heed_share()?;
            let error = match self.discover(cluster).await {
                Ok(()) if self.mode == Mode::Once => break None,
                Ok(()) => {
                    told.clear();
                    None
                }
                Err(RunError::Kafka(error)) if error.is_permanent() => return Err(error.into()),
                Err(RunError::Origin(error)) if !error.is_transient() => return Err(error.into()),
                Err(error @ (RunError::Kafka(_) | RunError::Origin(_))) => Some(error),
                Err(error) => return Err(error),
            };
            if let Some(error) = error {
                if self.mode == Mode::Once && began.elapsed() > PATIENCE {
                    break Some(error);
                }
                let text = error.to_string();
                let said = text == told || self.works.board.are_brokers_away() && matches!(error, RunError::Kafka(_));
                if !said {
                    tracing::warn!("looking for topics: {text}; trying again");
                    told = text;
                }
            }
            self.give_up_vain_help();
            if !self.look_around().await? {
                self.rest().await;
            }
        };
        // Also where some could not be started: the others land first.
        while let Some(ended) = self.tasks.join_next().await {
            self.ended(ended);
        }
        match given_up {
            // Told as missing.
            None | Some(RunError::Kafka(KafkaError::Missing(_))) => Ok(()),
            Some(RunError::Kafka(error)) => Err(RunError::Unreachable(error.to_string())),
            Some(error) => Err(error),
        }
    }

    /// Until it is time to look again for topics, or for what the group has given.
    async fn rest(&mut self) {
        let next = tokio::time::sleep(DISCOVERY);
        tokio::pin!(next);
        loop {
            let changed = async {
                match &mut self.sharing {
                    Some(sharing) => sharing.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = &mut next => return,
                () = changed => return,
                Some(ended) = self.tasks.join_next() => if self.ended(ended) { return },
            }
        }
    }

    fn start(&mut self, checkpoint: crate::checkpoint::Checkpoint, target: Option<i64>) {
        let stream = checkpoint.stream.clone();
        // What the group has taken back meanwhile ends with its first look at the phase.
        let phase = self.phase(&stream.topic, stream.partition).unwrap_or(Phase::Draining);
        let (phase, phases) = watch::channel(phase);
        let (nudges, inbox) = mpsc::unbounded_channel::<Nudge>();
        self.plant.operator.introduce(&stream, nudges);
        let known = Known { stream: stream.clone(), phase: Some(phase) };
        self.known.insert((stream.topic.clone(), stream.partition), known);
        let task = StreamTask::new(self.works.clone(), checkpoint, target, phases, inbox);
        self.tasks.spawn(async move { (stream, task.run().await) });
    }

    /// Returns whether the stream is to be started again at once.
    fn ended(&mut self, ended: Result<(Stream, Outcome), tokio::task::JoinError>) -> bool {
        if let Ok((stream, _)) = &ended
            && self.sharing.is_some()
        {
            return self.released(stream);
        }
        match ended {
            Ok((stream, Outcome::Stopped { why, way_out })) => self.stopped.push((stream, why, way_out)),
            Ok((stream, Outcome::Done)) => drop(self.works.board.activity(&stream, Activity::Done)),
            Ok((_, Outcome::Drained)) => self.unfinished += 1,
            Err(error) if error.is_cancelled() => self.unfinished += 1,
            Err(error) => {
                self.unfinished += 1;
                drop(self.works.fatal.send(format!("a stream's task failed: {error}; nothing is lost: start again")));
            }
        }
        false
    }

    /// No new plan any more; batches under way are finished if that takes no longer than `limits.shutdown`.
    async fn drain(&mut self) {
        for phase in self.known.values().filter_map(|known| known.phase.as_ref()) {
            phase.send_replace(Phase::Draining);
        }
        let deadline = tokio::time::sleep(self.plant.shutdown);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                ended = self.tasks.join_next() => match ended {
                    Some(ended) => {
                        self.ended(ended);
                    }
                    None => return,
                },
                () = &mut deadline => {
                    tracing::warn!(
                        "batches under way were left after {:?}; they stay planned and are finished at the next start",
                        self.plant.shutdown
                    );
                    self.tasks.shutdown().await;
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stopped(topic: &str, partition: i32, way_out: &str) -> (Stream, String, String) {
        let stream = Stream { cluster: "c".into(), topic: topic.into(), topic_id: None, partition };
        (stream, format!("{topic} has a gap"), way_out.into())
    }

    #[test]
    fn every_missing_topic_is_named_and_what_stopped_besides() {
        let topics = vec!["a".to_owned(), "b".to_owned()];
        let error = RunError::MissingTopics { topics, stopped: vec![stopped("c", 0, "decide")] };
        let told = error.to_string();
        assert!(["topic a does", "topic b does", "c has a gap"].iter().all(|part| told.contains(part)), "{told}");
        assert!(!told.contains("decide"), "{told}");
        let way_out = error.way_out().unwrap();
        assert!(way_out.contains("kafka.topics") && way_out.contains("decide"), "{way_out}");
    }

    #[test]
    fn equal_ways_out_are_told_once_and_others_by_stream() {
        let one = RunError::Stopped(vec![stopped("t", 0, "decide"), stopped("t", 1, "decide")]);
        assert_eq!(one.way_out().as_deref(), Some("decide"));
        let two = RunError::Stopped(vec![stopped("t", 0, "decide"), stopped("t", 1, "repair it")]);
        assert_eq!(two.way_out().as_deref(), Some("t/0: decide\nt/1: repair it"));
    }
}
