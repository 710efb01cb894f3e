//! The failpoints and the sabotage switches that the code has, found in its source: one that is added
//! later is part of the crash matrix at once, and none can be forgotten in a list.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use regex::Regex;

/// Every failpoint of the workspace.
pub fn failpoints() -> BTreeSet<String> {
    let mut names = named("", r#"\b(?:point|fail_here)\(\s*"([a-z0-9_.-]+)""#);
    // The lake has two sets of the same steps, by name.
    names.extend(named("sinks/lake", r#"(?m)^\s*\w+: "(lake\.[a-z_.]+)",$"#));
    names
}

/// Every switch that breaks a rule.
pub fn sabotages() -> BTreeSet<String> {
    named("", r#"\bsabotaged\(\s*"([a-z0-9_.-]+)""#)
}

/// What the pattern finds in the sources below a folder.
fn named(below: &str, pattern: &str) -> BTreeSet<String> {
    let below = Path::new(env!("CARGO_MANIFEST_DIR")).join(below);
    let pattern = Regex::new(pattern).expect("a pattern");
    let mut names = BTreeSet::new();
    for file in sources().into_iter().filter(|file| file.starts_with(&below)) {
        let text = std::fs::read_to_string(&file).expect("a source");
        // A module's own tests may name failpoints that no run visits.
        names.extend(pattern.captures_iter(&product(&text)).map(|found| found[1].to_owned()));
    }
    names
}

/// A source without what is compiled for its unit tests alone: each item below `#[cfg(test)]`, wherever it stands. In a
/// formatted source an item ends with the line that is indented as its beginning and closes it.
pub fn product(source: &str) -> String {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut kept = String::with_capacity(source.len());
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            kept.push_str(line);
            kept.push('\n');
            continue;
        }
        let begin = indent(line);
        let closes = |line: &&str| {
            let attribute = line.trim_start().starts_with("#[");
            indent(line) == begin && !attribute && line.trim_end().ends_with(['}', ';', ','])
        };
        lines.find(closes);
    }
    kept
}

/// Every Rust source of the product, without its unit tests' own files.
pub fn sources() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    let mut open = vec![root.join("src"), root.join("sinks")];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).expect("a directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                // Tests name what they arm; only the product says what there is.
                if !path.ends_with("tests") {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}
