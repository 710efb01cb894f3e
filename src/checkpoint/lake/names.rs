//! Where the lake keeps its checkpoints, and what a name there means. Nothing else spells them.
//!
//! `_landfall/checkpoints/<owner>/<cluster>/<topic>/<topic id>/<partition>/<version, 20 digits>.json`. The
//! owner's number is part of it, so that what a former owner still sends falls into a tree that nobody reads.

use landfall_sink::Stream;

/// As in the configuration, and in the owner's object.
pub(crate) const KIND: &str = "lake";

pub(crate) const CHECKPOINTS: &str = "_landfall/checkpoints";
const DIGITS: usize = 20;

/// The directory of an owner's checkpoints.
pub(crate) fn owner(number: u64) -> String {
    format!("{CHECKPOINTS}/{number}")
}

/// The directory of a stream's versions, or why its names cannot be part of a path.
pub(super) fn stream(owner: u64, stream: &Stream) -> Result<String, String> {
    let topic_id = match stream.topic_id.as_deref() {
        // It would be the name of a topic without an id.
        Some("-") => return Err("the topic id \"-\" cannot be part of a path".into()),
        Some(id) => segment(id)?,
        None => "-",
    };
    let (cluster, topic) = (segment(&stream.cluster)?, segment(&stream.topic)?);
    Ok(format!("{}/{cluster}/{topic}/{topic_id}/{}", self::owner(owner), stream.partition))
}

pub(super) fn version(directory: &str, version: u64) -> String {
    format!("{directory}/{version:0DIGITS$}.json")
}

/// The version that a name in this directory says; `None` for what is no version of it.
pub(super) fn parse_version(directory: &str, path: &str) -> Option<u64> {
    parse_file(path.strip_prefix(directory)?.strip_prefix('/')?)
}

fn parse_file(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".json")?;
    let plain = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|version| plain && *version > 0)
}

/// The stream whose version a name below an owner's directory is.
pub(super) fn parse_stream(owner: u64, path: &str) -> Option<Stream> {
    let mut segments = path.strip_prefix(&self::owner(owner))?.strip_prefix('/')?.split('/');
    let mut next = || segments.next().filter(|text| segment(text).is_ok());
    let (cluster, topic, topic_id, partition, name) = (next()?, next()?, next()?, next()?, next()?);
    parse_file(name).filter(|_| segments.next().is_none())?;
    let number: i32 = partition.parse().ok().filter(|number: &i32| *number >= 0 && number.to_string() == partition)?;
    Some(Stream {
        cluster: cluster.into(),
        topic: topic.into(),
        topic_id: (topic_id != "-").then(|| topic_id.into()),
        partition: number,
    })
}

/// The owners that have a tree, from a name in it.
pub(super) fn parse_owner(path: &str) -> Option<u64> {
    let number = path.strip_prefix(CHECKPOINTS)?.strip_prefix('/')?.split('/').next()?;
    number.parse().ok().filter(|parsed: &u64| parsed.to_string() == number)
}

/// One plain segment of a path. Kafka's topics and ids are; anything else must not reach a store.
pub(crate) fn segment(text: &str) -> Result<&str, String> {
    let plain = |c: char| c != '/' && c != '\\' && !c.is_control();
    if text.is_empty() || text == "." || text == ".." || text.len() > 249 || !text.chars().all(plain) {
        let what = "cannot be part of a path: Kafka's own topics, cluster ids and topic ids can";
        return Err(format!("the name {text:?} {what}"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn a_stream(topic_id: Option<&str>) -> Stream {
        let (cluster, topic) = ("lkc".into(), "orders.eu".into());
        Stream { cluster, topic, topic_id: topic_id.map(Into::into), partition: 17 }
    }

    #[test]
    fn a_name_reads_back() {
        for topic_id in [None, Some("AbC_-09")] {
            let stream = a_stream(topic_id);
            let directory = super::stream(7, &stream).unwrap();
            let name = version(&directory, 42);
            assert!(name.ends_with("/17/00000000000000000042.json"), "{name}");
            assert_eq!(parse_version(&directory, &name), Some(42));
            assert_eq!(parse_stream(7, &name), Some(stream));
            assert_eq!(parse_owner(&name), Some(7));
            assert_eq!(parse_stream(70, &name), None);
        }
    }

    #[test]
    fn what_is_no_version_is_left_alone() {
        let directory = super::stream(1, &a_stream(None)).unwrap();
        for other in ["42.json", "00000000000000000000.json", "0000000000000000004x.json", "x", "a/b.json", ""] {
            assert_eq!(parse_version(&directory, &format!("{directory}/{other}")), None, "{other:?}");
            assert_eq!(parse_stream(1, &format!("{directory}/{other}")), None, "{other:?}");
        }
    }

    #[test]
    fn names_that_would_leave_the_tree_or_meet_another_stream_are_refused() {
        for bad in ["", ".", "..", "a/b", "a\\b", "a\nb"] {
            let stream = Stream { topic: bad.into(), ..a_stream(None) };
            assert!(super::stream(1, &stream).is_err(), "{bad:?}");
        }
        assert!(super::stream(1, &a_stream(Some("-"))).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_name_or_none(tail in "\\PC{0,40}", segments in prop::collection::vec("[0-9a-z.-]{0,6}", 0..7)) {
            for path in [tail.clone(), format!("{CHECKPOINTS}/{}", segments.join("/")), format!("{CHECKPOINTS}/{tail}")] {
                if let Some(stream) = parse_stream(1, &path) {
                    let directory = super::stream(1, &stream).unwrap();
                    let number = parse_version(&directory, &path).unwrap();
                    prop_assert_eq!(version(&directory, number), path.clone());
                }
                parse_owner(&path);
            }
        }
    }
}
