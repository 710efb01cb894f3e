//! A process with nothing to do takes pieces of a backlog that another process plans.
//!
//! It plans its own next piece as the owner does, and executes its own plans alone. It never reads ahead of a plan:
//! the owner's rows would be read in vain. How long a piece is it learns from the owner's batches, then from its own.

use std::time::{Duration, Instant};

use super::{StreamTask, Trouble};

/// How often it looks what the owner does, until it has learned how long a piece is.
const LOOK: Duration = Duration::from_secs(2);
const SELDOM: Duration = Duration::from_secs(30);
/// How often it is looked whether others have landed what is left to them.
const LOOK_ON: Duration = Duration::from_secs(3);
/// An owner that lands nothing for so long cannot be helped this way.
const PATIENCE: Duration = Duration::from_secs(60);

impl StreamTask {
    /// Who waits for others looks what they have done: who helps, until something was learned of the size of batches,
    /// and everybody while plans of others are left to them.
    pub(super) async fn watch_the_others(&mut self) -> Result<(), Trouble> {
        if self.is_helping() {
            self.learn();
        }
        let is_learning = self.is_helping() && self.learned.chunk(&self.works.roll).is_none();
        let pause = match is_learning {
            true => LOOK,
            // What it has planned may have been decided about.
            false if self.is_helping() => SELDOM,
            false if self.works.store.is_shared() && self.company.has_young() && self.landing.is_empty() => LOOK_ON,
            false => return Ok(()),
        };
        if self.watched.elapsed() >= pause {
            self.watched = Instant::now();
            let found = self.found().await?;
            if found.version > self.checkpoint.version {
                self.overtaken_by(found)?;
            }
        }
        Ok(())
    }

    /// Nothing of its own is open, and nothing more is to be taken.
    pub(super) fn has_helped(&self) -> bool {
        let is_at_work = !self.readings.is_empty() || self.company.own_plans(&self.checkpoint) > 0;
        !is_at_work && (self.hands() == 0 || !self.may_help())
    }

    fn may_help(&self) -> bool {
        let Some(end) = self.end().filter(|_| self.log_start <= self.checkpoint.next) else { return false };
        match self.learned.chunk(&self.works.roll) {
            Some(_) => self.learned.piece(&self.works.roll, self.checkpoint.next, end).is_some(),
            None => end > self.checkpoint.next && self.began.elapsed() < PATIENCE,
        }
    }
}
