//! From a [`Located`] value to the type of a setting, or to what was expected instead.

use std::collections::BTreeMap;
use std::time::Duration;

use super::settings::Start;
use super::units::{parse_duration, parse_size};
use super::value::{Located, Text, Value, Wrong, join};
use super::{LakeUrl, Properties, TopicSelector, lake_url::LakeUrlError};

const SIZE: &str = "a size such as \"512KiB\", \"128MiB\" or \"1GiB\"";
const DURATION: &str = "a duration such as \"500ms\", \"60s\" or \"5m\"";
const START: &str =
    "\"earliest\", \"latest\", a time such as \"2026-11-01T00:00:00Z\", or offsets as in { orders = { 0 = 100 } }";

pub fn text(found: &Located) -> Result<&Text, Wrong> {
    match &found.value {
        Value::Text(text) => Ok(text),
        _ => Err(Wrong::expected(found, "a text in quotes")),
    }
}

/// One of a few words; `later` are words of another release.
pub fn word<T: Copy>(found: &Located, known: &[(&str, T)], later: &[&str]) -> Result<T, Wrong> {
    let list = known.iter().map(|(word, _)| format!("{word:?}")).collect::<Vec<_>>().join(" or ");
    let Value::Text(text) = &found.value else {
        return Err(Wrong::expected(found, &list));
    };
    if let Some((_, value)) = known.iter().find(|(word, _)| *word == text.value) {
        return Ok(*value);
    }
    if later.contains(&text.value.as_str()) {
        let wrong = Wrong::later(format!("= {:?} is not in this release", text.value), &format!("use {list}"));
        return Err(Wrong { place: Some(found.place.clone()), ..wrong });
    }
    Err(Wrong::expected(found, &list))
}

/// Bytes, at least `least`.
pub fn size(found: &Located, least: u64) -> Result<u64, Wrong> {
    let size = match &found.value {
        Value::Text(text) => parse_size(&text.value),
        Value::Number(number) => u64::try_from(*number).ok(),
        _ => None,
    };
    let size = size.ok_or_else(|| Wrong::expected(found, SIZE))?;
    if size < least {
        return Err(Wrong::expected(found, &format!("at least {}", super::units::show_size(least))));
    }
    Ok(size)
}

pub fn duration(found: &Located) -> Result<Duration, Wrong> {
    match &found.value {
        Value::Text(text) => parse_duration(&text.value).ok_or_else(|| Wrong::expected(found, DURATION)),
        _ => Err(Wrong::expected(found, DURATION)),
    }
}

/// A whole number between `least` and `most`. An environment variable gives it as a text.
pub fn number(found: &Located, least: i64, most: i64) -> Result<i64, Wrong> {
    let expected = match most {
        i64::MAX => format!("a whole number, at least {least}"),
        most => format!("a whole number from {least} to {most}"),
    };
    let number = match &found.value {
        Value::Number(number) => Some(*number),
        Value::Text(text) => text.value.replace('_', "").parse().ok(),
        _ => None,
    };
    let inside = number.filter(|number| (least..=most).contains(number));
    inside.ok_or_else(|| Wrong::expected(found, &expected))
}

pub fn topics(found: &Located) -> Result<Vec<TopicSelector>, Wrong> {
    let expected = "a list of topic names and /regular expressions/, such as [\"orders\", \"/payments-.*/\"]";
    let Value::List(items) = &found.value else {
        return Err(Wrong::expected(found, expected));
    };
    let mut topics: Vec<TopicSelector> = Vec::with_capacity(items.len());
    let mut wrong: Vec<Wrong> = Vec::new();
    for item in items {
        match topic(item) {
            Ok(selector) if topics.contains(&selector) => {}
            Ok(selector) => topics.push(selector),
            Err(entry) => wrong.push(entry),
        }
    }
    match wrong.pop() {
        Some(last) => Err(Wrong { also: wrong, ..last }),
        None => Ok(topics),
    }
}

fn topic(item: &Located) -> Result<TopicSelector, Wrong> {
    match &item.value {
        Value::Text(text) => text.value.parse().map_err(|what: String| not_this(item, text, &what)),
        _ => Err(Wrong::expected(item, "a topic name or a /regular expression/ in quotes")),
    }
}

