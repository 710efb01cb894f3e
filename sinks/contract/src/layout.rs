//! Whatever decides the names and the number of a plan's files: frozen by the plan, so that any later
//! release, with any configuration, finishes it under the same name.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Span, Stream};

/// Which records a reader of Kafka is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    ReadCommitted,
    ReadUncommitted,
}

impl Isolation {
    /// The word that Kafka uses for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Isolation::ReadCommitted => "read_committed",
            Isolation::ReadUncommitted => "read_uncommitted",
        }
    }
}

/// The layout of a batch's destination. Kept in the lake as `_landfall/layouts/<digest>.json`.
///
/// Fields that this release does not know are refused: a layout that is only half understood would
/// give a plan another name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// The lake that the names belong to.
    pub lake: String,
    /// `parquet`, or the name of a sink of one's own.
    pub format: String,
    /// Without the dot.
    pub extension: String,
    /// `{topic}/{partition}` and any other text.
    pub path: String,
    pub isolation: Isolation,
}

/// Why a path template cannot name files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    #[error("the path template {path:?} does not hold {{{missing}}}")]
    Missing { path: String, missing: &'static str },
    #[error("the path template {path:?} holds {{{unknown}}}, which is not known (known: {{topic}}, {{partition}})")]
    Unknown { path: String, unknown: String },
    #[error(
        "in the path template {path:?} {{{field}}} must stand between '/' or characters that topic names cannot hold"
    )]
    Delimiter { path: String, field: &'static str },
    #[error("the path template {path:?} is not a relative path of plain segments")]
    NotRelative { path: String },
    #[error("the path template {path:?} puts data below _landfall, which belongs to landfall itself")]
    Reserved { path: String },
}

impl Layout {
    /// A short name of the content: equal layouts have equal digests, in every release.
    pub fn digest(&self) -> String {
        let json = serde_json::to_vec(self).unwrap_or_default();
        let hash = Sha256::digest(&json);
        hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Where the files of a stream are: the path template with the stream's fields.
    pub fn directory(&self, stream: &Stream) -> String {
        self.path.replace("{topic}", &stream.topic).replace("{partition}", &stream.partition.to_string())
    }

    /// The file of a range: 20 digits a side, half-open, as Kafka pads its own segments.
    pub fn file(&self, stream: &Stream, span: Span) -> String {
        format!("{}/{}", self.directory(stream), self.file_name(span))
    }

    pub fn file_name(&self, span: Span) -> String {
        format!("{:020}-{:020}.{}", span.from, span.until, self.extension)
    }

    /// The range that a file name means, or `None` if it is not a name of this layout.
    pub fn parse_file_name(&self, name: &str) -> Option<Span> {
        let stem = name.strip_suffix(&self.extension)?.strip_suffix('.')?;
        let (from, until) = stem.split_once('-')?;
        let digits = |text: &str| -> Option<i64> {
            let plain = text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_digit());
            if plain { text.parse().ok() } else { None }
        };
        let span = Span::new(digits(from)?, digits(until)?);
        (span.from < span.until).then_some(span)
    }

    /// Checks the path template; `topics` says whether more than one topic can be landed.
    pub fn check(&self, several_topics: bool) -> Result<(), LayoutError> {
        check_fields(&self.path)?;
        check_delimiters(&self.path, "partition")?;
        if several_topics || self.path.contains("{topic}") {
            check_delimiters(&self.path, "topic")?;
        }
        let path = || self.path.clone();
        let plain = |segment: &str| !segment.is_empty() && segment != "." && segment != "..";
        if !self.path.split('/').all(plain) {
            return Err(LayoutError::NotRelative { path: path() });
        }
        if self.path.split('/').next() == Some("_landfall") {
            return Err(LayoutError::Reserved { path: path() });
        }
        Ok(())
    }
}

fn check_fields(path: &str) -> Result<(), LayoutError> {
    let mut rest = path;
    while let Some(open) = rest.find('{') {
        let Some(close) = rest[open..].find('}') else {
            return Err(LayoutError::Unknown { path: path.into(), unknown: rest[open + 1..].into() });
        };
        let field = &rest[open + 1..open + close];
        if field != "topic" && field != "partition" {
            return Err(LayoutError::Unknown { path: path.into(), unknown: field.into() });
        }
        rest = &rest[open + close + 1..];
    }
    Ok(())
}

/// Two streams must never share a directory: `{topic}-{partition}` would mix topic `a` partition 1 of
/// `a-1` with others, so a field ends at a character that no topic name can hold.
fn check_delimiters(path: &str, field: &'static str) -> Result<(), LayoutError> {
    let marker = format!("{{{field}}}");
    let Some(at) = path.find(&marker) else {
        return Err(LayoutError::Missing { path: path.into(), missing: field });
    };
    let legal_in_topic = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '{' | '}');
    let before = path[..at].chars().next_back();
    let after = path[at + marker.len()..].chars().next();
    if before.is_some_and(legal_in_topic) || after.is_some_and(legal_in_topic) {
        return Err(LayoutError::Delimiter { path: path.into(), field });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layout(path: &str) -> Layout {
        Layout {
            lake: "l".into(),
            format: "parquet".into(),
            extension: "parquet".into(),
            path: path.into(),
            isolation: Isolation::ReadCommitted,
        }
    }

    #[test]
    fn names_are_padded_and_half_open() {
        let stream = Stream { cluster: "c".into(), topic: "orders".into(), topic_id: None, partition: 3 };
        assert_eq!(
            layout("{topic}/{partition}").file(&stream, Span::new(0, 120)),
            "orders/3/00000000000000000000-00000000000000000120.parquet"
        );
    }

    #[test]
    fn a_digest_never_changes_between_releases() {
        assert_eq!(layout("{topic}/{partition}").digest(), "e18f69714e2e34b0");
    }

    #[test]
    fn templates_that_would_mix_streams_are_refused() {
        assert_eq!(layout("a/{topic}/p={partition}").check(true), Ok(()));
        for bad in [
            "{topic}",
            "{topic}-{partition}",
            "{topic}{partition}",
            "{topic}/{hour}/{partition}",
            "/{topic}/{partition}",
            "_landfall/{topic}/{partition}",
            "a/../{topic}/{partition}",
            "{topic}/{partition",
            "{partition}/x{topic}",
        ] {
            assert!(layout(bad).check(true).is_err(), "{bad}");
        }
        assert!(layout("x/{partition}").check(true).is_err());
        assert!(layout("x/{partition}").check(false).is_ok());
    }

    proptest! {
        #[test]
        fn a_name_reads_back_as_its_range(from in 0i64..i64::MAX - 1, length in 1i64..1000) {
            let span = Span::new(from, from.saturating_add(length));
            let layout = layout("{topic}/{partition}");
            prop_assert_eq!(layout.parse_file_name(&layout.file_name(span)), Some(span));
        }

        #[test]
        fn any_other_text_is_no_name(text in "\\PC{0,60}") {
            let layout = layout("{topic}/{partition}");
            if let Some(span) = layout.parse_file_name(&text) {
                prop_assert_eq!(layout.file_name(span), text);
            }
        }
    }
}
