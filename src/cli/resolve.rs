//! `landfall resolve`: a person's decision about a range that can never be read again.

use clap::{Args, ValueEnum};
use landfall_sink::{Resolution, Span};
use serde::Serialize;

use super::engine::block_on;
use super::target::parse_range;
use super::{ConfigArg, Console, Exit, Failure, Render, StreamName, view};
use crate::checkpoint::holder::{Inspection, Resolve, open_or_ask};
use crate::checkpoint::{Checkpoint, StoreError};
use crate::config::{Config, StoreKind};
use crate::{Landfall, LandfallError};

/// Decides about an exact range of a stopped stream that can never be read again
#[derive(Debug, Args)]
#[command(
    long_about = "Decides about an exact range of a stopped stream that can never be read again.\n\n\
        The decision is stored in the plan. A running landfall carries it out at once, otherwise the next run. `landfall status` shows the ranges of \
        stopped streams and the command that fits. Where a changed setting is enough (source.on_gap = \"record\"), \
        no decision is needed.",
    after_help = "Examples:\n  \
    landfall resolve --stream orders/3 --range 100-200 --as gap landfall.toml\n\n\
The range holds its first offset and not its second: 100-200 are the offsets 100 to 199."
)]
pub struct ResolveArgs {
    #[command(flatten)]
    pub config: ConfigArg,
    /// Topic and partition, as in orders/3
    #[arg(long, value_name = "TOPIC/PARTITION")]
    pub stream: StreamName,
    /// First offset, and the first offset behind the range, as in 100-200
    #[arg(long, value_name = "FROM-UNTIL", value_parser = parse_range)]
    pub range: Span,
    /// What became of the records
    #[arg(long = "as", value_name = "DECISION")]
    pub decision: Decision,
}

/// What a person says of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Kafka no longer has the records: land an empty file, and record the gap
    Gap,
    /// The topic was deleted and created again: the old history ends with this range
    Recreated,
    /// Kafka's log was cut back (an unclean leader election): the records are gone, or stand in the lake alone; go on
    /// behind the range
    Truncated,
}

impl From<Decision> for Resolution {
    fn from(decision: Decision) -> Resolution {
        match decision {
            Decision::Gap => Resolution::Gap,
            Decision::Recreated => Resolution::Recreated,
            Decision::Truncated => Resolution::Truncated,
        }
    }
}

/// A decision that was stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Resolved {
    pub topic: String,
    pub partition: i32,
    pub from: i64,
    pub until: i64,
    #[serde(rename = "as")]
    pub decision: Decision,
    /// The same decision stood there already, or has been carried out.
    pub already: bool,
    /// Who carries it out, for people.
    #[serde(skip)]
    pub carried_out: CarriedOut,
}

/// When a decision takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CarriedOut {
    Before,
    /// By the process that runs.
    Now,
    /// By every process that lands the stream, wherever it runs.
    ByWhoLands,
    NextRun,
}

impl Render for Resolved {
    fn text(&self) -> String {
        let word = match self.decision {
            Decision::Gap => "a gap",
            Decision::Recreated => "recreated",
            Decision::Truncated => "truncated",
        };
        let Resolved { topic, partition, from, until, .. } = self;
        let stored = if self.already { "was already decided" } else { "is decided" };
        let when = match self.carried_out {
            CarriedOut::Before => "It has been carried out",
            CarriedOut::Now => "The running landfall carries it out now",
            CarriedOut::ByWhoLands => {
                "A landfall that runs carries it out within ten seconds, otherwise the next run does"
            }
            CarriedOut::NextRun => "The next run carries it out",
        };
        format!("{topic}/{partition} [{from}, {until}) {stored}: {word}. {when}.\n")
    }
}

pub fn run(args: &ResolveArgs, console: &Console) -> Result<Exit, Failure> {
    let config = args.config.load(console.env())?;
    console.show(&decide(&config, &args.stream, args.range, args.decision)?)?;
    Ok(Exit::Done)
}

