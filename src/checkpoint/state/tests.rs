//! The truth table, exhaustively over all small records.

mod histories;

use landfall_sink::{Resolution, Span, Stream};

use super::*;

fn stream() -> Stream {
    Stream { cluster: "c".into(), topic: "orders".into(), topic_id: None, partition: 3 }
}

fn planned(from: i64, until: i64) -> Planned {
    Planned::new(Span::new(from, until), "layout")
}

/// What one offset below `next` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    Committed,
    Gap,
    /// The first offset of a plan.
    Opens,
    /// Belongs to the plan before.
    Goes,
}

const GENESIS: i64 = 2;

/// Every record of up to `width` offsets, as cells.
fn small_worlds(width: usize) -> Vec<Vec<Cell>> {
    let mut worlds = vec![vec![]];
    let mut last: Vec<Vec<Cell>> = vec![vec![]];
    for _ in 0..width {
        let mut longer = Vec::new();
        for world in &last {
            for cell in [Cell::Committed, Cell::Gap, Cell::Opens, Cell::Goes] {
                let in_plan = matches!(world.last(), Some(Cell::Opens | Cell::Goes));
                if cell != Cell::Goes || in_plan {
                    longer.push([world.as_slice(), &[cell]].concat());
                }
            }
        }
        worlds.extend(longer.iter().cloned());
        last = longer;
    }
    worlds
}

/// The record that the cells mean. Its epochs are 100 + the offset that they belong to.
fn record(cells: &[Cell]) -> Checkpoint {
    let next = GENESIS + cells.len() as i64;
    let epoch = |offset: i64| Some(100 + offset as i32);
    let mut made = Checkpoint::birth(stream(), GENESIS, "n0").unwrap();
    made.next = next;
    made.next_epoch = epoch(next - 1);
    let mut gaps = Vec::new();
    for (at, cell) in (GENESIS..).zip(cells) {
        match cell {
            Cell::Committed => {}
            Cell::Gap => gaps.push(Span::new(at, at + 1)),
            Cell::Opens => made.planned.push(Planned { from_epoch: epoch(at - 1), ..planned(at, at + 1) }),
            Cell::Goes => made.planned.last_mut().unwrap().until = at + 1,
        }
        if let Some(plan) = made.planned.last_mut() {
            plan.until_epoch = epoch(plan.until - 1);
        }
    }
    made.gaps = landfall_sink::merge_spans(gaps);
    made.check().unwrap();
    made
}

fn cell(cells: &[Cell], offset: i64) -> Option<Cell> {
    usize::try_from(offset - GENESIS).ok().and_then(|at| cells.get(at).copied())
}

fn is_open_plan(cells: &[Cell], span: Span) -> bool {
    cell(cells, span.from) == Some(Cell::Opens)
        && (span.from + 1..span.until).all(|offset| cell(cells, offset) == Some(Cell::Goes))
        && cell(cells, span.until) != Some(Cell::Goes)
}

fn all_landed(cells: &[Cell], span: Span) -> bool {
    (span.from..span.until).all(|offset| matches!(cell(cells, offset), Some(Cell::Committed | Cell::Gap)))
}

fn spans(until: i64) -> impl Iterator<Item = Span> {
    (0..=until).flat_map(move |from| (0..=until).map(move |until| Span::new(from, until)))
}

/// The parts of a transition that always hold: one version on, the fresh nonce, no broken rule.
fn stepped(old: &Checkpoint, new: &Checkpoint) {
    assert_eq!((new.version, new.nonce.as_str()), (old.version + 1, "n1"));
    assert_eq!((&new.stream, new.genesis), (&old.stream, old.genesis));
    new.check().unwrap();
}

