//! Deletions: one by one, and many in one request where the store knows how to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::asking::deadline;
use super::{Inner, Store};
use crate::{LakeError, names};

/// A way to delete many objects in one request, which not every store knows.
pub(super) struct Bulk {
    store: Arc<dyn Store>,
    /// It failed where single requests did not.
    unknown_here: AtomicBool,
}

impl Bulk {
    pub fn new(store: Arc<dyn Store>) -> Bulk {
        Bulk { store, unknown_here: AtomicBool::new(false) }
    }
}

impl Inner {
    pub(super) async fn delete(&self, path: &str) -> Result<(), LakeError> {
        let key = self.to_delete(path)?;
        self.asked(path, || self.once(deadline(0), self.store.delete(&key))).await.map(drop)
    }

    pub(super) async fn delete_many(&self, paths: &[String]) -> Result<(), LakeError> {
        let Some(first) = paths.first() else { return Ok(()) };
        let keys: Vec<Path> = paths.iter().map(|path| self.to_delete(path)).collect::<Result<_, _>>()?;
        let Some(bulk) = self.bulk.as_ref().filter(|bulk| !bulk.unknown_here.load(Ordering::Relaxed)) else {
            return self.all_gone(self.store.as_ref(), first, &keys).await;
        };
        let Err(error) = self.all_gone(bulk.store.as_ref(), first, &keys).await else { return Ok(()) };
        self.all_gone(self.store.as_ref(), first, &keys).await?;
        tracing::debug!(%error, "objects are deleted one by one from now on: the store does not take many at once");
        bulk.unknown_here.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn all_gone(&self, store: &dyn Store, first: &str, keys: &[Path]) -> Result<(), LakeError> {
        let all = || {
            let keys = futures::stream::iter(keys.to_vec()).map(Ok).boxed();
            let gone = store.delete_stream(keys).try_for_each(|_| std::future::ready(Ok(())));
            self.once(deadline(0), gone)
        };
        self.asked(first, all).await.map(drop)
    }

    fn to_delete(&self, path: &str) -> Result<Path, LakeError> {
        let key = self.to_write(path)?;
        names::deletable(path)?;
        Ok(key)
    }
}
