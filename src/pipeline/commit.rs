//! The steps that change the checkpoint: plan, commit, and the one driver of its transitions.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use landfall_sink::{Landed, Plan, SealedBatch, Span};

use super::budget::Held;
use super::reading::ReadBatch;
use super::{StreamTask, Trouble, land};
use crate::ambient;
use crate::checkpoint::{Checkpoint, Commit, Lineage, Planned, Refusal, StoreError, Swap};

/// A batch whose landing has ended.
pub(super) type Done = Result<(Span, Result<Landed, Trouble>), tokio::task::JoinError>;

impl StreamTask {
    pub(super) async fn load(&mut self) -> Result<(), Trouble> {
        let found = self.found().await?;
        self.adopt(found);
        let planned: Vec<Span> = self.checkpoint.planned.iter().map(Planned::span).collect();
        self.begun.retain(|span, _| planned.contains(span));
        self.looked.clear();
        self.lineages.clear();
        Ok(())
    }

    /// The record as it stands now.
    pub(super) async fn found(&self) -> Result<Checkpoint, Trouble> {
        let found = self.works.store.load(&self.stream).await.map_err(|error| self.trouble(error))?;
        found.ok_or_else(|| {
            Trouble::stop(
                format!("{}: its checkpoint is gone", self.stream),
                "`landfall rebuild` makes it again from the lake's file names",
            )
        })
    }

    /// A store of this process alone is trusted as a whole or not at all; in a shared one each record stands alone.
    fn trouble(&self, error: StoreError) -> Trouble {
        match error {
            StoreError::Refused { .. } if self.works.store.is_shared() => {
                Trouble::stop(format!("{}: {error}", self.stream), "see the message; nothing was changed")
            }
            error => error.into(),
        }
    }

    pub(super) fn adopt(&mut self, new: Checkpoint) {
        if new.next != self.checkpoint.next {
            self.moved = Some(Instant::now());
        }
        let old = std::mem::replace(&mut self.checkpoint, new);
        self.company.look(&self.checkpoint, &old);
        // Others commit, too; and what they landed is announced by who plans the stream.
        if self.checkpoint.committed() != old.committed() {
            self.announce();
        }
        self.works.board.checkpoint(&self.checkpoint);
    }

    /// Step five, and only by who plans the stream: whoever landed it.
    pub(super) fn announce(&self) {
        if !self.is_helping() {
            drop(self.works.announce.send((self.stream.clone(), Some(self.checkpoint.committed()))));
        }
    }

    /// Step one, and on to step three: a batch whose rows are complete.
    pub(super) async fn plan_and_land(&mut self, batch: ReadBatch) -> Result<(), Trouble> {
        self.faults.forget();
        let span = batch.span;
        if !self.checkpoint.planned.iter().any(|planned| planned.span() == span) {
            // Behind `next` it is of a plan that has been committed meanwhile: what it read stands already.
            let is_void = self.is_draining() || span.from < self.checkpoint.next;
            let layout = self.works.sink.layout();
            if is_void || self.plan(span, batch.lineage, layout.digest()).await? == Planning::Overtaken {
                self.unlanded.fetch_sub(1, Ordering::AcqRel);
                return Ok(());
            }
        } else if let Some(lineage) = batch.lineage {
            self.lineages.insert(span.until, lineage);
        }
        self.start_landing(span, batch.sealed, batch.held).await
    }

    pub(super) async fn plan(&mut self, span: Span, end: Option<Lineage>, layout: String) -> Result<Planning, Trouble> {
        land::fail_here("pipeline.before_plan")?;
        self.gather()?;
        let planned = Planned::new(span, layout).ends_with(end).made_by(&self.works.maker, self.is_helping());
        self.begun.insert(span, Instant::now());
        // What has landed meanwhile is committed in the same swap.
        let planning = self.advance(Some(planned)).await?;
        if planning == Planning::Overtaken {
            self.begun.remove(&span);
        }
        land::fail_here("pipeline.after_plan")?;
        Ok(planning)
    }

    pub(super) async fn plan_of(&self, planned: &Planned) -> Result<Plan, Trouble> {
        let layout = self.works.layout(&planned.layout).await?;
        Ok(Plan { stream: self.stream.clone(), span: planned.span(), layout })
    }

    pub(super) async fn start_landing(
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

    /// A batch has landed. A batch that waits for its plan shares the swap.
    pub(super) async fn landed(&mut self, done: Done) -> Result<(), Trouble> {
        self.take(done)?;
        self.gather()?;
        if let Ok(report) = self.heard.try_recv() {
            self.hear(report).await?;
        }
        self.commit().await
    }

    /// What else has landed by now.
    fn gather(&mut self) -> Result<(), Trouble> {
        while let Some(done) = self.landing.try_join_next() {
            self.take(done)?;
        }
        Ok(())
    }

    pub(super) fn take(&mut self, done: Done) -> Result<(), Trouble> {
        let (span, landed) = done.map_err(|error| Trouble::again(format!("{}: landing: {error}", self.stream)))?;
        self.landing_spans.remove(&span);
        self.unlanded.fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| count.checked_sub(1)).ok();
        self.uncommitted.push(landed?);
        Ok(())
    }

    /// Step four, with the gaps of what stands.
    pub(super) async fn commit(&mut self) -> Result<(), Trouble> {
        if !self.uncommitted.is_empty() {
            self.advance(None).await?;
        }
        Ok(())
    }

