//! Values with their place, from a file or from an environment variable: one tree for both.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Place, Problem, ProblemKind};
use super::interpolate::{Interpolated, interpolate};
use super::{Env, properties};

/// A value and where it was written. It has no `Debug`: it may be a secret.
pub struct Located {
    pub value: Value,
    pub place: Place,
}

pub enum Value {
    Text(Text),
    Number(i64),
    Flag(bool),
    /// A float, a date, or an integer beyond 64 bits, with the word for it and its text.
    Other(&'static str, String),
    List(Vec<Located>),
    Table(Vec<(String, Place, Located)>),
}

pub struct Text {
    pub value: String,
    /// What a message may show of it: the text of the file where something was put in.
    pub shown: String,
    /// A part came from `${file:…}`.
    pub secret: bool,
}

impl Located {
    /// `"60s"`, `60`, `a list`: what an error may say of a value.
    pub fn shown(&self) -> String {
        match &self.value {
            Value::Text(text) => format!("{:?}", text.shown),
            Value::Number(number) => number.to_string(),
            Value::Flag(flag) => flag.to_string(),
            Value::Other(_, text) => text.clone(),
            Value::List(_) => "a list".into(),
            Value::Table(_) => "a table".into(),
        }
    }
}

/// The text of a file or of an environment variable, for turning bytes into lines and columns.
pub struct Source<'a> {
    text: &'a str,
    /// The byte at which each line starts.
    lines: Vec<usize>,
    /// A variable is one place, and nothing is put into it: the shell did that.
    variable: Option<&'a str>,
}

impl<'a> Source<'a> {
    pub fn new(text: &'a str) -> Source<'a> {
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Source { text, lines: std::iter::once(0).chain(starts).collect(), variable: None }
    }

    pub fn variable(name: &'a str, text: &'a str) -> Source<'a> {
        Source { variable: Some(name), ..Source::new(text) }
    }

    pub fn place(&self, byte: usize) -> Place {
        if let Some(name) = self.variable {
            return Place::Variable(name.into());
        }
        let line = self.lines.partition_point(|start| *start <= byte);
        let start = self.lines[line - 1];
        let before = self.text.as_bytes().get(start..byte.min(self.text.len())).unwrap_or_default();
        Place::File { line, column: String::from_utf8_lossy(before).chars().count() + 1 }
    }
}

/// Turns a parsed table into [`Located`] values with `${…}` put in; references that lead nowhere go to `problems`.
pub fn table(
    table: &DeTable<'_>,
    source: &Source<'_>,
    env: &Env,
    path: &str,
    problems: &mut Vec<Problem>,
) -> Vec<(String, Place, Located)> {
    let mut entries: Vec<(usize, (String, Place, Located))> = Vec::with_capacity(table.len());
    for (key, value) in table.iter() {
        let name = key.get_ref().to_string();
        let below = join(path, &name);
        let located = locate(value, source, env, &below, problems);
        entries.push((key.span().start, (name, source.place(key.span().start), located)));
    }
    // In the order of the file, so that problems are told from the top down.
    entries.sort_by_key(|(at, _)| *at);
    entries.into_iter().map(|(_, entry)| entry).collect()
}

pub fn locate(
    value: &Spanned<DeValue<'_>>,
    source: &Source<'_>,
    env: &Env,
    path: &str,
    problems: &mut Vec<Problem>,
) -> Located {
    let place = source.place(value.span().start);
    let word = value.get_ref().type_str();
    let value = match value.get_ref() {
        DeValue::String(text) if source.variable.is_some() => Value::Text(plain(text, path)),
        DeValue::String(text) => Value::Text(match interpolate(text, env) {
            Ok(Interpolated { changed: false, text: value, .. }) => plain(&value, path),
            Ok(Interpolated { text: value, secret, .. }) => Text { value, shown: text.to_string(), secret },
            Err(what) => {
                problems.push(unset(path, place.clone(), &what));
                plain(text, path)
            }
        }),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Number(number),
            Err(_) => Value::Other("a very large number", number.to_string()),
        },
        DeValue::Float(number) => Value::Other("a number with a fraction", number.to_string()),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Datetime(time) => Value::Other(word, time.to_string()),
        DeValue::Array(items) => {
            Value::List(items.iter().map(|item| locate(item, source, env, path, problems)).collect())
        }
        DeValue::Table(inner) => Value::Table(table(inner, source, env, path, problems)),
    };
    Located { value, place }
}

/// A text that nothing was put into.
pub fn plain(text: &str, path: &str) -> Text {
    let shown = if properties::is_secret(path) { "(secret)".into() } else { text.to_string() };
    Text { value: text.to_string(), shown, secret: false }
}

fn unset(path: &str, place: Place, what: &str) -> Problem {
    Problem {
        kind: ProblemKind::Unset,
        place,
        key: path.into(),
        what: format!("{path}: {what}"),
        hint: Some("set it, or give a default as in \"${VAR:-default}\"; a plain \"${\" is written \"$${\"".into()),
    }
}

pub fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.into() } else { format!("{path}.{name}") }
}

/// Why a value is refused.
pub struct Wrong {
    pub kind: ProblemKind,
    pub what: String,
    pub hint: Option<String>,
    /// Where inside the value, if not at its beginning.
    pub place: Option<Place>,
    /// What else is wrong with the same value.
    pub also: Vec<Wrong>,
}

impl Wrong {
    pub fn new(what: impl Into<String>) -> Wrong {
        Wrong { kind: ProblemKind::Value, what: what.into(), hint: None, place: None, also: Vec::new() }
    }

    /// "is 60; expected …".
    pub fn expected(found: &Located, expected: &str) -> Wrong {
        let what = format!("is {}; expected {expected}", found.shown());
        Wrong { place: Some(found.place.clone()), ..Wrong::new(what) }
    }

    pub fn later(what: impl Into<String>, hint: &str) -> Wrong {
        Wrong { kind: ProblemKind::NotInThisRelease, hint: Some(hint.into()), ..Wrong::new(what) }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Wrong {
        self.hint = Some(hint.into());
        self
    }
}
