//! The store of one host: sled, used as safely as it can be, and the only file that names it.
//!
//! What sled 0.34 does not do by itself, and what is done about it here:
//!
//! * its flush is no fsync: an own handle of its file is synced before anything is acknowledged;
//! * a crash while it writes a snapshot leaves a file with which it refuses to open: that file is removed;
//! * long values and pages go to files of their own that it never syncs: the ledger keeps values short;
//! * it takes damage at the end of its file for a write that never finished, and drops what lies behind, also
//!   what was acknowledged: the number of syncs is kept in it and beside it, and must not fall behind;
//! * it does not go on after a full disk, nor opens on one: space is asked for first, and it is opened again.
//!
//! ```text
//! <state>/lock         who holds the directory
//! <state>/format.json  the format of the directory, and the store's id
//! <state>/checkpoints/ sled's own
//! <state>/tip          how many syncs were acknowledged
//! <state>/socket       while a process serves: see `holder`
//! ```

mod opening;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use landfall_sink::Stream;
use tempfile::TempDir;

use super::group_commit::GroupCommit;
use super::ledger::{Fault, Pages, Pair, meta_key};
use super::lock::StateLock;
use super::{Checkpoint, CheckpointStore, StoreError, Swap, rules};

/// What sled keeps of its pages in memory. (A page of this table never fills more than about `17 × 2 KiB`, far from
/// the 128 KiB at which sled would put it into a file of its own.)
const CACHE: u64 = 16 << 20;
/// Space that must be left: sled grows by segments of 512 KiB, and cleans up on its own account.
const FLOOR: u64 = 2 << 20;
/// How long an opener waits for another command that is only looking.
const PATIENCE: Duration = Duration::from_secs(1);

/// Checkpoints in a directory of this host, for one process at a time.
pub struct SledStore {
    id: String,
    name: String,
    // Before the lock: it is closed while the lock is held.
    commits: GroupCommit<SledPages>,
    lock: Arc<StateLock>,
    /// Where the database is that this process looks at, if it only looks.
    _copy: Option<TempDir>,
}

impl SledStore {
    /// Opens the store of a state directory, or makes it. Blocks, for as long as a small database opens.
    pub fn open(path: &Path) -> Result<SledStore, StoreError> {
        let name = path.display().to_string();
        opening::make_directory(path).map_err(|error| rules::sort_io(&name, "its directory", error))?;
        let lock = Arc::new(StateLock::take(path, PATIENCE)?);
        SledStore::start(path, path, lock, None)
    }

    /// The store of a state directory if there is one, to look at. sled writes when it opens, and what another user
    /// has written bars the store's own user from it, so this is a copy: nothing in the directory changes, and what is
    /// swapped here is forgotten. The store is locked as long as this lives.
    pub fn look(path: &Path) -> Result<Option<SledStore>, StoreError> {
        if !SledStore::is_there(path)? {
            return Ok(None);
        }
        let lock = Arc::new(StateLock::borrow(path, PATIENCE)?);
        let copy = opening::copy(path)?;
        let place = copy.path().to_owned();
        SledStore::start(&place, path, lock, Some(copy)).map(Some)
    }

    /// Whether a state directory holds a store, whole or damaged.
    pub fn is_there(path: &Path) -> Result<bool, StoreError> {
        let there = |name: &str| {
            let name = path.join(name);
            name.try_exists().map_err(|error| rules::sort_io(&path.display().to_string(), "its directory", error))
        };
        Ok(there("format.json")? || there("checkpoints")?)
    }

    /// The database in `place`, which is called `shown` in messages.
    fn start(place: &Path, shown: &Path, lock: Arc<StateLock>, copy: Option<TempDir>) -> Result<SledStore, StoreError> {
        let name = shown.display().to_string();
        let (pages, id) = opening::open(place, shown)?;
        let commits = GroupCommit::start(name.clone(), pages)
            .map_err(|error| rules::sort_io(&name, "the thread that syncs it", error))?;
        Ok(SledStore { id, name, commits, lock, _copy: copy })
    }

    /// The lock that this store holds, to serve other commands under it.
    pub fn lock(&self) -> &Arc<StateLock> {
        &self.lock
    }

    /// How many times the database was synced since it was opened: fewer than the swaps that shared them.
    pub fn syncs(&self) -> u64 {
        self.commits.syncs()
    }
}

