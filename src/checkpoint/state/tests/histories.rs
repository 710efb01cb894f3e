//! Long random histories, against the same history as sets of offsets.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Plan(Vec<i64>),
    Commit { which: usize, gap: (i64, i64) },
    CommitAndPlan { which: usize, length: i64 },
    CommitOther(i64, i64),
    Resolve { which: usize, decision: Resolution },
    ResolveOther(i64, i64, Resolution),
}

fn decision() -> impl Strategy<Value = Resolution> {
    prop_oneof![Just(Resolution::Gap), Just(Resolution::Recreated), Just(Resolution::Truncated)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        prop::collection::vec(0i64..5, 0..4).prop_map(Step::Plan),
        (0usize..4, (0i64..4, 0i64..4)).prop_map(|(which, gap)| Step::Commit { which, gap }),
        (0usize..4, 0i64..5).prop_map(|(which, length)| Step::CommitAndPlan { which, length }),
        (0i64..40, 0i64..40).prop_map(|(from, until)| Step::CommitOther(from, until)),
        (0usize..4, decision()).prop_map(|(which, decision)| Step::Resolve { which, decision }),
        (0i64..40, 0i64..40, decision()).prop_map(|(from, until, decision)| Step::ResolveOther(from, until, decision)),
    ]
}

/// The same history as sets of offsets.
#[derive(Debug, Default, Clone, PartialEq)]
struct Sets {
    committed: BTreeSet<i64>,
    gaps: BTreeSet<i64>,
    plans: Vec<(i64, i64)>,
    next: i64,
}

impl Sets {
    fn plan(&mut self, length: i64) -> bool {
        let from = self.next;
        self.next += length;
        self.plans.push((from, self.next));
        length > 0
    }

    fn commit(&mut self, span: Span, gap: Option<Span>) -> bool {
        let Some(at) = self.plans.iter().position(|plan| *plan == (span.from, span.until)) else { return false };
        self.plans.remove(at);
        self.committed.extend(span.from..span.until);
        self.gaps.extend(gap.iter().flat_map(|gap| gap.from..gap.until));
        gap.is_none_or(|gap| !gap.is_empty() && span.covers(gap))
    }

    /// What the transition should give: the sets after it, or nothing.
    fn apply(&self, step: &Step) -> Option<Sets> {
        let mut new = self.clone();
        let plan = |which: &usize| self.plans.get(*which).map(|(from, until)| Span::new(*from, *until));
        let allowed = match step {
            Step::Plan(lengths) => lengths.iter().all(|length| new.plan(*length)),
            Step::Commit { which, gap } => {
                let span = plan(which)?;
                new.commit(span, Some(Span::new(span.from + gap.0, span.from + gap.1)))
            }
            Step::CommitAndPlan { which, length } => new.commit(plan(which)?, None) && new.plan(*length),
            Step::CommitOther(from, until) => new.commit(Span::new(*from, *until), None),
            Step::Resolve { which, .. } => plan(which).is_some(),
            Step::ResolveOther(from, until, decision) => {
                let landed = (*from..*until).all(|offset| self.committed.contains(&offset));
                let open = self.plans.contains(&(*from, *until));
                let at_next = *from == self.next && new.plan(until - from);
                from < until && (open || at_next || (landed && *decision == Resolution::Truncated))
            }
        };
        allowed.then_some(new)
    }
}

fn run(old: &Checkpoint, step: &Step) -> Result<Checkpoint, Refusal> {
    let span = |which: &usize| old.planned.get(*which).map_or(Span::new(-9, -8), Planned::span);
    match step {
        Step::Plan(lengths) => {
            let mut from = old.next;
            let plans = lengths.iter().map(|length| {
                from += length;
                planned(from - length, from)
            });
            old.plan_many(plans.collect(), "n1")
        }
        Step::Commit { which, gap } => {
            let span = span(which);
            let gaps = vec![Span::new(span.from + gap.0, span.from + gap.1)];
            old.advance(&[Commit { span, gaps }], vec![], "n1")
        }
        Step::CommitAndPlan { which, length } => {
            old.commit_and_plan(span(which), &[], planned(old.next, old.next + length), "n1")
        }
        Step::CommitOther(from, until) => old.commit(Span::new(*from, *until), &[], "n1"),
        Step::Resolve { which, decision } => old.resolve(span(which), *decision, "layout", "n1"),
        Step::ResolveOther(from, until, decision) => old.resolve(Span::new(*from, *until), *decision, "layout", "n1"),
    }
}

proptest! {
    #[test]
    fn histories_agree_with_sets_of_offsets(steps in prop::collection::vec(step(), 0..60)) {
        let mut record = Checkpoint::birth(stream(), 0, "n0").unwrap();
        let mut sets = Sets::default();
        for step in &steps {
            let result = run(&record, step);
            match (result, sets.apply(step)) {
                (Ok(new), Some(after)) => {
                    stepped(&record, &new);
                    record = new;
                    sets = after;
                }
                (Err(Refusal::AlreadyResolved { span, .. }), _) => {
                    prop_assert!(record.open_plan(span).is_some_and(|plan| plan.resolved.is_some()));
                }
                (Err(_), None) => {}
                (result, after) => prop_assert!(false, "{:?}: {:?} but {:?}", step, result, after),
            }
            // I2: every offset of [genesis, next) is one of committed, planned.
            let open: BTreeSet<i64> = record.planned.iter().flat_map(|plan| plan.from..plan.until).collect();
            prop_assert!(open.is_disjoint(&sets.committed));
            prop_assert_eq!(open.len() + sets.committed.len(), record.covered().len() as usize);
            let gaps: BTreeSet<i64> = record.gaps.iter().flat_map(|gap| gap.from..gap.until).collect();
            prop_assert_eq!(&gaps, &sets.gaps);
            let first_open = (0..).find(|offset| !sets.committed.contains(offset)).unwrap();
            prop_assert_eq!(record.committed(), first_open);
        }
    }
}
