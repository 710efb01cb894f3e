//! Plans that were found, and offsets that Kafka does not have.

use std::sync::atomic::Ordering;
use std::time::Instant;

use landfall_lake::fault;
use landfall_sink::{Facts, Head, Plan, SinkError, Span};

use super::commit::Planning;
use super::judge::{self, Verdict};
use super::reading::{ReadFault, Reading, Steer};
use super::works::OnGap;
use super::{LINEAGE_REACH, QUIET, SAME_FAULT, SETTLED, StreamTask, Trouble, UnderWay};
use crate::checkpoint::{Lineage, Planned};
use crate::kafka::Fault;
use crate::status::Activity;

impl StreamTask {
    /// Executes what is planned and not under way: a name that stands is committed, a decision or a gap
    /// is carried out, the rest is read.
    pub(super) async fn resume_plans(&mut self) -> Result<(), Trouble> {
        if fault::sabotaged("ignore_open_plans") {
            return Ok(());
        }
        for planned in self.checkpoint.planned.clone() {
            let span = planned.span();
            if self.is_under_way(span) || self.is_draining() || self.is_left_to_its_maker(&planned) {
                continue;
            }
            // A commit before this one may have shown that another process has landed it.
            if self.checkpoint.open_plan(span).is_none() {
                continue;
            }
            let plan = self.plan_of(&planned).await?;
            if self.looked.insert(span)
                && let Some(landed) = self.works.sink.standing(&plan).await?
            {
                self.uncommitted.push(landed);
                self.commit().await?;
                continue;
            }
            if planned.resolved.is_some() {
                self.land_gap(&plan, vec![span]).await?;
                continue;
            }
            self.resume(&planned, plan).await?;
        }
        Ok(())
    }

    async fn resume(&mut self, planned: &Planned, plan: Plan) -> Result<(), Trouble> {
        let span = plan.span;
        let gap = Span::new(span.from, self.log_start.min(span.until));
        let gaps = if gap.is_empty() { Vec::new() } else { vec![gap] };
        if !gaps.is_empty() && self.works.on_gap == OnGap::Fail {
            self.same_topic().await?;
            return Err(judge::gap_stop(&self.stream, gap, plan.span));
        }
        if gap == span {
            return self.land_gap(&plan, gaps).await;
        }
        let mut span = span;
        if fault::sabotaged("float_the_end") {
            span.until = self.works.ends_of(&self.stream).map_or(span.until, |(ends, _)| ends.end.max(span.until));
        }
        let lineage = if gaps.is_empty() { planned.lineage() } else { None };
        let head = Head { stream: self.stream.clone(), from: span.from, layout: plan.layout.clone() };
        self.start_reading(head, Some(plan.span), Steer::whole(span), gap.until.max(span.from), lineage, gaps).await?;
        Ok(())
    }

    /// On and on from `next`, as far as nobody reads there yet.
    pub(super) async fn read_ahead(&mut self) -> Result<(), Trouble> {
        let next = self.checkpoint.next;
        let there = self.target.is_some_and(|target| next >= target);
        let reads_on = self.readings.values().any(|under| under.plan.is_none());
        let is_full = self.unlanded.load(Ordering::Acquire) >= self.most_open_plans();
        if there || reads_on || is_full || !self.heard.is_empty() || self.is_draining() || self.is_helping() {
            return Ok(());
        }
        // Beside another planner a backlog is landed by pieces: what is read ahead of its plan would be read in vain.
        if self.company.is_accompanied() && self.is_backlogged() {
            return Ok(());
        }
        let below = |(ends, _): (judge::Ends, Instant)| ends.end < next;
        if self.checkpoint.accepted_cut.is_some() && self.works.ends_of(&self.stream).is_some_and(below) {
            return Ok(());
        }
        if self.log_start > next {
            return self.plan_gap(Span::new(next, self.log_start)).await;
        }
        let head = Head { stream: self.stream.clone(), from: next, layout: self.works.sink.layout() };
        let steer = Steer::open(next, self.target);
        self.start_reading(head, None, steer, next, self.checkpoint.next_lineage(), Vec::new()).await?;
        Ok(())
    }

