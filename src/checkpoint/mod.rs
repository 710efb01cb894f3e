//! Checkpoints: one small versioned record per stream, and the stores that keep them.
//!
//! [`state`] holds the record and its pure transitions, [`encode`] its bytes; [`CheckpointStore`] is `load`
//! and `swap`, with the stores [`MemoryStore`], [`SledStore`] (one process) and [`LakeStore`] (any number).
//! [`holder`] is how other commands reach a store that a running process holds.

pub mod encode;
mod group_commit;
pub mod holder;
pub(crate) mod lake;
mod ledger;
pub mod lock;
mod marker;
mod memory;
mod rules;
mod sled;
pub mod state;
#[cfg(test)]
mod suite;

use async_trait::async_trait;
use landfall_sink::Stream;

pub use self::sled::SledStore;
pub use encode::DecodeError;
pub use lake::{FormerTrees, LakeStore};
pub use memory::MemoryStore;
pub use state::{Checkpoint, Commit, Lineage, Planned, Refusal};

/// The id of the store in a state directory, whoever holds it; `None` where there is none. Changes nothing.
pub fn store_id(directory: &std::path::Path) -> Result<Option<String>, StoreError> {
    Ok(marker::read(directory)?.map(|marker| marker.id))
}

/// What became of a swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// The new record stands, durably.
    Won,
    /// A version of somebody else stands: load it and act on it alone. Where processes share a store it may have been
    /// made on top of this change, so that is looked up in what was loaded.
    Lost,
}

/// Who owns a lake, as its newest owner object says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    pub number: u64,
    /// Of the store, as in the configuration.
    pub kind: String,
    /// The store's id.
    pub store: String,
    /// The lake's id.
    pub lake: String,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It did not happen; it may work later (a full disk, say).
    #[error("checkpoint store {store}: {message}")]
    NotDone { store: String, message: String },
    /// It may have happened: load again before anything else.
    #[error("checkpoint store {store}: {message} (whether it happened is not known)")]
    Unknown { store: String, message: String },
    /// Another process holds the store.
    #[error("checkpoint store {store} is held by {holder}")]
    Locked { store: String, holder: String },
    /// The store is damaged, of a newer format, or must not be used: the message says what to do.
    #[error("checkpoint store {store}: {message}")]
    Refused { store: String, message: String },
}

/// A place that keeps one record per stream; linearizable per stream.
#[async_trait]
pub trait CheckpointStore: Send + Sync + 'static {
    /// `memory`, `sled`, …: as in the configuration.
    fn kind(&self) -> &'static str;

    /// The store's own id, durable before anyone saw it.
    fn id(&self) -> &str;

    /// Whether this store is the owner that the lake names.
    fn owns(&self, owner: &Seat) -> bool {
        owner.store == self.id()
    }

    /// This store is the owner, under this number: a store that lives in the lake has its place below it.
    fn seat(&self, _owner: &Seat) {}

    /// Whether other processes may change records at any time.
    fn is_shared(&self) -> bool {
        false
    }

    /// The id of the lake that this store was first used with.
    async fn lake_id(&self) -> Result<Option<String>, StoreError>;

    /// Remembers the lake, once and durably; another id than the one remembered is refused.
    async fn remember_lake(&self, lake: &str) -> Result<(), StoreError>;

    async fn load(&self, stream: &Stream) -> Result<Option<Checkpoint>, StoreError>;

    /// Puts `new` in the place of the record with version `expected` (`None`: there must be none).
    /// Durable when it returns [`Swap::Won`].
    async fn swap(&self, expected: Option<u64>, new: &Checkpoint) -> Result<Swap, StoreError>;

    /// Every stream that has a record.
    async fn streams(&self) -> Result<Vec<Stream>, StoreError>;
}
