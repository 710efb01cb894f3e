//! The record of a stream, and the only ways in which it can change: pure functions of the record.
//!
//! A transition either returns the next record whole (one version higher, with a fresh nonce) or says why
//! not and changes nothing. `r` is the record before, `R = [from, until)` a range that is not empty.
//!
//! | transition | allowed when | what changes | else |
//! |---|---|---|---|
//! | `birth(genesis)` | `genesis >= 0` | `next = genesis`, nothing planned, no gap, version 1 | `Start` |
//! | `plan(R)` | `R.from == r.next` | `next = R.until`, `planned += R`, `next_epoch = R.until_epoch` | `Unchained` |
//! | `plan_many(R1..Rn)` | each begins where the one before ends, the first at `r.next` | as n plans, in one version | `Unchained` |
//! | `commit(R, gaps)` | `R` is an open plan, exactly; every gap lies in `R` | `planned -= R`, `gaps += gaps` | `NotPlanned`, `AlreadyCommitted`, `GapOutside` |
//! | `commit_and_plan` | both | both, in one version | as both |
//! | `resolve(R, why)` | `R` is an open plan, exactly, and undecided | the plan holds the decision | `AlreadyResolved` |
//! | | `R.from == r.next` | a plan that holds the decision | |
//! | | `why` is `truncated`, and all of `R` is committed | nothing but the lineage, see below | `AlreadyCommitted` |
//! | | anything else | | `NotExact` |
//! | `adopt_topic_id` | the stream was born without one, none was adopted | `adopted_topic_id` | `TopicIdKnown` |
//! | `learn(bound, e)` | always; changes nothing else, and no version | where nothing is known there yet: the `from_epoch` of the plan that begins at `bound`, or `next_epoch` where `r.next == bound` | |
//!
//! Any range with `until <= from` is `Empty`.
//!
//! **Lineage.** `truncated` means that the log was cut at `R.from`, so no leader epoch of an offset at or
//! behind it says anything any more: those of `next`, of every plan behind `R.from`, and the end of the plan
//! `R` itself are forgotten, and the next read adopts the lineage that it finds. Without that the validating
//! seek would find the same truncation for ever. The epoch of the offset before `R.from` stays: if the log was
//! cut further down, that is found too, and is another decision.
//! A committed range needs no plan: its file stands and never changes; what a new leader holds at those offsets
//! is not landed, and reading goes on at `next`. A range that was not landed becomes a gap, for each of the words.

mod transitions;

use landfall_sink::{Resolution, Span, Stream};
use serde::{Deserialize, Serialize};

pub use transitions::Commit;

/// What this release writes. Another major is refused; fields of a newer minor are carried through.
pub const FORMAT: Format = Format { major: 1, minor: 1 };

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    pub major: u32,
    pub minor: u32,
}

/// The durable decision that a range will be landed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    pub from: i64,
    pub until: i64,
    /// Leader epoch of the last record before `from`, for the validating seek.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_epoch: Option<i32>,
    /// The offset behind that record, where it is not `from`: markers and aborted records lie between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_epoch_at: Option<i64>,
    /// Leader epoch of the last record read, where it is known when planning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_epoch: Option<i32>,
    /// The offset behind that record, where it is not `until`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_epoch_at: Option<i64>,
    /// Digest of the frozen layout.
    pub layout: String,
    /// An operator's decision that this range can never be read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<Resolution>,
    /// The process that made it, where processes share the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maker: Option<String>,
    /// Its maker helps with a backlog: another process plans this partition.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub helps: bool,
    #[serde(flatten)]
    pub unknown: serde_json::Map<String, serde_json::Value>,
}

impl Planned {
    /// A plan of `span` under the layout with this digest; epochs are added where they are known.
    pub fn new(span: Span, layout: impl Into<String>) -> Planned {
        Planned {
            from: span.from,
            until: span.until,
            from_epoch: None,
            from_epoch_at: None,
            until_epoch: None,
            until_epoch_at: None,
            layout: layout.into(),
            resolved: None,
            maker: None,
            helps: false,
            unknown: serde_json::Map::new(),
        }
    }

