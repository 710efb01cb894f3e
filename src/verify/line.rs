//! The files of a stream, in order, as a line of offsets: without overlap, without hole, and as the
//! checkpoint says. Pure.

use landfall_sink::{Landed, Span, merge_spans};

use super::report::{Kind, Severity, StreamReport};
use crate::checkpoint::Checkpoint;

pub(super) struct Line<'a> {
    checkpoint: Option<&'a Checkpoint>,
    /// The end of the files so far, and the name of the last.
    at: i64,
    last: Option<String>,
    holes: Vec<Span>,
    /// Gaps in the metadata of files that are committed.
    gaps: Vec<Span>,
}

impl<'a> Line<'a> {
    pub fn new(genesis: i64, checkpoint: Option<&'a Checkpoint>) -> Line<'a> {
        Line { checkpoint, at: genesis, last: None, holes: Vec::new(), gaps: Vec::new() }
    }

    /// Takes the next file in order of `from`; returns whether it is part of what is committed.
    pub fn take(&mut self, report: &mut StreamReport, landed: &Landed) -> bool {
        let (span, name) = (landed.span, landed.name.as_str());
        report.files += 1;
        report.rows += landed.rows;
        report.bytes += landed.bytes;
        report.gap_offsets += landed.gaps.iter().map(Span::len).sum::<i64>();
        if span.from < self.at {
            let what = match &self.last {
                Some(last) => format!("{name} and {last} overlap: records may be in the lake twice"),
                None => format!("{name} begins before the stream does, at {}", self.at),
            };
            report.damage(Kind::Overlap, Some(span), Some(name), what);
        } else if span.from > self.at {
            self.holes.push(Span::new(self.at, span.from));
        }
        self.at = self.at.max(span.until);
        self.last = Some(landed.name.clone());
        report.until = self.at;
        let committed = self.fits(report, span, name);
        if committed {
            self.gaps.extend_from_slice(&landed.gaps);
            if self.gaps.len() > 1024 {
                self.gaps = merge_spans(std::mem::take(&mut self.gaps));
            }
        }
        committed
    }

    /// Whether a file is committed; says what is wrong if the checkpoint has no place for it.
    fn fits(&self, report: &mut StreamReport, span: Span, name: &str) -> bool {
        let Some(checkpoint) = self.checkpoint else {
            return true;
        };
        if checkpoint.is_committed(span) {
            return true;
        }
        if checkpoint.open_plan(span).is_some() {
            return false;
        }
        if span.from >= checkpoint.next {
            let what = format!("{name} stands beyond next ({}): the next start takes it up", checkpoint.next);
            report.find(Severity::Note, Kind::BeyondNext, Some(span), Some(name), what);
        } else {
            let open: Vec<_> = checkpoint.planned.iter().map(|plan| plan.span()).filter(|p| p.overlaps(span)).collect();
            let open = open.first().map_or_else(String::new, |plan| format!(", and the plan {plan} is open"));
            let what = format!("{name} does not fit the checkpoint: next is {}{open}", checkpoint.next);
            report.damage(Kind::Misplaced, Some(span), Some(name), what);
        }
        false
    }

    /// After the last file: what is missing, and whether the gaps agree.
    pub fn finish(mut self, report: &mut StreamReport) {
        let Some(checkpoint) = self.checkpoint else {
            for hole in self.holes {
                let what = format!("no file holds {hole}; files stand behind it");
                report.find(Severity::Unexplained, Kind::Hole, Some(hole), None, what);
            }
            return;
        };
        if self.at < checkpoint.next {
            self.holes.push(Span::new(self.at, checkpoint.next));
        }
        let mut allowed: Vec<Span> = checkpoint.planned.iter().map(|plan| plan.span()).collect();
        allowed.push(Span::new(checkpoint.next, i64::MAX));
        let missing = subtract(&self.holes, &merge_spans(allowed));
        for hole in &missing {
            let what = format!("{hole} is committed, and no file holds it");
            report.damage(Kind::Hole, Some(*hole), None, what);
        }
        let shown = merge_spans(self.gaps);
        for gap in subtract(&shown, &checkpoint.gaps) {
            let what = format!("the metadata of the files record the gap {gap}, the checkpoint does not");
            report.damage(Kind::Gaps, Some(gap), None, what);
        }
        for gap in subtract(&subtract(&checkpoint.gaps, &shown), &missing) {
            let what = format!("the checkpoint records the gap {gap}, the metadata of the files do not");
            report.damage(Kind::Gaps, Some(gap), None, what);
        }
    }
}

/// What of `spans` lies in none of `others`; both in order and without overlap.
fn subtract(spans: &[Span], others: &[Span]) -> Vec<Span> {
    let mut left = Vec::new();
    let mut others = others.iter().peekable();
    for span in spans {
        let mut from = span.from;
        while let Some(other) = others.peek().copied() {
            if other.from >= span.until {
                break;
            }
            if other.from > from {
                left.push(Span::new(from, other.from));
            }
            from = from.max(other.until);
            if other.until > span.until {
                break;
            }
            others.next();
        }
        if from < span.until {
            left.push(Span::new(from, span.until));
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn some_spans() -> impl Strategy<Value = Vec<Span>> {
        let spans = prop::collection::vec((0i64..40, 1i64..6), 0..10);
        spans.prop_map(|spans| merge_spans(spans.into_iter().map(|(at, n)| Span::new(at, at + n)).collect()))
    }

    proptest! {
        #[test]
        fn subtracting_takes_exactly_the_others_away(spans in some_spans(), others in some_spans()) {
            let left = subtract(&spans, &others);
            prop_assert_eq!(&merge_spans(left.clone()), &left);
            for offset in 0..50 {
                let holds = |spans: &[Span]| spans.iter().any(|span| span.contains(offset));
                prop_assert_eq!(holds(&left), holds(&spans) && !holds(&others), "{}", offset);
            }
        }
    }
}