#[async_trait]
impl CheckpointStore for SledStore {
    fn kind(&self) -> &'static str {
        "sled"
    }

    fn id(&self) -> &str {
        &self.id
    }

    async fn lake_id(&self) -> Result<Option<String>, StoreError> {
        self.commits.meta("lake").await
    }

    async fn remember_lake(&self, lake: &str) -> Result<(), StoreError> {
        let standing = self.commits.remember("lake", lake.to_owned()).await?;
        rules::same_lake(&self.name, Some(&standing), lake)
    }

    async fn load(&self, stream: &Stream) -> Result<Option<Checkpoint>, StoreError> {
        let bytes = self.commits.load(stream.clone()).await?;
        bytes.map(|bytes| rules::decode(&self.name, stream, &bytes)).transpose()
    }

    async fn swap(&self, expected: Option<u64>, new: &Checkpoint) -> Result<Swap, StoreError> {
        let bytes = rules::encode_next(&self.name, expected, new)?;
        self.commits.swap(new.stream.clone(), expected, new.version, bytes).await
    }

    async fn streams(&self) -> Result<Vec<Stream>, StoreError> {
        self.commits.streams().await
    }
}

/// A sled database with the handle that makes it durable.
struct SledPages {
    directory: PathBuf,
    /// `None` only while it is opened again.
    database: Option<::sled::Db>,
    /// An own handle of sled's file: it is open all the time, so no failed write-back can slip past it.
    file: File,
    tip: Tip,
}

impl SledPages {
    fn database(&self) -> Result<&::sled::Db, Fault> {
        self.database.as_ref().ok_or_else(|| Fault::Broken("it is not open".into()))
    }
}

/// sled keeps the kind of an error of the disk, and otherwise its words.
fn sort(error: ::sled::Error) -> Fault {
    match error {
        ::sled::Error::Io(error) if rules::is_full(&error) => Fault::Full(error.to_string()),
        error => Fault::Broken(error.to_string()),
    }
}

impl Pages for SledPages {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.database()?.get(key).map_err(sort)?.map(|value| value.to_vec()))
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        self.database()?.insert(key, value).map(drop).map_err(sort)
    }

    fn remove(&self, key: &[u8]) -> Result<(), Fault> {
        self.database()?.remove(key).map(drop).map_err(sort)
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<Pair>, Fault> {
        let pairs = self.database()?.scan_prefix(prefix);
        pairs.map(|pair| pair.map(|(key, value)| (key.to_vec(), value.to_vec())).map_err(sort)).collect()
    }

    fn sync(&mut self) -> Result<(), Fault> {
        let syncs = self.tip.syncs + 1;
        self.put(&meta_key("syncs"), &syncs.to_be_bytes())?;
        self.database()?.flush().map_err(sort)?;
        self.file.sync_all().map_err(|error| Fault::Broken(format!("fsync failed: {error}")))?;
        self.tip.advance(syncs);
        Ok(())
    }

    fn room(&self, bytes: u64) -> Result<(), String> {
        opening::room(&self.directory, bytes)
    }

    fn reopen(&mut self) -> Result<(), Fault> {
        self.database = None;
        let database = opening::open_again(&self.directory)?;
        opening::make_durable(&self.directory, &self.file).map_err(|error| Fault::Broken(error.to_string()))?;
        opening::check_tip(&database, &mut self.tip)?;
        self.database = Some(database);
        Ok(())
    }
}

/// How many syncs were acknowledged, in a file beside the database. It is written after the sync and not
/// synced itself, so a power loss may set it back, but it is never ahead of what was durable.
struct Tip {
    file: File,
    syncs: u64,
}

impl Tip {
    fn open(path: &Path) -> std::io::Result<Tip> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut bytes = [0; 12];
        let read = file.read_exact_at(&mut bytes, 0);
        let (syncs, sum) = bytes.split_at(8);
        let whole = read.is_ok() && sum == crc32c::crc32c(syncs).to_be_bytes();
        let syncs = if whole { syncs.try_into().map(u64::from_be_bytes).unwrap_or(0) } else { 0 };
        Ok(Tip { file, syncs })
    }

    fn advance(&mut self, syncs: u64) {
        self.syncs = syncs;
        let number = syncs.to_be_bytes();
        let bytes = [&number[..], &crc32c::crc32c(&number).to_be_bytes()].concat();
        // Without it damage may go unseen; nothing that was acknowledged depends on it.
        if let Err(error) = self.file.write_all_at(&bytes, 0) {
            tracing::debug!(%error, "the number of syncs was not noted");
        }
    }
}

#[cfg(test)]
mod tests;
