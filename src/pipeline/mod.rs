//! One stream: plan → read → decode → write → commit; then announce.
//!
//! [`StreamTask::session`] is that loop. A session begins from the checkpoint alone, so recovery is the
//! same path: whatever goes wrong, the session ends, and the next one finds what is planned. Rows are
//! read ahead of their plan by a worker ([`worker`]); nothing of them is visible before the plan is durable.

mod budget;
mod crew;
mod draft;
mod identity;
mod judge;
mod land;
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

use landfall_sink::{Landed, Plan, Resolution, SealedBatch, Span, Stream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

pub use budget::Budget;
pub use crew::Crew;
pub use identity::Identity;
pub use judge::Ends;
pub use trouble::Trouble;
pub use works::{OnGap, Phase, Works};

use crate::ambient;
use crate::checkpoint::{Checkpoint, Planned, Refusal, StoreError, Swap};
use crate::plan::Learned;
use crate::status::Activity;
use budget::Held;
use crew::WorkerId;
use reading::{ReadBatch, Report, Steer, Told};

/// How long the broker may take to say where a partition starts and ends.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a stream looks whether its backlog should be shared, or its log was truncated.
const TICK: Duration = Duration::from_millis(100);
const IDLE_TICK: Duration = Duration::from_secs(2);
/// A batch that is corrupt, or an epoch that does not fit, this often in a row is not a passing fault.
const SAME_FAULT: u32 = 5;

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
    /// Planned spans whose name was looked for in this session.
    looked: BTreeSet<Span>,
    unlanded: Arc<AtomicUsize>,
    said: mpsc::UnboundedSender<Report>,
    heard: mpsc::UnboundedReceiver<Report>,
    learned: Learned,
    /// The broker's log start, as far as it is known.
    log_start: i64,
    /// When `next` last moved.
    moved: Instant,
    truncated_since: Option<Instant>,
    faults: u32,
}

/// A reading of this stream at a worker.
struct UnderWay {
    worker: WorkerId,
    steer: Arc<Steer>,
}

impl StreamTask {
    pub fn new(
        works: Arc<Works>,
        checkpoint: Checkpoint,
        target: Option<i64>,
        nudges: mpsc::UnboundedReceiver<Nudge>,
    ) -> StreamTask {
        let (said, heard) = mpsc::unbounded_channel();
        StreamTask {
            phase: works.phase.clone(),
            works,
            stream: checkpoint.stream.clone(),
            target,
            checkpoint,
            nudges,
            readings: BTreeMap::new(),
            landing: JoinSet::new(),
            landing_spans: BTreeSet::new(),
            looked: BTreeSet::new(),
            unlanded: Arc::default(),
            said,
            heard,
            learned: Learned::default(),
            log_start: 0,
            moved: Instant::now(),
            truncated_since: None,
            faults: 0,
        }
    }

