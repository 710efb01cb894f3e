//! The steps that change the checkpoint: plan, commit, and the one driver of its transitions.

use std::sync::atomic::Ordering;
use std::time::Instant;

use landfall_sink::{Landed, Plan, SealedBatch, Span};

use super::budget::Held;
use super::reading::ReadBatch;
use super::{StreamTask, Trouble, land};
use crate::ambient;
use crate::checkpoint::{Checkpoint, Lineage, Planned, Refusal, StoreError, Swap};

impl StreamTask {
    pub(super) async fn load(&mut self) -> Result<(), Trouble> {
        let found = self.works.store.load(&self.stream).await?;
        let before = self.checkpoint.next;
        self.checkpoint = found.ok_or_else(|| {
            Trouble::stop(
                format!("{}: its checkpoint is gone", self.stream),
                "`landfall rebuild` makes it again from the lake's file names",
            )
        })?;
        if self.checkpoint.next != before {
            self.moved = Some(Instant::now());
        }
        self.looked.clear();
        self.lineages.clear();
        self.works.board.checkpoint(&self.checkpoint);
        Ok(())
    }

    /// Step one, and on to step three: a batch whose rows are complete.
    pub(super) async fn plan_and_land(&mut self, batch: ReadBatch) -> Result<(), Trouble> {
        self.faults.forget();
        let span = batch.span;
        if !self.checkpoint.planned.iter().any(|planned| planned.span() == span) {
            // Behind `next` it is of a plan that has been committed meanwhile: what it read stands already.
            if self.works.is_draining() || span.from < self.checkpoint.next {
                self.unlanded.fetch_sub(1, Ordering::AcqRel);
                return Ok(());
            }
            let layout = self.works.sink.layout();
            self.plan(span, batch.lineage, layout.digest()).await?;
        } else if let Some(lineage) = batch.lineage {
            self.lineages.insert(span.until, lineage);
        }
        self.start_landing(span, batch.sealed, batch.held).await
    }

    pub(super) async fn plan(&mut self, span: Span, end: Option<Lineage>, layout: String) -> Result<(), Trouble> {
        land::fail_here("pipeline.before_plan")?;
        let planned = Planned::new(span, layout).ends_with(end);
        let heard = self.lineages.get(&span.from).copied();
        self.swap(|old, nonce| old.clone().learn(span.from, heard).plan(planned.clone(), nonce)).await?;
        land::fail_here("pipeline.after_plan")
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

    pub(super) async fn landed(
        &mut self,
        done: Result<(Span, Result<Landed, Trouble>), tokio::task::JoinError>,
    ) -> Result<(), Trouble> {
        let (span, landed) = done.map_err(|error| Trouble::again(format!("{}: landing: {error}", self.stream)))?;
        self.landing_spans.remove(&span);
        self.unlanded.fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| count.checked_sub(1)).ok();
        self.commit(landed?).await
    }

    /// Step four, with the gaps of what stands; then step five.
    pub(super) async fn commit(&mut self, landed: Landed) -> Result<(), Trouble> {
        land::fail_here("pipeline.before_commit")?;
        if self.checkpoint.planned.iter().any(|planned| planned.span() == landed.span) {
            // I8: what follows a piece of a backlog was planned before its last record was read.
            let heard = self.lineages.remove(&landed.span.until);
            let until = landed.span.until;
            self.swap(|old, nonce| Ok(old.commit(landed.span, &landed.gaps, nonce)?.learn(until, heard))).await?;
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
    pub(super) async fn swap(
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
            self.moved = Some(Instant::now());
        }
        self.checkpoint = new;
        self.works.board.checkpoint(&self.checkpoint);
        Ok(())
    }
}
