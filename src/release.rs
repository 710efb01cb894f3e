//! Another release, played by this one where a test asks for it: an upgrade is proved before there is one.
//! Compiled to nothing in release builds.
//!
//! `LANDFALL_RELEASE=minor` is the next minor release: other defaults (roll, codec, row groups, path), another extension,
//! records of the next minor format, with a field in the record and in each plan that this release does not know.
//! `LANDFALL_RELEASE=major` is the next major release: it writes records of the next major format, and reads those of this
//! one as well.

use crate::checkpoint::state::{FORMAT, Format};

/// What the next minor release writes into a record and into each plan.
#[cfg(debug_assertions)]
const FIELD: &str = "of_the_next_minor";

#[cfg(debug_assertions)]
fn plays(release: &str) -> bool {
    use std::sync::LazyLock;
    static RELEASE: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("LANDFALL_RELEASE").ok());
    RELEASE.as_deref() == Some(release)
}

#[cfg(not(debug_assertions))]
#[inline(always)]
fn plays(_release: &str) -> bool {
    false
}

/// `now`, or what the next minor release has in its place.
pub(crate) fn default_of<T>(now: T, then: impl FnOnce(T) -> T) -> T {
    if plays("minor") { then(now) } else { now }
}

/// The format of the records that this process writes, and whose major it knows.
pub(crate) fn format() -> Format {
    Format { major: FORMAT.major + u32::from(plays("major")), minor: FORMAT.minor + u32::from(plays("minor")) }
}

/// The body of a record as this process writes it.
#[cfg(debug_assertions)]
pub(crate) fn written(body: Vec<u8>) -> Result<Vec<u8>, serde_json::Error> {
    if !plays("minor") && !plays("major") {
        return Ok(body);
    }
    let mut record: serde_json::Value = serde_json::from_slice(&body)?;
    record["format"] = serde_json::to_value(format())?;
    if plays("minor") {
        record[FIELD] = format!("since version {}", record["version"]).into();
        for plan in record["planned"].as_array_mut().into_iter().flatten() {
            if plan.get(FIELD).is_none() {
                plan[FIELD] = serde_json::json!({ "planned": plan["from"] });
            }
        }
    }
    serde_json::to_vec(&record)
}

#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn written(body: Vec<u8>) -> Result<Vec<u8>, serde_json::Error> {
    Ok(body)
}
