//! The marks of birth, `…/<topic id>/<partition>.json`: after a stream's first checkpoint, before its first plan.

use std::collections::BTreeSet;
use std::sync::{MutexGuard, PoisonError};

use futures::TryStreamExt;
use landfall_sink::Stream;
use serde::{Deserialize, Serialize};

use super::document::{self, establish, fetch, point};
use super::paths::{self, Born};
use super::{Origin, OriginError};
use crate::checkpoint::state::Format;

/// Holds nothing that could differ between two processes, so that equal content is success.
#[derive(Serialize, Deserialize)]
struct Mark {
    format: Format,
    #[serde(flatten)]
    stream: Stream,
}

impl Origin {
    pub async fn is_born(&self, stream: &Stream) -> Result<bool, OriginError> {
        let path = paths::mark(stream)?;
        match fetch::<Mark>(self.lake.as_ref(), &path).await? {
            Some(mark) => mark.of(&path, stream).map(|()| true),
            None => Ok(false),
        }
    }

    /// Creates the mark, or sees it stand. Called by every process before its first plan of the stream.
    pub async fn mark_born(&self, stream: &Stream) -> Result<(), OriginError> {
        if self.marked().contains(stream) {
            return Ok(());
        }
        let path = paths::mark(stream)?;
        // A mark that stands is the ordinary case, and reading is cheaper than an attempt to create.
        if !self.is_born(stream).await? {
            let own = Mark { format: document::FORMAT, stream: stream.clone() };
            let other = establish(self.lake.as_ref(), &path, &own).await?;
            point("birth.after_mark")?;
            other.map_or(Ok(()), |mark| mark.of(&path, stream))?;
        }
        self.marked().insert(stream.clone());
        Ok(())
    }

    /// Sees at once which streams of a topic have their marks: a start with many partitions need not read each.
    pub async fn look_for_marks(&self, streams: &[Stream]) -> Result<(), OriginError> {
        let unseen: BTreeSet<&Stream> = {
            let marked = self.marked();
            streams.iter().filter(|stream| !marked.contains(stream)).collect()
        };
        let [first, _, ..] = unseen.iter().copied().collect::<Vec<_>>()[..] else { return Ok(()) };
        let directory = paths::topic(&first.cluster, &first.topic, first.topic_id_or_dash())?;
        let mut entries = self.lake.list(&directory, None).await?;
        while let Some(entry) = entries.try_next().await? {
            if let Some(Born::Partition(stream)) = paths::parse_genesis(&entry.path)
                && unseen.contains(&stream)
            {
                self.lake.settle(&entry.path).await?;
                self.marked().insert(stream);
            }
        }
        Ok(())
    }

    fn marked(&self) -> MutexGuard<'_, BTreeSet<Stream>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every stream that was born here, from the marks.
    pub async fn streams(&self) -> Result<Vec<Stream>, OriginError> {
        let born = self.born().await?;
        Ok(born
            .into_iter()
            .filter_map(|born| if let Born::Partition(stream) = born { Some(stream) } else { None })
            .collect())
    }

    /// Every topic that has a genesis, and every stream that has a mark.
    pub(crate) async fn born(&self) -> Result<Vec<Born>, OriginError> {
        let mut entries = self.lake.list(paths::GENESIS, None).await?;
        let mut born = Vec::new();
        while let Some(entry) = entries.try_next().await? {
            born.extend(paths::parse_genesis(&entry.path));
        }
        Ok(born)
    }

    /// Every stream that may have files: those with a mark, and every partition of a genesis.
    pub(crate) async fn possible_streams(&self) -> Result<BTreeSet<Stream>, OriginError> {
        let mut streams = BTreeSet::new();
        for born in self.born().await? {
            match born {
                Born::Partition(stream) => drop(streams.insert(stream)),
                Born::Topic(topic) => {
                    let id = topic.topic_id_or_dash();
                    if let Some(genesis) = self.genesis(&topic.cluster, &topic.topic, id).await? {
                        let count = i32::try_from(genesis.partitions.len()).unwrap_or(i32::MAX);
                        streams.extend((0..count).map(|partition| genesis.stream(partition)));
                    }
                }
            }
        }
        Ok(streams)
    }
}

impl Mark {
    fn of(&self, path: &str, stream: &Stream) -> Result<(), OriginError> {
        if self.stream == *stream {
            return Ok(());
        }
        Err(OriginError::unreadable(path, "it is of another stream than its name says"))
    }
}
