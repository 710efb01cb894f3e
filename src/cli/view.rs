//! How a stream stands, from its checkpoint, or, where there is only a lake, from the names of its files.

use futures::TryStreamExt;
use landfall_sink::{Span, Stream, merge_spans};

use super::Failure;
use crate::checkpoint::Checkpoint;
use crate::config::{LakeUrl, Properties};
use crate::files;
use crate::lakes;
use crate::origin::Origin;

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

/// What the files alone show: `committed` is where they end without a hole from the first offset on, and
/// ranges without a file, below the last one, are what a store would have planned.
pub async fn of_lake(url: &LakeUrl) -> Result<Vec<View>, Failure> {
    let lake = lakes::open_to_read(url, &Properties::default(), 2)?;
    let origin = Origin::open(lake.clone()).await?;
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
