//! Where a command shows its result: data on standard output, everything else on standard error.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::progress::{Bar, above};
use super::{Exit, Failure, Global, Output};
use crate::config::Env;

/// A result that can be shown to a person. For programs it is its own JSON.
pub trait Render: Serialize {
    /// Lines for a terminal, with the last line break.
    fn text(&self) -> String;
}

/// What a command knows of the place where it was called.
pub struct Console {
    output: Output,
    bars: bool,
    color: bool,
    env: Env,
}

impl Console {
    pub fn new(global: &Global, default_output: Output, env: Env) -> Console {
        let terminal = io::stderr().is_terminal();
        let wish = |name: &str| env.get(name).is_some_and(|value| !value.is_empty());
        let color = terminal && !wish("NO_COLOR") && env.get("TERM") != Some("dumb");
        let bars = terminal && !global.no_progress && !wish("CI");
        Console { output: global.output.unwrap_or(default_output), bars, color, env }
    }

    pub fn output(&self) -> Output {
        self.output
    }

    /// Whether standard error takes colours.
    pub fn color(&self) -> bool {
        self.color
    }

    pub fn env(&self) -> &Env {
        &self.env
    }

    /// One line that is written anew again and again; hidden where standard error is no terminal.
    pub fn line(&self) -> Bar {
        Bar::line(self.bars)
    }

    /// A bar for long work; hidden where standard error is no terminal.
    pub fn bar(&self, label: &str, unit: &str) -> Bar {
        Bar::new(self.bars, label, unit)
    }

    /// Shows a result on standard output.
    pub fn show(&self, result: &impl Render) -> Result<(), Failure> {
        let text = match self.output {
            Output::Table => result.text(),
            Output::Json => json(result)?,
        };
        self.write(&text)
    }

    /// Writes text to standard output as it is.
    pub fn write(&self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        written.map_err(|error| Failure::of_output(&error))
    }

    /// A remark for a person, on standard error.
    pub fn remark(&self, text: &str) {
        above(text);
    }
}

/// One JSON document, indented, with a line break at its end.
pub fn json(result: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(result);
    let text =
        text.map_err(|error| Failure::new(Exit::Failure, format!("the result cannot be told as JSON: {error}")))?;
    Ok(text + "\n")
}