    /// Until the target is reached, the process drains, or the stream stops for good.
    pub async fn run(mut self) -> Outcome {
        let mut pause = MIN_PAUSE;
        loop {
            let before = self.checkpoint.version;
            let ended = self.session().await;
            self.settle().await;
            if self.checkpoint.version != before {
                pause = MIN_PAUSE;
            }
            match ended {
                Ok(outcome) => return outcome,
                Err(Trouble::Again(why)) => {
                    if self.works.is_draining() {
                        return Outcome::Drained;
                    }
                    self.wait(&why, pause).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
                Err(Trouble::Stop { why, way_out }) => {
                    if let Some(outcome) = self.stopped(why, way_out).await {
                        return outcome;
                    }
                    pause = MIN_PAUSE;
                }
                Err(Trouble::Fatal(why)) => {
                    drop(self.works.fatal.send(why));
                    return Outcome::Drained;
                }
            }
        }
    }

    /// From the checkpoint to the first trouble.
    async fn session(&mut self) -> Result<Outcome, Trouble> {
        self.load().await?;
        self.works.identity.verify(&self.stream, self.checkpoint.adopted_topic_id.as_deref()).await?;
        loop {
            self.heed_ends()?;
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

    async fn load(&mut self) -> Result<(), Trouble> {
        let found = self.works.store.load(&self.stream).await?;
        self.checkpoint = found.ok_or_else(|| {
            Trouble::stop(
                format!("{}: its checkpoint is gone", self.stream),
                "`landfall rebuild` makes it again from the lake's file names",
            )
        })?;
        self.looked.clear();
        self.works.board.checkpoint(&self.checkpoint);
        Ok(())
    }

    fn is_over(&self) -> Option<Outcome> {
        let idle = self.landing.is_empty() && self.heard.is_empty();
        if self.works.is_draining() {
            return (idle && self.readings.is_empty()).then_some(Outcome::Drained);
        }
        let there = self.target.is_some_and(|target| self.checkpoint.next >= target);
        (there && idle && self.checkpoint.planned.is_empty()).then_some(Outcome::Done)
    }

    /// A worker has something to say.
    async fn hear(&mut self, report: Report) -> Result<(), Trouble> {
        let Some(under) = self.readings.get(&report.id) else {
            // Of a session that has ended: its batch is void.
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

    /// Step one, and on to step three: a batch whose rows are complete.
    async fn plan_and_land(&mut self, batch: ReadBatch) -> Result<(), Trouble> {
        self.faults = 0;
        let span = batch.span;
        if !self.checkpoint.planned.iter().any(|planned| planned.span() == span) {
            // Behind `next` it is of a plan that has been committed meanwhile: what it read stands already.
            if self.works.is_draining() || span.from < self.checkpoint.next {
                self.unlanded.fetch_sub(1, Ordering::AcqRel);
                return Ok(());
            }
            let layout = self.works.sink.layout();
            self.plan(span, batch.epoch, layout.digest()).await?;
        }
        self.start_landing(span, batch.sealed, batch.held).await
    }

    async fn start_landing(
        &mut self,
        span: Span,
        sealed: Box<dyn SealedBatch>,
        held: Option<Held>,
    ) -> Result<(), Trouble> {
        let Some(planned) = self.checkpoint.planned.iter().find(|planned| planned.span() == span).cloned() else {
            return Err(Trouble::again(format!("{} {span} is not planned any more", self.stream)));
        };
        let plan = self.plan_of(&planned).await?;
        let adopted = self.checkpoint.adopted_topic_id.clone();
        self.landing_spans.insert(span);
        if landfall_lake::fault::sabotaged("commit_before_publish") {
            self.swap(|old, nonce| old.commit(span, &[], nonce)).await?;
        }
        let works = self.works.clone();
        self.landing.spawn(async move {
            let landed = land::land(works, plan, adopted, sealed).await;
            drop(held);
            (span, landed)
        });
        Ok(())
    }

    async fn plan(&mut self, span: Span, until_epoch: Option<i32>, layout: String) -> Result<(), Trouble> {
        land::fail_here("pipeline.before_plan")?;
        let planned = Planned {
            from: span.from,
            until: span.until,
            from_epoch: self.checkpoint.next_epoch,
            until_epoch,
            layout,
            resolved: None,
            unknown: serde_json::Map::new(),
        };
        self.swap(|old, nonce| old.plan(planned.clone(), nonce)).await?;
        land::fail_here("pipeline.after_plan")
    }

    async fn plan_of(&self, planned: &Planned) -> Result<Plan, Trouble> {
        let layout = self.works.layout(&planned.layout).await?;
        Ok(Plan { stream: self.stream.clone(), span: planned.span(), layout })
    }

    async fn landed(
        &mut self,
        done: Result<(Span, Result<Landed, Trouble>), tokio::task::JoinError>,
    ) -> Result<(), Trouble> {
        let (span, landed) = done.map_err(|error| Trouble::again(format!("{}: landing: {error}", self.stream)))?;
        self.landing_spans.remove(&span);
        self.unlanded.fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| count.checked_sub(1)).ok();
        self.commit(landed?).await
    }

    /// Step four, with the gaps of what stands; then step five.
    async fn commit(&mut self, landed: Landed) -> Result<(), Trouble> {
        land::fail_here("pipeline.before_commit")?;
        if self.checkpoint.planned.iter().any(|planned| planned.span() == landed.span) {
            self.swap(|old, nonce| old.commit(landed.span, &landed.gaps, nonce)).await?;
        }
        land::fail_here("pipeline.after_commit")?;
        tracing::debug!(
            "{} committed: {} rows, {} bytes in {}",
            self.stream.range(landed.span),
            landed.rows,
            landed.bytes,
            landed.name
        );
        self.learned.observe(landed.span, landed.bytes);
        self.works.board.landed(&landed);
        drop(self.works.announce.send((self.stream.clone(), self.checkpoint.committed())));
        Ok(())
    }

    /// One change of the checkpoint, retried where it is unknown whether it happened.
    async fn swap(
        &mut self,
        change: impl Fn(&Checkpoint, String) -> Result<Checkpoint, Refusal>,
    ) -> Result<(), Trouble> {
        let new = change(&self.checkpoint, ambient::random_id())?;
        match self.works.store.swap(Some(self.checkpoint.version), &new).await {
            Ok(Swap::Won) => {}
            Ok(Swap::Lost) => {
                return Err(Trouble::again(format!("{}: its checkpoint was changed by another", self.stream)));
            }
            Err(StoreError::Unknown { store, message }) => {
                let found = self.works.store.load(&self.stream).await?;
                if found.as_ref().map(|found| &found.nonce) != Some(&new.nonce) {
                    return Err(Trouble::again(format!("{store}: {message}")));
                }
            }
            Err(error) => return Err(error.into()),
        }
        if new.next != self.checkpoint.next {
            self.moved = Instant::now();
        }
        self.checkpoint = new;
        self.works.board.checkpoint(&self.checkpoint);
        Ok(())
    }

    /// Ends what a session began: readings are void, landings are waited for and committed.
    async fn settle(&mut self) {
        for (id, under) in std::mem::take(&mut self.readings) {
            self.works.crew.cancel(under.worker, id);
        }
        while let Some(done) = self.landing.join_next().await {
            if let Err(Trouble::Stop { why, .. }) = self.landed(done).await {
                tracing::error!("{}: {why}", self.stream);
            }
        }
        self.landing_spans.clear();
        while self.heard.try_recv().is_ok() {}
        // A counter of its own for the next session: a cancelled worker may still add to the old one.
        self.unlanded = Arc::default();
    }

    async fn wait(&mut self, why: &str, pause: Duration) {
        let waiting = Activity::Waiting { why: why.to_owned() };
        if !why.is_empty() && self.works.board.activity(&self.stream, waiting) {
            tracing::warn!("{}: {why}; waiting, and going on by itself", self.stream);
        }
        let pause = if why.is_empty() { Duration::ZERO } else { ambient::jitter(pause) };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = self.phase.changed() => {}
        }
    }

    /// `None`: an operator's decision came, begin again.
    async fn stopped(&mut self, why: String, way_out: String) -> Option<Outcome> {
        tracing::error!("{why}. Way out: {way_out}. The other streams go on");
        let stopped = Activity::Stopped { why: why.clone(), way_out: way_out.clone() };
        self.works.board.activity(&self.stream, stopped);
        let outcome = Outcome::Stopped { why, way_out };
        if self.target.is_some() {
            return Some(outcome);
        }
        loop {
            if self.works.is_draining() {
                return Some(outcome);
            }
            tokio::select! {
                Some(nudge) = self.nudges.recv() => {
                    // The answer tells the operator what became of it; the stream begins again either way.
                    drop(self.nudged(nudge).await);
                    return None;
                }
                changed = self.phase.changed() => if changed.is_err() { return Some(outcome) },
            }
        }
    }

    async fn nudged(&mut self, nudge: Nudge) -> Result<(), Trouble> {
        let Nudge { span, resolution, answer } = nudge;
        let layout = self.works.sink.layout().digest();
        let done = self.swap(|old, nonce| old.resolve(span, resolution, &layout, nonce)).await;
        let told = match &done {
            Ok(()) => Ok(self.checkpoint.clone()),
            Err(Trouble::Again(why) | Trouble::Fatal(why) | Trouble::Stop { why, .. }) => Err(why.clone()),
        };
        drop(answer.send(told));
        // Whatever is under way was planned before the decision: begin again from the checkpoint.
        Err(Trouble::again(""))
    }
}

const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(10);
