//! Opening a lake on the local disk: what a person wrote, the directory, and what its file system can do.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Once;

use rustix::fs::{Mode, OFlags, fsync, open};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Resource, getrlimit, setrlimit};

use super::errno;
use crate::LakeError;

/// The path in `file:///data/lake` or `/data/lake`, absolute.
pub(super) fn place(text: &Path) -> Result<PathBuf, LakeError> {
    let refused = |message: &str| LakeError::refused(text.display().to_string(), message);
    let path = match text.to_str().and_then(|text| text.split_once("://")) {
        Some(("file", rest)) => {
            let rest = rest.strip_prefix("localhost").unwrap_or(rest);
            if !rest.starts_with('/') {
                return Err(refused("a file URL needs an absolute path: file:///data/lake (three slashes)"));
            }
            PathBuf::from(
                decoded(rest).ok_or_else(|| refused("this is not a file URL: a % needs two hexadecimal digits"))?,
            )
        }
        Some((scheme, _)) if !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric()) => {
            return Err(refused("a lake on the local disk is a path or a file:// URL"));
        }
        _ => text.to_owned(),
    };
    std::path::absolute(&path).map_err(|error| refused(&format!("this is no path: {error}")))
}

/// The URL of a path; [`place`] reads it back.
pub(super) fn url(path: &Path) -> String {
    format!("file://{}", path.display().to_string().replace('%', "%25"))
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'%' {
            let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok())?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

/// Opens the root, and makes it first where that is asked for: durable, with every parent that is new.
pub(super) fn root(path: &Path, create: bool) -> Result<OwnedFd, LakeError> {
    if create {
        make(path)?;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = retry_on_intr(|| open(path, flags, Mode::empty())).map_err(|error| match error {
        Errno::NOENT => LakeError::refused(path.display().to_string(), "there is no such directory"),
        Errno::NOTDIR => LakeError::refused(path.display().to_string(), "this is not a directory"),
        Errno::ACCESS | Errno::PERM | Errno::ROFS => errno::refused(path, "cannot open the lake", error),
        error => errno::not_done(path, "cannot open the lake", error),
    })?;
    if create {
        match retry_on_intr(|| fsync(&fd)) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                let message =
                    "this file system cannot sync a directory, so no name in it would survive a power failure";
                return Err(LakeError::refused(path.display().to_string(), message));
            }
            Err(error) => return Err(errno::refused(path, "cannot sync the directory", error)),
        }
    }
    Ok(fd)
}

fn make(path: &Path) -> Result<(), LakeError> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make(parent)?;
    }
    let sort = |error: std::io::Error, doing: &str| match errno::number(&error) {
        Errno::NOTDIR | Errno::EXIST => LakeError::refused(path.display().to_string(), "this is not a directory"),
        number @ (Errno::ACCESS | Errno::PERM | Errno::ROFS) => errno::refused(path, doing, number),
        number => errno::not_done(path, doing, number),
    };
    match std::fs::create_dir(path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => {}
        Err(error) => return Err(sort(error, "cannot make the lake's directory")),
    }
    let Some(parent) = path.parent() else { return Ok(()) };
    let synced = std::fs::File::open(parent).and_then(|dir| dir.sync_all());
    synced.map_err(|error| sort(error, "cannot sync the directory above the lake"))
}

/// Takes as many file descriptors as the system gives: thousands of partitions may have a file under way each.
pub(super) fn raise_descriptor_limit() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut limit = getrlimit(Resource::Nofile);
        if limit.current != limit.maximum {
            limit.current = limit.maximum;
            if let Err(error) = setrlimit(Resource::Nofile, limit) {
                tracing::debug!(%error, "the limit of open files stays as it is");
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_person_writes_becomes_a_path() {
        let path = |text: &str| place(Path::new(text)).map_err(|error| error.to_string());
        assert_eq!(path("file:///data/lake"), Ok("/data/lake".into()));
        assert_eq!(path("file://localhost/data/a%20b"), Ok("/data/a b".into()));
        assert_eq!(path("/data/lake"), Ok("/data/lake".into()));
        assert!(path("lake").is_ok_and(|path| path.is_absolute() && path.ends_with("lake")));
        assert!(path("file://data/lake").is_err_and(|error| error.contains("three slashes")));
        assert!(path("file:///a%2").is_err_and(|error| error.contains("hexadecimal")));
        assert!(path("s3://bucket/lake").is_err_and(|error| error.contains("file://")));
    }

    proptest! {
        #[test]
        fn a_url_reads_back(path in "/[ -~äß]{0,40}") {
            let path = std::path::absolute(&path).unwrap();
            prop_assert_eq!(place(Path::new(&url(&path))).unwrap(), path);
        }
    }
}
