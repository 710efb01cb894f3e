//! Makes lost checkpoints again from what the lake shows: names and their metadata.
//!
//! The order is what makes it safe: first the owner's object under a new number, so that nobody starts for
//! the lost store any more; then a wait, for requests that are still under way; then a look at every stream;
//! then, stream by stream, the record and its mark. It may be stopped anywhere and run again.

mod record;
mod stream;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use landfall_lake::Lake;
use landfall_sink::{OffsetRange, Sink, Span, Stream};
use serde::Serialize;

use crate::checkpoint::{Checkpoint, CheckpointStore, FormerTrees, StoreError};
use crate::origin::{Origin, OriginError, OwnerAbout, any_name};
use stream::{Formers, Found, find};

/// What a range below the last name is taken for when it has no name itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Holes {
    /// It was lost, or was being landed: it is planned and landed again.
    Land,
    /// Its files were moved away by the user: it counts as committed. Wrong if a plan was open when the store
    /// was lost, so a person is shown the ranges and asked.
    Removed,
}

/// Checkpoints of a former store that can still be read, and are known to be its newest.
#[async_trait]
pub trait Former: Send + Sync {
    async fn load(&self, stream: &Stream) -> Result<Option<Checkpoint>, StoreError>;
}

/// What a rebuild needs from outside.
#[async_trait]
pub trait Operator: Send + Sync {
    /// Refuses while somebody still works on the lake, as far as that can be seen: members in the consumer
    /// group of the lake, say. Asked before anything is written.
    async fn nobody_else(&self, lake_id: &str) -> Result<(), OriginError>;

    /// Waits longer than the longest request and retry of a former process can take.
    async fn requests_have_ended(&self);

    /// The sink for the lake with this id.
    fn sink(&self, origin: &Origin) -> Result<Arc<dyn Sink>, OriginError>;

    /// Whether the files of exactly these ranges were moved away by the user.
    async fn were_removed(&self, ranges: &[OffsetRange]) -> bool;

    fn progress(&self, _streams_done: usize, _streams: usize) {}
}

pub struct Rebuild<'a> {
    pub lake: Arc<dyn Lake>,
    pub store: &'a dyn CheckpointStore,
    pub about: OwnerAbout,
    /// Whether another store may lose the lake to this one.
    pub take_over: bool,
    pub holes: Holes,
    pub former: Option<&'a dyn Former>,
    pub parallel: usize,
}

/// Where the bounds of a rebuilt stream come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The store still had the record; names beyond it were added.
    Store,
    /// A former store's record, with the names beyond it.
    Former,
    Names,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RebuiltStream {
    #[serde(flatten)]
    pub stream: Stream,
    pub source: Source,
    pub genesis: i64,
    pub next: i64,
    /// To be landed by the next run.
    pub planned: Vec<Span>,
    /// Without a name, and believed to have been moved away.
    pub removed: Vec<Span>,
    pub gaps: Vec<Span>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rebuilt {
    pub lake: String,
    pub owner: u64,
    pub streams: Vec<RebuiltStream>,
}

pub async fn rebuild(rebuild: Rebuild<'_>, operator: &dyn Operator) -> Result<Rebuilt, OriginError> {
    let Rebuild { lake, store, about, take_over, holes, former, parallel } = rebuild;
    operator.nobody_else(&Origin::lake_id_of(lake.as_ref()).await?).await?;
    let origin = Origin::own_anew(lake, store, about, take_over).await?;
    let sink = operator.sink(&origin)?;
    operator.requests_have_ended().await;

    let streams = streams(&origin, store, sink.as_ref()).await?;
    let formers = Formers { given: former, trees: FormerTrees::before(origin.lake(), origin.owner().number) };
    let look = |stream: Stream| find(&origin, store, sink.as_ref(), &formers, stream);
    let parallel = parallel.max(1);
    let found: Vec<Option<Found>> =
        futures::stream::iter(streams).map(look).buffer_unordered(parallel).try_collect().await?;
    let mut found: Vec<Found> = found.into_iter().flatten().collect();
    found.sort_by(|a, b| a.stream().cmp(b.stream()));
    if holes == Holes::Removed {
        removed(&mut found, operator, &origin).await?;
    }

    let layout = origin.record_layout(&sink.layout()).await?;
    let total = found.len();
    operator.progress(0, total);
    let record = |found| record::record(&origin, store, &layout, found);
    let mut records = futures::stream::iter(found).map(record).buffer_unordered(parallel);
    let mut streams = Vec::with_capacity(total);
    while let Some(done) = records.try_next().await? {
        streams.push(done);
        operator.progress(streams.len(), total);
    }
    origin.still_owner().await?;
    streams.sort_by(|a, b| a.stream.cmp(&b.stream));
    Ok(Rebuilt { lake: origin.lake_id().into(), owner: origin.owner().number, streams })
}

/// Every stream that may have been born: by mark, by genesis, by record, and new partitions behind those as
/// far as they have names.
async fn streams(
    origin: &Origin,
    store: &dyn CheckpointStore,
    sink: &dyn Sink,
) -> Result<BTreeSet<Stream>, OriginError> {
    let mut streams = origin.possible_streams().await?;
    streams.extend(store.streams().await?);
    let mut last: Vec<Stream> = Vec::new();
    for stream in &streams {
        match last.last_mut() {
            Some(before) if (Stream { partition: stream.partition, ..before.clone() }) == *stream => {
                before.partition = stream.partition;
            }
            _ => last.push(stream.clone()),
        }
    }
    for mut stream in last {
        while let Some(partition) = stream.partition.checked_add(1) {
            stream.partition = partition;
            if any_name(origin, sink, &stream).await?.is_none() {
                break;
            }
            streams.insert(stream.clone());
        }
    }
    Ok(streams)
}

/// Asks whether the ranges without a name were moved away, and believes it.
async fn removed(found: &mut [Found], operator: &dyn Operator, origin: &Origin) -> Result<(), OriginError> {
    let ranges: Vec<OffsetRange> = found
        .iter()
        .filter(|found| found.source == Source::Names)
        .flat_map(|found| found.holes().map(|hole| found.stream().range(hole)))
        .collect();
    if ranges.is_empty() {
        return Ok(());
    }
    if !operator.were_removed(&ranges).await {
        let number = origin.owner().number;
        return Err(OriginError::Refused(format!(
            "no checkpoint was made, since it is not certain that you moved these files away; the lake belongs to this \
             store already (owner {number}), and nothing can be landed before it is rebuilt: call `landfall rebuild` \
             again, with `--holes land`, which lands these ranges once more"
        )));
    }
    for found in found.iter_mut().filter(|found| found.source == Source::Names) {
        found.believe_removed();
    }
    Ok(())
}