    /// `[next, log start)` is one plan, of no row.
    async fn plan_gap(&mut self, gap: Span) -> Result<(), Trouble> {
        self.same_topic().await?;
        if self.works.on_gap == OnGap::Fail {
            return Err(judge::gap_stop(&self.stream, gap, gap));
        }
        tracing::warn!(
            "{}: recorded as a gap: Kafka dropped these records before they were read",
            self.stream.range(gap)
        );
        let layout = self.works.sink.layout().digest();
        match self.plan(gap, None, layout).await? {
            Planning::Made => Ok(()),
            // Looked at again from what the other planned.
            Planning::Overtaken => Err(Trouble::Anew),
        }
    }

    async fn land_gap(&mut self, plan: &Plan, gaps: Vec<Span>) -> Result<(), Trouble> {
        let head = Head { stream: self.stream.clone(), from: plan.span.from, layout: plan.layout.clone() };
        let writer = self.works.sink.begin(&head)?;
        let sealed = writer.seal(&Facts { span: plan.span, gaps })?;
        // Counted as a batch that a worker has sealed: it is counted down when it has landed.
        self.unlanded.fetch_add(1, Ordering::AcqRel);
        self.start_landing(plan.span, sealed, None).await
    }

    /// `false` where every worker reads this stream already: later.
    pub(super) async fn start_reading(
        &mut self,
        head: Head,
        plan: Option<Span>,
        steer: std::sync::Arc<Steer>,
        start_at: i64,
        lineage: Option<Lineage>,
        gaps: Vec<Span>,
    ) -> Result<bool, Trouble> {
        // A record that Kafka has dropped meanwhile proves nothing, and one that is far away costs too much.
        let lineage = lineage.filter(|last| last.at >= self.log_start && start_at - last.at <= LINEAGE_REACH);
        let taken: Vec<usize> = self.readings.values().map(|under| under.worker).collect();
        let Some(worker) = self.works.crew.place(head.layout.isolation, &taken)? else {
            return Ok(false);
        };
        let id = self.works.crew.next_id();
        let reading = Reading {
            id,
            head,
            start_at,
            lineage,
            gaps,
            steer: steer.clone(),
            unlanded: self.unlanded.clone(),
            most_unlanded: self.most_open_plans(),
            reports: self.said.clone(),
        };
        self.readings.insert(id, UnderWay { worker, steer, plan });
        self.works.crew.read(worker, reading);
        Ok(true)
    }

    /// A decision is carried out at once, whoever wrote it down. Who helps carries out its own plans alone.
    fn is_left_to_its_maker(&self, planned: &Planned) -> bool {
        if self.is_helping() && !self.company.is_own(planned) {
            return true;
        }
        self.works.store.is_shared() && planned.resolved.is_none() && self.company.is_young(planned.span())
    }

    fn is_under_way(&self, span: Span) -> bool {
        self.landing_spans.contains(&span) || self.readings.values().any(|under| under.plan == Some(span))
    }

    /// No new plan while the process drains: what is read ahead of its plan is thrown away.
    pub(super) fn stop_reading_ahead(&mut self) {
        let ahead: Vec<u64> =
            self.readings.iter().filter(|(_, under)| under.plan.is_none()).map(|(id, _)| *id).collect();
        for id in ahead {
            if let Some(under) = self.readings.remove(&id) {
                self.works.crew.cancel(under.worker, id);
            }
        }
    }

