//! All streams of a process: topics are found, streams are born and given to tasks, ends are asked for,
//! committed offsets are announced, and everything ends cleanly.

mod announce;
mod births;
mod ends;
mod operator;

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
    #[error("stopped before {streams} partition(s) were at their ends: run it again, it goes on where it was")]
    Interrupted { streams: usize },
    #[error("topic {topic} does not exist. Create it, or correct kafka.topics")]
    MissingTopic { topic: String },
    #[error("{0}")]
    Fatal(String),
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error(transparent)]
    Origin(#[from] crate::origin::OriginError),
}

fn stopped_text(stopped: &[(Stream, String, String)]) -> String {
    let lines: Vec<String> = stopped.iter().map(|(_, why, way_out)| format!("{why}\n  way out: {way_out}")).collect();
    format!("{} stream(s) stopped:\n{}", stopped.len(), lines.join("\n"))
}

/// One run: from the first question to the brokers to the last commit.
struct Run {
    works: Arc<Works>,
    plant: Plant,
    mode: Mode,
    tasks: JoinSet<(Stream, Outcome)>,
    /// Partitions that have a task or had one in this run.
    known: HashMap<(String, i32), Stream>,
    /// Topics whose streams cannot be started, and why it was said.
    refused: BTreeMap<String, String>,
    missing: BTreeSet<String>,
    /// What each pattern matched when this lake first used it.
    patterns: BTreeMap<String, PatternUse>,
    stopped: Vec<(Stream, String, String)>,
    /// Streams that were asked to end before they were at their target.
    unfinished: usize,
}

/// Lands until `stop` is ready, or, with [`Mode::Once`], until every stream is where it was to get.
pub async fn run(plant: Plant, mode: Mode, stop: impl Future<Output = ()>) -> Result<(), RunError> {
    let (phase, phases) = watch::channel(Phase::Running);
    let (fatal, mut fatals) = mpsc::unbounded_channel();
    let (announce, announcements) = mpsc::unbounded_channel();
    tokio::pin!(stop);
    let cluster = tokio::select! {
        cluster = births::cluster_id(&plant.kafka, mode) => cluster?,
        () = &mut stop => return interrupted(mode, 0),
    };
    let mut run = Run::new(plant, mode, phases, announce, fatal).await?;
    let announcer = tokio::spawn(announce::announcer(run.plant.kafka.clone(), run.group(), announcements));
    let asker = tokio::spawn(ends::keep_asking(run.works.clone()));
    let ended = tokio::select! {
        ended = run.until_done(&cluster) => ended.map(|()| true),
        () = &mut stop => Ok(false),
        Some(why) = fatals.recv() => Err(RunError::Fatal(why)),
    };
    asker.abort();
    phase.send_replace(Phase::Draining);
    run.drain().await;
    run.works.crew.dismiss();
    let stopped = std::mem::take(&mut run.stopped);
    let missing = std::mem::take(&mut run.missing).pop_first();
    let unfinished = run.unfinished;
    drop(run);
    // The announcer ends with the last stream; it is best effort, so it is not waited for long.
    drop(tokio::time::timeout(Duration::from_secs(3), announcer).await);
    let went_through = ended?;
    match missing {
        _ if mode == Mode::Forever => Ok(()),
        _ if !stopped.is_empty() => Err(RunError::Stopped(stopped)),
        Some(topic) => Err(RunError::MissingTopic { topic }),
        None if unfinished > 0 || !went_through => interrupted(mode, unfinished),
        None => Ok(()),
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
        phase: watch::Receiver<Phase>,
        announce: mpsc::UnboundedSender<(Stream, i64)>,
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
            phase,
            truncation_wait: plant.truncation_wait,
            ends: Mutex::default(),
            layouts: Mutex::default(),
            announce,
            fatal,
        };
        Ok(Run {
            works: Arc::new(works),
            plant,
            mode,
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
        announce::Group { name: self.plant.group.clone(), lake: self.plant.origin.lake_id().to_owned() }
    }

    /// Forever, or until every stream of `--once` has ended.
    async fn until_done(&mut self, cluster: &str) -> Result<(), RunError> {
        let began = Instant::now();
        let mut looked = Instant::now();
        loop {
            if self.plant.store.is_shared() && looked.elapsed() > OWNER {
                looked = Instant::now();
                match self.plant.origin.still_owner().await {
                    Err(error) if !error.is_transient() => return Err(error.into()),
                    _ => {}
                }
            }
            match self.discover(cluster).await {
                Ok(()) if self.mode == Mode::Once => break,
                Ok(()) => {}
                Err(RunError::Kafka(error)) if error.is_permanent() => return Err(error.into()),
                Err(RunError::Kafka(error)) if self.mode == Mode::Once && began.elapsed() > PATIENCE => {
                    return Err(RunError::Unreachable(error.to_string()));
                }
                Err(RunError::Kafka(error)) => tracing::warn!("looking for topics: {error}; asking again"),
                Err(RunError::Origin(error)) if error.is_transient() => tracing::warn!("{error}; trying again"),
                Err(error) => return Err(error),
            }
            let next = tokio::time::sleep(DISCOVERY);
            tokio::pin!(next);
            loop {
                tokio::select! {
                    () = &mut next => break,
                    Some(ended) = self.tasks.join_next() => self.ended(ended),
                }
            }
        }
        while let Some(ended) = self.tasks.join_next().await {
            self.ended(ended);
        }
        Ok(())
    }

    fn start(&mut self, checkpoint: crate::checkpoint::Checkpoint, target: Option<i64>) {
        let stream = checkpoint.stream.clone();
        let (nudges, inbox) = mpsc::unbounded_channel::<Nudge>();
        self.plant.operator.introduce(&stream, nudges);
        self.known.insert((stream.topic.clone(), stream.partition), stream.clone());
        let task = StreamTask::new(self.works.clone(), checkpoint, target, inbox);
        self.tasks.spawn(async move { (stream, task.run().await) });
    }

    fn ended(&mut self, ended: Result<(Stream, Outcome), tokio::task::JoinError>) {
        match ended {
            Ok((stream, Outcome::Stopped { why, way_out })) => self.stopped.push((stream, why, way_out)),
            Ok((stream, Outcome::Done)) => drop(self.works.board.activity(&stream, Activity::Done)),
            Ok((_, Outcome::Drained)) => self.unfinished += 1,
            Err(error) if error.is_cancelled() => self.unfinished += 1,
            Err(error) => drop(self.works.fatal.send(format!("a stream's task failed: {error}"))),
        }
    }

    /// No new plan any more; batches under way are finished if that takes no longer than `limits.shutdown`.
    async fn drain(&mut self) {
        let deadline = tokio::time::sleep(self.plant.shutdown);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                ended = self.tasks.join_next() => match ended {
                    Some(ended) => self.ended(ended),
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
