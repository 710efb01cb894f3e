//! The store of any number of processes: versions of each record in the lake itself, created only if absent.
//!
//! ```text
//! _landfall/checkpoints/<owner>/<cluster>/<topic>/<topic id>/<partition>/<version, 20 digits>.json
//! ```
//!
//! A swap creates the version after the one it was made from, **and then lists**: it has won only if its own
//! version is shown and none higher. A create alone proves nothing, because a process that was frozen for long may
//! create a number that was pruned meanwhile. A swap that only commits needs no list: nothing is written because
//! of it. The newest version is found by a list alone (`tree`), the oldest are deleted behind it (`prune`), and an
//! owner's number in the path keeps late requests of a former owner apart ([`Seat`]).
//!
//! | requests | plan | commit | both in one swap |
//! |---|---|---|---|
//! | create | 1 | 1 | 1 |
//! | list | 1 | 0 | 1 |
//! | delete | 1 for many versions | | |

mod former;
pub(crate) mod names;
mod prune;
mod tree;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use async_trait::async_trait;
use futures::TryStreamExt;
use landfall_lake::fault::{point, sabotaged};
use landfall_lake::{Lake, LakeError};
use landfall_sink::Stream;

pub use former::FormerTrees;
pub(crate) use former::newest_tree;
pub(crate) use prune::PORTION as DELETED_AT_ONCE;

use super::{Checkpoint, CheckpointStore, Seat, StoreError, Swap, rules};
use names::KIND;
use prune::Pruning;
use tree::{Made, Tree};

/// Checkpoints in the lake. It has a place there as soon as the lake names its owner: [`CheckpointStore::seat`].
pub struct LakeStore {
    lake: Arc<dyn Lake>,
    /// The id that this store proposes where the lake has no owner yet.
    proposed: String,
    seat: OnceLock<Seat>,
    /// What this process last loaded or swapped of each stream.
    known: Mutex<HashMap<Stream, Checkpoint>>,
    pruning: Pruning,
}

impl LakeStore {
    /// A store that has no place in the lake yet.
    pub fn new(lake: Arc<dyn Lake>) -> LakeStore {
        LakeStore {
            lake,
            proposed: crate::ambient::random_id(),
            seat: OnceLock::new(),
            known: Mutex::default(),
            pruning: Pruning::default(),
        }
    }

    /// A store in the place that the lake names.
    pub fn seated(lake: Arc<dyn Lake>, seat: &Seat) -> LakeStore {
        let store = LakeStore::new(lake);
        store.seat(seat);
        store
    }

    fn name(&self) -> String {
        match self.seat.get() {
            Some(seat) => format!("in the lake {} (owner {})", self.lake.url(), seat.number),
            None => format!("in the lake {}", self.lake.url()),
        }
    }

    fn place(&self) -> Result<&Seat, StoreError> {
        let nowhere = || self.refused("it has no place yet: the lake names no owner".into());
        self.seat.get().ok_or_else(nowhere)
    }

