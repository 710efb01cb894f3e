//! `landfall offsets`: where the batch view ends, for a program that goes on from there.

use std::collections::BTreeMap;

use clap::Args;
use landfall_sink::Span;
use serde::Serialize;

use super::engine::{block_on, known_checkpoints, same_owner};
use super::table::{Table, number, spans};
use super::view::{self, View};
use super::{Console, Exit, Failure, Render, Target, TargetArg};
use crate::config::Properties;

/// Prints where the batch view ends, as JSON, to start a speed layer there
#[derive(Debug, Args)]
#[command(
    long_about = "Prints where the batch view ends, as JSON, to start a speed layer there.\n\n\
        For each topic and partition: \"committed\" is the offset up to which the files of the lake hold everything, \
        without a hole; read Kafka from there on. \"next\" is the first offset that no plan covers; \"planned\" are \
        ranges that are being landed. Of a topic that was created again, the newest is told; \"topic_id\" says which.",
    after_help = "Examples:\n  \
    landfall offsets landfall.toml\n  \
    landfall offsets file:///data/lake | jq '.orders[\"0\"].committed'"
)]
pub struct OffsetsArgs {
    #[command(flatten)]
    pub target: TargetArg,
}

/// Topic → partition → where its batch view ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Offsets(pub BTreeMap<String, BTreeMap<i32, OffsetsEntry>>);

/// Where the batch view of one partition ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OffsetsEntry {
    /// Which topic of this name is meant, where it was created again; `null` where the broker has no ids.
    pub topic_id: Option<String>,
    pub next: i64,
    pub committed: i64,
    pub planned: Vec<Span>,
}

impl Render for Offsets {
    fn text(&self) -> String {
        let mut table = Table::new(&["topic", ">partition", ">committed", ">next", "planned"]);
        for (topic, partitions) in &self.0 {
            for (partition, entry) in partitions {
                table.row([
                    topic.clone(),
                    partition.to_string(),
                    number(entry.committed),
                    number(entry.next),
                    spans(&entry.planned),
                ]);
            }
        }
        table.render()
    }
}

pub fn run(args: &OffsetsArgs, console: &Console) -> Result<Exit, Failure> {
    let target = args.target.load(console.env())?;
    console.show(&ask(&target)?)?;
    Ok(Exit::Done)
}

/// Asks the holder of the store, the store itself, or the files.
fn ask(target: &Target) -> Result<Offsets, Failure> {
    let views: Vec<View> = block_on(async {
        match target {
            Target::Config(config) => {
                same_owner(config).await?;
                let checkpoints = known_checkpoints(config).await?.unwrap_or_default();
                view::present(&config.lake.url, &config.lake.options, checkpoints.into_iter().map(View::from).collect())
                    .await
            }
            Target::Lake(url) => view::present(url, &Properties::default(), view::of_lake(url).await?).await,
        }
    })?;
    let mut offsets = Offsets::default();
    for View { stream, next, committed, planned, .. } in views {
        let partitions = offsets.0.entry(stream.topic).or_default();
        partitions.insert(stream.partition, OffsetsEntry { topic_id: stream.topic_id, next, committed, planned });
    }
    Ok(offsets)
}

#[cfg(test)]
pub fn sample() -> Offsets {
    let topic_id = Some("VZg3sBW9Q3uMzzHBT3QDSA".into());
    let entry = OffsetsEntry { topic_id, next: 1234, committed: 1200, planned: vec![Span::new(1200, 1234)] };
    Offsets(BTreeMap::from([("orders".into(), BTreeMap::from([(0, entry)]))]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_is_the_promised_one() {
        let json = serde_json::to_value(sample()).unwrap();
        let promised = r#"{"orders": {"0": {
            "topic_id": "VZg3sBW9Q3uMzzHBT3QDSA", "next": 1234, "committed": 1200, "planned": [[1200, 1234]]
        }}}"#;
        assert_eq!(json, serde_json::from_str::<serde_json::Value>(promised).unwrap());
        assert!(
            sample().text().ends_with("orders          0      1_200  1_234  [1200, 1234)\n"),
            "{}",
            sample().text()
        );
    }
}
