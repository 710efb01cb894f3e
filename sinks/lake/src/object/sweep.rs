//! What crashed writers leave in an object store: next to nothing. A put is whole or absent, and files wait on
//! the local disk without a name; only a probe that was killed leaves names.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::StreamExt;
use object_store::{ObjectStoreExt, PutPayload};

use super::Inner;
use super::asking::deadline;
use super::wire::Seen;
use crate::LakeError;

const PROBES: &str = "_landfall/probe";
/// By the store's clock: those of this machine and of the store may differ by any amount.
const STALE: Duration = Duration::from_secs(3600);

impl Inner {
    pub(super) async fn sweep(&self) -> Result<u64, LakeError> {
        let mut names = Vec::new();
        {
            let listing = self.entries(PROBES, None).await?;
            let mut listing = std::pin::pin!(listing);
            while let Some(entry) = listing.next().await {
                names.push(entry?.path);
            }
        }
        if names.is_empty() {
            return Ok(0);
        }
        // What was made just now shows what time it is there.
        let clock = format!("{PROBES}/clock-{:032x}", rand::random::<u128>());
        let key = self.key(&clock)?;
        self.put(&clock, &key, PutPayload::from_bytes(Bytes::new())).await?;
        names.push(clock.clone());
        let Some(now) = self.modified(&clock).await? else { return Ok(0) };
        let mut swept = 0;
        for name in names {
            let Some(made) = self.modified(&name).await? else { continue };
            let age = now.duration_since(made).unwrap_or_default();
            if name == clock || age >= STALE {
                self.delete(&name).await?;
                swept += u64::from(name != clock);
            }
        }
        Ok(swept)
    }

    /// `None` for a name that is gone: whoever probes at the same time removes names that were listed.
    async fn modified(&self, path: &str) -> Result<Option<SystemTime>, LakeError> {
        let key = self.key(path)?;
        let look = || async {
            match self.once(deadline(0), self.store.head(&key)).await {
                Ok(meta) => Ok(Some(SystemTime::from(meta.last_modified))),
                // Believed without a word of what is absent: all that follows from it is that nothing is removed.
                Err(answer) if answer.seen == Seen::Status(404) => Ok(None),
                Err(answer) => Err(answer),
            }
        };
        Ok(self.asked(path, look).await?.flatten())
    }
}
