//! The versions of one stream as the lake shows them: listed, read, created.
//!
//! | what is done | what it is worth |
//! |---|---|
//! | list | the newest version is the highest number shown; nothing else says which one it is |
//! | read | only the object that was listed as the highest: one with its tag (ETag), or else one more list shows it so |
//! | create | every answer but a clear success is read back: own bytes = created, other bytes = lost, absent = again |

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use landfall_lake::fault::sabotaged;
use landfall_lake::{Created, Lake, LakeError, Tagged};

use super::names;
use crate::ambient;

/// How often a create, its read-back or a list is tried before the caller is told.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// What one list showed: the versions, with their tags where the lake has such.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shown(BTreeMap<u64, Option<String>>);

impl Shown {
    pub fn newest(&self) -> Option<u64> {
        self.0.last_key_value().map(|(version, _)| *version)
    }

    pub fn holds(&self, version: u64) -> bool {
        self.0.contains_key(&version)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn next_lower(&self, version: u64) -> Option<u64> {
        self.0.range(..version).next_back().map(|(version, _)| *version)
    }

    /// A tree that was deleted may show one version again, by a late create of a process that is gone. In a
    /// tree that is whole the version below the newest stands too, since pruning keeps many.
    pub fn is_whole(&self) -> bool {
        self.newest().is_none_or(|newest| newest == 1 || self.holds(newest - 1))
    }

    /// Whether this is the object that was listed, and not another that was created under its number since.
    fn is_that(&self, version: u64, found: &Tagged) -> bool {
        found.tag.is_some() && self.0.get(&version) == Some(&found.tag)
    }

    /// The versions below the newest `keep`, the oldest first.
    pub fn surplus(&self, keep: usize) -> impl Iterator<Item = u64> {
        self.0.keys().copied().take(self.0.len().saturating_sub(keep))
    }
}

/// What became of a create.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// The own bytes stand under the name.
    Own,
    /// Another's do.
    Other,
}

/// The versions of one stream.
pub(super) struct Tree<'a> {
    pub lake: &'a dyn Lake,
    pub directory: String,
}

impl Tree<'_> {
    pub fn path(&self, version: u64) -> String {
        names::version(&self.directory, version)
    }

    /// Complete, or an error: then nothing is known.
    pub async fn list(&self) -> Result<Shown, LakeError> {
        self.list_from(1).await
    }

    /// The versions from `first` on.
    pub async fn list_from(&self, first: u64) -> Result<Shown, LakeError> {
        let after = first.checked_sub(1).filter(|before| *before > 0).map(|before| self.path(before));
        let mut failed = None;
        for attempt in 0..TRIES {
            pause(attempt).await;
            match self.list_once(after.as_deref()).await {
                Ok(shown) => return Ok(shown),
                Err(error @ LakeError::Refused { .. }) => return Err(error),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| LakeError::not_done(&self.directory, "it was not listed")))
    }

    async fn list_once(&self, after: Option<&str>) -> Result<Shown, LakeError> {
        let mut entries = self.lake.list(&self.directory, after).await?;
        let mut shown = BTreeMap::new();
        while let Some(entry) = entries.try_next().await? {
            shown.extend(names::parse_version(&self.directory, &entry.path).map(|version| (version, entry.tag)));
        }
        Ok(Shown(shown))
    }

    /// The newest version and its bytes, durable; `None` where there is none. A tree that is not whole holds no
    /// checkpoint.
    pub async fn newest(&self) -> Result<Option<(u64, Bytes)>, LakeError> {
        let mut shown = self.list().await?;
        let mut broken = 0;
        for _ in 0..64 {
            let Some(newest) = shown.newest() else { return Ok(None) };
            if !shown.is_whole() && !sabotaged("revived_version_believed") {
                // A list that ran beside a create may lack the one below: once more before that is believed.
                broken += 1;
                if broken == 3 {
                    tracing::warn!(
                        directory = self.directory,
                        version = newest,
                        "this version stands without the one below it: the others were deleted, so it is no checkpoint"
                    );
                    return Ok(None);
                }
                shown = self.list().await?;
                continue;
            }
            let mut at = newest;
            let mut found = self.read(at).await?;
            while found.is_none() && sabotaged("next_lower_version_read") {
                let Some(lower) = shown.next_lower(at) else { break };
                at = lower;
                found = self.read(at).await?;
            }
            if sabotaged("list_and_read_apart") || at != newest {
                return Ok(found.map(|found| (at, found.content)));
            }
            let is_listed = found.as_ref().is_some_and(|found| shown.is_that(newest, found));
            if !is_listed {
                shown = self.list().await?;
            }
            if let Some(found) = found
                && (is_listed || shown.newest() == Some(newest) && shown.is_whole())
            {
                self.lake.settle(&self.path(newest)).await?;
                return Ok(Some((newest, found.content)));
            }
        }
        Err(LakeError::not_done(&self.directory, "the newest version changed each time it was read"))
    }

    async fn read(&self, version: u64) -> Result<Option<Tagged>, LakeError> {
        self.lake.read_tagged(&self.path(version)).await
    }

    /// Creates a version. `NotDone` only where no request of this call can still take effect.
    pub async fn create(&self, version: u64, content: Bytes) -> Result<Made, LakeError> {
        let path = self.path(version);
        let mut unclear = None;
        let mut failed = None;
        for attempt in 0..TRIES {
            pause(attempt).await;
            match self.lake.create(&path, content.clone()).await {
                Ok(Created::Created) => return Ok(Made::Own),
                Ok(Created::Exists) => unclear = Some("it exists when it is created, and cannot be read".to_owned()),
                Err(LakeError::Unknown { message, .. }) => unclear = Some(message),
                Err(error) if unclear.is_none() => {
                    let hopeless = matches!(error, LakeError::Refused { .. });
                    failed = Some(error);
                    if hopeless {
                        break;
                    }
                    continue;
                }
                Err(_) => {}
            }
            if sabotaged("answer_not_read_back") {
                return Ok(Made::Own);
            }
            match self.lake.read(&path).await {
                Ok(Some(found)) if found == content => {
                    self.lake.settle(&path).await.map_err(LakeError::doubted)?;
                    return Ok(Made::Own);
                }
                Ok(Some(_)) => return Ok(Made::Other),
                // Absent: again, with the same bytes. An error of the read-back says nothing at all.
                Ok(None) | Err(_) => {}
            }
        }
        match (unclear, failed) {
            (Some(message), _) => Err(LakeError::unknown(path, message)),
            (None, Some(error)) => Err(error),
            (None, None) => Err(LakeError::not_done(path, "it was not created")),
        }
    }
}

async fn pause(attempt: u32) {
    if attempt > 0 {
        tokio::time::sleep(ambient::jitter(PAUSE * 2u32.pow(attempt - 1))).await;
    }
}
