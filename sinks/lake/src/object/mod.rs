//! A lake in an object store: names are created by one conditional put each, and every answer to it but a clear
//! success is read back.
//!
//! The rooms: `open` and `options` (from a URL to a store), `wire` (what became of a request), `answer` (what that
//! means), `asking` (one request, with its time and its turn), `create` (the put), `spool` (files before they
//! are put), `reading`, `listing`, `deleting`, `sweep`, `crypto`.
//!
//! The library's own retries are off: it would repeat a create that met its own object and call that "exists".
//! There are no copies and no uploads in parts, because neither can create exclusively everywhere.

mod answer;
mod asking;
mod create;
mod crypto;
mod deleting;
mod listing;
mod open;
mod options;
mod reading;
mod spool;
mod sweep;
mod wire;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::list::PaginatedListStore;
use object_store::path::Path;
use object_store::{ObjectStore, PutPayload};
use tokio::sync::Semaphore;

use crate::remote::{ObjectLimits, ObjectUrl, OptionError};
use crate::{Created, Entry, Lake, LakeError, Staged, Tagged, fault, names};
use asking::deadline;
use deleting::Bulk;
pub(crate) use options::names as option_names;
use spool::{ObjectStaged, Spool};

/// What every store here can do.
trait Store: ObjectStore + PaginatedListStore {}
impl<S: ObjectStore + PaginatedListStore> Store for S {}

/// A lake in an object store. Clones share everything.
#[derive(Clone)]
pub struct ObjectLake {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    /// Deletes many in one request; `None` where that is not known, or nothing is ever deleted.
    bulk: Option<Bulk>,
    url: String,
    /// What every key of this lake begins with: nothing, or segments and a slash.
    prefix: String,
    /// `None` for those who only look.
    spool: Option<Spool>,
    requests: Semaphore,
    largest: u64,
}

impl ObjectLake {
    /// Opens the lake; nothing is asked of the store yet. What `options` leaves open is taken from the environment, as
    /// the store's own tools take it.
    pub fn open<'o>(
        url: &str,
        options: impl IntoIterator<Item = (&'o str, &'o str)>,
        limits: ObjectLimits,
    ) -> Result<ObjectLake, LakeError> {
        ObjectLake::new(url, options, &limits, Some(Spool::new(&limits)))
    }

    /// Opens a lake for those who only look: nothing is ever written to it.
    pub fn open_to_read<'o>(
        url: &str,
        options: impl IntoIterator<Item = (&'o str, &'o str)>,
    ) -> Result<ObjectLake, LakeError> {
        // The spool is for those who write.
        ObjectLake::new(url, options, &ObjectLimits::new(""), None)
    }

    fn new<'o>(
        url: &str,
        options: impl IntoIterator<Item = (&'o str, &'o str)>,
        limits: &ObjectLimits,
        spool: Option<Spool>,
    ) -> Result<ObjectLake, LakeError> {
        let refused = |error: &dyn std::fmt::Display| LakeError::refused(url, error);
        let place: ObjectUrl = url.parse().map_err(|error| refused(&error))?;
        let options: Vec<_> = options.into_iter().collect();
        let store = open::store(&place, &options).map_err(|error| refused(&error))?;
        let bulk = match &spool {
            Some(_) => open::bulk(&place, &options, &store).map_err(|error| refused(&error))?,
            None => None,
        };
        let inner = Inner {
            store,
            bulk: bulk.map(Bulk::new),
            url: place.to_string(),
            prefix: place.key_prefix(),
            spool,
            requests: Semaphore::new(limits.requests.clamp(1, 1024)),
            largest: limits.largest,
        };
        Ok(ObjectLake { inner: Arc::new(inner) })
    }

    /// Whether an option of this name can be set with this URL, whatever its value.
    pub fn check_option(url: &ObjectUrl, name: &str) -> Result<(), OptionError> {
        open::knows(url, name)
    }

    /// Whether these options can be used with this URL.
    pub fn check_options<'o>(
        url: &ObjectUrl,
        options: impl IntoIterator<Item = (&'o str, &'o str)>,
    ) -> Result<(), OptionError> {
        open::store(url, &options.into_iter().collect::<Vec<_>>()).map(drop)
    }
}

