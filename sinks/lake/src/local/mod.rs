//! A lake on a local disk: names are created by `link`, which fails where a name stands, and nothing is
//! called created before it would survive a power failure.
//!
//! The rooms: `open` (from a word to a directory), `root` (directories made and synced), `temporary` and
//! `draft` (files before they have a name), `walk` (listing), `coherent` (which file systems), `lock`, `pool` (the threads that wait for the disk),
//! `errno` (did it happen?).

mod coherent;
mod draft;
mod errno;
mod lock;
mod open;
mod pool;
mod root;
mod temporary;
mod walk;

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, openat, unlinkat};
use rustix::io::{Errno, pread, retry_on_intr};

use crate::names::{self, LOCK, TEMPORARIES, checked};
use crate::{Created, Entry, Lake, LakeError, Staged, Trials};
use draft::{Draft, LocalStaged};
pub use lock::LakeLock;
use pool::Pool;
use root::Root;
pub use root::Syncs;
use temporary::Temporaries;
use walk::Walk;

/// Where everything lives that is not data.
const HOME: &str = "_landfall";

/// A lake in a directory. Clones share everything.
#[derive(Clone)]
pub struct LocalLake {
    inner: Arc<Inner>,
}

struct Inner {
    root: Arc<Root>,
    url: String,
    temporaries: Temporaries,
    /// Syncs and links; as many at a time as asked for.
    durable: Pool,
    /// Reads and listings, so that they do not queue behind syncs.
    reads: Pool,
    /// Starts write-back of large files early.
    early: Pool,
}

impl LocalLake {
    /// Opens the lake in `place`, a path or a `file://` URL, and makes the directory if there is none.
    /// `io_threads` syncs and links run at a time. Refuses a file system that cannot create a name exclusively.
    ///
    /// Raises this process's limit of open files as far as it may.
    pub fn open(place: impl AsRef<Path>, io_threads: usize) -> Result<LocalLake, LakeError> {
        LocalLake::open_with(place.as_ref(), io_threads, false)
    }

    /// Opens a lake that exists, and never changes anything in it: for those who only look.
    pub fn open_to_read(place: impl AsRef<Path>, io_threads: usize) -> Result<LocalLake, LakeError> {
        let path = open::place(place.as_ref())?;
        let root = Root::new(open::root(&path, false)?, path, true);
        Ok(LocalLake::new(root, Temporaries::Never, io_threads))
    }

    fn open_with(place: &Path, io_threads: usize, named: bool) -> Result<LocalLake, LakeError> {
        let path = open::place(place)?;
        open::raise_descriptor_limit();
        let root = Root::new(open::root(&path, true)?, path, false);
        let temporaries = Temporaries::detect(&root, named)?;
        Ok(LocalLake::new(root, temporaries, io_threads))
    }

    fn new(root: Root, temporaries: Temporaries, io_threads: usize) -> LocalLake {
        let inner = Inner {
            url: open::url(&root.path),
            root: Arc::new(root),
            temporaries,
            durable: Pool::new("landfall-sync", io_threads),
            reads: Pool::new("landfall-read", io_threads.max(2)),
            early: Pool::new("landfall-early", 1),
        };
        LocalLake { inner: Arc::new(inner) }
    }

    /// The root as an absolute path.
    pub fn root(&self) -> &Path {
        &self.inner.root.path
    }

    /// Takes the lake for one owner, who is named to everybody else who tries. [`LakeError::Refused`] only
    /// if somebody holds it.
    pub fn lock(&self, owner: &str) -> Result<LakeLock, LakeError> {
        LakeLock::take(&self.inner.root, owner)
    }

    /// Refuses a file system that may show a directory as it was a while ago: several processes that decide by
    /// what they list would not see each other.
    pub fn must_be_coherent(&self) -> Result<(), LakeError> {
        coherent::check(&self.inner.root.fd, &self.inner.root.path)
    }

    /// How many syncs were asked of the kernel so far.
    pub fn syncs(&self) -> Syncs {
        self.inner.root.syncs()
    }
}

impl Inner {
    /// A path that may be written to.
    fn to_write(&self, path: &str) -> Result<String, LakeError> {
        self.root.writable(path)?;
        names::writable(path)?;
        Ok(path.to_owned())
    }

    /// Runs what may change the lake on the threads for it. A panic there leaves its effect unknown.
    async fn durably<T: Send + 'static>(
        self: &Arc<Self>,
        path: &str,
        job: impl FnOnce(&Arc<Inner>) -> Result<T, LakeError> + Send + 'static,
    ) -> Result<T, LakeError> {
        let inner = self.clone();
        let answer = self.durable.run(move || job(&inner)).await;
        answer.unwrap_or_else(|| Err(LakeError::unknown(path, "the thread that worked on it failed")))
    }

    async fn reading<T: Send + 'static>(
        self: &Arc<Self>,
        path: &str,
        job: impl FnOnce(&Arc<Inner>) -> Result<T, LakeError> + Send + 'static,
    ) -> Result<T, LakeError> {
        let inner = self.clone();
        let answer = self.reads.run(move || job(&inner)).await;
        answer.unwrap_or_else(|| Err(LakeError::not_done(path, "the thread that read it failed")))
    }

    /// A file and its size; `None` where the name is known to be absent.
    fn open_file(&self, path: &str) -> Result<Option<(OwnedFd, u64)>, LakeError> {
        let sort = |error| errno::not_done(&self.root.full(path), "cannot open it", error);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = match retry_on_intr(|| openat(&self.root.fd, path, flags, Mode::empty())) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => return self.root.stands().map(|()| None),
            Err(error) => return Err(sort(error)),
        };
        let stat = fstat(&fd).map_err(sort)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(LakeError::refused(self.root.full(path).display().to_string(), "this is not a file"));
        }
        Ok(Some((fd, u64::try_from(stat.st_size).unwrap_or_default())))
    }

    /// Exactly the bytes of `range`.
    fn bytes_of(&self, path: &str, fd: &OwnedFd, range: Range<u64>) -> Result<Bytes, LakeError> {
        let full = || self.root.full(path);
        let length = usize::try_from(range.end.saturating_sub(range.start));
        let length = length.map_err(|_| LakeError::refused(full().display().to_string(), "the range is too long"))?;
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while filled < length {
            let taken = retry_on_intr(|| pread(fd, &mut bytes[filled..], range.start + filled as u64));
            match taken.map_err(|error| errno::not_done(&full(), "cannot read it", error))? {
                0 => {
                    let message = format!("it ends before byte {} of the range asked for", range.end);
                    return Err(LakeError::not_done(full().display().to_string(), message));
                }
                taken => filled += taken,
            }
        }
        Ok(bytes.into())
    }
}

