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

pub fn gap_stop(stream: &Stream, gap: Span) -> Trouble {
    Trouble::stop(
        format!(
            "{stream}: offsets {} to {} are gone from Kafka (its log starts at {}); landfall had got to {}",
            gap.from, gap.until, gap.until, gap.from
        ),
        "to go on without them set source.on_gap = \"record\" (the gap is written down in the file and in the \
         checkpoint); what has landed stays",
    )
}

/// `open` are the plans that are not committed: a decision is about one of them exactly, or about what was
/// committed before them.
pub fn truncated_stop(stream: &Stream, expected: i64, end: i64, open: &[Span]) -> Trouble {
    let cut: Vec<Span> = open.iter().copied().filter(|plan| plan.until > end).collect();
    let committed = Span::new(end, cut.first().map_or(expected, |first| first.from));
    let ranges = cut.into_iter().chain([committed]).filter(|range| !range.is_empty());
    let commands: Vec<String> = ranges
        .map(|range| {
            let Span { from, until } = range;
            format!("`landfall resolve --stream {stream} --range {from}-{until} --as truncated`")
        })
        .collect();
    Trouble::stop(
        format!(
            "{stream}: the log ends at {end}, before offset {expected} that landfall has got to: records were \
             truncated (an unclean leader election?), and new ones will take their offsets"
        ),
        format!("find out what was lost, then accept it with {}", commands.join(" and then ")),
    )
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
        let ranges: Vec<&str> = way_out.split("--range ").skip(1).filter_map(|rest| rest.split(' ').next()).collect();
        assert_eq!(ranges, ["30-40", "40-50", "20-30"]);
    }

    #[test]
    fn the_ends_decide() {
        assert_eq!(judge(10, Ends { start: 12, end: 30 }), Verdict::Gap(Span::new(10, 12)));
        assert_eq!(judge(10, Ends { start: 0, end: 9 }), Verdict::Truncated { end: 9 });
        assert_eq!(judge(10, Ends { start: 10, end: 10 }), Verdict::Readable);
        assert_eq!(judge(10, Ends { start: 11, end: 11 }), Verdict::Gap(Span::new(10, 11)));
    }
}
