//! What is wrong with a configuration: each problem with its place and the way out, all of them at once.

use std::fmt;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the file; both count from 1, columns in characters.
    File { line: usize, column: usize },
    /// In an environment variable.
    Variable(String),
    /// Nowhere: it is missing, or a program set it.
    Nowhere,
}

/// What kind of problem it is; programs may tell them apart, people read the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// The file cannot be read, or is no TOML.
    Syntax,
    UnknownKey,
    /// Of the wrong type, or out of range, or against another setting.
    Value,
    /// `${…}` that leads nowhere.
    Unset,
    /// A setting of a later release.
    NotInThisRelease,
    /// A setting that has no default.
    Missing,
    /// A property that belongs to the protocol.
    Owned,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub kind: ProblemKind,
    pub place: Place,
    /// `lake.roll.max_age`; empty if no single key is meant.
    pub key: String,
    pub what: String,
    pub hint: Option<String>,
}

/// Everything that is wrong with one configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file as it was named; empty for a configuration that a program made.
    pub file: String,
    pub problems: Vec<Problem>,
}

impl ConfigError {
    pub(super) fn one(file: &str, problem: Problem) -> ConfigError {
        ConfigError { file: file.into(), problems: vec![problem] }
    }

    /// The way out. Of several problems each has its own, which the text tells below it.
    pub fn hint(&self) -> Option<String> {
        match self.problems.as_slice() {
            [problem] => problem.hint.clone(),
            _ => Some("correct each of these; docs/configuration.md describes every key".into()),
        }
    }

    fn place_of(&self, problem: &Problem) -> String {
        match (&problem.place, self.file.as_str()) {
            (Place::File { line, column }, file) => format!("{file}:{line}:{column}: "),
            (Place::Variable(name), _) => format!("environment variable {name}: "),
            (Place::Nowhere, "") => String::new(),
            (Place::Nowhere, file) => format!("{file}: "),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}{}", self.place_of(problem), problem.what)?;
            if let Some(hint) = problem.hint.as_deref().filter(|_| self.problems.len() > 1) {
                write!(f, "\n  -> {hint}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
