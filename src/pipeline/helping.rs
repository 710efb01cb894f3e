//! A process with nothing to do takes pieces of a backlog that another process plans.
//!
//! It plans its own next piece as the owner does, and executes its own plans alone. It never reads ahead of a plan:
//! the owner's rows would be read in vain. How long a piece is it learns from the owner's batches, then from its own.

use std::time::{Duration, Instant};

use super::{StreamTask, Trouble};

/// How often it looks what the owner does, until it has learned how long a piece is.
const LOOK: Duration = Duration::from_secs(1);
/// An owner that lands nothing for so long cannot be helped this way.
const PATIENCE: Duration = Duration::from_secs(60);

impl StreamTask {
    /// Until something was learned of the size of batches.
    pub(super) async fn watch_the_owner(&mut self) -> Result<(), Trouble> {
        self.learn();
        if self.learned.chunk(&self.works.roll).is_none() && self.watched.elapsed() >= LOOK {
            self.watched = Instant::now();
            let found = self.found().await?;
            self.adopt(found);
            self.learn();
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