#[test]
fn truth_table_of_plan() {
    for cells in small_worlds(4) {
        let old = record(&cells);
        for span in spans(old.next + 2) {
            match old.plan(planned(span.from, span.until), "n1") {
                Ok(new) => {
                    assert!(span.from == old.next && span.from < span.until);
                    stepped(&old, &new);
                    assert_eq!((new.next, new.next_epoch, &new.gaps), (span.until, None, &old.gaps));
                    let (last, before) = new.planned.split_last().unwrap();
                    assert_eq!((last.span(), last.from_epoch, before), (span, old.next_epoch, &old.planned[..]));
                }
                Err(Refusal::Empty { .. }) => assert!(span.until <= span.from),
                Err(Refusal::Unchained { next, .. }) => assert!(next == old.next && span.from != next),
                Err(other) => panic!("{cells:?} {span}: {other}"),
            }
        }
    }
}

#[test]
fn truth_table_of_commit() {
    for cells in small_worlds(4) {
        let old = record(&cells);
        for (span, gap) in spans(old.next + 1).flat_map(|span| spans(old.next).map(move |gap| (span, gap))) {
            match old.commit(span, &[gap], "n1") {
                Ok(new) => {
                    assert!(is_open_plan(&cells, span) && gap.from < gap.until && span.covers(gap));
                    stepped(&old, &new);
                    assert_eq!((new.next, new.planned.len()), (old.next, old.planned.len() - 1));
                    assert!(new.open_plan(span).is_none() && new.is_committed(span));
                    for offset in 0..old.next {
                        assert_eq!(new.in_gap(offset), old.in_gap(offset) || gap.contains(offset));
                    }
                }
                Err(Refusal::Empty { .. }) => assert!(span.is_empty()),
                Err(Refusal::GapOutside { .. }) => {
                    assert!(is_open_plan(&cells, span) && (gap.is_empty() || !span.covers(gap)));
                }
                Err(Refusal::AlreadyCommitted { .. }) => assert!(all_landed(&cells, span)),
                Err(Refusal::NotPlanned { .. }) => {
                    assert!(!is_open_plan(&cells, span) && !all_landed(&cells, span));
                }
                Err(other) => panic!("{cells:?} {span}: {other}"),
            }
        }
    }
}

#[test]
fn truth_table_of_commit_and_plan() {
    for cells in small_worlds(3) {
        let old = record(&cells);
        for (span, next) in spans(old.next + 1).flat_map(|span| spans(old.next + 2).map(move |plan| (span, plan))) {
            let both = old.commit_and_plan(span, &[], planned(next.from, next.until), "n1");
            let one_by_one = old.commit(span, &[], "x").and_then(|new| new.plan(planned(next.from, next.until), "n1"));
            match (both, one_by_one) {
                (Ok(new), Ok(two_steps)) => {
                    stepped(&old, &new);
                    assert_eq!(Checkpoint { version: new.version + 1, ..new }, two_steps);
                }
                (both, one_by_one) => assert_eq!(both.unwrap_err(), one_by_one.unwrap_err()),
            }
        }
    }
}

#[test]
fn truth_table_of_resolve() {
    for cells in small_worlds(4) {
        let old = record(&cells);
        for span in spans(old.next + 2) {
            for decision in [Resolution::Gap, Resolution::Recreated, Resolution::Truncated] {
                let (open, truncated) = (is_open_plan(&cells, span), decision == Resolution::Truncated);
                let result = old.resolve(span, decision, "layout", "n1");
                match &result {
                    Ok(new) => {
                        assert!(open || span.from == old.next || (truncated && all_landed(&cells, span)));
                        resolved(&old, new, span, decision);
                    }
                    Err(Refusal::Empty { .. }) => assert!(span.is_empty()),
                    Err(Refusal::AlreadyCommitted { .. }) => assert!(!truncated && all_landed(&cells, span)),
                    Err(Refusal::NotExact { .. }) => {
                        assert!(!open && span.from != old.next && !all_landed(&cells, span));
                    }
                    Err(other) => panic!("{cells:?} {span}: {other}"),
                }
                if let Some(new) = result.ok().filter(|new| new.open_plan(span).is_some()) {
                    let again = new.resolve(span, Resolution::Gap, "layout", "n2").unwrap_err();
                    assert_eq!(again, Refusal::AlreadyResolved { stream: "orders/3".into(), span, decision });
                }
            }
        }
    }
}

