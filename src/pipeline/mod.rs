//! One stream: plan → read → write → commit; then announce.
//!
//! [`StreamTask::session`] is that loop. A session begins from the checkpoint alone, so recovery is the
//! same path: whatever goes wrong, the session ends, and the next one finds what is planned. Rows are
//! read ahead of their plan by a worker ([`worker`]); nothing of them is visible before the plan is durable.

mod budget;
mod commit;
mod company;
mod crew;
mod draft;
mod faults;
mod helping;
mod identity;
mod judge;
mod land;
mod life;
mod pulse;
mod reading;
mod resume;
mod share;
mod trouble;
mod worker;
mod works;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use landfall_sink::{Landed, Resolution, Span, Stream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

pub use budget::Budget;
pub use crew::Crew;
pub use identity::Identity;
pub use judge::Ends;
pub use trouble::Trouble;
pub use works::{OnGap, Phase, Works};

use crate::checkpoint::{Checkpoint, Lineage};
use crate::plan::Learned;
use company::Company;
use crew::WorkerId;
use faults::Faults;
use reading::{Report, Steer, Told};

/// How long the broker may take to say where a partition starts and ends.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a stream looks whether its backlog should be shared, or its log was truncated.
const TICK: Duration = Duration::from_millis(100);
const IDLE_TICK: Duration = Duration::from_secs(2);
/// No more offsets than these are read a second time to find out whether the log was truncated.
const LINEAGE_REACH: i64 = 10_000;
/// A session that went so long without trouble goes on.
const SETTLED: Duration = Duration::from_secs(1);
/// A batch that is corrupt, or an epoch that does not fit, this often in a row is not a passing fault.
const SAME_FAULT: u32 = 5;
/// Without a fault for so long, the next one is another.
const QUIET: Duration = Duration::from_secs(120);

/// An operator's decision that a running stream is told.
pub struct Nudge {
    pub span: Span,
    pub resolution: Resolution,
    pub answer: oneshot::Sender<Result<Checkpoint, String>>,
}

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It got to its target.
    Done,
    /// It was asked to end; what is planned is finished later.
    Drained,
    Stopped {
        why: String,
        way_out: String,
    },
}

pub struct StreamTask {
    works: Arc<Works>,
    stream: Stream,
    /// Where `--once` ends.
    target: Option<i64>,
    checkpoint: Checkpoint,
    phase: watch::Receiver<Phase>,
    nudges: mpsc::UnboundedReceiver<Nudge>,
    readings: BTreeMap<u64, UnderWay>,
    landing: JoinSet<(Span, Result<Landed, Trouble>)>,
    /// Planned spans whose batch is being landed.
    landing_spans: BTreeSet<Span>,
    /// Batches that have landed and are committed with the next swap.
    uncommitted: Vec<Landed>,
    /// When this process began to plan what it has not seen committed yet.
    begun: BTreeMap<Span, Instant>,
    /// Planned spans whose name was looked for in this session.
    looked: BTreeSet<Span>,
    /// The checkpoint was loaded for this task, and nothing has been done with it.
    is_fresh: bool,
    /// Which plans other processes make.
    company: Company,
    unlanded: Arc<AtomicUsize>,
    said: mpsc::UnboundedSender<Report>,
    heard: mpsc::UnboundedReceiver<Report>,
    learned: Learned,
    /// By the end of a batch whose plan could not know it: its last record.
    lineages: BTreeMap<i64, Lineage>,
    /// The broker's log start, as far as it is known.
    log_start: i64,
    /// When `next` last moved in this process.
    moved: Option<Instant>,
    truncated_since: Option<Instant>,
    /// When this session began.
    began: Instant,
    /// When it was last looked at what other processes do.
    watched: Instant,
    /// Since when `--once` makes no progress.
    stuck: Option<Instant>,
    faults: Faults,
    /// The last reason to stop, said once.
    stopped_for: Option<String>,
}

/// A reading of this stream at a worker.
struct UnderWay {
    worker: WorkerId,
    steer: Arc<Steer>,
    /// The plan that it executes; `None` while it reads ahead of its plans.
    plan: Option<Span>,
}

