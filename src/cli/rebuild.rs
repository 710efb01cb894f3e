//! `landfall rebuild`: a lost checkpoint store, from what the lake shows.

use std::io::{self, BufRead, IsTerminal, Write};

use clap::{Args, ValueEnum};
use landfall_sink::Span;
use serde::Serialize;

use super::table::{Table, number, spans};
use super::{ConfigArg, Console, Exit, Failure, Render, not_wired};
use crate::config::Config;

/// Makes a lost checkpoint store anew from the files of the lake
#[derive(Debug, Args)]
#[command(
    long_about = "Makes a lost checkpoint store anew from the files of the lake.\n\n\
        No other landfall may be writing to this lake, and none may have been writing a moment ago. It shows what it \
        found and asks before it changes anything.",
    after_help = "Examples:\n  \
    landfall rebuild landfall.toml\n  \
    landfall rebuild --take-over landfall.toml        the lake belonged to another store, which is gone for good\n  \
    landfall rebuild --holes removed landfall.toml    files were moved away on purpose; do not land them again"
)]
pub struct RebuildArgs {
    #[command(flatten)]
    pub config: ConfigArg,
    /// Take the lake over from another owner, every process of which has ended
    #[arg(long)]
    pub take_over: bool,
    /// What ranges without a file mean
    #[arg(long, value_name = "MEANING", default_value = "land")]
    pub holes: Holes,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// What a range without a file means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Holes {
    /// The file was lost, or never made: land the range again
    Land,
    /// The file was moved away on purpose: leave the range alone. Right only if nothing was planned when the store was lost
    Removed,
}

/// What a rebuild found, and what it made of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rebuilt {
    /// It was carried out; otherwise this is what it would do.
    pub done: bool,
    pub streams: Vec<RebuildRow>,
}

/// The new checkpoint of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RebuildRow {
    pub topic: String,
    pub partition: i32,
    pub genesis: i64,
    pub next: i64,
    pub files: u64,
    /// Ranges without a file, which become plans; with `--holes removed` they are left alone.
    pub holes: Vec<Span>,
    pub gaps: Vec<Span>,
}

impl Render for Rebuilt {
    fn text(&self) -> String {
        let mut table = Table::new(&["topic", ">partition", ">genesis", ">next", ">files", "holes", "gaps"]);
        for row in &self.streams {
            table.row([
                row.topic.clone(),
                row.partition.to_string(),
                number(row.genesis),
                number(row.next),
                number(row.files),
                spans(&row.holes),
                spans(&row.gaps),
            ]);
        }
        table.render()
    }
}

pub fn run(args: &RebuildArgs, console: &Console) -> Result<Exit, Failure> {
    let config = args.config.load(console.env())?;
    let rebuilt = rebuild(&config, args, console)?;
    console.show(&rebuilt)?;
    Ok(Exit::Done)
}

/// Finds, shows on standard error, asks with [`confirm`], and then makes the checkpoints.
fn rebuild(_config: &Config, _args: &RebuildArgs, _console: &Console) -> Result<Rebuilt, Failure> {
    Err(not_wired("rebuild"))
}

/// Asks a person, on standard error. Without a person to ask, `--yes` has to have been given.
pub fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::new(Exit::Usage, format!("{question}: nobody is there to answer"))
            .way_out("look at what is shown above, then call it again with --yes"));
    }
    let _ = write!(io::stderr().lock(), "{question}? [y/N] ");
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| Failure::new(Exit::Io, format!("the answer cannot be read: {error}")))?;
    if is_yes(&answer) {
        Ok(())
    } else {
        Err(Failure::new(Exit::Failure, "stopped by your answer; nothing was changed"))
    }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
pub fn sample() -> Rebuilt {
    let row = RebuildRow {
        topic: "orders".into(),
        partition: 0,
        genesis: 0,
        next: 1234,
        files: 2,
        holes: vec![Span::new(100, 200)],
        gaps: vec![],
    };
    Rebuilt { done: true, streams: vec![row] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_shown() {
        assert_eq!(
            sample().text(),
            "topic   partition  genesis   next  files  holes       gaps\n\
             orders          0        0  1_234      2  [100, 200)\n"
        );
    }

    #[test]
    fn only_a_clear_yes_is_one() {
        assert!(is_yes("y\n") && is_yes(" YES\n"));
        assert!(!is_yes("\n") && !is_yes("no\n") && !is_yes("yep\n"));
        assert_eq!(confirm("go on", true), Ok(()));
    }
}