fn resolved(old: &Checkpoint, new: &Checkpoint, span: Span, decision: Resolution) {
    stepped(old, new);
    assert_eq!((new.next, &new.gaps), (old.next.max(span.until), &old.gaps));
    assert_eq!(new.open_plan(span).map(|plan| plan.resolved), (!old.is_committed(span)).then_some(Some(decision)));
    assert_eq!(new.planned.len(), old.planned.len() + usize::from(span.from == old.next));
    // An epoch is 100 + its offset: exactly those at or behind the cut are forgotten.
    let kept = |epoch: Option<i32>| match epoch {
        Some(epoch) if decision == Resolution::Truncated && i64::from(epoch) - 100 >= span.from => None,
        epoch => epoch,
    };
    for (old, new) in old.planned.iter().zip(&new.planned) {
        assert_eq!((new.from_epoch, new.until_epoch), (kept(old.from_epoch), kept(old.until_epoch)));
    }
    let next_epoch = if span.from == old.next || decision == Resolution::Truncated { None } else { old.next_epoch };
    assert_eq!(new.next_epoch, next_epoch);
}

#[test]
fn a_topic_id_is_adopted_once() {
    let old = Checkpoint::birth(stream(), 0, "n0").unwrap();
    let new = old.adopt_topic_id("id", "n1").unwrap();
    stepped(&old, &new);
    assert_eq!((new.topic_id(), new.stream.topic_id.as_deref()), (Some("id"), None));
    assert!(matches!(new.adopt_topic_id("other", "n2"), Err(Refusal::TopicIdKnown { .. })));
    let born_with = Stream { topic_id: Some("id".into()), ..stream() };
    let born_with = Checkpoint::birth(born_with, 0, "n0").unwrap();
    assert!(matches!(born_with.adopt_topic_id("other", "n2"), Err(Refusal::TopicIdKnown { .. })));
}

#[test]
fn what_is_learned_of_a_bound_is_kept_where_nothing_was_known() {
    let told = |at, epoch| Some(Lineage { at, epoch });
    let old = Checkpoint::birth(stream(), 0, "n0").unwrap();
    let old = old.plan_many(vec![planned(0, 4), planned(4, 8)], "n1").unwrap();
    // A marker stands at 3: the epoch belongs to the offset behind the last record, also when it is read back.
    let new = old.clone().learn(4, told(3, 9));
    assert_eq!(Checkpoint { planned: old.planned.clone(), ..new.clone() }, old, "nothing else, and no version");
    assert_eq!((new.planned[1].lineage(), new.next_lineage()), (told(3, 9), None));
    let new = new.learn(4, told(4, 10)).learn(8, told(8, 11));
    assert_eq!((new.planned[1].lineage(), new.next_lineage()), (told(3, 9), told(8, 11)));
    assert_eq!((new.next_epoch, new.next_epoch_at), (Some(11), None));
    // No plan begins there: it was committed, or was never made.
    assert_eq!(new.clone().learn(6, told(6, 12)), new);
    // The next plan begins with it, and a plan that knows its end hands that on.
    let next = new.plan(planned(8, 12).ends_with(told(10, 12)), "n2").unwrap();
    assert_eq!((next.planned[2].lineage(), next.next_lineage()), (told(8, 11), told(10, 12)));
    assert_eq!(Checkpoint::from_bytes(&next.to_bytes().unwrap()), Ok(next.clone()));
    // A cut takes it away, bound and offset.
    let cut = next.resolve(Span::new(8, 12), Resolution::Truncated, "layout", "n3").unwrap();
    assert_eq!((cut.next_epoch, cut.next_epoch_at), (None, None));
    assert_eq!((cut.planned[2].until_epoch, cut.planned[2].until_epoch_at), (None, None));
}

