//! Other processes that land the same stream: which open plans are theirs, and for how long they are left alone.
//!
//! Any process may execute any plan, since equal plans have equal names. But one that was made a moment ago is
//! probably being landed by its maker, who may hold rows that Kafka has dropped meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use landfall_sink::Span;

use crate::checkpoint::Checkpoint;

/// How long a plan of another process is its maker's alone.
const GRACE: Duration = Duration::from_secs(10);

/// What this process knows of the open plans of a stream.
#[derive(Debug, Default)]
pub(super) struct Company {
    own: BTreeSet<Span>,
    /// Since when plans of others have been seen; `None` where they stood when this process began, so that nobody
    /// waits for the dead.
    others: BTreeMap<Span, Option<Instant>>,
}

impl Company {
    pub fn new(found: &Checkpoint) -> Company {
        let others = found.planned.iter().map(|plan| (plan.span(), None)).collect();
        Company { own: BTreeSet::new(), others }
    }

    /// This process is about to make a plan.
    pub fn plans(&mut self, span: Span) {
        self.own.insert(span);
    }

    /// What is planned now.
    pub fn look(&mut self, found: &Checkpoint) {
        let open: BTreeSet<Span> = found.planned.iter().map(|plan| plan.span()).collect();
        self.own.retain(|span| open.contains(span) || span.from >= found.next);
        self.others.retain(|span, _| open.contains(span));
        for span in open.difference(&self.own) {
            self.others.entry(*span).or_insert_with(|| Some(Instant::now()));
        }
    }

    /// Whether a plan is left to its maker for now.
    pub fn is_young(&self, span: Span) -> bool {
        let seen = self.others.get(&span).filter(|_| !self.own.contains(&span)).copied().flatten();
        seen.is_some_and(|seen| seen.elapsed() < GRACE)
    }
}

#[cfg(test)]
mod tests {
    use landfall_sink::Stream;

    use super::*;
    use crate::checkpoint::Planned;

    #[test]
    fn only_plans_that_another_has_just_made_are_left_alone() {
        let stream = Stream { cluster: "c".into(), topic: "t".into(), topic_id: None, partition: 0 };
        let born = Checkpoint::birth(stream, 0, "n").unwrap();
        let plan = |record: &Checkpoint, until| record.plan(Planned::new(Span::new(record.next, until), "l"), "n");
        let found = plan(&born, 10).unwrap();
        let mut company = Company::new(&found);
        assert!(!company.is_young(Span::new(0, 10)), "it stood at the start");
        company.plans(Span::new(10, 20));
        let own = plan(&found, 20).unwrap();
        company.look(&own);
        assert!(!company.is_young(Span::new(10, 20)));
        let others = plan(&own, 30).unwrap();
        company.look(&others);
        assert!(company.is_young(Span::new(20, 30)));
        let seen = Some(Instant::now().checked_sub(GRACE).unwrap());
        company.others.insert(Span::new(20, 30), seen);
        assert!(!company.is_young(Span::new(20, 30)), "its maker had its time");
        company.look(&others.commit(Span::new(0, 10), &[], "n").unwrap());
        assert!(!company.others.contains_key(&Span::new(0, 10)));
    }
}