    /// What a fault of a reading means.
    pub(super) async fn faulted(&mut self, at: i64, fault: ReadFault) -> Result<(), Trouble> {
        let same = match &fault {
            ReadFault::Kafka(fault) => self.faults.count(fault, at, Instant::now(), QUIET),
            _ => 0,
        };
        match fault {
            ReadFault::Kafka(Fault::Corrupt(message)) if same >= SAME_FAULT => Err(Trouble::stop(
                format!("{}: the records from offset {at} on are corrupt on the broker: {message}", self.stream),
                judge::corrupt_way_out(&self.stream, at, self.checkpoint.next, &self.open_plans()),
            )),
            ReadFault::Kafka(Fault::NotAuthorized(message)) => Err(Trouble::stop(
                format!("{}: {message}", self.stream),
                "grant this principal READ and DESCRIBE on the topic",
            )),
            ReadFault::Kafka(fault) => {
                tracing::debug!("{}: reading at {at}: {fault}", self.stream);
                self.judged(at, &fault, same).await
            }
            ReadFault::Client(error) => Err(error.into()),
            ReadFault::Sink(SinkError::NotDone(why) | SinkError::Unknown(why)) => Err(Trouble::Again(why)),
            ReadFault::Sink(error) => Err(error.into()),
        }
    }

    /// Asks the broker where the partition starts and ends; the error code decides nothing.
    async fn judged(&mut self, at: i64, fault: &Fault, same: u32) -> Result<(), Trouble> {
        let isolation = self.works.sink.layout().isolation;
        let asked = Instant::now();
        let ends = judge::ends(&self.works.kafka, &self.stream, isolation).await?;
        self.works.remember_ends(&self.stream, ends, asked);
        let known = self.log_start;
        self.heed_ends().await?;
        // At once only where this answer changes what is to be done: while a plan that lost a part is open, its fault
        // comes again and again.
        if self.log_start > known && self.log_start > self.checkpoint.committed() {
            return Err(Trouble::Anew);
        }
        let is_there = judge::judge(self.checkpoint.next, ends) == Verdict::Readable;
        if let Fault::OutOfRange(message) = fault
            && is_there
            && same >= SAME_FAULT
        {
            self.same_topic().await?;
            // Both ends say that it is there, and still it is refused: the epoch does not fit.
            return Err(Trouble::stop(
                format!("{}: the log before offset {at} is not the one that was read: {message}", self.stream),
                judge::epoch_way_out(&self.stream, at, message, &self.open_plans()),
            ));
        }
        Err(Trouble::again(format!("{}: reading at offset {at}: {fault}", self.stream)))
    }

    fn open_plans(&self) -> Vec<Span> {
        self.checkpoint.planned.iter().map(Planned::span).collect()
    }

    /// Compares the newest known ends of the partition with where this stream has got to.
    pub(super) async fn heed_ends(&mut self) -> Result<(), Trouble> {
        let Some((ends, asked)) = self.works.ends_of(&self.stream) else { return Ok(()) };
        self.log_start = self.log_start.max(ends.start);
        if self.is_helping() {
            return Ok(());
        }
        let expected = self.checkpoint.next;
        if self.moved.is_some_and(|moved| asked <= moved) {
            // An answer from before `next` got there proves nothing.
            return Ok(());
        }
        let Verdict::Truncated { end } = judge::judge(expected, ends) else {
            self.truncated_since = None;
            if asked > self.began && self.began.elapsed() >= SETTLED && self.landing.is_empty() {
                self.works.board.goes_on(&self.stream);
            }
            return Ok(());
        };
        if expected == self.checkpoint.genesis {
            // Nothing was read yet that could have been lost.
            return Ok(());
        }
        if self.checkpoint.accepted_cut.is_some_and(|cut| cut <= end) {
            let why =
                format!("the log ends at {end}; what comes up to offset {expected} takes the place of lost records");
            self.works.board.activity(&self.stream, Activity::Waiting { why });
            self.truncated_since = None;
            return Ok(());
        }
        // Between two answers, not since one: who does not answer any more proves nothing.
        let since = *self.truncated_since.get_or_insert(asked);
        if asked.saturating_duration_since(since) >= self.works.truncation_wait {
            self.same_topic().await?;
            return Err(judge::truncated_stop(&self.stream, expected, end, &self.open_plans()));
        }
        Ok(())
    }
}
