//! A checkpoint that may lack its newest versions is brought up to the names that stand beyond its `next`.

use landfall_lake::fault;
use landfall_sink::{Sink, Span, Stream};

use super::survey::{Piece, survey, tile};
use super::{Origin, OriginError};
use crate::ambient;
use crate::checkpoint::{Checkpoint, CheckpointStore, Commit, Planned, StoreError, Swap};

/// How often a swap is tried against other writers before the caller is told to come again.
pub(super) const TRIES: usize = 16;

/// Takes up what stands beyond `next`: what was found is committed with the gaps of its metadata, the holes
/// before and between become plans with exactly their bounds, since nobody knows what happened to them. A
/// name that reaches back over `next` stops the stream. One listing per layout where there is nothing.
pub async fn reconcile(
    origin: &Origin,
    store: &dyn CheckpointStore,
    sink: &dyn Sink,
    stream: &Stream,
    mut checkpoint: Checkpoint,
) -> Result<Checkpoint, OriginError> {
    if fault::sabotaged("reconcile_ignores_files") {
        return Ok(checkpoint);
    }
    for _ in 0..TRIES {
        let found = survey(origin, sink, stream, checkpoint.next).await?;
        let pieces = tile(stream, checkpoint.next, &found)?;
        if pieces.is_empty() {
            return Ok(checkpoint);
        }
        let layout = origin.record_layout(&sink.layout()).await?;
        let new = take_up(&checkpoint, &pieces, &layout)?;
        tracing::warn!(
            %stream, next = checkpoint.next, files = found.len(), now = new.next, plans = holes(&pieces).count(),
            "files stand beyond the checkpoint: they are taken up, and holes between them are planned"
        );
        match store.swap(Some(checkpoint.version), &new).await {
            Ok(Swap::Won) => return Ok(new),
            Ok(Swap::Lost) | Err(StoreError::Unknown { .. }) => {
                checkpoint = load_again(store, stream).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(contended(store, stream))
}

/// The record after `base` that covers `pieces`, which begin at its `next`; pure.
pub(crate) fn take_up(base: &Checkpoint, pieces: &[Piece], layout: &str) -> Result<Checkpoint, OriginError> {
    let nonce = ambient::random_id();
    let mut plans = Vec::with_capacity(pieces.len());
    let mut commits = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Hole(span) => plans.push(Planned::new(*span, layout)),
            Piece::Landed { span, gaps } => {
                plans.push(Planned::new(*span, layout));
                commits.push(Commit { span: *span, gaps: gaps.clone() });
            }
        }
    }
    let planned = base.plan_many(plans, nonce.as_str())?;
    let mut new = planned.advance(&commits, Vec::new(), nonce)?;
    // Two transitions, but one swap.
    new.version = base.version + 1;
    Ok(new)
}

pub(crate) fn holes(pieces: &[Piece]) -> impl Iterator<Item = Span> {
    pieces.iter().filter_map(|piece| match piece {
        Piece::Hole(span) => Some(*span),
        Piece::Landed { .. } => None,
    })
}

pub(super) async fn load_again(store: &dyn CheckpointStore, stream: &Stream) -> Result<Checkpoint, OriginError> {
    let why = || "it was there a moment ago".to_string();
    let gone = || OriginError::NeedsRebuild { stream: Box::new(stream.clone()), why: why() };
    store.load(stream).await?.ok_or_else(gone)
}

pub(super) fn contended(store: &dyn CheckpointStore, stream: &Stream) -> OriginError {
    let message = format!("{stream}: {TRIES} swaps were lost or unclear, one after the other; try again");
    OriginError::Store(StoreError::NotDone { store: store.kind().into(), message })
}
