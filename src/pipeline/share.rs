//! A large backlog of one partition is cut into pieces that several workers land at once.

use std::sync::atomic::Ordering;

use landfall_sink::{Head, Span};

use super::commit::Planning;
use super::reading::Steer;
use super::{StreamTask, Trouble};
use crate::checkpoint::Planned;

/// Below this a batch under way says too little about the size of its records.
const ENOUGH_TO_LEARN: u64 = 64 << 10;
/// So many processes may have as many plans of a stream open as one alone.
const MOST_TOGETHER: usize = 4;

impl StreamTask {
    pub(super) fn most_open_plans(&self) -> usize {
        2 * self.works.crew.budget.workers()
    }

    pub(super) fn is_backlogged(&self) -> bool {
        let chunk = self.learned.chunk(&self.works.roll).unwrap_or(0);
        self.end().is_some_and(|end| end - self.checkpoint.next > chunk.saturating_mul(2).max(1))
    }

    /// The end that pieces may reach: the last stable offset, or the target of `--once`.
    pub(super) fn end(&self) -> Option<i64> {
        let end = self.works.ends_of(&self.stream)?.0.end;
        Some(self.target.map_or(end, |target| target.min(end)))
    }

    /// Where workers have nothing to do, gives the batch under way a fixed end and plans the pieces behind it. Beside
    /// another planner a backlog is always landed so: only a plan keeps what is read.
    pub(super) async fn share_backlog(&mut self) -> Result<(), Trouble> {
        let mut hands = self.hands();
        let together = self.company.is_accompanied();
        while hands > 0 || together && self.reads_ahead() {
            let Some(piece) = self.next_piece() else { return Ok(()) };
            if self.reads_ahead() {
                if !self.plan_what_is_read(piece).await? {
                    return Ok(());
                }
                continue;
            }
            let layout = self.works.sink.layout().digest();
            let is_taken = hands == 0 || self.readings.len() >= self.works.crew.budget.workers();
            if is_taken {
                return Ok(());
            }
            if self.plan(piece, None, layout).await? == Planning::Made {
                hands -= 1;
                self.looked.insert(piece);
                if !self.read_piece(piece).await? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// How many workers may take a piece now. Who plans a stream in company reads it with one of them in any case.
    pub(super) fn hands(&self) -> usize {
        let idle = self.works.crew.idle(self.works.sink.layout().isolation);
        let in_any_case = !self.is_helping() && self.company.is_accompanied() && self.readings.is_empty();
        idle.max(usize::from(in_any_case))
    }

    /// The next piece of a backlog, where one may be planned now.
    fn next_piece(&mut self) -> Option<Span> {
        let is_full = self.unlanded.load(Ordering::Acquire) >= self.most_open_plans()
            || self.company.own_plans(&self.checkpoint) >= self.most_open_plans()
            || self.checkpoint.planned.len() >= MOST_TOGETHER * self.most_open_plans();
        if is_full || self.is_draining() || self.log_start > self.checkpoint.next {
            return None;
        }
        self.learn();
        self.learned.piece(&self.works.roll, self.checkpoint.next, self.end()?)
    }

    fn reads_ahead(&self) -> bool {
        self.readings.values().any(|under| under.plan.is_none())
    }

    /// The batch under way becomes the first piece; `false` where the worker was faster than the plan.
    async fn plan_what_is_read(&mut self, piece: Span) -> Result<bool, Trouble> {
        let ahead = self.readings.iter().find(|(_, under)| under.plan.is_none());
        let Some((id, steer)) = ahead.map(|(id, under)| (*id, under.steer.clone())) else { return Ok(false) };
        if !steer.freeze(piece) {
            return Ok(false);
        }
        let layout = self.works.sink.layout().digest();
        if self.plan(piece, None, layout).await? == Planning::Made
            && let Some(under) = self.readings.get_mut(&id)
        {
            under.plan = Some(piece);
        }
        // Overtaken: what was read has been given up.
        Ok(true)
    }

    async fn read_piece(&mut self, piece: Span) -> Result<bool, Trouble> {
        let head = Head { stream: self.stream.clone(), from: piece.from, layout: self.works.sink.layout() };
        let lineage = self.checkpoint.open_plan(piece).and_then(Planned::lineage);
        self.start_reading(head, Some(piece), Steer::whole(piece), piece.from, lineage, Vec::new()).await
    }

    /// Of the batch under way; where there is none, and nothing is known yet, of what others plan.
    pub(super) fn learn(&mut self) {
        if let Some(under) = self.readings.values().find(|under| under.plan.is_none()) {
            let course = under.steer.course();
            if course.size >= ENOUGH_TO_LEARN {
                self.learned.observe(Span::new(course.from, course.position), course.size);
            }
        } else if let Some(stride) = self.company.stride()
            && self.learned.chunk(&self.works.roll).is_none()
        {
            self.learned.observe(Span::new(0, stride), self.works.roll.max_size);
        }
    }
}
