//! Objects and their sizes: known, known to be absent, or an error.

use std::ops::Range;

use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};

use super::Inner;
use super::asking::deadline;
use super::wire::Seen;
use crate::{LakeError, Tagged};

/// A listing and the answer to a read may write the same tag with quotation marks and without.
pub(super) fn tag(e_tag: Option<&str>) -> Option<String> {
    let plain = e_tag?.trim_start_matches("W/").trim_matches('"');
    (!plain.is_empty()).then(|| plain.to_owned())
}

impl Inner {
    pub(super) async fn size(&self, path: &str) -> Result<Option<u64>, LakeError> {
        let key = self.key(path)?;
        let head = || self.once(deadline(0), self.store.head(&key));
        let told = self.asked(path, || async {
            match head().await {
                Ok(meta) => Ok(Some(meta.size)),
                Err(answer) if answer.seen == Seen::Status(404) => Ok(None),
                Err(answer) => Err(answer),
            }
        });
        match told.await? {
            Some(Some(size)) => Ok(Some(size)),
            // The answer to a HEAD cannot say what is not there, the object or the whole bucket.
            _ => Ok(self.get(path, None).await?.map(|found| found.content.len() as u64)),
        }
    }

    /// The content or a part of it; `None` where the name is known to be absent.
    pub(super) async fn get(&self, path: &str, range: Option<Range<u64>>) -> Result<Option<Tagged>, LakeError> {
        let key = self.key(path)?;
        let fetch = || async {
            let options = GetOptions { range: range.clone().map(GetRange::Bounded), ..GetOptions::default() };
            let got = self.once(deadline(0), self.store.get_opts(&key, options)).await?;
            let length = got.range.end.saturating_sub(got.range.start);
            let tag = tag(got.meta.e_tag.as_deref());
            self.once(deadline(length), got.bytes()).await.map(|content| (Tagged { content, tag }, length))
        };
        let Some((found, length)) = self.asked(path, fetch).await? else { return Ok(None) };
        if found.content.len() as u64 != length {
            let message = format!("{} bytes came, and {length} were announced", found.content.len());
            return Err(LakeError::not_done(path, message));
        }
        Ok(Some(found))
    }
}
