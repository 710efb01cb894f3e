//! A checkpoint as bytes: JSON that says its own CRC-32C, so that damage can be told from the format of
//! another release.
//!
//! `{"crc32c":"<8 hexadecimal digits>","checkpoint":{…}}`, the sum being over the bytes of the inner object
//! as they stand. The frame is for every major; only what is inside may change.

use super::state::{Checkpoint, FORMAT, Format};
use crate::release;

const BEFORE_SUM: &[u8] = b"{\"crc32c\":\"";
const BEFORE_BODY: &[u8] = b"\",\"checkpoint\":";
const END: &[u8] = b"}";

/// Why bytes are not a checkpoint that this release can act on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Whole, but of a release whose format this one does not know.
    #[error(
        "it has format {}.{}, and this release knows {}.x: run the release that wrote it, or a newer one",
        found.major, found.minor, release::format().major
    )]
    OtherFormat { found: Format },
    #[error("it is damaged: {0}")]
    Damaged(String),
}

impl Checkpoint {
    /// The bytes of the record. A record that breaks a rule is never written.
    pub fn to_bytes(&self) -> Result<Vec<u8>, super::state::Broken> {
        self.check()?;
        let body = serde_json::to_vec(self)
            .and_then(release::written)
            .map_err(|error| super::state::Broken { stream: self.stream.clone(), rule: error.to_string() })?;
        let sum = format!("{:08x}", crc32c::crc32c(&body));
        Ok([BEFORE_SUM, sum.as_bytes(), BEFORE_BODY, &body, END].concat())
    }

    /// The record in these bytes, whoever wrote them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Checkpoint, DecodeError> {
        let body = body(bytes).ok_or_else(|| DecodeError::Damaged("its frame or its checksum is wrong".into()))?;
        let damaged = |error: &dyn std::fmt::Display| DecodeError::Damaged(error.to_string());
        #[derive(serde::Deserialize)]
        struct Head {
            format: Format,
        }
        let Head { format: found } = serde_json::from_slice(body).map_err(|error| damaged(&error))?;
        if ![FORMAT.major, release::format().major].contains(&found.major) {
            return Err(DecodeError::OtherFormat { found });
        }
        let mut checkpoint: Checkpoint = serde_json::from_slice(body).map_err(|error| damaged(&error))?;
        // In memory a record has the major that this code was written for.
        checkpoint.format.major = FORMAT.major;
        checkpoint.check().map_err(|error| damaged(&error))?;
        Ok(checkpoint)
    }
}

fn body(bytes: &[u8]) -> Option<&[u8]> {
    let (sum, rest) = bytes.strip_prefix(BEFORE_SUM)?.split_at_checked(8)?;
    let body = rest.strip_prefix(BEFORE_BODY)?.strip_suffix(END)?;
    (sum == format!("{:08x}", crc32c::crc32c(body)).as_bytes()).then_some(body)
}

#[cfg(test)]
mod tests;
