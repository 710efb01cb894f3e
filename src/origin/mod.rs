//! What a lake remembers of its birth, below `_landfall/`: who owns it, where each topic starts, how its
//! files are named, which streams were born; and how a checkpoint is brought together with what stands.
//!
//! The order of a birth is what makes a crash harmless: the store's id, then the owner's object, then per
//! topic its genesis, then per stream the checkpoint, then the mark, then the first plan. Each object is
//! created only if absent, so of two starters one wins and the other reads what stands.

mod birth;
mod document;
mod error;
mod genesis;
mod identity;
mod layouts;
mod marks;
mod owner;
mod paths;
mod reconcile;
mod survey;

#[cfg(test)]
pub(crate) mod doubles;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use landfall_lake::Lake;
use landfall_sink::Stream;
use tokio::sync::Mutex;

pub use birth::birth;
pub use error::OriginError;
pub use genesis::{Genesis, PatternUse};
pub use identity::Identity;
pub use owner::{Owner, OwnerAbout};
pub use reconcile::reconcile;

pub(crate) use document::point;
pub(crate) use reconcile::{holes, take_up};
pub(crate) use survey::{Piece, any_name, places, survey, tile};

use layouts::Layouts;

/// A lake, and what it says of itself.
pub struct Origin {
    lake: Arc<dyn Lake>,
    owner: Owner,
    layouts: Layouts,
    /// Every topic that has a genesis, once they have been listed.
    topics: Mutex<Option<BTreeSet<Stream>>>,
    /// The streams whose marks were seen.
    marks: std::sync::Mutex<BTreeSet<Stream>>,
}

impl Origin {
    fn of(lake: Arc<dyn Lake>, owner: Owner) -> Origin {
        Origin {
            lake,
            owner,
            layouts: Layouts::default(),
            topics: Mutex::default(),
            marks: std::sync::Mutex::default(),
        }
    }

    pub fn lake(&self) -> &Arc<dyn Lake> {
        &self.lake
    }

    pub fn lake_id(&self) -> &str {
        &self.owner.lake
    }

    pub fn owner(&self) -> &Owner {
        &self.owner
    }
}