pub fn lake_url(found: &Located) -> Result<LakeUrl, Wrong> {
    let url = text(found)?;
    LakeUrl::parse(&url.value).map_err(|error| match error {
        LakeUrlError::Later { .. } => {
            let wrong = Wrong::later(format!(": {error}"), "use a lake on a local disk, as in \"file:///data/lake\", or in an object store, as in \"s3://bucket/prefix\"");
            Wrong { place: Some(found.place.clone()), ..wrong }
        }
        LakeUrlError::Wrong(what) => not_this(found, url, &what)
            .hint("a lake is written as in \"file:///data/lake\" (three slashes) or \"s3://bucket/prefix\""),
    })
}

/// A text that is wrong for a reason that quotes it; the content of a secret's file is not quoted.
fn not_this(found: &Located, text: &Text, reason: &str) -> Wrong {
    let what =
        if text.secret { format!("is {:?}, which does not fit here", text.shown) } else { format!(": {reason}") };
    Wrong { place: Some(found.place.clone()), ..Wrong::new(what) }
}

pub fn start(found: &Located) -> Result<Start, Wrong> {
    let time = match &found.value {
        Value::Text(text) => match text.value.as_str() {
            "earliest" => return Ok(Start::Earliest),
            "latest" => return Ok(Start::Latest),
            other => other,
        },
        Value::Other("datetime", time) => time.as_str(),
        Value::Table(topics) => return explicit(topics),
        _ => return Err(Wrong::expected(found, START)),
    };
    match time.parse::<jiff::Timestamp>() {
        Ok(time) => Ok(Start::Time(time.as_millisecond())),
        Err(_) => {
            Err(Wrong::expected(found, START).hint("a time needs its zone: end it with Z for UTC, or with +01:00"))
        }
    }
}

type Entries = [(String, super::error::Place, Located)];

fn explicit(topics: &Entries) -> Result<Start, Wrong> {
    let mut offsets: BTreeMap<String, BTreeMap<i32, i64>> = BTreeMap::new();
    for (topic, place, partitions) in topics {
        super::topics::check_name(topic)
            .map_err(|what| Wrong { place: Some(place.clone()), ..Wrong::new(format!(": {what}")) })?;
        let Value::Table(partitions) = &partitions.value else {
            return Err(Wrong::expected(partitions, "offsets by partition, as in { orders = { 0 = 100 } }")
                .hint("a topic with dots in its name is quoted: { \"a.b\" = { 0 = 100 } }"));
        };
        let of_topic = offsets.entry(topic.clone()).or_default();
        for (partition, place, offset) in partitions {
            let index = partition.parse::<i32>().ok().filter(|index| *index >= 0);
            let index = index.ok_or_else(|| {
                let what = format!(": {topic:?} has no partition {partition:?}; expected a number, 0 or more");
                Wrong { place: Some(place.clone()), ..Wrong::new(what) }
            })?;
            of_topic.insert(index, number(offset, 0, i64::MAX)?);
        }
    }
    Ok(Start::Offsets(offsets))
}

/// Adds to `properties`. Unquoted names with dots are tables to TOML: they are put together again.
pub fn properties(found: &Located, into: &mut Properties) -> Result<(), Wrong> {
    let Value::Table(entries) = &found.value else {
        return Err(Wrong::expected(found, "a table of names and texts"));
    };
    flatten(entries, "", into)
}

fn flatten(entries: &Entries, prefix: &str, into: &mut Properties) -> Result<(), Wrong> {
    for (name, place, found) in entries {
        let name = join(prefix, name);
        let (value, secret) = match &found.value {
            Value::Text(text) => (text.value.clone(), text.secret),
            Value::Number(number) => (number.to_string(), false),
            Value::Flag(flag) => (flag.to_string(), false),
            Value::Other("a number with a fraction", text) => (text.clone(), false),
            Value::Table(inner) => {
                flatten(inner, &name, into)?;
                continue;
            }
            _ => {
                let what = format!(".{name:?} is {}; expected a text, a number, true or false", found.shown());
                return Err(Wrong { place: Some(place.clone()), ..Wrong::new(what) });
            }
        };
        if secret {
            into.insert_secret(name, value);
        } else {
            into.insert(name, value);
        }
    }
    Ok(())
}
