//! What an error of the local disk means: did it happen, and what should a person do?

use std::io;
use std::path::Path;

use rustix::io::Errno;

use crate::LakeError;

/// An error of a step that certainly had no effect that anybody can see.
pub(super) fn not_done(path: &Path, doing: &str, error: Errno) -> LakeError {
    LakeError::not_done(path.display().to_string(), said(doing, error))
}

/// An error after which the step may have had its effect.
pub(super) fn unknown(path: &Path, doing: &str, error: Errno) -> LakeError {
    LakeError::unknown(path.display().to_string(), said(doing, error))
}

/// An error that repeating does not cure.
pub(super) fn refused(path: &Path, doing: &str, error: Errno) -> LakeError {
    LakeError::refused(path.display().to_string(), said(doing, error))
}

/// A failed visit to a failpoint, or any other `std` error, as an error number.
pub(super) fn number(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// What happened, and the way out where there is one.
fn said(doing: &str, error: Errno) -> String {
    match error {
        Errno::NOSPC => format!("{doing}: no space on this file system; landfall goes on when there is space"),
        Errno::DQUOT => format!("{doing}: the disk quota is used up; landfall goes on when there is space"),
        Errno::ROFS => format!("{doing}: the file system is read-only; landfall goes on when it can be written"),
        Errno::ACCESS | Errno::PERM => {
            format!("{doing}: not permitted; let the user that landfall runs as write and search this directory")
        }
        Errno::MFILE => {
            format!("{doing}: this process has no file descriptor left; raise its limit (ulimit -n, LimitNOFILE=)")
        }
        Errno::NFILE => format!("{doing}: this machine has no file descriptor left; raise fs.file-max"),
        Errno::IO => format!("{doing}: input/output error; look at the disk and the kernel's log"),
        other => format!("{doing}: {}", io::Error::from(other)),
    }
}

/// What a failed `link` of a finished file means.
pub(super) fn of_link(path: &Path, error: Errno) -> LakeError {
    let doing = "cannot give the file its name";
    match error {
        // The kernel checks these before it changes the directory.
        Errno::NOSPC | Errno::DQUOT | Errno::ROFS | Errno::ACCESS | Errno::NOENT | Errno::NOTDIR | Errno::NOMEM => {
            not_done(path, doing, error)
        }
        Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK => LakeError::refused(
            path.display().to_string(),
            format!("{doing}: this file system has no hard links, and without them no name can be created exclusively"),
        ),
        Errno::XDEV => LakeError::refused(
            path.display().to_string(),
            format!("{doing}: its directory is on another file system than the lake; a lake must be on one"),
        ),
        Errno::NAMETOOLONG | Errno::LOOP | Errno::INVAL => refused(path, doing, error),
        _ => unknown(path, doing, error),
    }
}
