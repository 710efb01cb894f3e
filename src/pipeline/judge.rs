//! What it means that Kafka does not have the offset that is expected. The error code decides nothing:
//! out of range, truncation and a stale leader all look alike. The broker's own ends decide.

use landfall_sink::{Isolation, Span, Stream};

use super::trouble::Trouble;
use crate::kafka::{At, Kafka};

/// What the broker still has of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The log start offset.
    pub start: i64,
    /// The last stable offset, or the high watermark where uncommitted records are read.
    pub end: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The offsets of this span are gone: retention or delete-records.
    Gap(Span),
    /// The log ends before the offset that is expected: records that were read are gone.
    Truncated { end: i64 },
    /// It is all there: read again.
    Readable,
}

/// | log start | end | |
/// |---|---|---|
/// | > expected | any | a gap up to the log start |
/// | ≤ expected | < expected | truncated |
/// | ≤ expected | ≥ expected | readable |
pub fn judge(expected: i64, ends: Ends) -> Verdict {
    if ends.start > expected {
        Verdict::Gap(Span::new(expected, ends.start))
    } else if ends.end < expected {
        Verdict::Truncated { end: ends.end }
    } else {
        Verdict::Readable
    }
}

/// Asks the broker for both ends.
pub async fn ends(kafka: &Kafka, stream: &Stream, isolation: Isolation) -> Result<Ends, Trouble> {
    let kafka = kafka.clone();
    let asks = [At::Start, At::End].map(|at| (stream.topic.clone(), stream.partition, at)).to_vec();
    let asked = tokio::task::spawn_blocking(move || kafka.list_offsets(&asks, isolation, super::ASK_TIMEOUT)).await;
    let mut answers = asked.map_err(|error| Trouble::again(error.to_string()))??;
    let (Some(end), Some(start)) = (answers.pop(), answers.pop()) else {
        return Err(Trouble::again(format!("{stream}: the broker did not say where the partition starts and ends")));
    };
    Ok(Ends { start: start?.offset, end: end?.offset })
}

/// `exact` is the range that can be decided about: the gap, or the open plan that it begins.
pub fn gap_stop(stream: &Stream, gap: Span, exact: Span) -> Trouble {
    Trouble::stop(
        format!(
            "{stream}: offsets {} to {} are gone from Kafka (its log starts at {}); landfall had got to {}",
            gap.from, gap.until, gap.until, gap.from
        ),
        format!(
            "to go on without them set source.on_gap = \"record\" (every gap is written down in the file and in the \
             checkpoint), or {} with {}; what has landed stays",
            if exact == gap { "accept this one alone" } else { "give up the whole plan that it begins" },
            resolve(stream, &exact.from.to_string(), &exact.until.to_string(), "gap")
        ),
    )
}

pub fn truncated_stop(stream: &Stream, expected: i64, end: i64, open: &[Span]) -> Trouble {
    Trouble::stop(
        format!(
            "{stream}: the log ends at {end}, before offset {expected} that landfall has got to: records were \
             truncated (an unclean leader election?), and new ones will take their offsets"
        ),
        format!("find out what was lost, then accept it with {}", accept_cut(stream, expected, end, open)),
    )
}

/// The commands that accept that the log before `expected` was cut at `end`. `open` are the plans that are not
/// committed: a decision is about one of them exactly, or about what was committed before them.
fn accept_cut(stream: &Stream, expected: i64, end: i64, open: &[Span]) -> String {
    let cut: Vec<Span> = open.iter().copied().filter(|plan| plan.until > end).collect();
    let committed = Span::new(end, cut.first().map_or(expected, |first| first.from));
    let ranges = cut.into_iter().chain([committed]).filter(|range| !range.is_empty());
    let commands = ranges.map(|range| resolve(stream, &range.from.to_string(), &range.until.to_string(), "truncated"));
    commands.collect::<Vec<String>>().join(" and then ")
}

fn resolve(stream: &Stream, from: &str, until: &str, decision: &str) -> String {
    format!("`landfall resolve --stream {stream} --range {from}-{until} --as {decision}`")
}

