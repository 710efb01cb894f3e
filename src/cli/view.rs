//! How a stream stands, from its checkpoint, or, where there is only a lake, from the names of its files.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use landfall_lake::{Lake, LocalLake};
use landfall_sink::{Span, Stream, merge_spans};

use super::{Exit, Failure};
use crate::checkpoint::{Checkpoint, CheckpointStore, LakeStore};
use crate::config::LakeUrl;
use crate::files;
use crate::landfall::IO_THREADS;
use crate::origin::{Origin, OriginError};

pub struct View {
    pub stream: Stream,
    pub genesis: i64,
    pub next: i64,
    pub committed: i64,
    pub planned: Vec<Span>,
    pub gaps: Vec<Span>,
}

impl From<Checkpoint> for View {
    fn from(checkpoint: Checkpoint) -> View {
        View {
            genesis: checkpoint.genesis,
            next: checkpoint.next,
            committed: checkpoint.committed(),
            planned: checkpoint.planned.iter().map(|planned| planned.span()).collect(),
            gaps: checkpoint.gaps,
            stream: checkpoint.stream,
        }
    }
}

/// How many streams are looked up at once.
const SIDE_BY_SIDE: usize = 32;

/// The checkpoints that a lake keeps itself; none where there is no lake yet. One that belongs to another kind of
/// store is refused.
pub async fn own_checkpoints(url: &LakeUrl) -> Result<Option<Vec<Checkpoint>>, Failure> {
    if !url.local_path().exists() {
        return Ok(None);
    }
    let lake: Arc<dyn Lake> = Arc::new(LocalLake::open_to_read(url.local_path(), IO_THREADS)?);
    match Origin::open(lake).await {
        Ok(origin) => match of_origin(&origin).await? {
            Some(checkpoints) => Ok(Some(checkpoints)),
            None => {
                let what = format!("lake {url} belongs to a store elsewhere: {}", origin.owner());
                let hint = "set checkpoint.store as its owner has it, or move it with `landfall migrate --to lake`";
                Err(Failure::new(Exit::Owned, what).way_out(hint))
            }
        },
        Err(OriginError::NoLake { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The checkpoints in a lake; `None` where its owner keeps them elsewhere.
pub async fn of_origin(origin: &Origin) -> Result<Option<Vec<Checkpoint>>, Failure> {
    let seat = origin.owner().seat();
    let store = LakeStore::new(origin.lake().clone());
    if !store.owns(&seat) {
        return Ok(None);
    }
    store.seat(&seat);
    let store = &store;
    let loads = origin.streams().await?.into_iter().map(async |stream| store.load(&stream).await);
    let found: Vec<Option<Checkpoint>> = futures::stream::iter(loads).buffered(SIDE_BY_SIDE).try_collect().await?;
    Ok(Some(found.into_iter().flatten().collect()))
}

/// What a lake shows: its own checkpoints, or, where a store elsewhere has them, what its files say. `committed` is where they end without a hole from the first offset on, and
/// ranges without a file, below the last one, are what a store would have planned.
pub async fn of_lake(url: &LakeUrl) -> Result<Vec<View>, Failure> {
    let lake: Arc<dyn Lake> = Arc::new(LocalLake::open_to_read(url.local_path(), 2)?);
    let origin = Origin::open(lake.clone()).await?;
    if let Some(checkpoints) = of_origin(&origin).await? {
        return Ok(checkpoints.into_iter().map(View::from).collect());
    }
    let mut views = Vec::new();
    for stream in origin.streams().await? {
        let (mut names, mut gaps) = (Vec::new(), Vec::new());
        for layout in origin.layouts().await? {
            let sink = files::reader(&lake, &layout)?;
            let mut landed = sink.landed(&layout, &stream, 0).await?;
            while let Some(file) = landed.try_next().await? {
                names.push(file.span);
                gaps.extend(file.gaps);
            }
        }
        let genesis = origin.genesis(&stream.cluster, &stream.topic, stream.topic_id_or_dash()).await?;
        let genesis = genesis.map_or(0, |genesis| genesis.first_offset(stream.partition));
        let names = merge_spans(names);
        let next = names.last().map_or(genesis, |last| last.until);
        let planned = holes(genesis, &names);
        let committed = planned.first().map_or(next, |hole| hole.from);
        views.push(View { stream, genesis, next, committed, planned, gaps: merge_spans(gaps) });
    }
    Ok(views)
}

fn holes(genesis: i64, names: &[Span]) -> Vec<Span> {
    let mut at = genesis;
    let mut holes = Vec::new();
    for name in names {
        if name.from > at {
            holes.push(Span::new(at, name.from));
        }
        at = at.max(name.until);
    }
    holes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_without_a_file_are_holes() {
        assert_eq!(holes(5, &[Span::new(5, 9), Span::new(12, 20)]), vec![Span::new(9, 12)]);
        assert_eq!(holes(0, &[Span::new(5, 9)]), vec![Span::new(0, 5)]);
        assert_eq!(holes(0, &[]), vec![]);
    }
}
