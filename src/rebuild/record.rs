//! Puts the rebuilt record of one stream into the store, and then the mark that the stream was born.

use super::stream::Found;
use super::{RebuiltStream, Source};
use crate::ambient;
use crate::checkpoint::{Checkpoint, CheckpointStore, Planned, StoreError, Swap};
use crate::origin::{Origin, OriginError, point, take_up};

pub(super) async fn record(
    origin: &Origin,
    store: &dyn CheckpointStore,
    layout: &str,
    found: Found,
) -> Result<RebuiltStream, OriginError> {
    let record = record_of(&found, layout)?;
    // A record of this store that lacks nothing stays as it is.
    if !(found.source == Source::Store && found.pieces.is_empty()) {
        put(store, found.expected, &record).await?;
    }
    point("rebuild.after_checkpoint")?;
    origin.mark_born(found.stream()).await?;
    Ok(RebuiltStream {
        source: found.source,
        genesis: record.genesis,
        next: record.next,
        planned: record.planned.iter().map(Planned::span).collect(),
        removed: found.removed,
        gaps: record.gaps,
        stream: record.stream,
    })
}

fn record_of(found: &Found, layout: &str) -> Result<Checkpoint, OriginError> {
    let mut record = match found.pieces.is_empty() {
        true => found.base.clone(),
        false => take_up(&found.base, &found.pieces, layout)?,
    };
    if found.expected.is_none() {
        // The first of this store, whatever number it had elsewhere.
        record.version = 1;
        record.nonce = ambient::random_id();
    }
    Ok(record)
}

async fn put(store: &dyn CheckpointStore, expected: Option<u64>, record: &Checkpoint) -> Result<(), OriginError> {
    let answer = store.swap(expected, record).await;
    match answer {
        Ok(Swap::Won) => return Ok(()),
        Ok(Swap::Lost) | Err(StoreError::Unknown { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    match store.load(&record.stream).await? {
        Some(stands) if stands.nonce == record.nonce => Ok(()),
        Some(_) if answer.is_ok() => Err(OriginError::contradiction(
            &record.stream,
            "another process writes its checkpoint while it is rebuilt: end every other process of this lake and run \
             `landfall rebuild` again",
        )),
        _ => match answer {
            Err(error) => Err(error.into()),
            Ok(_) => {
                Err(StoreError::NotDone { store: store.kind().into(), message: "the swap was lost".into() }.into())
            }
        },
    }
}
