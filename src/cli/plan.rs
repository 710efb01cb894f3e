//! `landfall plan`: what a run would do now, without doing it.

use clap::Args;
use serde::Serialize;

use super::table::{Table, bytes, number, or_dash};
use super::{ConfigArg, Console, Exit, Failure, Render, not_wired};
use crate::config::Config;

/// Shows the ranges, file names and sizes that a run would make now; changes nothing
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    landfall plan landfall.toml\n  \
    landfall plan --output json landfall.toml | jq '.batches[].file'")]
pub struct PlanArgs {
    #[command(flatten)]
    pub config: ConfigArg,
}

/// The batches that a run would make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanResult {
    pub batches: Vec<PlanRow>,
}

/// One batch of the near future.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanRow {
    pub topic: String,
    pub partition: i32,
    pub from: i64,
    pub until: i64,
    /// The most it can hold: offsets may be markers or compacted away.
    pub records: u64,
    /// Of the file, estimated; `null` where nothing is known of the topic yet.
    pub bytes: Option<u64>,
    /// Below the lake.
    pub file: String,
    /// It is planned already: a run finishes it first.
    pub planned: bool,
}

impl Render for PlanResult {
    fn text(&self) -> String {
        if self.batches.is_empty() {
            return "Nothing to land: every partition is at its end.\n".into();
        }
        let mut table = Table::new(&["topic", ">partition", ">from", ">until", ">records", ">about", "state", "file"]);
        for row in &self.batches {
            table.row([
                row.topic.clone(),
                row.partition.to_string(),
                number(row.from),
                number(row.until),
                number(row.records),
                or_dash(row.bytes, bytes),
                if row.planned { "planned" } else { "new" }.into(),
                row.file.clone(),
            ]);
        }
        table.render()
    }
}

pub fn run(args: &PlanArgs, console: &Console) -> Result<Exit, Failure> {
    let config = args.config.load(console.env())?;
    console.show(&foresee(&config)?)?;
    Ok(Exit::Done)
}

/// Asks the planner for what it would plan now.
fn foresee(_config: &Config) -> Result<PlanResult, Failure> {
    Err(not_wired("plan"))
}

#[cfg(test)]
pub fn sample() -> PlanResult {
    let row = PlanRow {
        topic: "orders".into(),
        partition: 0,
        from: 1200,
        until: 1234,
        records: 34,
        bytes: Some(5120),
        file: "orders/0/00000000000000001200-00000000000000001234.parquet".into(),
        planned: true,
    };
    PlanResult { batches: vec![row] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_listed() {
        let mut plan = sample();
        plan.batches[0].bytes = None;
        assert_eq!(
            plan.text(),
            "topic   partition   from  until  records  about  state    file\n\
             orders          0  1_200  1_234       34      -  planned  orders/0/00000000000000001200-00000000000000001234.parquet\n"
        );
        assert!(PlanResult { batches: vec![] }.text().starts_with("Nothing to land"));
    }
}
