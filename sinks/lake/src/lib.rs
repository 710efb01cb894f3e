//! A place that can create exclusively: local disk (fsync, link), object stores (a conditional put), later HDFS; its
//! probe; and a double that loses answers.
//!
//! Everything landfall makes visible goes through here, so "create-only", "read back" and "durable"
//! are written once. Paths are relative to the lake's root, segments joined by `/`. Data never stands
//! under `_landfall/`, and nothing outside `_landfall/` is ever deleted.

mod double;
mod error;
pub mod fault;
mod local;
mod names;
#[cfg(feature = "object-store")]
mod object;
mod probe;
mod remote;

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

pub use double::{Answer, Call, Effect, Fault, Faults, FaultyLake, Rates};
pub use error::LakeError;
pub use local::{LakeLock, LocalLake, Syncs};
#[cfg(feature = "object-store")]
pub use object::ObjectLake;
pub use probe::{Probe, Trials, probe};
pub use remote::{
    OBJECT_SCHEMES, ObjectLimits, ObjectUrl, OptionError, check_object_option, check_object_options,
    object_option_names, open_object, open_object_to_read,
};

/// What became of a create-only write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// This call made it, whole and durable.
    Created,
    /// Something stands under the name already; nothing was changed.
    Exists,
}

/// What [`place`] found under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placed {
    Created,
    /// Equal content stands there: as good as created.
    Same,
    /// Other content stands there: it is returned.
    Other(Bytes),
}

/// A name that a listing shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub path: String,
    pub size: u64,
    /// Another object under the same name has another one. `None` where the place has no such thing.
    pub tag: Option<String>,
}

/// An object that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged {
    pub content: Bytes,
    /// As in an [`Entry`].
    pub tag: Option<String>,
}

/// A destination with exclusive creation and a consistent listing.
#[async_trait]
pub trait Lake: Send + Sync + 'static {
    /// The lake's URL, as a person writes it.
    fn url(&self) -> &str;

    /// Creates a small object if nothing stands under its name; whole and durable when it returns
    /// `Created`. Any error but [`LakeError::NotDone`] and [`LakeError::Refused`] means that it may have happened.
    async fn create(&self, path: &str, content: Bytes) -> Result<Created, LakeError>;

    /// A place for the bytes of a file that is not named yet. Dropping it leaves nothing behind.
    fn stage(&self) -> Result<Box<dyn Staged>, LakeError>;

    /// The whole content, or `None` where the name is *known* to be absent.
    async fn read(&self, path: &str) -> Result<Option<Bytes>, LakeError>;

    /// The same, with what tells whether it is the object that a listing showed.
    async fn read_tagged(&self, path: &str) -> Result<Option<Tagged>, LakeError> {
        Ok(self.read(path).await?.map(|content| Tagged { content, tag: None }))
    }

    async fn read_range(&self, path: &str, range: Range<u64>) -> Result<Bytes, LakeError>;

    /// The size in bytes, or `None` where the name is *known* to be absent.
    async fn size(&self, path: &str) -> Result<Option<u64>, LakeError>;

    /// Every object below the directory `prefix` (recursively), in order of path, after `start_after`. Complete, or
    /// it ends with an error. Temporary files are never shown.
    async fn list<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> Result<BoxStream<'a, Result<Entry, LakeError>>, LakeError>;

    /// Makes a name that was *found* durable before it is acted on (a local disk syncs the directories
    /// from it up to the root, once per process and directory).
    async fn settle(&self, path: &str) -> Result<(), LakeError>;

    /// Removes an object below `_landfall/`; absent is success. Any other path is refused.
    async fn delete(&self, path: &str) -> Result<(), LakeError>;

    /// Removes several objects below `_landfall/`: a disk in this order, up to the first that fails; an object store
    /// in one request where it can, else several side by side, and after a failure any of them may be gone.
    async fn delete_many(&self, paths: &[String]) -> Result<(), LakeError> {
        for path in paths {
            self.delete(path).await?;
        }
        Ok(())
    }

    /// Removes what crashed writers left behind. Only unlinks; never touches a published name.
    async fn sweep(&self) -> Result<u64, LakeError>;

    /// How hard the probe tries it.
    fn trials(&self) -> Trials {
        Trials::default()
    }

    /// How long after the end of a process a request of it may still come into effect, at most.
    fn longest_request(&self) -> std::time::Duration {
        // On a local disk the kernel ends a process's system calls with it; only what another host had under way on
        // a shared disk can outlive that, and not for long.
        std::time::Duration::from_secs(5)
    }
}

/// The bytes of a file under way.
#[async_trait]
pub trait Staged: Send {
    /// Appends. Called from plain threads; must not wait for a network.
    fn write(&mut self, bytes: &[u8]) -> Result<(), LakeError>;

    /// Gives it a name, create-only: whole and durable when it returns `Created`. May be called again
    /// after any answer.
    async fn publish(&mut self, path: &str) -> Result<Created, LakeError>;

    /// Whether these bytes can never be published any more (a write or the fsync of the file failed): drop
    /// this, and write the file again.
    fn spent(&self) -> bool {
        false
    }
}

/// Creates `content` under `path` and reads back on every answer but a clear success.
///
/// [`LakeError::NotDone`] only where nothing of this call can be there: it may be repeated with the same content.
pub async fn place(lake: &dyn Lake, path: &str, content: Bytes) -> Result<Placed, LakeError> {
    match lake.create(path, content.clone()).await {
        Ok(Created::Created) => return Ok(Placed::Created),
        Ok(Created::Exists) | Err(LakeError::Unknown { .. }) => {}
        Err(error) => return Err(error),
    }
    let Some(found) = lake.read(path).await.map_err(LakeError::doubted)? else {
        return Err(LakeError::not_done(path, "it was not created, and is not there"));
    };
    lake.settle(path).await.map_err(LakeError::doubted)?;
    if found == content { Ok(Placed::Same) } else { Ok(Placed::Other(found)) }
}

/// Runs a future on this thread, for tests.
#[cfg(test)]
fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}