/// What can be done about a batch at `at` that is damaged: the range that is given up is an open plan exactly, or
/// begins at `next`.
pub fn corrupt_way_out(stream: &Stream, at: i64, next: i64, open: &[Span]) -> String {
    let repair = "repair the partition (another replica may be whole), or give the records up with";
    match open.iter().find(|plan| plan.from <= at && at < plan.until) {
        Some(Span { from, until }) => {
            format!("{repair} {}", resolve(stream, &from.to_string(), &until.to_string(), "gap"))
        }
        None => {
            let command = resolve(stream, &next.to_string(), "UNTIL", "gap");
            format!("{repair} {command}, where UNTIL is the first offset behind the damage")
        }
    }
}

/// What can be done about a log whose epoch before `at` is not the one that was read. Where it was cut is told by the
/// client's message alone.
pub fn epoch_way_out(stream: &Stream, at: i64, message: &str, open: &[Span]) -> String {
    let found = "records were truncated (an unclean leader election?); find out what was lost, then accept it with";
    match cut_in(message).filter(|cut| *cut < at) {
        Some(cut) => {
            let open: Vec<Span> = open.iter().copied().filter(|plan| plan.from < at).collect();
            format!("{found} {}", accept_cut(stream, at, cut, &open))
        }
        None => {
            let command = resolve(stream, "FROM", &at.to_string(), "truncated");
            format!("{found} {command}, where FROM is the first offset that the new leader does not have as it was")
        }
    }
}

/// "… broker end offset is 12 (offset leader epoch 0) …"
fn cut_in(message: &str) -> Option<i64> {
    let (_, rest) = message.split_once("end offset is ")?;
    let number = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_out_of_a_truncation_names_ranges_that_can_be_decided() {
        let stream = Stream { cluster: "c".into(), topic: "t".into(), topic_id: None, partition: 3 };
        let Trouble::Stop { way_out, .. } = truncated_stop(&stream, 50, 20, &[Span::new(30, 40), Span::new(40, 50)])
        else {
            panic!("a truncation stops")
        };
        assert_eq!(ranges(&way_out), ["30-40", "40-50", "20-30"]);
    }

    fn ranges(text: &str) -> Vec<&str> {
        text.split("--range ").skip(1).filter_map(|rest| rest.split(' ').next()).collect()
    }

    #[test]
    fn damage_in_an_open_plan_gives_up_that_plan_and_other_damage_begins_at_next() {
        let stream = Stream { cluster: "c".into(), topic: "t".into(), topic_id: None, partition: 3 };
        let open = [Span::new(30, 40), Span::new(40, 50)];
        assert_eq!(ranges(&corrupt_way_out(&stream, 44, 50, &open)), ["40-50"]);
        assert_eq!(ranges(&corrupt_way_out(&stream, 50, 50, &open)), ["50-UNTIL"]);
    }

    #[test]
    fn the_cut_of_an_epoch_that_does_not_fit_is_computed() {
        let stream = Stream { cluster: "c".into(), topic: "t".into(), topic_id: None, partition: 3 };
        let told = "t/3: Partition log truncation detected at offset 18 (leader epoch 0): broker end offset is 12 \
                    (offset leader epoch 0). Reset to INVALID.";
        assert_eq!(ranges(&epoch_way_out(&stream, 18, told, &[])), ["12-18"]);
        assert_eq!(ranges(&epoch_way_out(&stream, 18, told, &[Span::new(15, 18)])), ["15-18", "12-15"]);
        assert_eq!(ranges(&epoch_way_out(&stream, 18, "Broker: offset out of range", &[])), ["FROM-18"]);
    }

    #[test]
    fn the_ends_decide() {
        assert_eq!(judge(10, Ends { start: 12, end: 30 }), Verdict::Gap(Span::new(10, 12)));
        assert_eq!(judge(10, Ends { start: 0, end: 9 }), Verdict::Truncated { end: 9 });
        assert_eq!(judge(10, Ends { start: 10, end: 10 }), Verdict::Readable);
        assert_eq!(judge(10, Ends { start: 11, end: 11 }), Verdict::Gap(Span::new(10, 11)));
    }
}
