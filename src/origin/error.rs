//! Why a lake, a store and a topic do not fit together; each says what happened, and beside it the way out.

use landfall_lake::LakeError;
use landfall_sink::{SinkError, Span, Stream};

use super::Owner;
use crate::checkpoint::{Refusal, StoreError};

#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// Another checkpoint store owns the lake.
    #[error("lake {lake} belongs to another checkpoint store: {owner}.{hint}")]
    OtherOwner {
        lake: String,
        owner: Box<Owner>,
        hint: String,
        /// Its checkpoints can be moved as they are.
        moves: bool,
    },

    /// The store was used with another lake than the one that is there.
    #[error(
        "lake {lake} is not the one that this checkpoint store was used with: the store remembers lake id \
         {remembered}, {shown}. Nothing was written"
    )]
    WrongLake { lake: String, remembered: String, shown: String },

    /// Nothing there shows that landfall ever used this place.
    #[error("{lake} is no lake of landfall: there is no object below _landfall/owner/")]
    NoLake { lake: String },

    /// The checkpoint of a stream that was born is missing.
    #[error(
        "{stream} of cluster {}: the store has no checkpoint of it, although {why}. Starting anew would land records \
         twice, so the stream stops", stream.cluster
    )]
    NeedsRebuild { stream: Box<Stream>, why: String },

    /// The topic is another one than the one whose records stand in the lake.
    #[error("topic {topic} was created again: {why}")]
    Recreated { topic: String, why: String, way_out: String },

    /// Two names, or a name and the checkpoint, claim the same offsets.
    #[error("{stream}: {first} and {second} overlap, so records may be in the lake twice; the stream stops")]
    Overlap { stream: Box<Stream>, first: String, second: String },

    /// What stands in the lake and what the store says cannot both be true.
    #[error("{stream}: {message}")]
    Contradiction { stream: Box<Stream>, message: String },

    /// An object of landfall's own cannot be understood.
    #[error("{path}: {message}. It was changed or damaged after landfall wrote it")]
    Unreadable { path: String, message: String },

    /// An object of a newer release.
    #[error("{path}: its format is {major}.x, and this release knows {known}.x")]
    NewerFormat { path: String, major: u32, known: u32 },

    #[error("{0}")]
    Refused(String),

    #[error(transparent)]
    Lake(#[from] LakeError),

    #[error(transparent)]
    Store(#[from] StoreError),

    #[error(transparent)]
    Sink(#[from] SinkError),

    /// A transition of the checkpoint that would break an invariant.
    #[error(transparent)]
    Transition(#[from] Refusal),
}

impl OriginError {
    pub(crate) fn overlap(stream: &Stream, first: impl ToString, second: impl ToString) -> OriginError {
        OriginError::Overlap { stream: Box::new(stream.clone()), first: first.to_string(), second: second.to_string() }
    }

    pub(crate) fn unreadable(path: &str, message: impl ToString) -> OriginError {
        OriginError::Unreadable { path: path.into(), message: message.to_string() }
    }

    pub(crate) fn contradiction(stream: &Stream, message: impl ToString) -> OriginError {
        OriginError::Contradiction { stream: Box::new(stream.clone()), message: message.to_string() }
    }

    /// What to do about it; `None` where the message says it, or nobody knows.
    pub fn way_out(&self) -> Option<String> {
        let text = match self {
            OriginError::OtherOwner { moves: true, .. } => {
                "`landfall migrate --to lake` moves its checkpoints into the lake as they are; or set checkpoint.store as \
                 its owner has it"
            }
            OriginError::OtherOwner { moves: false, .. } => {
                "if every process of that owner has ended and stays ended, `landfall rebuild` makes this store the owner \
                 (with --take-over, where the other one stood in another place)"
            }
            OriginError::WrongLake { .. } => {
                "see that the disk is mounted and that it is the right bucket; mount the old lake, or give the new one a \
                 checkpoint store of its own"
            }
            OriginError::NoLake { .. } => "see that the address is right",
            OriginError::NeedsRebuild { .. } => "`landfall rebuild` makes the checkpoint again from the lake",
            OriginError::Recreated { way_out, .. } => way_out,
            OriginError::Overlap { .. } => {
                "run `landfall verify`, find out which program wrote the second one, and move one of them away"
            }
            OriginError::Unreadable { .. } => "restore it from a copy, or ask for help before you delete it",
            OriginError::NewerFormat { .. } => "use the release that wrote it",
            OriginError::Contradiction { .. }
            | OriginError::Refused(_)
            | OriginError::Lake(_)
            | OriginError::Store(_)
            | OriginError::Sink(_)
            | OriginError::Transition(_) => return None,
        };
        Some(text.to_owned())
    }

    /// Whether the same call may succeed later without anybody's help.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            OriginError::Lake(LakeError::NotDone { .. } | LakeError::Unknown { .. })
                | OriginError::Store(StoreError::NotDone { .. } | StoreError::Unknown { .. })
                | OriginError::Sink(SinkError::NotDone(_) | SinkError::Unknown(_))
        )
    }
}

/// How a message names a span of the checkpoint beside a file's name.
pub(crate) fn recorded(span: Span) -> String {
    format!("the checkpoint's {span}")
}