impl StreamTask {
    pub fn new(
        works: Arc<Works>,
        checkpoint: Checkpoint,
        target: Option<i64>,
        phase: watch::Receiver<Phase>,
        nudges: mpsc::UnboundedReceiver<Nudge>,
    ) -> StreamTask {
        let (said, heard) = mpsc::unbounded_channel();
        works.board.checkpoint(&checkpoint);
        StreamTask {
            phase,
            stream: checkpoint.stream.clone(),
            target,
            is_fresh: true,
            company: Company::new(&works.maker, &checkpoint),
            works,
            checkpoint,
            nudges,
            readings: BTreeMap::new(),
            landing: JoinSet::new(),
            landing_spans: BTreeSet::new(),
            uncommitted: Vec::new(),
            begun: BTreeMap::new(),
            looked: BTreeSet::new(),
            unlanded: Arc::default(),
            said,
            heard,
            learned: Learned::default(),
            lineages: BTreeMap::new(),
            log_start: 0,
            moved: Some(Instant::now()),
            truncated_since: None,
            began: Instant::now(),
            watched: Instant::now(),
            stuck: None,
            faults: Faults::default(),
            stopped_for: None,
        }
    }

    /// From the checkpoint to the first trouble.
    async fn session(&mut self) -> Result<Outcome, Trouble> {
        self.began = Instant::now();
        // The first session acts on what the start has just found.
        if !std::mem::take(&mut self.is_fresh) {
            self.load().await?;
        }
        self.works.take_doubt(&self.stream);
        self.same_topic().await?;
        self.announce();
        loop {
            if self.works.take_doubt(&self.stream) {
                self.same_topic().await?;
            }
            self.heed_ends().await?;
            if self.is_draining() {
                self.stop_reading_ahead();
            }
            self.watch_the_others().await?;
            self.resume_plans().await?;
            self.share_backlog().await?;
            self.read_ahead().await?;
            if let Some(outcome) = self.is_over() {
                return Ok(outcome);
            }
            let tick = if self.is_backlogged() { TICK } else { IDLE_TICK };
            tokio::select! {
                Some(report) = self.heard.recv() => self.hear(report).await?,
                Some(landed) = self.landing.join_next() => self.landed(landed).await?,
                Some(nudge) = self.nudges.recv() => self.nudged(nudge).await?,
                changed = self.phase.changed() => changed.map_err(|_| Trouble::again("the process ends"))?,
                () = tokio::time::sleep(tick) => {}
            }
        }
    }

    /// Offsets of a topic that was deleted, or made again, mean nothing: compared before anything is concluded
    /// from what its log holds.
    pub(super) async fn same_topic(&self) -> Result<(), Trouble> {
        self.works.identity.verify(&self.stream, self.checkpoint.adopted_topic_id.as_deref()).await
    }

    pub(super) fn is_draining(&self) -> bool {
        *self.phase.borrow() == Phase::Draining
    }

    pub(super) fn is_helping(&self) -> bool {
        *self.phase.borrow() == Phase::Helping
    }

    fn is_over(&self) -> Option<Outcome> {
        let idle = self.landing.is_empty() && self.heard.is_empty();
        if self.is_draining() {
            return (idle && self.readings.is_empty()).then_some(Outcome::Drained);
        }
        if self.is_helping() {
            return (idle && self.has_helped()).then_some(Outcome::Done);
        }
        let there = self.target.is_some_and(|target| self.checkpoint.next >= target);
        // A log that ends below `next` may have lost records: that is judged before anything is called done.
        let sound = self.truncated_since.is_none() && !self.seems_short();
        (there && idle && sound && self.checkpoint.planned.is_empty()).then_some(Outcome::Done)
    }

    /// The newest answer says that the log ends below `next`, be it an old one.
    fn seems_short(&self) -> bool {
        let Checkpoint { genesis, next, accepted_cut, .. } = self.checkpoint;
        let Some((ends, _)) = self.works.ends_of(&self.stream) else { return false };
        let is_accepted = accepted_cut.is_some_and(|cut| cut <= ends.end);
        ends.start <= next && ends.end < next && next > genesis && !is_accepted
    }

    /// A worker has something to say.
    async fn hear(&mut self, report: Report) -> Result<(), Trouble> {
        let Some(under) = self.readings.get(&report.id) else {
            // Of a reading that was given up: its batch is void.
            if matches!(report.what, Told::Batch(_)) {
                self.unlanded.fetch_sub(1, Ordering::AcqRel);
            }
            return Ok(());
        };
        let worker = under.worker;
        match report.what {
            Told::Batch(batch) => self.plan_and_land(batch).await,
            Told::Ended => {
                self.readings.remove(&report.id);
                self.works.crew.ended(worker, report.id);
                Ok(())
            }
            Told::Fault { at, fault } => {
                self.readings.remove(&report.id);
                self.works.crew.ended(worker, report.id);
                self.faulted(at, fault).await
            }
        }
    }
}
