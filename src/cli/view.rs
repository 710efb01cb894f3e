//! How a stream stands, from its checkpoint, or, where there is only a lake, from the names of its files.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt};
use landfall_sink::{Span, Stream, merge_spans};

use super::Failure;
use super::engine::origin;
use crate::checkpoint::{Checkpoint, CheckpointStore, LakeStore};
use crate::config::{Config, LakeUrl, Properties};
use crate::files;
use crate::lakes;
use crate::landfall;
use crate::origin::{Origin, places};

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

/// The checkpoints that the lake of a configuration keeps itself; `None` where there is no lake yet. One that belongs
/// to another kind of store is refused.
pub async fn own_checkpoints(config: &Config) -> Result<Option<Vec<Checkpoint>>, Failure> {
    let Some(origin) = origin(config).await? else { return Ok(None) };
    origin.is_its_own(&landfall::about(config))?;
    of_origin(&origin).await
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

/// What a lake shows: its own checkpoints, or, where a store elsewhere has them, what its files say: `committed` is
/// where they end without a hole from the first offset on, and ranges without a file, below the last one, are what a
/// store would have planned.
pub async fn of_lake(url: &LakeUrl) -> Result<Vec<View>, Failure> {
    let lake = lakes::open_to_read(url, &Properties::default(), 2)?;
    let origin = Origin::open(lake.clone()).await?;
    if let Some(checkpoints) = of_origin(&origin).await? {
        return Ok(checkpoints.into_iter().map(View::from).collect());
    }
    let mut views = Vec::new();
    // Without a layout nothing was ever planned here.
    let Some(layout) = origin.layouts().await?.into_iter().next() else { return Ok(views) };
    let sink = files::reader(&lake, &layout)?;
    for stream in origin.streams().await? {
        let (mut names, mut gaps) = (Vec::new(), Vec::new());
        for group in places(&origin, sink.as_ref(), &stream).await? {
            let mut landed = sink.landed(&group[0], &stream, 0).await?;
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

/// Of topics with one name (created again, or of another cluster) only the one that this lake has seen last: the
/// offsets of the others mean other records.
pub async fn present(url: &LakeUrl, options: &Properties, mut views: Vec<View>) -> Result<Vec<View>, Failure> {
    let mut topics: BTreeMap<String, BTreeSet<Stream>> = BTreeMap::new();
    for view in &views {
        let stream = Stream { partition: 0, ..view.stream.clone() };
        topics.entry(stream.topic.clone()).or_default().insert(stream);
    }
    topics.retain(|_, named| named.len() > 1);
    if topics.is_empty() {
        return Ok(views);
    }
    let lake = lakes::open_to_read(url, options, 1)?;
    let origin = Origin::open(lake).await?;
    for named in topics.into_values() {
        let mut newest: Option<(i64, Stream)> = None;
        for topic in named {
            let genesis = origin.genesis(&topic.cluster, &topic.topic, topic.topic_id_or_dash()).await?;
            newest = newest.max(Some((genesis.map_or(i64::MIN, |genesis| genesis.frozen_ms), topic)));
        }
        let Some((_, newest)) = newest else { continue };
        views.retain(|view| view.stream.topic != newest.topic || is_of(&view.stream, &newest));
    }
    Ok(views)
}

fn is_of(stream: &Stream, topic: &Stream) -> bool {
    (&stream.cluster, &stream.topic_id) == (&topic.cluster, &topic.topic_id)
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