#[test]
fn a_stream_starts_at_an_offset() {
    assert!(matches!(Checkpoint::birth(stream(), -1, "n"), Err(Refusal::Start { .. })));
    let largest = Checkpoint::birth(stream(), i64::MAX, "n").unwrap();
    assert!(largest.plan(planned(i64::MAX, i64::MAX), "n").is_err());
}

#[test]
fn several_plans_are_all_or_nothing() {
    let old = Checkpoint::birth(stream(), 0, "n0").unwrap();
    let new = old.plan_many(vec![planned(0, 4), planned(4, 8)], "n1").unwrap();
    stepped(&old, &new);
    assert_eq!((new.next, new.committed(), new.planned.len()), (8, 0, 2));
    assert!(old.plan_many(vec![planned(0, 4), planned(5, 8)], "n1").is_err());
}

#[test]
fn records_that_no_transition_makes_are_found() {
    let good = record(&[Cell::Opens, Cell::Goes, Cell::Gap, Cell::Opens]);
    let broken: [fn(&mut Checkpoint); 10] = [
        |r| r.planned.swap(0, 1),
        |r| r.planned[0].until += 2,
        |r| r.planned[1].until += 1,
        |r| r.planned[0].from = GENESIS - 1,
        |r| r.gaps[0].from -= 1,
        |r| r.gaps.push(Span::new(4, 5)),
        |r| r.next = GENESIS,
        |r| r.version = 0,
        |r| r.nonce.clear(),
        |r| r.format.major += 1,
    ];
    for (at, breaks) in broken.iter().enumerate() {
        let mut record = good.clone();
        breaks(&mut record);
        assert!(record.check().is_err(), "{at}");
    }
}

#[test]
fn commits_and_what_is_learned_with_them_decide_nothing() {
    let born = Checkpoint::birth(stream(), 0, "n").unwrap();
    let old = born.plan_many(vec![planned(0, 10), planned(10, 20), planned(20, 30)], "n").unwrap();
    let lineage = |at| Some(Lineage { at, epoch: 1 });
    let committed = old.commit(Span::new(0, 10), &[Span::new(3, 4)], "n").unwrap().learn(10, lineage(9));
    let last = committed.commit(Span::new(20, 30), &[], "n").unwrap().learn(30, lineage(30));
    assert!(committed.only_commits_since(&old));
    assert!(last.only_commits_since(&old) && last.only_commits_since(&committed));
    let mut other_layout = last.clone();
    other_layout.planned[0].layout = "other".into();
    for other in [
        last.plan(planned(30, 40), "n").unwrap(),
        last.resolve(Span::new(10, 20), Resolution::Gap, "layout", "n").unwrap(),
        last.resolve(Span::new(4, 10), Resolution::Truncated, "layout", "n").unwrap(),
        Checkpoint { next_epoch: None, ..last.clone() },
        other_layout,
    ] {
        assert!(!other.only_commits_since(&last), "{other:?}");
    }
    assert!(!old.only_commits_since(&last), "a plan that was committed is open");
}

#[test]
fn commits_and_plans_behind_the_end_leave_alone_what_was_planned() {
    let born = Checkpoint::birth(stream(), 0, "n").unwrap();
    let old = born.plan_many(vec![planned(0, 10), planned(10, 20)], "n").unwrap();
    let behind = old.plan(planned(20, 30), "n").unwrap();
    let both = behind.commit(Span::new(0, 10), &[], "n").unwrap().commit(Span::new(20, 30), &[], "n").unwrap();
    assert!([&old, &behind, &both].iter().all(|now| now.only_goes_on_from(&old)));
    assert!(!both.only_commits_since(&old) && !old.only_goes_on_from(&both));
    let cut = both.resolve(Span::new(5, 10), Resolution::Truncated, "layout", "n").unwrap();
    for other in [
        both.resolve(Span::new(10, 20), Resolution::Gap, "layout", "n").unwrap(),
        // Also where a plan has taken the mark of the cut away again.
        cut.plan(planned(30, 40), "n").unwrap(),
        cut,
    ] {
        assert!(!other.only_goes_on_from(&old), "{other:?}");
    }
}