    /// The plan, with the word of who made it.
    pub fn made_by(self, maker: &str, helps: bool) -> Planned {
        Planned { maker: Some(maker.to_owned()), helps, ..self }
    }

    pub fn span(&self) -> Span {
        Span::new(self.from, self.until)
    }

    /// The plan, with what is known of the last record in it.
    pub fn ends_with(mut self, lineage: Option<Lineage>) -> Planned {
        (self.until_epoch, self.until_epoch_at) = apart(lineage, self.until);
        self
    }

    /// What is known of the last record before it.
    pub fn lineage(&self) -> Option<Lineage> {
        together(self.from_epoch, self.from_epoch_at, self.from)
    }
}

/// The last record before a bound: its leader epoch, and the offset behind it. The broker is asked whether that epoch
/// still reaches that offset; at the bound itself it may have ended, because markers of a later leader lie between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lineage {
    pub at: i64,
    pub epoch: i32,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's form
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// What was known is known still; what was not may be known now.
fn is_learned(known: Option<Lineage>, now: Option<Lineage>) -> bool {
    known.is_none() || known == now
}

/// As it is stored: the offset only where it is not the bound.
fn apart(lineage: Option<Lineage>, bound: i64) -> (Option<i32>, Option<i64>) {
    let Some(Lineage { at, epoch }) = lineage.filter(|lineage| lineage.at <= bound) else { return (None, None) };
    (Some(epoch), (at != bound).then_some(at))
}

fn together(epoch: Option<i32>, at: Option<i64>, bound: i64) -> Option<Lineage> {
    epoch.map(|epoch| Lineage { at: at.unwrap_or(bound).min(bound), epoch })
}

/// One stream's checkpoint. Everything in `[genesis, next)` is committed, planned, or a recorded gap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub format: Format,
    pub version: u64,
    /// Fresh for every content, so that a lost answer can be told from a lost race.
    pub nonce: String,
    #[serde(flatten)]
    pub stream: Stream,
    /// A topic id that appeared after the stream was born without one: adopted once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted_topic_id: Option<String>,
    pub genesis: i64,
    /// The first offset that no plan covers.
    pub next: i64,
    /// Leader epoch of the last record before `next`, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_epoch: Option<i32>,
    /// The offset behind that record, where it is not `next`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_epoch_at: Option<i64>,
    /// An operator accepted that Kafka's log was cut back to this offset. Until it has grown past `next` again
    /// there is nothing to read, and nothing to complain of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_cut: Option<i64>,
    /// How often that was accepted: what was read before belongs to another history.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cuts: u32,
    pub planned: Vec<Planned>,
    pub gaps: Vec<Span>,
    #[serde(flatten)]
    pub unknown: serde_json::Map<String, serde_json::Value>,
}

/// A transition that would break an invariant: nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{stream}: {start} is not an offset to start at")]
    Start { stream: String, start: i64 },
    #[error("{stream}: {span} holds no offset")]
    Empty { stream: String, span: Span },
    #[error("{stream}: a plan {span} must begin at {next}, the first offset that no plan covers")]
    Unchained { stream: String, span: Span, next: i64 },
    #[error("{stream}: {span} is not planned")]
    NotPlanned { stream: String, span: Span },
    #[error("{stream}: {span} is committed already")]
    AlreadyCommitted { stream: String, span: Span },
    #[error("{stream}: the gap {gap} does not lie in the batch {span}")]
    GapOutside { stream: String, span: Span, gap: Span },
    #[error(
        "{stream}: a decision must be about one open plan, exactly, or about a range that begins at {next}; \
         {span} is neither (open plans: {open})"
    )]
    NotExact { stream: String, span: Span, next: i64, open: String },
    #[error("{stream}: {span} was decided already, as {decision:?}")]
    AlreadyResolved { stream: String, span: Span, decision: Resolution },
    #[error("{stream}: its topic id is known already ({known}); {id} is another topic of the same name")]
    TopicIdKnown { stream: String, known: String, id: String },
}

/// A record that no transition can have made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the checkpoint of {stream} breaks a rule: {rule}")]
pub struct Broken {
    pub stream: Stream,
    pub rule: String,
}

