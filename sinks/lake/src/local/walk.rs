//! The listing of a directory tree: in order of path, from any path on, complete or an error.
//!
//! A directory is read whole and sorted by the path that its names become, so the order is that of an
//! object store's listing: `a-b` comes before `a/b`. Only what is shown is looked at for its size, and in portions,
//! so that somebody who stops reading does not pay for the rest.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, statat};
use rustix::io::Errno;

use super::root::{Root, at};
use super::{LOCK, TEMPORARIES, errno};
use crate::{Entry, LakeError};

/// How many names are looked at in one go.
const PORTION: usize = 2048;

pub(super) struct Walk {
    root: Arc<Root>,
    after: Option<String>,
    /// The directories that are open, from the prefix down.
    levels: Vec<Level>,
}

struct Level {
    fd: OwnedFd,
    /// Empty, or ends with `/`.
    path: String,
    names: std::vec::IntoIter<Name>,
}

struct Name {
    /// Of a directory, it ends with `/`.
    name: String,
    directory: bool,
}

impl Walk {
    /// Opens the directory of the listing. One that is not there holds nothing.
    pub(super) fn begin(root: Arc<Root>, prefix: &str, after: Option<&str>) -> Result<Walk, LakeError> {
        let mut walk = Walk { root, after: after.map(str::to_owned), levels: Vec::new() };
        let path = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        if walk.hidden(&path) || !walk.descend(path)? {
            walk.root.stands()?;
        }
        Ok(walk)
    }

    /// Some more entries; none means the end.
    pub(super) fn portion(&mut self) -> Result<Vec<Entry>, LakeError> {
        let mut entries = Vec::new();
        while entries.len() < PORTION {
            let Some(level) = self.levels.last_mut() else { break };
            let Some(next) = level.names.next() else {
                self.levels.pop();
                continue;
            };
            let path = format!("{}{}", level.path, next.name);
            if next.directory {
                if !self.hidden(&path) && !self.before(&path) {
                    self.descend(path)?;
                }
            } else if path != LOCK && self.after.as_deref().is_none_or(|after| path.as_str() > after) {
                match statat(&level.fd, next.name.as_str(), AtFlags::empty()) {
                    Ok(stat) => {
                        entries.push(Entry { path, size: u64::try_from(stat.st_size).unwrap_or_default(), tag: None })
                    }
                    Err(Errno::NOENT) => {}
                    Err(error) => return Err(errno::not_done(&self.root.full(&path), "cannot look at it", error)),
                }
            }
        }
        Ok(entries)
    }

    fn hidden(&self, directory: &str) -> bool {
        directory.strip_suffix('/') == Some(TEMPORARIES)
    }

    /// Whether everything in `directory` comes before the path to start after.
    fn before(&self, directory: &str) -> bool {
        self.after.as_deref().is_some_and(|after| directory < after && !after.starts_with(directory))
    }

    /// Reads a directory. `false` if it is not there (any more): it vanished, and its names with it.
    fn descend(&mut self, path: String) -> Result<bool, LakeError> {
        let dir = path.strip_suffix('/').unwrap_or_default();
        let fd = match self.root.open_dir(at(dir)) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(false),
            Err(error) => return Err(errno::not_done(&self.root.full(dir), "cannot list the directory", error)),
        };
        let sort = |error| errno::not_done(&self.root.full(dir), "cannot list the directory", error);
        let mut names = Vec::new();
        for entry in Dir::read_from(&fd).map_err(sort)? {
            let entry = match entry {
                Ok(entry) => entry,
                // Removed while it was read.
                Err(Errno::NOENT) => break,
                Err(error) => return Err(sort(error)),
            };
            // Other bytes than text are no path of a lake, so nothing of ours.
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name == "." || name == ".." {
                continue;
            }
            match kind(&fd, name, entry.file_type()).map_err(sort)? {
                Some(FileType::Directory) => names.push(Name { name: format!("{name}/"), directory: true }),
                Some(FileType::RegularFile) => names.push(Name { name: name.to_owned(), directory: false }),
                _ => {}
            }
        }
        names.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        self.levels.push(Level { fd, path, names: names.into_iter() });
        Ok(true)
    }
}

/// What a name is; links that a user made are followed, because names below them are names of the lake.
fn kind(fd: &OwnedFd, name: &str, told: FileType) -> Result<Option<FileType>, Errno> {
    if !matches!(told, FileType::Unknown | FileType::Symlink) {
        return Ok(Some(told));
    }
    match statat(fd, name, AtFlags::empty()) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}
