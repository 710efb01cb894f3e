//! `landfall check`: is everything there that a run needs?

use clap::Args;
use serde::Serialize;

use super::table::Table;
use super::{ConfigArg, Console, Exit, Failure, Render, not_wired};
use crate::config::Config;

/// Checks the configuration, Kafka, the checkpoint store and the lake; changes nothing
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    landfall check landfall.toml\n  \
    landfall check --probe landfall.toml      also prove that the lake can create exclusively\n\n\
Exit codes: 0 all is well, 1 something is not, 69 Kafka or the store cannot be reached, 73 the lake is owned by \
another store, 78 the configuration is wrong.")]
pub struct CheckArgs {
    #[command(flatten)]
    pub config: ConfigArg,
    /// Also write and remove small files below _landfall/ to prove exclusive creation, one after the other and at once
    #[arg(long)]
    pub probe: bool,
}

/// Everything that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    pub ok: bool,
    pub checks: Vec<CheckRow>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckRow {
    /// `configuration`, `kafka`, `topic orders`, `lake`, `checkpoint store`, …
    pub what: String,
    pub ok: bool,
    pub detail: String,
    /// The way out, where it is not well.
    pub hint: Option<String>,
    /// What the command exits with because of it.
    #[serde(skip)]
    pub exit: Exit,
}

impl CheckRow {
    pub fn well(what: impl Into<String>, detail: impl Into<String>) -> CheckRow {
        CheckRow { what: what.into(), ok: true, detail: detail.into(), hint: None, exit: Exit::Done }
    }

    pub fn wrong(what: impl Into<String>, failure: Failure) -> CheckRow {
        CheckRow { what: what.into(), ok: false, detail: failure.what, hint: failure.hint, exit: failure.code }
    }
}

impl Checked {
    pub fn new(checks: Vec<CheckRow>) -> Checked {
        Checked { ok: checks.iter().all(|row| row.ok), checks }
    }

    /// That of the first thing that is not well: what comes later may only follow from it.
    pub fn exit(&self) -> Exit {
        self.checks.iter().find(|row| !row.ok).map_or(Exit::Done, |row| row.exit)
    }
}

impl Render for Checked {
    fn text(&self) -> String {
        let mut table = Table::new(&["", "what", "detail"]);
        for row in &self.checks {
            let mark = if row.ok { "ok" } else { "FAILED" };
            table.row([mark.into(), row.what.clone(), row.detail.clone()]);
            if let Some(hint) = &row.hint {
                table.row([String::new(), String::new(), format!("way out: {hint}")]);
            }
        }
        table.render()
    }
}

pub fn run(args: &CheckArgs, console: &Console) -> Result<Exit, Failure> {
    let config = args.config.load_and_warn(console.env())?;
    let checked = look(&config, args.probe)?;
    console.show(&checked)?;
    Ok(checked.exit())
}

/// Asks Kafka, the store and the lake.
fn look(_config: &Config, _probe: bool) -> Result<Checked, Failure> {
    Err(not_wired("check"))
}

#[cfg(test)]
pub fn sample() -> Checked {
    let unknown =
        Failure::new(Exit::Failure, "topic payments does not exist").way_out("create it, or correct kafka.topics");
    Checked::new(vec![
        CheckRow::well("configuration", "landfall.toml"),
        CheckRow::well("kafka", "cluster lkc-1 at localhost:9092, 3 brokers"),
        CheckRow::wrong("topic payments", unknown),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_well_is_told_with_its_way_out() {
        let checked = sample();
        assert_eq!(
            checked.text(),
            "        what            detail\n\
             ok      configuration   landfall.toml\n\
             ok      kafka           cluster lkc-1 at localhost:9092, 3 brokers\n\
             FAILED  topic payments  topic payments does not exist\n\
             \u{20}                       way out: create it, or correct kafka.topics\n"
        );
        assert_eq!((checked.ok, checked.exit()), (false, Exit::Failure));
        assert_eq!(Checked::new(checked.checks[..2].to_vec()).exit(), Exit::Done);
    }
}
