//! Checkpoints that former owners of the lake left in it: for a rebuild.

use std::sync::Arc;

use futures::TryStreamExt;
use landfall_lake::{Lake, LakeError};
use landfall_sink::Stream;

use super::LakeStore;
use super::names::{self, CHECKPOINTS, KIND};
use crate::checkpoint::{Checkpoint, DecodeError, Seat, StoreError};

/// The trees of former owners, the newest first.
pub struct FormerTrees {
    trees: Vec<LakeStore>,
}

impl FormerTrees {
    /// The trees of the owners before `number`.
    pub fn before(lake: &Arc<dyn Lake>, number: u64) -> FormerTrees {
        let seat = |number| Seat { number, kind: KIND.into(), store: String::new(), lake: String::new() };
        FormerTrees { trees: (1..number).rev().map(|number| LakeStore::seated(lake.clone(), &seat(number))).collect() }
    }

    /// The record of a stream from the newest tree that holds one. Where that tree shows versions that are no
    /// checkpoint any more, or are damaged, an older one would only say what was true before it: then there is none.
    pub async fn load(&self, stream: &Stream) -> Result<Option<Checkpoint>, StoreError> {
        for store in &self.trees {
            let tree = store.tree(stream)?;
            let sorted = |error| store.sorted(error);
            if let Some((version, bytes)) = tree.newest().await.map_err(sorted)? {
                return match Checkpoint::from_bytes(&bytes) {
                    Ok(record) if record.stream == *stream && record.version == version => Ok(Some(record)),
                    Err(error @ DecodeError::OtherFormat { .. }) => {
                        Err(store.refused(format!("{}: {error}", tree.path(version))))
                    }
                    Ok(_) | Err(DecodeError::Damaged(_)) => {
                        tracing::warn!(
                            "{} is damaged: the names of the files are believed instead",
                            tree.path(version)
                        );
                        Ok(None)
                    }
                };
            }
            if tree.list().await.map_err(sorted)?.newest().is_some() {
                return Ok(None);
            }
        }
        Ok(None)
    }
}

/// The highest number that has a tree, also where the objects that say who owned the lake are gone.
pub(crate) async fn newest_tree(lake: &dyn Lake) -> Result<Option<u64>, LakeError> {
    let mut newest = None;
    let mut entries = lake.list(CHECKPOINTS, None).await?;
    while let Some(entry) = entries.try_next().await? {
        newest = newest.max(names::parse_owner(&entry.path));
    }
    Ok(newest)
}
