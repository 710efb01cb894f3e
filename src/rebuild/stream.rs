//! What is known of one stream: a record that can still be read, and the names beyond it; or names alone.

use landfall_sink::{Sink, Span, Stream};

use super::{Former, Source};
use crate::ambient;
use crate::checkpoint::{Checkpoint, CheckpointStore, FormerTrees};
use crate::origin::{Origin, OriginError, Piece, holes, survey, tile};

pub(super) struct Found {
    pub source: Source,
    /// What the pieces are added to: the record, or the stream as it was born.
    pub base: Checkpoint,
    /// The version that stands in the store.
    pub expected: Option<u64>,
    pub pieces: Vec<Piece>,
    pub removed: Vec<Span>,
}

impl Found {
    pub fn stream(&self) -> &Stream {
        &self.base.stream
    }

    pub fn holes(&self) -> impl Iterator<Item = Span> {
        holes(&self.pieces)
    }

    /// Takes the ranges without a name for committed.
    pub fn believe_removed(&mut self) {
        self.removed = self.holes().collect();
        for piece in &mut self.pieces {
            if let Piece::Hole(span) = *piece {
                *piece = Piece::Landed { span, gaps: Vec::new() };
            }
        }
    }
}

/// Where records of former owners may still be read.
pub(super) struct Formers<'a> {
    pub given: Option<&'a dyn Former>,
    /// What they left in the lake itself.
    pub trees: FormerTrees,
}

/// `None` for a stream that was never born: its birth is still to come.
pub(super) async fn find(
    origin: &Origin,
    store: &dyn CheckpointStore,
    sink: &dyn Sink,
    formers: &Formers<'_>,
    stream: Stream,
) -> Result<Option<Found>, OriginError> {
    let (cluster, topic, id) = (&stream.cluster, &stream.topic, stream.topic_id_or_dash());
    let Some(genesis) = origin.genesis(cluster, topic, id).await? else {
        return Err(OriginError::contradiction(
            &stream,
            format!(
                "it was born here, but _landfall/genesis/{cluster}/{topic}/{id}/start.json, which says where it \
                 starts, is gone: restore that object from a copy"
            ),
        ));
    };
    let first = genesis.first_offset(stream.partition);

    if let Some((source, base)) = readable(store, formers, &stream).await? {
        if base.stream != stream || base.genesis != first {
            let what =
                format!("a record of it starts at {}, and the lake says that it starts at {first}", base.genesis);
            return Err(OriginError::contradiction(&stream, what));
        }
        let pieces = tile(&stream, base.next, &survey(origin, sink, &stream, base.next).await?)?;
        let expected = (source == Source::Store).then_some(base.version);
        return Ok(Some(Found { source, base, expected, pieces, removed: Vec::new() }));
    }

    // From the first name on, not from the genesis: a name before it would be a contradiction.
    let pieces = tile(&stream, first, &survey(origin, sink, &stream, 0).await?)?;
    if pieces.is_empty() && !origin.is_born(&stream).await? {
        return Ok(None);
    }
    let mut base = Checkpoint::birth(stream.clone(), first, ambient::random_id())?;
    base.adopted_topic_id = origin.adopted(&stream).await?;
    Ok(Some(Found { source: Source::Names, base, expected: None, pieces, removed: Vec::new() }))
}

async fn readable(
    store: &dyn CheckpointStore,
    formers: &Formers<'_>,
    stream: &Stream,
) -> Result<Option<(Source, Checkpoint)>, OriginError> {
    if let Some(record) = store.load(stream).await? {
        return Ok(Some((Source::Store, record)));
    }
    if let Some(former) = formers.given
        && let Some(record) = former.load(stream).await?
    {
        return Ok(Some((Source::Former, record)));
    }
    Ok(formers.trees.load(stream).await?.map(|record| (Source::Former, record)))
}
