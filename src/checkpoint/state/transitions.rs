//! The transitions themselves; their truth table stands above the record.

use landfall_sink::{Resolution, Span, Stream, merge_spans};

use super::{Checkpoint, FORMAT, Lineage, Planned, Refusal, apart};

/// A batch that has landed: its plan, and the gaps of what stands under its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    pub span: Span,
    pub gaps: Vec<Span>,
}

impl Checkpoint {
    /// The first record of a stream: nothing is covered yet.
    pub fn birth(stream: Stream, genesis: i64, nonce: impl Into<String>) -> Result<Checkpoint, Refusal> {
        if genesis < 0 {
            return Err(Refusal::Start { stream: stream.to_string(), start: genesis });
        }
        Ok(Checkpoint {
            format: FORMAT,
            version: 1,
            nonce: nonce.into(),
            stream,
            adopted_topic_id: None,
            cuts: 0,
            genesis,
            next: genesis,
            next_epoch: None,
            next_epoch_at: None,
            accepted_cut: None,
            planned: Vec::new(),
            gaps: Vec::new(),
            unknown: serde_json::Map::new(),
        })
    }

    /// Plans one batch. Without a `from_epoch` of its own it takes `next_epoch`.
    pub fn plan(&self, planned: Planned, nonce: impl Into<String>) -> Result<Checkpoint, Refusal> {
        self.advance(&[], vec![planned], nonce)
    }

    /// Plans several batches of a backlog in one version.
    pub fn plan_many(&self, plans: Vec<Planned>, nonce: impl Into<String>) -> Result<Checkpoint, Refusal> {
        self.advance(&[], plans, nonce)
    }

    /// Commits a batch with the gaps of what stands under its name.
    pub fn commit(&self, span: Span, gaps: &[Span], nonce: impl Into<String>) -> Result<Checkpoint, Refusal> {
        self.advance(&[Commit { span, gaps: gaps.to_vec() }], Vec::new(), nonce)
    }

    /// Commits a batch and plans the next in one version.
    pub fn commit_and_plan(
        &self,
        span: Span,
        gaps: &[Span],
        planned: Planned,
        nonce: impl Into<String>,
    ) -> Result<Checkpoint, Refusal> {
        self.advance(&[Commit { span, gaps: gaps.to_vec() }], vec![planned], nonce)
    }

    /// Any number of commits, then any number of plans, in one version: all of it or nothing.
    pub fn advance(
        &self,
        commits: &[Commit],
        plans: Vec<Planned>,
        nonce: impl Into<String>,
    ) -> Result<Checkpoint, Refusal> {
        let mut new = self.successor(nonce);
        for commit in commits {
            new.apply_commit(commit)?;
        }
        for planned in plans {
            new.apply_plan(planned)?;
        }
        Ok(new)
    }

    /// Stores an operator's decision about a range that can never be read again. `layout` is the digest
    /// that a new plan takes, where one is needed.
    pub fn resolve(
        &self,
        span: Span,
        decision: Resolution,
        layout: &str,
        nonce: impl Into<String>,
    ) -> Result<Checkpoint, Refusal> {
        let stream = || self.stream.to_string();
        if span.is_empty() {
            return Err(Refusal::Empty { stream: stream(), span });
        }
        let mut new = self.successor(nonce);
        if let Some(plan) = new.planned.iter_mut().find(|plan| plan.span() == span) {
            if let Some(decision) = plan.resolved {
                return Err(Refusal::AlreadyResolved { stream: stream(), span, decision });
            }
            plan.resolved = Some(decision);
        } else if span.from == self.next {
            new.apply_plan(Planned { resolved: Some(decision), ..Planned::new(span, layout) })?;
        } else if !self.is_committed(span) {
            let open: Vec<String> = self.planned.iter().map(|plan| plan.span().to_string()).collect();
            return Err(Refusal::NotExact { stream: stream(), span, next: self.next, open: open.join(", ") });
        } else if decision != Resolution::Truncated {
            return Err(Refusal::AlreadyCommitted { stream: stream(), span });
        }
        if decision == Resolution::Truncated {
            new.forget_epochs_from(span.from);
            new.accepted_cut = Some(span.from);
            new.cuts = new.cuts.saturating_add(1);
        }
        Ok(new)
    }