    fn tree(&self, stream: &Stream) -> Result<Tree<'_>, StoreError> {
        let directory = names::stream(self.place()?.number, stream).map_err(|why| self.refused(why))?;
        Ok(Tree { lake: self.lake.as_ref(), directory })
    }

    fn refused(&self, message: String) -> StoreError {
        StoreError::Refused { store: self.name(), message }
    }

    fn sorted(&self, error: LakeError) -> StoreError {
        let store = self.name();
        match error {
            LakeError::NotDone { path, message } => {
                StoreError::NotDone { store, message: format!("{path}: {message}") }
            }
            LakeError::Unknown { path, message } => {
                StoreError::Unknown { store, message: format!("{path}: {message}") }
            }
            LakeError::Refused { path, message } => {
                StoreError::Refused { store, message: format!("{path}: {message}") }
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Stream, Checkpoint>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, stream: &Stream, record: Option<&Checkpoint>) {
        match record {
            Some(record) => drop(self.known().insert(stream.clone(), record.clone())),
            None => drop(self.known().remove(stream)),
        }
    }

    /// What a test asked for at a failpoint, before or after something may have happened.
    fn failpoint(&self, visited: std::io::Result<()>, unknown: bool) -> Result<(), StoreError> {
        visited.map_err(|error| {
            let (store, message) = (self.name(), error.to_string());
            if unknown { StoreError::Unknown { store, message } } else { StoreError::NotDone { store, message } }
        })
    }

    /// The list after a create. A swap whose list fails is unknown, whatever the create said.
    async fn has_won(&self, tree: &Tree<'_>, version: u64) -> Result<bool, StoreError> {
        // What stands far below matters to the pruning only, so it is not always asked for.
        let prunes = self.pruning.is_due(version);
        let first = if prunes { 1 } else { version.saturating_sub(1) };
        let shown = tree.list_from(first).await.map_err(|error| self.sorted(error.doubted()))?;
        self.failpoint(point("store.after_list"), true)?;
        let won = shown.newest() == Some(version) && shown.is_whole();
        if won && prunes {
            self.pruning.prune(&self.lake, tree, &shown);
        }
        Ok(won)
    }
}

#[async_trait]
impl CheckpointStore for LakeStore {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn id(&self) -> &str {
        self.seat.get().map_or(&self.proposed, |seat| &seat.store)
    }

    fn owns(&self, owner: &Seat) -> bool {
        // Whoever uses the lake's own store uses the same one.
        owner.kind == KIND && self.seat.get().is_none_or(|seat| seat == owner)
    }

    fn seat(&self, owner: &Seat) {
        drop(self.seat.set(owner.clone()));
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn lake_id(&self) -> Result<Option<String>, StoreError> {
        Ok(self.seat.get().map(|seat| seat.lake.clone()))
    }

    async fn remember_lake(&self, lake: &str) -> Result<(), StoreError> {
        rules::same_lake(&self.name(), Some(&self.place()?.lake), lake)
    }

    async fn load(&self, stream: &Stream) -> Result<Option<Checkpoint>, StoreError> {
        let tree = self.tree(stream)?;
        let found = tree.newest().await.map_err(|error| self.sorted(error))?;
        let record = match found {
            None => None,
            Some((version, bytes)) => {
                let record = rules::decode(&self.name(), stream, &bytes)?;
                if record.version != version {
                    let (path, says) = (tree.path(version), record.version);
                    return Err(
                        self.refused(format!("{path} says that it is version {says}: it was copied or renamed"))
                    );
                }
                Some(record)
            }
        };
        self.remember(stream, record.as_ref());
        Ok(record)
    }

    async fn swap(&self, expected: Option<u64>, new: &Checkpoint) -> Result<Swap, StoreError> {
        let bytes = rules::encode_next(&self.name(), expected, new)?;
        if new.version != expected.unwrap_or(0) + 1 {
            let (stream, version) = (&new.stream, new.version);
            return Err(self.refused(format!("{stream}: version {version} does not follow {expected:?} directly")));
        }
        let tree = self.tree(&new.stream)?;
        let base = self.known().get(&new.stream).cloned().filter(|known| Some(known.version) == expected);
        if base.is_none() {
            // Nothing is created on top of what nobody here has seen as the newest.
            let shown = tree.list().await.map_err(|error| self.sorted(error))?;
            if shown.newest() != expected || !shown.is_whole() {
                return Ok(Swap::Lost);
            }
        }
        self.failpoint(point("store.before_swap"), false)?;
        let made = tree.create(new.version, bytes.into()).await.map_err(|error| self.sorted(error))?;
        if made == Made::Other {
            self.remember(&new.stream, None);
            return Ok(Swap::Lost);
        }
        self.failpoint(point("store.after_swap"), true)?;
        // Nothing is written to the lake because of a commit.
        let acts = !base.is_some_and(|base| new.only_commits_since(&base)) && !sabotaged("swap_without_list");
        if acts && !self.has_won(&tree, new.version).await? {
            self.remember(&new.stream, None);
            return Ok(Swap::Lost);
        }
        self.remember(&new.stream, Some(new));
        Ok(Swap::Won)
    }

    /// From a list of every version of every stream: for commands, not for the path of the data.
    async fn streams(&self) -> Result<Vec<Stream>, StoreError> {
        let Some(seat) = self.seat.get() else { return Ok(Vec::new()) };
        let directory = names::owner(seat.number);
        let mut entries = self.lake.list(&directory, None).await.map_err(|error| self.sorted(error))?;
        let mut streams: Vec<Stream> = Vec::new();
        while let Some(entry) = entries.try_next().await.map_err(|error| self.sorted(error))? {
            let stream = names::parse_stream(seat.number, &entry.path);
            streams.extend(stream.filter(|stream| streams.last() != Some(stream)));
        }
        streams.sort_unstable();
        streams.dedup();
        Ok(streams)
    }
}

#[cfg(test)]
mod tests;
