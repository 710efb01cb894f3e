//! The birth of a stream: the first checkpoint, then the mark, then (by others) the first plan.

use landfall_lake::fault;
use landfall_sink::{Sink, SinkError, Stream};

use super::document::point;
use super::identity::recreated;
use super::reconcile::{TRIES, contended, load_again};
use super::survey::{any_name, first_name};
use super::{Genesis, Origin, OriginError};
use crate::ambient;
use crate::checkpoint::{Checkpoint, CheckpointStore, StoreError, Swap};

/// The checkpoint of a stream: found, or made if the stream is really new. The stream's mark stands when
/// this returns, so the caller may plan.
///
/// `genesis` is what stands for the topic, and `adopted` the topic id that streams without one have adopted
/// ([`Origin::identify`]). A store that lost the record of a stream that was born never starts it anew.
pub async fn birth(
    origin: &Origin,
    store: &dyn CheckpointStore,
    sink: &dyn Sink,
    stream: &Stream,
    genesis: &Genesis,
    adopted: Option<&str>,
) -> Result<Checkpoint, OriginError> {
    if genesis.stream(stream.partition) != *stream {
        return Err(OriginError::contradiction(stream, "the genesis is of another topic"));
    }
    for _ in 0..TRIES {
        if let Some(found) = store.load(stream).await? {
            return grown(origin, store, found, genesis, adopted).await;
        }
        if let Some(why) = trace(origin, store, sink, stream).await? {
            // Another process may have completed the birth between the two looks.
            let Some(found) = store.load(stream).await? else {
                return Err(OriginError::NeedsRebuild { stream: Box::new(stream.clone()), why });
            };
            return grown(origin, store, found, genesis, adopted).await;
        }
        let first = genesis.first_offset(stream.partition);
        let mut first = Checkpoint::birth(stream.clone(), first, ambient::random_id())?;
        first.adopted_topic_id = adopted.map(Into::into);
        match store.swap(None, &first).await {
            Ok(Swap::Won) => {
                point("birth.after_checkpoint")?;
                origin.mark_born(stream).await?;
                return Ok(first);
            }
            Ok(Swap::Lost) | Err(StoreError::Unknown { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(contended(store, stream))
}

/// What shows that the stream was born here once. Looks at former topics of the name too, whose files would
/// stand between.
async fn trace(
    origin: &Origin,
    store: &dyn CheckpointStore,
    sink: &dyn Sink,
    stream: &Stream,
) -> Result<Option<String>, OriginError> {
    if fault::sabotaged("start_without_mark") {
        return Ok(None);
    }
    if origin.is_born(stream).await? {
        return Ok(Some("the lake has the mark of its birth".into()));
    }
    refuse_beside_former(origin, store, sink, stream).await?;
    let name = any_name(origin, sink, stream).await?;
    Ok(name.map(|name| format!("the lake has {name}")))
}

/// A checkpoint that was found: it must be of this genesis and topic id. It proves nothing about the mark.
async fn grown(
    origin: &Origin,
    store: &dyn CheckpointStore,
    mut found: Checkpoint,
    genesis: &Genesis,
    adopted: Option<&str>,
) -> Result<Checkpoint, OriginError> {
    let stream = found.stream.clone();
    let first = genesis.first_offset(stream.partition);
    if found.genesis != first {
        let stored = found.genesis;
        let what = format!(
            "its checkpoint starts at offset {stored}, and the lake says that it starts at {first}. One of them is of \
             another time: was the store restored from a copy?"
        );
        return Err(OriginError::contradiction(&stream, what));
    }
    for _ in 0..TRIES {
        match (found.adopted_topic_id.as_deref(), adopted) {
            (known, shown) if known == shown => {
                origin.mark_born(&stream).await?;
                return Ok(found);
            }
            (None, Some(id)) => {
                let new = found.adopt_topic_id(id, ambient::random_id())?;
                tracing::info!(%stream, topic_id = id, "the broker shows topic ids now: this one is adopted");
                found = match store.swap(Some(found.version), &new).await {
                    Ok(Swap::Won) => new,
                    Ok(Swap::Lost) | Err(StoreError::Unknown { .. }) => load_again(store, &stream).await?,
                    Err(error) => return Err(error.into()),
                };
            }
            (known, shown) => return Err(recreated(&stream.topic, known, shown)),
        }
    }
    Err(contended(store, &stream))
}

/// A topic of the same name, but of another id or cluster, must not share a directory with a former one:
/// the ranges of one directory never overlap. Nor may a range of the former one be left open in silence.
async fn refuse_beside_former(
    origin: &Origin,
    store: &dyn CheckpointStore,
    sink: &dyn Sink,
    stream: &Stream,
) -> Result<(), OriginError> {
    for former in origin.formers(stream).await? {
        let refused = |what: String| {
            let known = format!("{} of cluster {}", former.topic_id_or_dash(), former.cluster);
            let shown = format!("{} of cluster {}", stream.topic_id_or_dash(), stream.cluster);
            match recreated(&stream.topic, Some(&known), Some(&shown)) {
                OriginError::Recreated { topic, why, way_out } => {
                    OriginError::Recreated { topic, why: format!("{why}; {what}"), way_out }
                }
                other => other,
            }
        };
        match first_name(sink, &sink.layout(), &former).await {
            Ok(None) => {}
            Ok(Some(name)) => return Err(refused(format!("{name} stands where the files of the new topic would"))),
            Err(OriginError::Sink(SinkError::Conflict(what))) => return Err(refused(what)),
            Err(error) => return Err(error),
        }
        let checkpoint = store.load(&former).await?;
        let open = checkpoint.iter().flat_map(|record| &record.planned).find(|plan| plan.resolved.is_none());
        if let Some(plan) = open {
            return Err(refused(format!("{} of the former topic is planned and not landed", plan.span())));
        }
    }
    Ok(())
}