impl Inner {
    fn key(&self, path: &str) -> Result<Path, LakeError> {
        names::checked(path)?;
        let key = format!("{}{path}", self.prefix);
        // As S3, GCS and Azure have it.
        if key.len() > 1024 {
            return Err(LakeError::refused(path, "this name is too long: an object's key has at most 1024 bytes"));
        }
        Path::parse(&key).map_err(|error| LakeError::refused(path, error))
    }

    fn spool(&self, path: &str) -> Result<&Spool, LakeError> {
        let refused = || LakeError::refused(path, format!("{} was opened to be read only", self.url));
        self.spool.as_ref().ok_or_else(refused)
    }

    fn to_write(&self, path: &str) -> Result<Path, LakeError> {
        self.spool(path)?;
        names::writable(path)?;
        self.key(path)
    }

    /// A name may be given now.
    fn visit(&self, point: &str, path: &str) -> Result<(), LakeError> {
        fault::point(point).map_err(|error| LakeError::not_done(path, error))
    }

    /// A name may have been given.
    fn doubted(&self, point: &str, path: &str) -> Result<(), LakeError> {
        fault::point(point).map_err(|error| LakeError::unknown(path, error))
    }
}

#[async_trait]
impl Lake for ObjectLake {
    fn url(&self) -> &str {
        &self.inner.url
    }

    async fn create(&self, path: &str, content: Bytes) -> Result<Created, LakeError> {
        let key = self.inner.to_write(path)?;
        self.inner.visit("lake.create.before_link", path)?;
        let created = self.inner.put(path, &key, PutPayload::from_bytes(content)).await?;
        if created == Created::Created {
            self.inner.doubted("lake.create.after_link", path)?;
        }
        Ok(created)
    }

    fn stage(&self) -> Result<Box<dyn Staged>, LakeError> {
        self.inner.spool("a new file")?;
        Ok(Box::new(ObjectStaged::new(self.inner.clone())))
    }

    async fn read(&self, path: &str) -> Result<Option<Bytes>, LakeError> {
        Ok(self.inner.get(path, None).await?.map(|found| found.content))
    }

    async fn read_tagged(&self, path: &str) -> Result<Option<Tagged>, LakeError> {
        self.inner.get(path, None).await
    }

    async fn read_range(&self, path: &str, range: Range<u64>) -> Result<Bytes, LakeError> {
        let wanted = range.end.saturating_sub(range.start);
        if wanted == 0 {
            return Ok(Bytes::new());
        }
        match self.inner.get(path, Some(range.clone())).await? {
            Some(found) if found.content.len() as u64 == wanted => Ok(found.content),
            Some(_) => Err(LakeError::not_done(path, format!("it ends before byte {} of the range", range.end))),
            None => Err(LakeError::not_done(path, "it is not there")),
        }
    }

    async fn size(&self, path: &str) -> Result<Option<u64>, LakeError> {
        self.inner.size(path).await
    }

    async fn list<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> Result<BoxStream<'a, Result<Entry, LakeError>>, LakeError> {
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        if !prefix.is_empty() {
            names::checked(prefix)?;
        }
        Ok(self.inner.entries(prefix, start_after).await?.boxed())
    }

    /// An object that was found is as durable as the store makes it.
    async fn settle(&self, path: &str) -> Result<(), LakeError> {
        names::checked(path)
    }

    async fn delete(&self, path: &str) -> Result<(), LakeError> {
        self.inner.delete(path).await
    }

    async fn delete_many(&self, paths: &[String]) -> Result<(), LakeError> {
        self.inner.delete_many(paths).await
    }

    async fn sweep(&self) -> Result<u64, LakeError> {
        self.inner.spool("_landfall/probe")?;
        self.inner.sweep().await
    }

    fn longest_request(&self) -> Duration {
        deadline(self.inner.largest)
    }
}