#[async_trait]
impl Lake for LocalLake {
    fn url(&self) -> &str {
        &self.inner.url
    }

    async fn create(&self, path: &str, content: Bytes) -> Result<Created, LakeError> {
        let name = self.inner.to_write(path)?;
        let job = move |lake: &Arc<Inner>| {
            let mut draft = Draft::new(lake.clone(), &draft::OBJECT);
            draft.write(&content)?;
            draft.publish(&name)
        };
        self.inner.durably(path, job).await
    }

    fn stage(&self) -> Result<Box<dyn Staged>, LakeError> {
        self.inner.root.writable("")?;
        let lake = self.inner.clone();
        let draft = Arc::new(Mutex::new(Draft::new(lake.clone(), &draft::FILE)));
        Ok(Box::new(LocalStaged { lake, draft }))
    }

    async fn read(&self, path: &str) -> Result<Option<Bytes>, LakeError> {
        checked(path)?;
        let name = path.to_owned();
        let job = move |lake: &Arc<Inner>| match lake.open_file(&name)? {
            Some((fd, size)) => lake.bytes_of(&name, &fd, 0..size).map(Some),
            None => Ok(None),
        };
        self.inner.reading(path, job).await
    }

    async fn read_range(&self, path: &str, range: Range<u64>) -> Result<Bytes, LakeError> {
        checked(path)?;
        let name = path.to_owned();
        let job = move |lake: &Arc<Inner>| match lake.open_file(&name)? {
            // Nothing is allocated for a range that the file does not have.
            Some((_, size)) if range.end > size => {
                let message = format!("it has {size} bytes, and the range asked for ends at {}", range.end);
                Err(LakeError::not_done(lake.root.full(&name).display().to_string(), message))
            }
            Some((fd, _)) => lake.bytes_of(&name, &fd, range),
            None => Err(LakeError::not_done(lake.root.full(&name).display().to_string(), "it is not there")),
        };
        self.inner.reading(path, job).await
    }

    async fn size(&self, path: &str) -> Result<Option<u64>, LakeError> {
        checked(path)?;
        let name = path.to_owned();
        let job = move |lake: &Arc<Inner>| {
            let stat = lake.root.stat(&name)?;
            let file = stat.filter(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
            Ok(file.map(|stat| u64::try_from(stat.st_size).unwrap_or_default()))
        };
        self.inner.reading(path, job).await
    }

    async fn list<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> Result<BoxStream<'a, Result<Entry, LakeError>>, LakeError> {
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        if !prefix.is_empty() {
            checked(prefix)?;
        }
        let (from, after) = (prefix.to_owned(), start_after.map(str::to_owned));
        let begin = move |lake: &Arc<Inner>| Walk::begin(lake.root.clone(), &from, after.as_deref());
        let walk = self.inner.reading(prefix, begin).await?;
        let portions = stream::try_unfold(walk, move |mut walk| async move {
            let job = move |_: &Arc<Inner>| walk.portion().map(|entries| (entries, walk));
            let (entries, walk) = self.inner.reading(prefix, job).await?;
            Ok((!entries.is_empty()).then_some((entries, walk)))
        });
        let entries = portions.flat_map(|portion| {
            stream::iter(match portion {
                Ok(entries) => entries.into_iter().map(Ok).collect::<Vec<_>>(),
                Err(error) => vec![Err(error)],
            })
        });
        Ok(entries.boxed())
    }

    async fn settle(&self, path: &str) -> Result<(), LakeError> {
        checked(path)?;
        let name = path.to_owned();
        self.inner.durably(path, move |lake| lake.root.settle(root::parent(&name))).await
    }

    async fn delete(&self, path: &str) -> Result<(), LakeError> {
        let name = self.inner.to_write(path)?;
        names::deletable(path)?;
        let job =
            move |lake: &Arc<Inner>| match retry_on_intr(|| unlinkat(&lake.root.fd, name.as_str(), AtFlags::empty())) {
                Ok(()) => Ok(()),
                Err(Errno::NOENT | Errno::NOTDIR) => lake.root.stands(),
                Err(error) => Err(errno::not_done(&lake.root.full(&name), "cannot delete it", error)),
            };
        self.inner.durably(path, job).await
    }

    async fn sweep(&self) -> Result<u64, LakeError> {
        self.inner.root.writable(TEMPORARIES)?;
        self.inner.durably(TEMPORARIES, |lake| lake.temporaries.sweep(&lake.root)).await
    }

    /// The kernel's `link` is exclusive on every file system that has it; the trial is for those that lie.
    fn trials(&self) -> Trials {
        Trials { rounds: 4, writers: 8 }
    }
}
