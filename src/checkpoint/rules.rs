//! What every store checks, whatever it keeps its records in.

use std::io::{Error, ErrorKind};

use landfall_sink::Stream;

use super::{Checkpoint, StoreError};

/// The bytes of a record that may follow version `expected`.
pub(super) fn encode_next(store: &str, expected: Option<u64>, new: &Checkpoint) -> Result<Vec<u8>, StoreError> {
    let refused = |message: String| StoreError::Refused { store: store.into(), message };
    if expected.is_some_and(|version| new.version <= version) {
        let (stream, version) = (&new.stream, new.version);
        return Err(refused(format!("{stream}: version {version} cannot follow version {expected:?}")));
    }
    new.to_bytes().map_err(|broken| refused(broken.to_string()))
}

/// The record in these bytes, which must be of this stream.
pub(super) fn decode(store: &str, stream: &Stream, bytes: &[u8]) -> Result<Checkpoint, StoreError> {
    let refused = |why: String| StoreError::Refused {
        store: store.into(),
        message: format!("the checkpoint of {stream} cannot be used: {why}"),
    };
    let checkpoint = Checkpoint::from_bytes(bytes).map_err(|error| refused(error.to_string()))?;
    if checkpoint.stream != *stream {
        return Err(refused(format!("it is the record of another stream, {:?}", checkpoint.stream)));
    }
    Ok(checkpoint)
}

/// Refuses another lake than the one remembered.
pub(super) fn same_lake(store: &str, remembered: Option<&str>, lake: &str) -> Result<(), StoreError> {
    match remembered {
        Some(remembered) if remembered != lake => Err(StoreError::Refused {
            store: store.into(),
            message: format!(
                "it belongs to the lake with id {remembered}, and this lake's id is {lake}: an unmounted disk, \
                 another bucket, or another lake; give each lake a state directory of its own"
            ),
        }),
        _ => Ok(()),
    }
}

/// Whether an error says that there is no space.
pub(super) fn is_full(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Sorts an error that came before anything of the store was changed.
pub(super) fn sort_io(store: &str, what: &str, error: Error) -> StoreError {
    let mut message = format!("{what}: {error}");
    if is_full(&error) || matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) {
        return StoreError::NotDone { store: store.into(), message };
    }
    message += match error.kind() {
        ErrorKind::PermissionDenied => {
            "; run it as the user who owns the store, or let this user read and write everything in its directory"
        }
        ErrorKind::ReadOnlyFilesystem => "; mount that disk writable, or name another place in checkpoint.path",
        _ => "; see that checkpoint.path names the right place, and that its disk is well",
    };
    StoreError::Refused { store: store.into(), message }
}
