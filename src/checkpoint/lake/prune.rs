//! Old versions are deleted behind the back of the swap whose list showed them: the oldest first, or all at once where
//! the store takes many in one request. The model deletes them in any order.
//!
//! The newest [`KEPT`] stay: a process that was paused for less time than they took finds its own version taken,
//! which is cheaper than finding out by a list. Nothing hangs on the number but that, and on 2: the version below
//! the newest tells a tree that is whole from one that was deleted.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use landfall_lake::{Lake, LakeError};

use super::tree::{Shown, Tree};

const KEPT: usize = 100;
/// So many are deleted at once, so that a batch costs a fraction of a request.
pub(crate) const PORTION: usize = 25;

pub(super) struct Pruning {
    keep: usize,
    portion: usize,
    /// Directories in which a deletion is under way.
    busy: Arc<Mutex<HashSet<String>>>,
    /// That one failed has been told.
    told: Arc<AtomicBool>,
}

impl Default for Pruning {
    fn default() -> Pruning {
        Pruning { keep: KEPT, portion: PORTION, busy: Arc::default(), told: Arc::default() }
    }
}

impl Pruning {
    #[cfg(test)]
    pub fn keeping(versions: usize) -> Pruning {
        Pruning { keep: versions.max(2), portion: 1, ..Pruning::default() }
    }

    /// Whether the list after this version is to show all of them. Plans and commits may take turns, so two in a row
    /// are.
    pub fn is_due(&self, version: u64) -> bool {
        let portion = self.portion.max(1) as u64;
        version % portion < 2
    }

    /// Deletes what the list showed beyond the newest, in a task of its own. What fails is left to the next.
    pub fn prune(&self, lake: &Arc<dyn Lake>, tree: &Tree<'_>, shown: &Shown) {
        if shown.len() < self.keep + self.portion {
            return;
        }
        let Some(turn) = Turn::taken(&self.busy, &tree.directory) else { return };
        let old: Vec<String> = shown.surplus(self.keep).map(|version| tree.path(version)).collect();
        let (lake, told) = (lake.clone(), self.told.clone());
        tokio::spawn(async move {
            if let Err(error) = lake.delete_many(&old).await {
                stay(&turn.directory, &error, &told);
            }
        });
    }
}

/// Once to people, since they grow with every batch, and so does what a start lists.
fn stay(directory: &str, error: &LakeError, told: &AtomicBool) {
    if told.swap(true, Ordering::Relaxed) {
        return tracing::debug!(%error, directory, "old versions of a checkpoint stay for now");
    }
    tracing::warn!(
        "old versions of a checkpoint below {directory} could not be deleted: {error}. Nothing is wrong with the data; \
         but starts take longer the more there are: permit deletions below _landfall/ (s3:DeleteObject)"
    );
}

/// The deletion under way in a directory; it ends however its task does.
struct Turn {
    busy: Arc<Mutex<HashSet<String>>>,
    directory: String,
}

impl Turn {
    fn taken(busy: &Arc<Mutex<HashSet<String>>>, directory: &str) -> Option<Turn> {
        let turn = || Turn { busy: busy.clone(), directory: directory.to_owned() };
        held(busy).insert(directory.to_owned()).then(turn)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        held(&self.busy).remove(&self.directory);
    }
}

fn held(busy: &Mutex<HashSet<String>>) -> std::sync::MutexGuard<'_, HashSet<String>> {
    busy.lock().unwrap_or_else(PoisonError::into_inner)
}
