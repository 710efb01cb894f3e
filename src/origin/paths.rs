//! Names below `_landfall/`, and what they mean when a listing shows them. Nothing else spells them.

use landfall_sink::Stream;

use super::OriginError;
use crate::checkpoint::lake::names;

pub(crate) const OWNERS: &str = "_landfall/owner";
pub(crate) const LAYOUTS: &str = "_landfall/layouts";
pub(crate) const GENESIS: &str = "_landfall/genesis";

pub(crate) fn owner(number: u64) -> String {
    format!("{OWNERS}/{number}.json")
}

/// Says that every record of the store before owner `number` has been copied.
pub(crate) fn migrated(number: u64) -> String {
    format!("_landfall/migrated/{number}.json")
}

pub(crate) fn layout(digest: &str) -> String {
    format!("{LAYOUTS}/{digest}.json")
}

/// `topic_id` is `-` where the broker has none.
pub(crate) fn topic(cluster: &str, topic: &str, topic_id: &str) -> Result<String, OriginError> {
    Ok(format!("{GENESIS}/{}/{}/{}", segment(cluster)?, segment(topic)?, segment(topic_id)?))
}

pub(crate) fn start(cluster: &str, topic: &str, topic_id: &str) -> Result<String, OriginError> {
    Ok(format!("{}/start.json", self::topic(cluster, topic, topic_id)?))
}

pub(crate) fn adopted(cluster: &str, topic: &str) -> Result<String, OriginError> {
    Ok(format!("{}/adopted.json", self::topic(cluster, topic, "-")?))
}

pub(crate) fn mark(stream: &Stream) -> Result<String, OriginError> {
    let directory = topic(&stream.cluster, &stream.topic, stream.topic_id_or_dash())?;
    Ok(format!("{directory}/{}.json", stream.partition))
}

/// `key` is a digest of the pattern: a pattern may hold any character.
pub(crate) fn pattern(cluster: &str, key: &str) -> Result<String, OriginError> {
    Ok(format!("_landfall/patterns/{}/{key}.json", segment(cluster)?))
}

fn segment(text: &str) -> Result<&str, OriginError> {
    names::segment(text).map_err(OriginError::Refused)
}

pub(crate) fn parse_owner(path: &str) -> Option<u64> {
    let name = path.strip_prefix(OWNERS)?.strip_prefix('/')?.strip_suffix(".json")?;
    canonical(name)
}

pub(crate) fn parse_layout(path: &str) -> Option<&str> {
    let digest = path.strip_prefix(LAYOUTS)?.strip_prefix('/')?.strip_suffix(".json")?;
    (!digest.is_empty() && !digest.contains('/')).then_some(digest)
}

/// What a name below `_landfall/genesis/` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Born {
    /// `start.json`: the topic, with partition 0 to stand for it.
    Topic(Stream),
    /// The mark of a partition.
    Partition(Stream),
}

/// `None` for what this release has no word for: it is left alone.
pub(crate) fn parse_genesis(path: &str) -> Option<Born> {
    let mut segments = path.strip_prefix(GENESIS)?.strip_prefix('/')?.split('/');
    let mut next = || segments.next().filter(|text| segment(text).is_ok());
    let (cluster, topic, topic_id, name) = (next()?, next()?, next()?, next()?);
    if segments.next().is_some() {
        return None;
    }
    let stream = |partition| Stream {
        cluster: cluster.into(),
        topic: topic.into(),
        topic_id: (topic_id != "-").then(|| topic_id.into()),
        partition,
    };
    match name.strip_suffix(".json")? {
        "start" => Some(Born::Topic(stream(0))),
        number => canonical(number).map(|partition| Born::Partition(stream(partition))),
    }
}

/// A number written as this room writes it, so that two names never mean one thing.
fn canonical<T: std::str::FromStr + ToString>(text: &str) -> Option<T> {
    let number: T = text.parse().ok()?;
    (number.to_string() == text && !text.starts_with('-')).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_mark_reads_back_as_its_stream() {
        for topic_id in [None, Some("AbC_-09")] {
            let stream = Stream {
                cluster: "lkc".into(),
                topic: "orders.eu".into(),
                topic_id: topic_id.map(Into::into),
                partition: 17,
            };
            assert_eq!(parse_genesis(&mark(&stream).unwrap()), Some(Born::Partition(stream)));
        }
    }

    #[test]
    fn names_that_would_leave_the_tree_are_refused() {
        for bad in ["", ".", "..", "a/b", "a\\b", "a\nb"] {
            assert!(start("c", bad, "-").is_err(), "{bad:?}");
            assert!(start(bad, "t", "-").is_err(), "{bad:?}");
        }
    }

    #[test]
    fn numbers_have_one_spelling() {
        assert_eq!(parse_owner("_landfall/owner/12.json"), Some(12));
        for other in ["012", "+1", "-0", "1 ", "", "18446744073709551616"] {
            assert_eq!(parse_owner(&format!("_landfall/owner/{other}.json")), None, "{other:?}");
        }
        assert_eq!(parse_genesis("_landfall/genesis/c/t/-/-1.json"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_name_or_none(tail in "\\PC{0,40}", segments in prop::collection::vec("[a-z0-9.-]{0,6}", 0..6)) {
            for path in [tail.clone(), format!("{GENESIS}/{}", segments.join("/")), format!("{GENESIS}/{tail}")] {
                match parse_genesis(&path) {
                    Some(Born::Partition(stream)) => prop_assert_eq!(mark(&stream).unwrap(), path),
                    Some(Born::Topic(stream)) => {
                        prop_assert_eq!(start(&stream.cluster, &stream.topic, stream.topic_id_or_dash()).unwrap(), path);
                    }
                    None => {}
                }
            }
            parse_owner(&tail);
            parse_layout(&tail);
        }
    }
}