impl Checkpoint {
    /// `[genesis, next)`: committed, planned, or a recorded gap.
    pub fn covered(&self) -> Span {
        Span::new(self.genesis, self.next)
    }

    /// Where the batch view ends without a hole: everything below is landed or a recorded gap.
    pub fn committed(&self) -> i64 {
        self.planned.iter().map(|plan| plan.from).fold(self.next, i64::min)
    }

    /// Whether it differs from `old` in nothing but commits, and in what was learned with them: no range was planned,
    /// and nothing was decided.
    pub fn only_commits_since(&self, old: &Checkpoint) -> bool {
        old.next == self.next
            && old.accepted_cut == self.accepted_cut
            && is_learned(old.next_lineage(), self.next_lineage())
            && self.only_goes_on_from(old)
    }

    /// Whether it differs from `old` in nothing but commits and plans behind its end: what was planned and is not
    /// committed stands as it was.
    pub fn only_goes_on_from(&self, old: &Checkpoint) -> bool {
        let same = |plan: &Planned, known: &Planned| {
            (&plan.layout, plan.resolved) == (&known.layout, known.resolved)
                && is_learned(known.lineage(), plan.lineage())
        };
        let stands = |plan: &Planned| old.open_plan(plan.span()).is_some_and(|known| same(plan, known));
        (old.genesis, old.cuts, &old.stream, &old.adopted_topic_id)
            == (self.genesis, self.cuts, &self.stream, &self.adopted_topic_id)
            && old.next <= self.next
            && (self.accepted_cut == old.accepted_cut || self.accepted_cut.is_none() && self.next > old.next)
            && self.planned.iter().all(|plan| plan.from >= old.next || stands(plan))
    }

    /// What is known of the last record before `next`.
    pub fn next_lineage(&self) -> Option<Lineage> {
        together(self.next_epoch, self.next_epoch_at, self.next)
    }

    /// The open plan with exactly these bounds.
    pub fn open_plan(&self, span: Span) -> Option<&Planned> {
        self.planned.iter().find(|plan| plan.span() == span)
    }

    /// Whether every offset of `span` is committed or a recorded gap.
    pub fn is_committed(&self, span: Span) -> bool {
        self.covered().covers(span) && !self.planned.iter().any(|plan| plan.span().overlaps(span))
    }

    /// Whether an offset is in a recorded gap.
    pub fn in_gap(&self, offset: i64) -> bool {
        self.gaps.iter().any(|gap| gap.contains(offset))
    }

    /// The topic id that the broker must show: the stream's own, or the one that was adopted.
    pub fn topic_id(&self) -> Option<&str> {
        self.stream.topic_id.as_deref().or(self.adopted_topic_id.as_deref())
    }

    /// I2: plans and gaps are disjoint, in order, and lie in `[genesis, next)`.
    pub fn check(&self) -> Result<(), Broken> {
        let broken = |rule: String| Err(Broken { stream: self.stream.clone(), rule });
        if self.format.major != FORMAT.major {
            return broken(format!("format {} is not {}", self.format.major, FORMAT.major));
        }
        if self.version == 0 || self.version == u64::MAX || self.nonce.is_empty() {
            return broken("it has no version, or no nonce".into());
        }
        if self.stream.partition < 0 || self.genesis < 0 || self.next < self.genesis {
            return broken(format!("partition {}, offsets {}", self.stream.partition, self.covered()));
        }
        let mut from = self.genesis;
        for plan in self.planned.iter().map(Planned::span) {
            if plan.is_empty() || plan.from < from || plan.until > self.next {
                return broken(format!("the plan {plan} is empty, out of order or outside {}", self.covered()));
            }
            from = plan.until;
        }
        let mut free = self.genesis;
        for gap in &self.gaps {
            if gap.is_empty() || gap.from < free || gap.until > self.next {
                return broken(format!("the gap {gap} is empty, out of order or outside {}", self.covered()));
            }
            if self.planned.iter().any(|plan| plan.span().overlaps(*gap)) {
                return broken(format!("the gap {gap} lies in an open plan"));
            }
            free = gap.until.saturating_add(1); // gaps that touch are one gap
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
