//! Which paths a lake takes: plain, relative, and none of landfall's own.

use crate::LakeError;

/// Where everything lives that is not data.
pub(crate) const HOME: &str = "_landfall/";
/// Where the local disk names its drafts, if it has to. Never listed, and no lake has a name there.
pub(crate) const TEMPORARIES: &str = "_landfall/tmp";
/// Not an object on the local disk, because it changes. Never listed, and no lake has this name.
pub(crate) const LOCK: &str = "_landfall/lock";

/// A relative path of plain segments.
pub(crate) fn checked(path: &str) -> Result<(), LakeError> {
    let plain = |segment: &str| !matches!(segment, "" | "." | "..") && !segment.contains('\0');
    if path.split('/').all(plain) {
        return Ok(());
    }
    Err(LakeError::refused(path, "a path in a lake is relative, of plain segments joined by /"))
}

/// A path that may be written to.
pub(crate) fn writable(path: &str) -> Result<(), LakeError> {
    checked(path)?;
    let inside = path.strip_prefix(TEMPORARIES).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if path == LOCK || inside {
        return Err(LakeError::refused(path, "this name is landfall's own"));
    }
    Ok(())
}

/// A path that may be deleted.
pub(crate) fn deletable(path: &str) -> Result<(), LakeError> {
    writable(path)?;
    if path.starts_with(HOME) {
        return Ok(());
    }
    Err(LakeError::refused(path, "only what lies below _landfall/ is ever deleted"))
}
