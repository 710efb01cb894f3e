//! The nearest known name, for names that are not known.

use super::error::{Place, Problem, ProblemKind};
use super::keys::keys;
use super::value::join;

/// The nearest of `known` that is near enough to have been meant.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_ascii_lowercase();
    let allowed = (name.chars().count() / 3).clamp(1, 4);
    let measured = known.map(|other| (strsim::osa_distance(&name, &other.to_ascii_lowercase()), other));
    measured.filter(|(distance, _)| *distance <= allowed).min_by_key(|(distance, _)| *distance).map(|(_, other)| other)
}

/// Keys and sections directly below a section.
fn children(prefix: &str) -> Vec<&'static str> {
    let below = keys().filter_map(|key| {
        if prefix.is_empty() {
            return key.path.split('.').next();
        }
        key.path.strip_prefix(prefix)?.strip_prefix('.')?.split('.').next()
    });
    let mut names: Vec<&str> = below.collect();
    names.dedup();
    names
}

pub fn unknown_key(prefix: &str, name: &str, place: &Place) -> Problem {
    let path = join(prefix, name);
    let known = children(prefix);
    let shape = |name: &str| if prefix.is_empty() { format!("[{name}]") } else { format!("{name:?}") };
    let elsewhere = || {
        let same = keys().find(|key| key.name() == name);
        let same = same.or_else(|| {
            let near = nearest(name, keys().map(|key| key.name()))?;
            keys().find(|key| key.name() == near)
        });
        same.map(|key| format!("did you mean {:?} in [{}]?", key.name(), key.section()))
    };
    let hint = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean {}?", shape(near)),
        None => elsewhere().unwrap_or_else(|| {
            let list = known.iter().map(|name| shape(name)).collect::<Vec<_>>().join(", ");
            format!("known here: {list}")
        }),
    };
    let section = if prefix.is_empty() { String::new() } else { format!(" in [{prefix}]") };
    let what = format!("unknown key {name:?}{section}; {hint}");
    let hint = Some("docs/configuration.md lists every key; correct the unknown one or remove it".into());
    Problem { kind: ProblemKind::UnknownKey, place: place.clone(), key: path, what, hint }
}

pub fn unknown_variable(variable: &str) -> Problem {
    let known: Vec<String> = keys().map(|key| key.variable()).collect();
    let what = match nearest(variable, known.iter().map(String::as_str)) {
        Some(near) => format!("it sets no known key; did you mean {near}?"),
        None => "it sets no known key".into(),
    };
    let hint = "LANDFALL__SECTION__KEY overrides a key of the file, as in LANDFALL__LAKE__ROLL__MAX_AGE=5m".into();
    let place = Place::Variable(variable.into());
    Problem { kind: ProblemKind::UnknownKey, place, key: String::new(), what, hint: Some(hint) }
}
