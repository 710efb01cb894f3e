//! How a command ends: the exit codes, and the one place where an error is told.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;

use super::Output;
use crate::config::ConfigError;

/// Exit codes. They are part of the interface: scripts and service managers read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or stopped cleanly.
    Done = 0,
    Failure = 1,
    /// The command line is wrong.
    Usage = 2,
    /// `verify` found holes, overlaps or damage.
    Damage = 65,
    /// Kafka or the store cannot be reached.
    Unreachable = 69,
    /// Another process or another store owns the lake.
    Owned = 73,
    /// Reading or writing a disk failed.
    Io = 74,
    /// The configuration is wrong.
    Config = 78,
}

impl Exit {
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The word that `--output json` uses.
    pub fn word(self) -> &'static str {
        match self {
            Exit::Done => "done",
            Exit::Failure => "failure",
            Exit::Usage => "usage",
            Exit::Damage => "damage",
            Exit::Unreachable => "unreachable",
            Exit::Owned => "owned",
            Exit::Io => "io",
            Exit::Config => "configuration",
        }
    }
}

/// Why a command failed: what happened, to whom, and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub code: Exit,
    pub what: String,
    pub hint: Option<String>,
}

impl Failure {
    pub fn new(code: Exit, what: impl fmt::Display) -> Failure {
        Failure { code, what: what.to_string(), hint: None }
    }

    /// What to do next, as "way out".
    pub fn way_out(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// Writing to standard output or standard error failed. Who reads no more (`| head`) has seen enough: no failure.
    pub fn of_output(error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::new(Exit::Done, ""),
            _ => Failure::new(Exit::Io, format!("the result cannot be written: {error}")),
        }
    }

    /// Tells it on `out`: two lines for people, one JSON object for programs.
    pub fn tell(&self, out: &mut dyn Write, output: Output, color: bool) -> io::Result<()> {
        if self.code == Exit::Done {
            return Ok(());
        }
        if output == Output::Json {
            let told = Told {
                error: ToldError {
                    code: self.code.code(),
                    kind: self.code.word(),
                    what: &self.what,
                    way_out: self.hint.as_deref(),
                },
            };
            serde_json::to_writer(&mut *out, &told)?;
            return writeln!(out);
        }
        let (red, bold, plain) = if color { ("\x1b[1;31m", "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
        writeln!(out, "{red}error:{plain} {}", indent(&self.what, 7))?;
        if let Some(hint) = &self.hint {
            writeln!(out, "  {bold}way out:{plain} {}", indent(hint, 11))?;
        }
        Ok(())
    }
}

/// Further lines stand below the first.
fn indent(text: &str, columns: usize) -> String {
    text.trim_end().replace('\n', &format!("\n{}", " ".repeat(columns)))
}

#[derive(Serialize)]
struct Told<'a> {
    error: ToldError<'a>,
}

#[derive(Serialize)]
struct ToldError<'a> {
    code: u8,
    kind: &'static str,
    what: &'a str,
    way_out: Option<&'a str>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Failure {}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        Failure { code: Exit::Config, what: error.to_string(), hint: error.hint() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(failure: &Failure, output: Output) -> String {
        let mut out = Vec::new();
        failure.tell(&mut out, output, false).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_error_says_what_and_the_way_out() {
        let failure = Failure::new(Exit::Owned, "the lake is owned\nby another").way_out("stop it\nor take over");
        assert_eq!(
            told(&failure, Output::Table),
            "error: the lake is owned\n       by another\n  way out: stop it\n           or take over\n"
        );
        let json: serde_json::Value = serde_json::from_str(&told(&failure, Output::Json)).unwrap();
        assert_eq!(json["error"]["code"], 73);
        assert_eq!(json["error"]["kind"], "owned");
        assert_eq!(json["error"]["way_out"], "stop it\nor take over");
    }

    #[test]
    fn a_reader_that_left_is_no_failure() {
        let failure = Failure::of_output(&io::ErrorKind::BrokenPipe.into());
        assert_eq!((failure.code, told(&failure, Output::Table)), (Exit::Done, String::new()));
        assert_eq!(Failure::of_output(&io::ErrorKind::StorageFull.into()).code, Exit::Io);
    }

    #[test]
    fn a_configuration_error_keeps_its_place() {
        let env = crate::config::Env::default();
        let error = crate::config::Config::parse("x = 1", "l.toml", std::path::Path::new("."), &env).unwrap_err();
        let failure = Failure::from(error);
        assert_eq!(failure.code.code(), 78);
        assert!(failure.what.contains("l.toml:1:1: unknown key \"x\""), "{}", failure.what);
        assert!(failure.hint.is_some());
    }
}