    /// One swap that commits everything that has landed, and makes the next plan if there is one.
    async fn advance(&mut self, planned: Option<Planned>) -> Result<Planning, Trouble> {
        if !self.uncommitted.is_empty() {
            land::fail_here("pipeline.before_commit")?;
        }
        let mut planning = Planning::Made;
        loop {
            // Another process may have committed some of it.
            let commits: Vec<Commit> = self
                .uncommitted
                .iter()
                .filter(|landed| self.checkpoint.open_plan(landed.span).is_some())
                .map(|landed| Commit { span: landed.span, gaps: landed.gaps.clone() })
                .collect();
            let plans: Vec<Planned> = planned.iter().filter(|_| planning == Planning::Made).cloned().collect();
            if commits.is_empty() && plans.is_empty() {
                break;
            }
            // I8: what follows a piece of a backlog was planned before its last record was read.
            let bounds = commits.iter().map(|commit| commit.span.until).chain(plans.iter().map(|plan| plan.from));
            let heard: Vec<(i64, Lineage)> =
                bounds.filter_map(|bound| Some((bound, *self.lineages.get(&bound)?))).collect();
            let learned = |old: &Checkpoint| {
                heard.iter().fold(old.clone(), |old, (bound, lineage)| old.learn(*bound, Some(*lineage)))
            };
            match self.attempt(|old, nonce| learned(old).advance(&commits, plans.clone(), nonce)).await? {
                Attempt::Won => break,
                Attempt::Overtaken { plans: false } => {}
                // What has landed has landed.
                Attempt::Overtaken { plans: true } => planning = Planning::Overtaken,
            }
        }
        for landed in std::mem::take(&mut self.uncommitted) {
            land::fail_here("pipeline.after_commit")?;
            self.lineages.remove(&landed.span.until);
            self.committed(&landed);
        }
        Ok(planning)
    }

    fn committed(&mut self, landed: &Landed) {
        // Of a plan that another process made, nobody knows.
        let took = self.begun.remove(&landed.span).map(|begun| begun.elapsed().as_secs_f64() * 1e3);
        tracing::debug!(
            plan_to_commit_ms = took,
            "{} committed: {} rows, {} bytes in {}",
            self.stream.range(landed.span),
            landed.rows,
            landed.bytes,
            landed.name
        );
        self.learned.observe(landed.span, landed.bytes);
        self.works.board.landed(landed);
    }

    /// One change of the checkpoint. Where another process was faster and only committed, it is made again from
    /// what stands; where it planned, the stream begins anew.
    pub(super) async fn swap(
        &mut self,
        change: impl Fn(&Checkpoint, String) -> Result<Checkpoint, Refusal>,
    ) -> Result<(), Trouble> {
        loop {
            match self.attempt(&change).await? {
                Attempt::Won => return Ok(()),
                Attempt::Overtaken { plans: false } => {}
                Attempt::Overtaken { plans: true } => return Err(Trouble::Anew),
            }
        }
    }

    /// One swap. What stands afterwards is what this stream acts on, whoever made it.
    async fn attempt(
        &mut self,
        change: impl Fn(&Checkpoint, String) -> Result<Checkpoint, Refusal>,
    ) -> Result<Attempt, Trouble> {
        let new = change(&self.checkpoint, ambient::random_id())?;
        let unclear = match self.works.store.swap(Some(self.checkpoint.version), &new).await {
            Ok(Swap::Won) => {
                self.adopt(new);
                return Ok(Attempt::Won);
            }
            Ok(Swap::Lost) if landfall_lake::fault::sabotaged("lost_swap_counts") => {
                self.adopt(new);
                return Ok(Attempt::Won);
            }
            Ok(Swap::Lost) => format!("{}: its checkpoint was changed by another", self.stream),
            Err(StoreError::Unknown { store, message }) => format!("{store}: {message}"),
            Err(error) => return Err(self.trouble(error)),
        };
        let found = self.found().await?;
        if found.nonce == new.nonce {
            self.adopt(new);
            return Ok(Attempt::Won);
        }
        if found.nonce == self.checkpoint.nonce {
            // Nobody changed it, and neither did we.
            return Err(Trouble::Again(unclear));
        }
        tracing::debug!("{}: another process was faster: version {}", self.stream, found.version);
        let plans = self.overtaken_by(found)?;
        if plans {
            // Two processes that plan in step would take turns in losing.
            tokio::time::sleep(ambient::jitter(TURN)).await;
        }
        Ok(Attempt::Overtaken { plans })
    }

    /// What another process made of the record is what this one acts on. Returns whether it planned.
    pub(super) fn overtaken_by(&mut self, found: Checkpoint) -> Result<bool, Trouble> {
        let plans = !found.only_commits_since(&self.checkpoint);
        let goes_on = found.only_goes_on_from(&self.checkpoint);
        self.adopt(found);
        if plans {
            // What was read ahead of its plan is of no use any more.
            self.stop_reading_ahead();
            // Another process may have written down that the log was cut: what was heard of it must not come back.
            self.lineages.clear();
        }
        // Where more was done than to plan behind what stood, what is under way may have another meaning now.
        if goes_on { Ok(plans) } else { Err(Trouble::Anew) }
    }
}

/// What became of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Planning {
    Made,
    /// Another process planned these offsets.
    Overtaken,
}

/// Between two attempts against a process that plans at the same time.
const TURN: Duration = Duration::from_millis(20);

/// What became of a swap.
enum Attempt {
    Won,
    /// Another's record stands, and has been taken over. `plans`: it changed what is planned.
    Overtaken {
        plans: bool,
    },
}
