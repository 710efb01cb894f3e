//! The one list of every setting. The loader, the nearest-key suggestion, the environment overrides, the
//! configuration reference and the example file are all made from it.

mod lake;
mod source;

use super::settings::Config;
use super::value::{Located, Wrong};
use lake::{LAKE, LIMITS, OPTIONS, PARQUET, ROLL};
use source::{CHECKPOINT, DECODE, HTTP, KAFKA, RECEIVER, SOURCE};

/// Whether a setting must be given, may be given, or belongs to a later release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Required,
    Optional,
    Later,
}

/// One setting.
pub struct Key {
    /// `lake.roll.max_age`.
    pub path: &'static str,
    /// What it takes, for the reference.
    pub takes: &'static str,
    /// What it means, in Markdown.
    pub about: &'static str,
    /// As it could stand in a file.
    pub example: &'static str,
    pub need: Need,
    /// A table whose names are not ours.
    pub open: bool,
    pub(super) apply: fn(&mut Config, &Located) -> Result<(), Wrong>,
    /// The value as TOML; of [`Config::default`], the default.
    pub show: fn(&Config) -> String,
}

impl Key {
    /// `lake.roll` of `lake.roll.max_age`.
    pub fn section(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// `max_age` of `lake.roll.max_age`.
    pub fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }

    /// `LANDFALL__LAKE__ROLL__MAX_AGE`.
    pub fn variable(&self) -> String {
        format!("LANDFALL__{}", self.path.replace('.', "__").to_ascii_uppercase())
    }
}

/// Every setting, in the order of the reference.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    [KAFKA, SOURCE, RECEIVER, CHECKPOINT, LAKE, ROLL, OPTIONS, PARQUET, DECODE, HTTP, LIMITS].into_iter().flatten()
}

pub fn find(path: &str) -> Option<&'static Key> {
    keys().find(|key| key.path == path)
}

const OPTIONAL: Key = Key {
    path: "",
    takes: "",
    about: "",
    example: "",
    need: Need::Optional,
    open: false,
    apply: |_, _| Ok(()),
    show: |_| String::new(),
};

fn quoted(text: impl ToString) -> String {
    format!("{:?}", text.to_string())
}

fn table(properties: &super::Properties) -> String {
    let entries: Vec<String> = properties.shown().map(|(name, value)| format!("{name:?} = {value:?}")).collect();
    if entries.is_empty() { "{}".into() } else { format!("{{ {} }}", entries.join(", ")) }
}

fn later(what: &'static str, hint: &str) -> Result<(), Wrong> {
    Err(Wrong::later(format!(": {what} is not in this release"), hint))
}