/// Stores the decision, through the holder of the store if there is one.
fn decide(config: &Config, stream: &StreamName, range: Span, decision: Decision) -> Result<Resolved, Failure> {
    let StreamName { topic, partition } = stream.clone();
    let resolution = Resolution::from(decision);
    let resolved = |already, carried_out| {
        let Span { from, until } = range;
        Resolved { topic: topic.clone(), partition, from, until, decision, already, carried_out }
    };
    let is_asked = |one: &&Checkpoint| one.stream.topic == topic && one.stream.partition == partition;
    block_on(async {
        if config.checkpoint.store == StoreKind::Lake {
            let all = view::own_checkpoints(config).await?.unwrap_or_default();
            if let Some(stood) = all.iter().filter(is_asked).find_map(|one| stands(one, range, resolution)) {
                return Ok(resolved(true, stood.carried_out(CarriedOut::ByWhoLands)));
            }
            // Whoever lands the stream finds the decision in the lake.
            return match Landfall::open(config.clone()).await?.resolve(&topic, partition, range, resolution).await {
                Ok(_) => Ok(resolved(false, CarriedOut::ByWhoLands)),
                Err(LandfallError::Store(error)) => Err(refused(error)),
                Err(error) => Err(error.into()),
            };
        }
        let inspection = open_or_ask(&config.checkpoint.path).await?;
        let when = match &inspection {
            Inspection::Running(_) => CarriedOut::Now,
            Inspection::Idle(_) | Inspection::Absent => CarriedOut::NextRun,
        };
        let all = inspection.checkpoints().await?;
        if let Some(stood) = all.iter().filter(is_asked).find_map(|one| stands(one, range, resolution)) {
            return Ok(resolved(true, stood.carried_out(when)));
        }
        match inspection {
            Inspection::Running(client) => {
                let resolve = Resolve { topic: topic.clone(), partition, span: range, decision: resolution };
                client.resolve(resolve).await.map_err(refused)?;
            }
            Inspection::Idle(store) => {
                drop(store);
                let landfall = Landfall::open(config.clone()).await?;
                landfall.resolve(&topic, partition, range, resolution).await?;
            }
            Inspection::Absent => {
                let path = config.checkpoint.path.display();
                return Err(Failure::new(Exit::Failure, format!("there is no checkpoint store at {path}"))
                    .way_out("correct checkpoint.path; `landfall status` lists the streams that are known"));
            }
        }
        Ok(resolved(false, when))
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Stood {
    Planned,
    Done,
}

impl Stood {
    /// `when` an open plan is carried out.
    fn carried_out(self, when: CarriedOut) -> CarriedOut {
        match self {
            Stood::Planned => when,
            Stood::Done => CarriedOut::Before,
        }
    }
}

/// Whether this decision was taken before: it stands in an open plan, or what it leads to stands in the checkpoint.
fn stands(checkpoint: &Checkpoint, range: Span, decision: Resolution) -> Option<Stood> {
    if let Some(plan) = checkpoint.open_plan(range) {
        return (plan.resolved == Some(decision)).then_some(Stood::Planned);
    }
    let is_gap = checkpoint.gaps.iter().any(|gap| gap.covers(range));
    let is_cut = decision == Resolution::Truncated && checkpoint.accepted_cut == Some(range.from);
    (checkpoint.is_committed(range) && (is_gap || is_cut)).then_some(Stood::Done)
}

/// A refusal is the answer to the question, not a fault of a disk.
fn refused(error: StoreError) -> Failure {
    match error {
        StoreError::Refused { message, .. } => Failure::new(Exit::Failure, message)
            .way_out("`landfall status` shows the open ranges of each stream, and `next`"),
        error => error.into(),
    }
}

#[cfg(test)]
pub fn sample() -> Resolved {
    let decision = Decision::Gap;
    Resolved {
        topic: "orders".into(),
        partition: 3,
        from: 100,
        until: 200,
        decision,
        already: false,
        carried_out: CarriedOut::NextRun,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_that_has_been_carried_out_stands() {
        let stream = landfall_sink::Stream { cluster: "c".into(), topic: "t".into(), topic_id: None, partition: 0 };
        let range = Span::new(0, 10);
        let born = Checkpoint::birth(stream, 0, "n0").unwrap();
        assert_eq!(stands(&born, range, Resolution::Gap), None);
        let decided = born.resolve(range, Resolution::Gap, "layout", "n1").unwrap();
        assert_eq!(stands(&decided, range, Resolution::Gap), Some(Stood::Planned));
        assert_eq!(stands(&decided, range, Resolution::Truncated), None, "another decision");
        let landed = decided.commit(range, &[range], "n2").unwrap();
        assert_eq!(stands(&landed, range, Resolution::Gap), Some(Stood::Done));
        let full = decided.commit(range, &[], "n2").unwrap();
        assert_eq!(stands(&full, range, Resolution::Gap), None, "its records have landed");
        let cut = full.resolve(Span::new(4, 10), Resolution::Truncated, "layout", "n3").unwrap();
        assert_eq!(stands(&cut, Span::new(4, 10), Resolution::Truncated), Some(Stood::Done));
    }

    #[test]
    fn a_decision_is_repeated_to_the_person() {
        assert_eq!(sample().text(), "orders/3 [100, 200) is decided: a gap. The next run carries it out.\n");
        let told = Resolved { carried_out: CarriedOut::Now, ..sample() }.text();
        assert!(told.ends_with("The running landfall carries it out now.\n"), "{told}");
        assert_eq!(serde_json::to_value(sample()).unwrap()["as"], "gap");
        for (decision, resolution) in [
            (Decision::Gap, Resolution::Gap),
            (Decision::Recreated, Resolution::Recreated),
            (Decision::Truncated, Resolution::Truncated),
        ] {
            assert_eq!(serde_json::to_value(decision).unwrap(), serde_json::to_value(resolution).unwrap());
            assert_eq!(Resolution::from(decision), resolution);
        }
    }
}
