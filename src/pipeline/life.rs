//! A stream across its sessions: what is done about each kind of trouble, and what an operator can say.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::{Nudge, Outcome, StreamTask, Trouble};
use crate::ambient;
use crate::status::Activity;

/// How long `--once` tries without any progress.
const PATIENCE: Duration = Duration::from_secs(60);
/// How soon a stopped stream looks whether its checkpoint has changed, and how seldom it does later: each look asks
/// the store, and thousands of streams may have stopped.
const FIRST_LOOK: Duration = Duration::from_secs(10);
const LAST_LOOK: Duration = Duration::from_secs(120);
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(10);

impl StreamTask {
    /// Until the target is reached, the process drains, or the stream stops for good.
    pub async fn run(mut self) -> Outcome {
        let mut pause = MIN_PAUSE;
        loop {
            let before = self.checkpoint.version;
            let ended = self.session().await;
            self.settle().await;
            if self.checkpoint.version != before {
                pause = MIN_PAUSE;
                self.stuck = None;
            }
            match ended {
                Ok(outcome) => return outcome,
                Err(Trouble::Anew) => {}
                Err(Trouble::Again(why) | Trouble::Stop { why, .. }) if self.is_helping() => {
                    // Its owner meets it, too, and is the one to say so.
                    tracing::debug!("{}: helps no more: {why}", self.stream);
                    return Outcome::Done;
                }
                Err(Trouble::Again(why)) => {
                    if self.is_draining() {
                        return Outcome::Drained;
                    }
                    if self.target.is_some() && self.stuck.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                        let why = format!("{}: {why}; given up after {PATIENCE:?} without progress", self.stream);
                        return Outcome::Stopped {
                            why,
                            way_out: "run it again when that is mended: nothing is lost".into(),
                        };
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

    /// Ends what a session began: readings are void, landings are waited for and committed.
    async fn settle(&mut self) {
        for (id, under) in std::mem::take(&mut self.readings) {
            self.works.crew.cancel(under.worker, id);
        }
        while let Some(done) = self.landing.join_next().await {
            if let Err(Trouble::Stop { why, .. }) = self.take(done) {
                tracing::error!("{}: {why}", self.stream);
            }
        }
        if let Err(Trouble::Stop { why, .. }) = self.commit().await {
            tracing::error!("{}: {why}", self.stream);
        }
        // What could not be committed stands, and is found by its plan.
        self.uncommitted.clear();
        self.landing_spans.clear();
        // A channel of its own for the next session: a worker may be just sealing a batch, and nobody listens while
        // the stream stands still. What it says then goes back to it, and the memory that it holds is free.
        (self.said, self.heard) = mpsc::unbounded_channel();
        // A counter of its own for the next session: a cancelled worker may still add to the old one.
        self.unlanded = Arc::default();
    }

    async fn wait(&mut self, why: &str, pause: Duration) {
        let waiting = Activity::Waiting { why: why.to_owned() };
        // What all streams wait for is said once, and not by each.
        if self.works.board.activity(&self.stream, waiting) && !self.works.board.are_brokers_away() {
            tracing::warn!("{}: {why}; waiting, and going on by itself", self.stream);
        }
        tokio::select! {
            () = tokio::time::sleep(ambient::jitter(pause)) => {}
            _ = self.phase.changed() => {}
            // The answer tells the operator what became of it; the stream begins again either way.
            Some(nudge) = self.nudges.recv() => drop(self.nudged(nudge).await),
        }
    }

    /// `None`: an operator's decision came, begin again.
    async fn stopped(&mut self, why: String, way_out: String) -> Option<Outcome> {
        // Where another process goes on with the stream, it is tried again, and may stop for the same reason.
        if self.stopped_for.replace(why.clone()).as_ref() != Some(&why) {
            tracing::error!("{why}. Way out: {way_out}. The other streams go on");
        }
        let stopped = Activity::Stopped { why: why.clone(), way_out: way_out.clone() };
        self.works.board.activity(&self.stream, stopped);
        let outcome = Outcome::Stopped { why, way_out };
        if self.target.is_some() {
            return Some(outcome);
        }
        let stopped_at = self.checkpoint.version;
        let mut look = FIRST_LOOK;
        loop {
            if self.is_draining() {
                return Some(outcome);
            }
            tokio::select! {
                () = tokio::time::sleep(ambient::jitter(look)), if self.works.store.is_shared() => {
                    look = (look * 2).min(LAST_LOOK);
                    // A decision that another process wrote down, or that another process has carried out.
                    let found = self.works.store.load(&self.stream).await;
                    if found.is_ok_and(|found| found.is_some_and(|found| found.version != stopped_at)) {
                        return None;
                    }
                }
                Some(nudge) = self.nudges.recv() => {
                    // The answer tells the operator what became of it; the stream begins again either way.
                    drop(self.nudged(nudge).await);
                    return None;
                }
                changed = self.phase.changed() => if changed.is_err() { return Some(outcome) },
            }
        }
    }

    pub(super) async fn nudged(&mut self, nudge: Nudge) -> Result<(), Trouble> {
        let Nudge { span, resolution, answer } = nudge;
        let layout = self.works.sink.layout().digest();
        let done = self.swap(|old, nonce| old.resolve(span, resolution, &layout, nonce)).await;
        let told = match &done {
            Ok(()) => Ok(self.checkpoint.clone()),
            Err(Trouble::Again(why) | Trouble::Fatal(why) | Trouble::Stop { why, .. }) => Err(why.clone()),
            Err(Trouble::Anew) => Err("the stream has changed meanwhile: look again".to_owned()),
        };
        drop(answer.send(told));
        self.truncated_since = None;
        self.stopped_for = None;
        self.faults.forget();
        // Of a history that may have been cut: what lands now must not bring it back.
        self.lineages.clear();
        // Whatever is under way was planned before the decision.
        Err(Trouble::Anew)
    }
}
