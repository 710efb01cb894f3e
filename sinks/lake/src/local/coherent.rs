//! File systems that several hosts write to, each with a cache of what the directories showed a while ago.
//!
//! Creation by `link` may be exclusive there, but a listing can lack a name that another host has just created.
//! One owner with a lock can live with that; processes that decide by a listing cannot.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::fstatfs;

use super::errno;
use crate::LakeError;

/// The numbers of statfs(2).
const CACHING: &[(u32, &str)] = &[
    (0x6969, "NFS"),
    (0x517B, "SMB"),
    (0xFF53_4D42, "SMB (cifs)"),
    (0xFE53_4D42, "SMB 2"),
    (0x6573_5546, "FUSE"),
    (0x0102_1997, "9P"),
    (0x5346_414F, "AFS"),
];

/// The name of a file system that caches, by its number.
fn caching(number: u32) -> Option<&'static str> {
    CACHING.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

pub(super) fn check(root: &OwnedFd, path: &Path) -> Result<(), LakeError> {
    let status = fstatfs(root).map_err(|error| errno::not_done(path, "cannot tell the kind of file system", error))?;
    // The kernel's type is as wide as a word; the numbers fill half of it, with or without a sign.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::unnecessary_cast)]
    let number = status.f_type as u32;
    match caching(number) {
        None => Ok(()),
        Some(name) => Err(LakeError::refused(
            path.display().to_string(),
            format!(
                "this is {name}, which may show a directory as it was a while ago, so several processes cannot share \
                 checkpoints in it. Use checkpoint.store = \"sled\" (one process), a local disk, or an object store"
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_that_cache_directories_are_known_by_their_numbers() {
        assert_eq!(caching(0x6969), Some("NFS"));
        assert_eq!(caching(0xFF53_4D42), Some("SMB (cifs)"));
        assert_eq!(caching(0x6573_5546), Some("FUSE"));
        for local in [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0x794C_7630] {
            assert_eq!(caching(local), None, "{local:#x}");
        }
    }

    #[test]
    fn a_local_directory_passes() {
        let directory = tempfile::tempdir().unwrap();
        let root = OwnedFd::from(std::fs::File::open(directory.path()).unwrap());
        check(&root, directory.path()).unwrap();
    }
}
