//! What a file says of itself: whose rows it holds and which, so that a file can be proven to be of a
//! plan without trusting its name.

use landfall_sink::{Isolation, Plan, Span, Stream, merge_spans};
use parquet::file::metadata::KeyValue;

/// The key-value metadata of a file of landfall.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileMetadata {
    /// The release that wrote it.
    pub version: String,
    /// The lake that it was written for.
    pub lake: String,
    pub stream: Stream,
    pub span: Span,
    pub rows: u64,
    /// Records that Kafka no longer had when the range was read.
    pub gaps: Vec<Span>,
    pub isolation: Isolation,
    /// `crc32c:` and eight hexadecimal digits, over the rows.
    pub checksum: String,
}

/// Why a file is not one of landfall.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is not a file of landfall: {0}")]
pub struct NotOurs(pub String);

impl FileMetadata {
    pub(crate) fn pairs(&self) -> Vec<KeyValue> {
        let gaps = serde_json::to_string(&self.gaps).unwrap_or_else(|_| "[]".into());
        [
            ("landfall.version", self.version.clone()),
            ("landfall.lake", self.lake.clone()),
            ("landfall.cluster", self.stream.cluster.clone()),
            ("landfall.topic", self.stream.topic.clone()),
            ("landfall.topic_id", self.stream.topic_id_or_dash().to_string()),
            ("landfall.partition", self.stream.partition.to_string()),
            ("landfall.from", self.span.from.to_string()),
            ("landfall.until", self.span.until.to_string()),
            ("landfall.rows", self.rows.to_string()),
            ("landfall.gaps", gaps),
            ("landfall.isolation", self.isolation.as_str().to_string()),
            ("landfall.checksum", self.checksum.clone()),
        ]
        .into_iter()
        .map(|(key, value)| KeyValue::new(key.to_string(), value))
        .collect()
    }

    /// Reads the pairs of a file. Keys that this release does not know are left alone.
    pub fn parse(pairs: &[KeyValue]) -> Result<FileMetadata, NotOurs> {
        let topic_id = text(pairs, "landfall.topic_id")?;
        let stream = Stream {
            cluster: text(pairs, "landfall.cluster")?.into(),
            topic: text(pairs, "landfall.topic")?.into(),
            topic_id: (topic_id != "-").then(|| topic_id.into()),
            partition: number(pairs, "landfall.partition")?,
        };
        let span = Span::new(number(pairs, "landfall.from")?, number(pairs, "landfall.until")?);
        let metadata = FileMetadata {
            version: text(pairs, "landfall.version")?.into(),
            lake: text(pairs, "landfall.lake")?.into(),
            stream,
            span,
            rows: number(pairs, "landfall.rows")?,
            gaps: gaps(text(pairs, "landfall.gaps")?, span)?,
            isolation: isolation(text(pairs, "landfall.isolation")?)?,
            checksum: text(pairs, "landfall.checksum")?.into(),
        };
        if metadata.span.is_empty() || metadata.span.from < 0 {
            return Err(NotOurs(format!("its range {} is no range of offsets", metadata.span)));
        }
        Ok(metadata)
    }

    /// What tells this file from one of `plan`, or `None` if it is of that plan.
    pub fn differs_from(&self, plan: &Plan) -> Option<String> {
        let isolation = ("isolation", self.isolation.as_str().into(), plan.layout.isolation.as_str().into());
        self.compare(plan, Some(isolation))
    }

    /// The same, but for the isolation level: a stream whose level was changed has files of both in one directory.
    pub fn is_no_file_of(&self, plan: &Plan) -> Option<String> {
        self.compare(plan, None)
    }

    fn compare(&self, plan: &Plan, also: Option<(&str, String, String)>) -> Option<String> {
        let (mine, stream) = (&self.stream, &plan.stream);
        let pairs = [
            ("cluster", mine.cluster.clone(), stream.cluster.clone()),
            ("topic", mine.topic.clone(), stream.topic.clone()),
            ("topic_id", mine.topic_id_or_dash().into(), stream.topic_id_or_dash().into()),
            ("partition", mine.partition.to_string(), stream.partition.to_string()),
            ("from", self.span.from.to_string(), plan.span.from.to_string()),
            ("until", self.span.until.to_string(), plan.span.until.to_string()),
            ("lake", self.lake.clone(), plan.layout.lake.clone()),
        ];
        let differing: Vec<String> = pairs
            .into_iter()
            .chain(also)
            .filter(|(_, there, planned)| there != planned)
            .map(|(name, there, planned)| format!("its landfall.{name} is {there:?}, the plan's is {planned:?}"))
            .collect();
        (!differing.is_empty()).then(|| differing.join("; "))
    }
}

fn text<'a>(pairs: &'a [KeyValue], key: &str) -> Result<&'a str, NotOurs> {
    let mut values = pairs.iter().filter(|pair| pair.key == key);
    match (values.next().and_then(|pair| pair.value.as_deref()), values.next()) {
        (Some(value), None) => Ok(value),
        (None, _) => Err(NotOurs(format!("its metadata has no {key}"))),
        (Some(_), Some(_)) => Err(NotOurs(format!("its metadata has {key} twice"))),
    }
}

fn number<T: std::str::FromStr>(pairs: &[KeyValue], key: &str) -> Result<T, NotOurs> {
    let value = text(pairs, key)?;
    value.parse().map_err(|_| NotOurs(format!("its {key} is {value:?}, which is no number that it can be")))
}

fn gaps(json: &str, span: Span) -> Result<Vec<Span>, NotOurs> {
    let gaps: Vec<Span> =
        serde_json::from_str(json).map_err(|error| NotOurs(format!("its landfall.gaps is {json:?}: {error}")))?;
    if gaps.iter().any(|gap| gap.is_empty() || !span.covers(*gap)) {
        return Err(NotOurs(format!("its landfall.gaps {json} are not inside its range {span}")));
    }
    Ok(merge_spans(gaps))
}

fn isolation(text: &str) -> Result<Isolation, NotOurs> {
    [Isolation::ReadCommitted, Isolation::ReadUncommitted]
        .into_iter()
        .find(|isolation| isolation.as_str() == text)
        .ok_or_else(|| NotOurs(format!("its landfall.isolation is {text:?}")))
}