    /// Remembers the topic id of a stream that was born on a broker without topic ids.
    pub fn adopt_topic_id(&self, id: &str, nonce: impl Into<String>) -> Result<Checkpoint, Refusal> {
        if let Some(known) = self.topic_id() {
            let (known, id) = (known.to_owned(), id.to_owned());
            return Err(Refusal::TopicIdKnown { stream: self.stream.to_string(), known, id });
        }
        let mut new = self.successor(nonce);
        new.adopted_topic_id = Some(id.to_owned());
        Ok(new)
    }

    /// Adds what was learned of the last record before `bound` to the record that another transition makes: a piece of
    /// a backlog is planned before anybody has read up to it.
    pub fn learn(mut self, bound: i64, lineage: Option<Lineage>) -> Checkpoint {
        let (epoch, at) = apart(lineage, bound);
        if let Some(plan) = self.planned.iter_mut().find(|plan| plan.from == bound) {
            if plan.from_epoch.is_none() {
                (plan.from_epoch, plan.from_epoch_at) = (epoch, at);
            }
        } else if self.next == bound && self.next_epoch.is_none() {
            (self.next_epoch, self.next_epoch_at) = (epoch, at);
        }
        self
    }

    /// The same content, one version on. It keeps the minor format that brought unknown fields.
    fn successor(&self, nonce: impl Into<String>) -> Checkpoint {
        let mut new = self.clone();
        new.version += 1; // `check` keeps it below the largest
        new.nonce = nonce.into();
        new.format.minor = new.format.minor.max(FORMAT.minor);
        new
    }

    fn apply_plan(&mut self, mut planned: Planned) -> Result<(), Refusal> {
        let span = planned.span();
        if span.is_empty() {
            return Err(Refusal::Empty { stream: self.stream.to_string(), span });
        }
        if span.from != self.next {
            return Err(Refusal::Unchained { stream: self.stream.to_string(), span, next: self.next });
        }
        if planned.from_epoch.is_none() {
            (planned.from_epoch, planned.from_epoch_at) = (self.next_epoch, self.next_epoch_at);
        }
        // Not the epoch of an earlier record where this one is unknown: all that lies between would be read again.
        (self.next_epoch, self.next_epoch_at) = (planned.until_epoch, planned.until_epoch_at);
        self.accepted_cut = None;
        self.next = span.until;
        self.planned.push(planned);
        Ok(())
    }

    fn apply_commit(&mut self, commit: &Commit) -> Result<(), Refusal> {
        let span = commit.span;
        let stream = || self.stream.to_string();
        if span.is_empty() {
            return Err(Refusal::Empty { stream: stream(), span });
        }
        let Some(at) = self.planned.iter().position(|plan| plan.span() == span) else {
            return Err(if self.is_committed(span) {
                Refusal::AlreadyCommitted { stream: stream(), span }
            } else {
                Refusal::NotPlanned { stream: stream(), span }
            });
        };
        if let Some(gap) = commit.gaps.iter().find(|gap| gap.is_empty() || !span.covers(**gap)) {
            return Err(Refusal::GapOutside { stream: stream(), span, gap: *gap });
        }
        self.planned.remove(at);
        self.gaps.extend_from_slice(&commit.gaps);
        self.gaps = merge_spans(std::mem::take(&mut self.gaps));
        Ok(())
    }

    /// Forgets the leader epoch of every offset at or behind `cut`.
    fn forget_epochs_from(&mut self, cut: i64) {
        for plan in &mut self.planned {
            if plan.from > cut {
                (plan.from_epoch, plan.from_epoch_at) = (None, None);
            }
            if plan.until > cut {
                (plan.until_epoch, plan.until_epoch_at) = (None, None);
            }
        }
        (self.next_epoch, self.next_epoch_at) = (None, None);
    }
}
