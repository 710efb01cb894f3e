//! Where each topic starts: frozen once, before any checkpoint of it.

use landfall_sink::Stream;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::document::{self, establish, fetch, point};
use super::{Origin, OriginError, paths};
use crate::ambient;
use crate::checkpoint::state::Format;

/// `_landfall/genesis/<cluster>/<topic>/<topic id>/start.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Genesis {
    pub format: Format,
    pub cluster: String,
    pub topic: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
    /// The first offset of each partition that the topic had when it was first seen.
    pub partitions: Vec<i64>,
    /// `source.start` as it was configured then: for people.
    pub start: String,
    pub frozen_ms: i64,
}

impl Genesis {
    pub fn new(
        cluster: impl Into<String>,
        topic: impl Into<String>,
        topic_id: Option<String>,
        partitions: Vec<i64>,
        start: impl Into<String>,
    ) -> Genesis {
        Genesis {
            format: document::FORMAT,
            cluster: cluster.into(),
            topic: topic.into(),
            topic_id,
            partitions,
            start: start.into(),
            frozen_ms: ambient::now_ms(),
        }
    }

    /// A partition that the topic did not have when it was first seen is new, so it starts at 0, whatever
    /// `source.start` says; what retention took of it by then is a gap.
    pub fn first_offset(&self, partition: i32) -> i64 {
        usize::try_from(partition).ok().and_then(|index| self.partitions.get(index)).copied().unwrap_or(0)
    }

    pub fn stream(&self, partition: i32) -> Stream {
        Stream { cluster: self.cluster.clone(), topic: self.topic.clone(), topic_id: self.topic_id.clone(), partition }
    }

    fn topic_id_or_dash(&self) -> &str {
        self.topic_id.as_deref().unwrap_or("-")
    }

    fn check(&self, path: &str, cluster: &str, topic: &str, topic_id: &str) -> Result<(), OriginError> {
        if (self.cluster.as_str(), self.topic.as_str(), self.topic_id_or_dash()) != (cluster, topic, topic_id) {
            return Err(OriginError::unreadable(path, "it is of another topic than its name says"));
        }
        match self.partitions.iter().find(|offset| **offset < 0) {
            Some(offset) => Err(OriginError::unreadable(path, format!("{offset} is no offset"))),
            None => Ok(()),
        }
    }
}

/// Which topics a `/regex/` of the configuration matched when this lake first used it. Those start where
/// `source.start` says; a topic that appears later starts at its first offsets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatternUse {
    pub format: Format,
    pub cluster: String,
    pub pattern: String,
    pub topics: Vec<String>,
    pub first_used_ms: i64,
}

impl PatternUse {
    pub fn knew(&self, topic: &str) -> bool {
        self.topics.iter().any(|known| known == topic)
    }
}

impl Origin {
    /// `topic_id` is `-` where the broker has none.
    pub async fn genesis(&self, cluster: &str, topic: &str, topic_id: &str) -> Result<Option<Genesis>, OriginError> {
        let path = paths::start(cluster, topic, topic_id)?;
        let Some(found) = fetch::<Genesis>(self.lake.as_ref(), &path).await? else {
            return Ok(None);
        };
        found.check(&path, cluster, topic, topic_id)?;
        Ok(Some(found))
    }

    /// Freezes where a topic starts, before any checkpoint of it. Returns what stands, which is another's
    /// where somebody was faster.
    pub async fn freeze_genesis(&self, genesis: Genesis) -> Result<Genesis, OriginError> {
        let (cluster, topic, topic_id) = (&genesis.cluster, &genesis.topic, genesis.topic_id_or_dash());
        let path = paths::start(cluster, topic, topic_id)?;
        if genesis.partitions.is_empty() || genesis.partitions.iter().any(|offset| *offset < 0) {
            let offsets = &genesis.partitions;
            return Err(OriginError::Refused(format!("topic {topic} cannot start at the offsets {offsets:?}")));
        }
        let stands = establish(self.lake.as_ref(), &path, &genesis).await?;
        point("birth.after_genesis")?;
        self.seen(genesis.stream(0)).await;
        match stands {
            Some(stands) => {
                stands.check(&path, cluster, topic, topic_id)?;
                Ok(stands)
            }
            None => Ok(genesis),
        }
    }

    /// What a pattern matched at its first use by this lake; `None` before that.
    pub async fn pattern_use(&self, cluster: &str, pattern: &str) -> Result<Option<PatternUse>, OriginError> {
        let path = pattern_path(cluster, pattern)?;
        let stands = fetch::<PatternUse>(self.lake.as_ref(), &path).await?;
        stands.map(|stands| of_pattern(&path, stands, pattern)).transpose()
    }

    /// Records which topics a pattern matches at its first use by this lake; returns what stands.
    pub async fn first_use_of_pattern(
        &self,
        cluster: &str,
        pattern: &str,
        topics: &[String],
    ) -> Result<PatternUse, OriginError> {
        if let Some(stands) = self.pattern_use(cluster, pattern).await? {
            return Ok(stands);
        }
        let path = pattern_path(cluster, pattern)?;
        let own = PatternUse {
            format: document::FORMAT,
            cluster: cluster.into(),
            pattern: pattern.into(),
            topics: topics.to_vec(),
            first_used_ms: ambient::now_ms(),
        };
        match establish(self.lake.as_ref(), &path, &own).await? {
            Some(stands) => of_pattern(&path, stands, pattern),
            None => Ok(own),
        }
    }
}

fn pattern_path(cluster: &str, pattern: &str) -> Result<String, OriginError> {
    let hash = Sha256::digest(pattern.as_bytes());
    let key: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    paths::pattern(cluster, &key)
}

fn of_pattern(path: &str, stands: PatternUse, pattern: &str) -> Result<PatternUse, OriginError> {
    if stands.pattern == pattern {
        return Ok(stands);
    }
    Err(OriginError::unreadable(path, "it is of another pattern than its name says"))
}
