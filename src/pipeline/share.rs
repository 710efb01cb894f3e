//! A large backlog of one partition is cut into pieces that several workers land at once.

use landfall_sink::{Head, Span};

use super::reading::Steer;
use super::{StreamTask, Trouble};
use crate::checkpoint::Planned;

/// Below this a batch under way says too little about the size of its records.
const ENOUGH_TO_LEARN: u64 = 64 << 10;

impl StreamTask {
    pub(super) fn most_open_plans(&self) -> usize {
        2 * self.works.crew.budget.workers()
    }

    pub(super) fn is_backlogged(&self) -> bool {
        let chunk = self.learned.chunk(&self.works.roll).unwrap_or(0);
        self.end().is_some_and(|end| end - self.checkpoint.next > chunk.saturating_mul(2).max(1))
    }

    /// The end that pieces may reach: the last stable offset, or the target of `--once`.
    fn end(&self) -> Option<i64> {
        let end = self.works.ends_of(&self.stream)?.0.end;
        Some(self.target.map_or(end, |target| target.min(end)))
    }

    /// Where workers have nothing to do, gives the batch under way a fixed end and plans the pieces behind it.
    pub(super) async fn share_backlog(&mut self) -> Result<(), Trouble> {
        if self.works.is_draining() || self.log_start > self.checkpoint.next {
            return Ok(());
        }
        let layout = self.works.sink.layout();
        let mut idle = self.works.crew.idle(layout.isolation);
        while idle > 0 && self.checkpoint.planned.len() < self.most_open_plans() {
            let Some(end) = self.end() else { return Ok(()) };
            self.learn();
            let next = self.checkpoint.next;
            let Some(piece) = self.learned.piece(&self.works.roll, next, end) else { return Ok(()) };
            match self.readings.values_mut().find(|under| under.plan.is_none()) {
                Some(under) => {
                    // The batch under way becomes the first piece, unless the worker was faster.
                    if !under.steer.freeze(piece) {
                        return Ok(());
                    }
                    under.plan = Some(piece);
                    self.plan(piece, None, layout.digest()).await?;
                }
                None => {
                    let free = self.readings.len() < self.works.crew.budget.workers();
                    if !free {
                        return Ok(());
                    }
                    self.plan(piece, None, layout.digest()).await?;
                    self.looked.insert(piece);
                    if !self.read_piece(piece).await? {
                        return Ok(());
                    }
                    idle -= 1;
                }
            }
        }
        Ok(())
    }

    async fn read_piece(&mut self, piece: Span) -> Result<bool, Trouble> {
        let head = Head { stream: self.stream.clone(), from: piece.from, layout: self.works.sink.layout() };
        let lineage = self.checkpoint.open_plan(piece).and_then(Planned::lineage);
        self.start_reading(head, Some(piece), Steer::whole(piece), piece.from, lineage, Vec::new()).await
    }

    fn learn(&mut self) {
        if let Some(under) = self.readings.values().find(|under| under.plan.is_none()) {
            let course = under.steer.course();
            if course.size >= ENOUGH_TO_LEARN {
                self.learned.observe(Span::new(course.from, course.position), course.size);
            }
        }
    }
}
