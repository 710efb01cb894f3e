//! The JSON objects below `_landfall/`: a `format` first, so that a release refuses what it cannot know.

use bytes::Bytes;
use landfall_lake::{Lake, LakeError, Placed, fault, place};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::OriginError;
use crate::checkpoint::state::Format;

/// The format of the owner, genesis, mark, pattern and layout objects.
pub(crate) const FORMAT: Format = Format { major: 1, minor: 0 };

#[derive(Deserialize)]
struct Head {
    format: Format,
}

/// Reads an object. The format is looked at before anything else is.
pub(crate) fn decode<T: DeserializeOwned>(path: &str, bytes: &[u8]) -> Result<T, OriginError> {
    let head: Head = serde_json::from_slice(bytes).map_err(|error| OriginError::unreadable(path, error))?;
    if head.format.major != FORMAT.major {
        let (major, known) = (head.format.major, FORMAT.major);
        return Err(OriginError::NewerFormat { path: path.into(), major, known });
    }
    serde_json::from_slice(bytes).map_err(|error| OriginError::unreadable(path, error))
}

pub(crate) fn encode<T: Serialize>(path: &str, document: &T) -> Result<Bytes, OriginError> {
    let mut json = serde_json::to_vec_pretty(document).map_err(|error| OriginError::unreadable(path, error))?;
    json.push(b'\n');
    Ok(json.into())
}

/// Creates the object, or returns the other one that stands there already.
pub(crate) async fn establish<T>(lake: &dyn Lake, path: &str, document: &T) -> Result<Option<T>, OriginError>
where
    T: Serialize + DeserializeOwned,
{
    match place(lake, path, encode(path, document)?).await? {
        Placed::Created | Placed::Same => Ok(None),
        Placed::Other(bytes) => Ok(Some(decode(path, &bytes)?)),
    }
}

/// Reads an object that may be acted on: it is durable when this returns it.
pub(crate) async fn fetch<T: DeserializeOwned>(lake: &dyn Lake, path: &str) -> Result<Option<T>, OriginError> {
    let Some(bytes) = lake.read(path).await? else {
        return Ok(None);
    };
    lake.settle(path).await?;
    decode(path, &bytes).map(Some)
}

/// A place where a test may stop the process, as an error of this room.
pub(crate) fn point(name: &str) -> Result<(), OriginError> {
    fault::point(name).map_err(|error| OriginError::Lake(LakeError::not_done("_landfall", error)))
}
