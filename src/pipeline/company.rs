//! Other processes that land the same stream: which open plans are theirs, and for how long they are left alone.
//!
//! Any process may execute any plan, since equal plans have equal names. But one whose maker has shown itself a moment
//! ago is probably being landed by it, and it may hold rows that Kafka has dropped meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use landfall_sink::Span;

use crate::checkpoint::{Checkpoint, Planned};

/// How long a plan of another process is its maker's alone, since the maker was last seen at this stream.
const GRACE: Duration = Duration::from_secs(30);

/// What this process knows of the open plans of a stream.
#[derive(Debug)]
pub(super) struct Company {
    me: String,
    others: BTreeMap<Span, Other>,
    /// When another process was last seen to plan.
    seen: Option<Instant>,
    /// How far the others' plans reach at a time: the length of their batches.
    stride: Option<i64>,
}

/// An open plan of another process.
#[derive(Debug)]
struct Other {
    maker: Option<String>,
    /// When its maker was last seen; `None` where it stood when this process came to plan the stream, so that nobody
    /// waits for the dead.
    seen: Option<Instant>,
}

impl Company {
    /// `found` is what stands when this process comes to the stream: who planned it before has given it up, or is
    /// gone. Who only helped may be at work still.
    pub fn new(me: &str, found: &Checkpoint) -> Company {
        let mut company = Company { me: me.to_owned(), others: BTreeMap::new(), seen: None, stride: None };
        for plan in found.planned.iter().filter(|plan| !company.is_own(plan)).collect::<Vec<_>>() {
            let seen = plan.helps.then(Instant::now);
            company.others.insert(plan.span(), Other { maker: plan.maker.clone(), seen });
        }
        company.measure(found);
        company
    }

    pub fn is_own(&self, plan: &Planned) -> bool {
        plan.maker.as_ref() == Some(&self.me)
    }

    /// How many open plans this process has made.
    pub fn own_plans(&self, found: &Checkpoint) -> usize {
        found.planned.iter().filter(|plan| self.is_own(plan)).count()
    }

    /// What is planned now, and was `before`.
    pub fn look(&mut self, found: &Checkpoint, before: &Checkpoint) {
        let now = Instant::now();
        let open: BTreeSet<Span> = found.planned.iter().map(Planned::span).collect();
        let fresh = found.planned.iter().filter(|plan| !self.is_own(plan) && !self.others.contains_key(&plan.span()));
        let fresh: Vec<(Span, Option<String>)> = fresh.map(|plan| (plan.span(), plan.maker.clone())).collect();
        self.others.retain(|span, _| open.contains(span));
        // Anybody may have committed a plan of the dead: only who plans is alive.
        for (_, maker) in &fresh {
            self.others.values_mut().filter(|other| other.maker == *maker).for_each(|other| other.seen = Some(now));
        }
        if !fresh.is_empty() {
            self.seen = Some(now);
        }
        for (span, maker) in fresh {
            self.others.insert(span, Other { maker, seen: Some(now) });
        }
        if found.next > before.next && found.planned.iter().all(|plan| !self.is_own(plan)) {
            let moved = found.next - before.next;
            self.stride = Some(self.stride.map_or(moved, |stride| stride.min(moved)));
        }
        self.measure(found);
    }

    fn measure(&mut self, found: &Checkpoint) {
        let lengths = found.planned.iter().filter(|plan| !self.is_own(plan)).map(|plan| plan.span().len());
        self.stride = lengths.max().or(self.stride);
    }

    /// Whether a plan is left to its maker for now.
    pub fn is_young(&self, span: Span) -> bool {
        let seen = self.others.get(&span).and_then(|other| other.seen);
        seen.is_some_and(|seen| seen.elapsed() < GRACE)
    }

    /// Whether any plan is left to its maker for now.
    pub fn has_young(&self) -> bool {
        self.others.keys().any(|span| self.is_young(*span))
    }

    /// Whether another process plans this stream, too: what is read here ahead of its plan would be read in vain.
    pub fn is_accompanied(&self) -> bool {
        self.seen.is_some_and(|seen| seen.elapsed() < GRACE)
    }

    /// How many offsets the batches of the others have, as far as they were seen.
    pub fn stride(&self) -> Option<i64> {
        self.stride.filter(|stride| *stride > 0)
    }
}

#[cfg(test)]
mod tests {
    use landfall_sink::Stream;

    use super::*;

    fn born() -> Checkpoint {
        let stream = Stream { cluster: "c".into(), topic: "t".into(), topic_id: None, partition: 0 };
        Checkpoint::birth(stream, 0, "n").unwrap()
    }

    fn plan(record: &Checkpoint, until: i64, maker: &str, helps: bool) -> Checkpoint {
        record.plan(Planned::new(Span::new(record.next, until), "l").made_by(maker, helps), "n").unwrap()
    }

    #[test]
    fn plans_of_who_planned_before_are_taken_over_at_once_and_those_of_helpers_are_not() {
        let found = plan(&plan(&born(), 10, "before", false), 20, "helper", true);
        let company = Company::new("me", &found);
        assert!(!company.is_young(Span::new(0, 10)) && company.is_young(Span::new(10, 20)));
        assert!(!company.is_accompanied(), "nobody was seen to plan");
    }

    #[test]
    fn only_plans_whose_maker_was_just_seen_are_left_alone() {
        let own = plan(&born(), 10, "me", false);
        let mut company = Company::new("me", &born());
        company.look(&own, &born());
        assert!(!company.is_young(Span::new(0, 10)) && !company.is_accompanied());
        let two = plan(&plan(&own, 20, "a", false), 30, "a", false);
        company.look(&two, &own);
        assert!(company.is_young(Span::new(10, 20)) && company.is_accompanied());
        let long_ago = Instant::now().checked_sub(GRACE).unwrap();
        company.others.values_mut().for_each(|other| other.seen = Some(long_ago));
        assert!(!company.is_young(Span::new(10, 20)), "its maker had its time");
        let after = two.commit(Span::new(10, 20), &[], "n").unwrap();
        company.look(&after, &two);
        assert!(!company.is_young(Span::new(20, 30)), "anybody may have committed it");
        assert!(!company.others.contains_key(&Span::new(10, 20)));
        company.look(&plan(&after, 40, "a", false), &after);
        assert!(company.is_young(Span::new(20, 30)), "its maker lives");
    }

    #[test]
    fn the_length_of_the_others_batches_is_seen_in_their_plans_or_between_two_looks() {
        let mut company = Company::new("me", &born());
        assert_eq!(company.stride(), None);
        let planned = plan(&born(), 40, "a", false);
        let committed = planned.commit(Span::new(0, 40), &[], "n").unwrap();
        company.look(&committed, &born());
        assert_eq!(company.stride(), Some(40));
        company.look(&plan(&committed, 100, "a", false), &committed);
        assert_eq!(company.stride(), Some(60));
    }
}
