//! The one place that opens lakes: what the configuration calls a URL becomes a lake here.

use std::sync::Arc;

use landfall_lake::{Lake, LakeError, LakeLock, LocalLake, ObjectLimits, open_object, open_object_to_read};

use crate::config::{Config, LakeUrl, Properties};

/// Files being synced and linked at once.
pub(crate) const IO_THREADS: usize = 4;

/// Why a lake could not be taken.
pub(crate) enum Untaken {
    /// Another process has it.
    Held(LakeError),
    Lake(LakeError),
}

/// Opens the lake to write. One that is not there is made, on a local disk.
pub(crate) fn open(config: &Config) -> Result<Arc<dyn Lake>, LakeError> {
    match (config.lake.url.object(), config.lake.url.local_path()) {
        (Some(url), _) => open_object(url, config.lake.options.iter(), limits(config)),
        (None, path) => Ok(Arc::new(LocalLake::open(path.unwrap_or_else(|| "".as_ref()), IO_THREADS)?)),
    }
}

/// As [`open`], for any number of processes at once.
pub(crate) fn share(config: &Config) -> Result<Arc<dyn Lake>, LakeError> {
    let lake = open(config)?;
    must_be_coherent(&config.lake.url)?;
    Ok(lake)
}

/// Refuses a local lake on a file system that shows a directory as it was a while ago. What an object store shows is
/// found out by the probe.
pub(crate) fn must_be_coherent(url: &LakeUrl) -> Result<(), LakeError> {
    match url.local_path() {
        Some(path) => LocalLake::open_to_read(path, 1)?.must_be_coherent(),
        None => Ok(()),
    }
}

/// As [`open`], and keeps other processes out while the lock lives. Only a local disk has one: in an object store the
/// owner's record, and the lock of its checkpoint store, are what keeps others out.
pub(crate) fn take(config: &Config, who: &str) -> Result<(Arc<dyn Lake>, Option<LakeLock>), Untaken> {
    let Some(path) = config.lake.url.local_path() else {
        return open(config).map(|lake| (lake, None)).map_err(Untaken::Lake);
    };
    let lake = LocalLake::open(path, IO_THREADS).map_err(Untaken::Lake)?;
    let lock = lake.lock(who).map_err(|error| match error {
        LakeError::Refused { .. } => Untaken::Held(error),
        other => Untaken::Lake(other),
    })?;
    Ok((Arc::new(lake), Some(lock)))
}

/// Opens a lake to look at it; nothing is ever made or changed.
pub(crate) fn open_to_read(url: &LakeUrl, options: &Properties, io_threads: usize) -> Result<Arc<dyn Lake>, LakeError> {
    match (url.object(), url.local_path()) {
        (Some(url), _) => open_object_to_read(url, options.iter()),
        (None, path) => Ok(Arc::new(LocalLake::open_to_read(path.unwrap_or_else(|| "".as_ref()), io_threads)?)),
    }
}

/// `false` for a directory that is still to be made. A bucket has to be there.
pub(crate) fn is_there(url: &LakeUrl) -> bool {
    url.local_path().is_none_or(|path| path.try_exists().unwrap_or(true))
}

/// A quarter of the memory is for files on their way, as the budget has it.
fn limits(config: &Config) -> ObjectLimits {
    let memory = usize::try_from(config.limits.memory / 4).unwrap_or(usize::MAX);
    let spool = config.checkpoint.path.join("spool");
    ObjectLimits { memory, largest: config.lake.max_put, ..ObjectLimits::new(spool) }
}
