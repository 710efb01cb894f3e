//! Which topic id the streams of a topic are known by in this lake, when the broker now shows `topic_id`.

use futures::TryStreamExt;
use landfall_sink::{Layout, Stream};
use serde::{Deserialize, Serialize};

use super::document::{self, establish, fetch};
use super::paths::{self, Born};
use super::{Origin, OriginError};
use crate::checkpoint::state::Format;

const NEW_PATH: &str = "the records of the former topic stay; to land the new one beside them, give `lake.path` another \
                        text (for example \"v2/{topic}/{partition}\"), and settle open plans of the former one with \
                        `landfall resolve --as recreated`";

/// The streams of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The topic id in the identity of the streams: `None` also where they were born before the broker had one.
    pub topic_id: Option<String>,
    /// The topic id that such streams have adopted since.
    pub adopted: Option<String>,
}

/// `…/-/adopted.json`: the one topic id that streams born without one may adopt. Decided once for the whole
/// topic, so that two partitions cannot adopt two different topics.
#[derive(Serialize, Deserialize)]
struct Adopted {
    format: Format,
    topic_id: String,
}

impl Origin {
    /// Called per topic, before its genesis is asked for.
    pub async fn identify(&self, cluster: &str, topic: &str, topic_id: Option<&str>) -> Result<Identity, OriginError> {
        let own = |id: Option<&str>| Ok(Identity { topic_id: id.map(Into::into), adopted: None });
        if let Some(id) = topic_id
            && self.genesis(cluster, topic, id).await?.is_some()
        {
            return own(Some(id));
        }
        if self.genesis(cluster, topic, "-").await?.is_some() {
            let adopted = self.adopt(cluster, topic, topic_id).await?;
            return Ok(Identity { topic_id: None, adopted });
        }
        let recreated = |was: &Stream| OriginError::Recreated {
            topic: topic.into(),
            why: format!("it had topic id {}, and now the broker shows none", was.topic_id_or_dash()),
            way_out: NEW_PATH.into(),
        };
        match topic_id {
            Some(id) => own(Some(id)),
            // The broker that shows no id may be another one, or the topic another one: nobody can tell.
            None => match self.topics_named(topic).await?.iter().find(|other| other.cluster == cluster) {
                Some(was) => Err(recreated(was)),
                None => own(None),
            },
        }
    }

    /// The topic id in the identity of the streams, as [`Origin::identify`] would say it, but nothing is adopted.
    pub async fn known_as(
        &self,
        cluster: &str,
        topic: &str,
        topic_id: Option<&str>,
    ) -> Result<Option<String>, OriginError> {
        if let Some(id) = topic_id
            && self.genesis(cluster, topic, id).await?.is_none()
            && self.genesis(cluster, topic, "-").await?.is_some()
        {
            return Ok(None);
        }
        Ok(topic_id.map(Into::into))
    }

    /// The topic id that the streams of `cluster/topic/-` adopt or have adopted.
    async fn adopt(&self, cluster: &str, topic: &str, shown: Option<&str>) -> Result<Option<String>, OriginError> {
        let path = paths::adopted(cluster, topic)?;
        let mut known = fetch::<Adopted>(self.lake.as_ref(), &path).await?.map(|adopted| adopted.topic_id);
        if let (None, Some(id)) = (&known, shown) {
            let own = Adopted { format: document::FORMAT, topic_id: id.into() };
            let other = establish(self.lake.as_ref(), &path, &own).await?;
            known = Some(other.map_or(own.topic_id, |other| other.topic_id));
        }
        if known.as_deref() == shown {
            return Ok(known);
        }
        Err(recreated(topic, known.as_deref(), shown))
    }

    /// The topic id that was adopted, for a checkpoint that is made again.
    pub(crate) async fn adopted(&self, stream: &Stream) -> Result<Option<String>, OriginError> {
        if stream.topic_id.is_some() {
            return Ok(None);
        }
        let path = paths::adopted(&stream.cluster, &stream.topic)?;
        Ok(fetch::<Adopted>(self.lake.as_ref(), &path).await?.map(|adopted| adopted.topic_id))
    }

    /// Why a stream that was not born yet never would be under `layout`: files of a former topic of its name stand
    /// where its own would. Its birth looks closer, and refuses too.
    pub(crate) async fn blocked(&self, stream: &Stream, layout: &Layout) -> Result<Option<OriginError>, OriginError> {
        if self.genesis(&stream.cluster, &stream.topic, stream.topic_id_or_dash()).await?.is_some() {
            return Ok(None);
        }
        let Some(former) = self.formers(stream).await?.into_iter().next() else { return Ok(None) };
        let directory = layout.directory(stream);
        let mut entries = self.lake.list(&directory, None).await?;
        while let Some(entry) = entries.try_next().await? {
            let name = entry.path.strip_prefix(&directory).and_then(|rest| rest.strip_prefix('/'));
            if name.and_then(|name| layout.parse_file_name(name)).is_some() {
                let (known, shown) = (former.topic_id.as_deref(), stream.topic_id.as_deref());
                return Ok(Some(recreated(&stream.topic, known, shown)));
            }
        }
        Ok(None)
    }

    /// The same partition of every other topic of this name.
    pub(crate) async fn formers(&self, stream: &Stream) -> Result<Vec<Stream>, OriginError> {
        let topics = self.topics_named(&stream.topic).await?.into_iter();
        let partition = stream.partition;
        Ok(topics.map(|topic| Stream { partition, ..topic }).filter(|former| former != stream).collect())
    }

    /// Every topic of this name that this lake has seen, of any cluster and id. Listed once, since a birth of
    /// thousands of partitions asks for each; a topic that is first seen later is told by `freeze_genesis`.
    async fn topics_named(&self, topic: &str) -> Result<Vec<Stream>, OriginError> {
        let mut topics = self.topics.lock().await;
        if topics.is_none() {
            let born = self.born().await?.into_iter();
            let seen = born.filter_map(|born| if let Born::Topic(stream) = born { Some(stream) } else { None });
            *topics = Some(seen.collect());
        }
        Ok(topics.iter().flatten().filter(|stream| stream.topic == topic).cloned().collect())
    }

    pub(super) async fn seen(&self, topic: Stream) {
        if let Some(topics) = self.topics.lock().await.as_mut() {
            topics.insert(topic);
        }
    }
}

pub(super) fn recreated(topic: &str, known: Option<&str>, shown: Option<&str>) -> OriginError {
    let say = |id: Option<&str>| id.map_or("none".into(), |id| format!("topic id {id}"));
    OriginError::Recreated {
        topic: topic.into(),
        why: format!("its streams belong to {}, and the broker shows {}", say(known), say(shown)),
        way_out: NEW_PATH.into(),
    }
}
