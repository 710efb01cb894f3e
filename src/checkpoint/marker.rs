//! `format.json` in a state directory: what made the store, and the store's id. It is read before the
//! database is touched, so a newer release may keep its records in something else altogether.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::rules::sort_io;
use super::state::Format;

/// The format of the state directory: what is in which file, and how keys and values are spelled.
pub(super) const STORE_FORMAT: Format = Format { major: 1, minor: 0 };

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    /// `sled`.
    pub store: String,
    pub format: Format,
    pub id: String,
}

/// The marker of a directory, or `None` if there is none. A newer format is refused.
pub(super) fn read(directory: &Path) -> Result<Option<Marker>, StoreError> {
    let store = directory.display().to_string();
    let refused = |message: String| StoreError::Refused { store: store.clone(), message };
    let bytes = match std::fs::read(directory.join("format.json")) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(sort_io(&store, "format.json", error)),
    };
    #[derive(Deserialize)]
    struct Head {
        format: Format,
    }
    let damaged = |error: serde_json::Error| refused(format!("format.json is damaged: {error}"));
    let Head { format } = serde_json::from_slice(&bytes).map_err(damaged)?;
    if format.major != STORE_FORMAT.major {
        return Err(refused(format!(
            "it was made by a release with store format {}.{}, and this release knows {}.x: run that release, or a newer one",
            format.major, format.minor, STORE_FORMAT.major
        )));
    }
    serde_json::from_slice(&bytes).map(Some).map_err(damaged)
}

/// Writes the marker, whole and durable. Only under the lock of the directory.
pub(super) fn write(directory: &Path, id: &str) -> Result<(), StoreError> {
    let store = directory.display().to_string();
    let marker = Marker { store: "sled".into(), format: STORE_FORMAT, id: id.into() };
    let written = || -> std::io::Result<()> {
        let (new, path) = (directory.join("format.json.new"), directory.join("format.json"));
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(&marker)?)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        sync_directory(directory)
    };
    written().map_err(|error| sort_io(&store, "format.json", error))
}

pub(super) fn sync_directory(directory: &Path) -> std::io::Result<()> {
    File::open(directory)?.sync_all()
}
