//! Deletions: one by one, or many in one request where the store knows how to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::Error;
use object_store::path::Path;

use super::answer::{Answer, Meaning};
use super::asking::deadline;
use super::wire::Seen;
use super::{Inner, Store};
use crate::{LakeError, names};

/// Single deletions at once.
const SIDE_BY_SIDE: usize = 8;

/// A way to delete many objects in one request, which not every store knows.
pub(super) struct Bulk {
    store: Arc<dyn Store>,
    /// It was refused, or not understood, where single requests did what they should.
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
        self.asked(path, || self.once(deadline(0), gone(self.store.as_ref(), vec![key.clone()]))).await.map(drop)
    }

    pub(super) async fn delete_many(&self, paths: &[String]) -> Result<(), LakeError> {
        let keys: Vec<Path> = paths.iter().map(|path| self.to_delete(path)).collect::<Result<_, _>>()?;
        let Some(first) = paths.first() else { return Ok(()) };
        let known = self.bulk.as_ref().filter(|bulk| !bulk.unknown_here.load(Ordering::Relaxed));
        let Some(bulk) = known else { return self.one_by_one(paths).await };
        let all = || self.once(deadline(0), gone(bulk.store.as_ref(), keys.clone()));
        let Err(answer) = self.answered(first, all).await else { return Ok(()) };
        if !is_strange(&answer) {
            return Err(answer.unread(first));
        }
        self.one_by_one(paths).await?;
        tracing::debug!(
            "objects are deleted one by one from now on, as the store does not take many at once: {answer}"
        );
        bulk.unknown_here.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn one_by_one(&self, paths: &[String]) -> Result<(), LakeError> {
        let each: Vec<_> = paths.iter().map(|path| self.delete(path).boxed()).collect();
        futures::stream::iter(each).buffered(SIDE_BY_SIDE).try_collect().await
    }

    fn to_delete(&self, path: &str) -> Result<Path, LakeError> {
        let key = self.to_write(path)?;
        names::deletable(path)?;
        Ok(key)
    }
}

/// Whether the request was the matter: the store does not take it, or answers in another way than others.
fn is_strange(answer: &Answer) -> bool {
    matches!(answer.meaning, Meaning::Denied | Meaning::Never) || matches!(answer.seen, Seen::Status(200..=299))
}

/// What is absent already is as good as deleted.
async fn gone(store: &dyn Store, keys: Vec<Path>) -> object_store::Result<()> {
    let mut answers = store.delete_stream(futures::stream::iter(keys).map(Ok).boxed());
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(_) | Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
