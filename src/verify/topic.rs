//! The comparison with the topic: every deliverable record of the committed part that Kafka still has is a
//! row with the same content, and the other way round. Two streams in order of offset, side by side.

use futures::StreamExt;
use futures::stream::BoxStream;
use landfall_sink::{Isolation, SinkError, Span, merge_spans};

use super::report::{Compared, Kind, Severity, StreamReport};
use super::stream::{Files, not_read};
use super::{KafkaRows, RowSum, Run, TopicRows};
use crate::checkpoint::Checkpoint;
use crate::origin::{OriginError, places};

/// Offsets of one kind of difference, as one sentence however many they are.
#[derive(Default)]
struct Stretch {
    first: i64,
    last: i64,
    count: u64,
}

impl Stretch {
    fn add(&mut self, offset: i64) {
        if self.count == 0 {
            self.first = offset;
        }
        self.last = offset;
        self.count += 1;
    }
}

#[derive(Default)]
struct Differences {
    missing: Stretch,
    unknown: Stretch,
    differing: Stretch,
    in_gap: Stretch,
}

/// Why a comparison ended early.
enum Stopped {
    Kafka(String),
    Lake(SinkError),
}

impl Run<'_> {
    pub(super) async fn compare(
        &self,
        report: &mut StreamReport,
        topic: &dyn TopicRows,
        runs: &[(Span, Isolation)],
        checkpoint: Option<&Checkpoint>,
    ) -> Result<(), OriginError> {
        let stream = report.stream.clone();
        let groups = places(self.scope.origin, self.scope.sink, &stream).await?;
        let mut compared = Compared::default();
        for (span, isolation) in runs.iter().copied() {
            let mut differences = Differences::default();
            let stopped = async {
                let kafka = topic.rows(&stream, span, isolation).await.map_err(Stopped::Kafka)?;
                let files = Files::open(self, &groups, &stream, span.from).await.map_err(Stopped::Lake)?;
                let mut lake = LakeRows { run: self, files, until: span.until, gaps: Vec::new(), rows: None };
                let known = checkpoint.map(|checkpoint| checkpoint.gaps.as_slice()).unwrap_or_default();
                side_by_side(kafka, &mut lake, known, &mut compared, &mut differences).await
            };
            match stopped.await {
                Ok(()) => {}
                Err(Stopped::Lake(error)) => {
                    not_read(report, None, &error, "the comparison with the topic ended there")
                }
                Err(Stopped::Kafka(why)) => {
                    let what = format!("{span} could not be compared with the topic: {why}");
                    report.find(Severity::Unchecked, Kind::Kafka, Some(span), None, what);
                }
            }
            say(report, &differences);
        }
        report.kafka = Some(compared);
        Ok(())
    }
}

fn say(report: &mut StreamReport, differences: &Differences) {
    let mut find = |severity, stretch: &Stretch, what: &str| {
        if stretch.count > 0 {
            let range = Span::new(stretch.first, stretch.last.saturating_add(1));
            let message = format!("{} records in {range} {what}", stretch.count);
            report.find(severity, Kind::Kafka, Some(range), None, message);
        }
    };
    find(Severity::Damage, &differences.missing, "are in Kafka and not in the lake");
    find(Severity::Damage, &differences.unknown, "are in the lake and not in Kafka");
    find(Severity::Damage, &differences.differing, "have another content in the lake than in Kafka");
    find(Severity::Note, &differences.in_gap, "are in Kafka, and in a recorded gap of the lake");
}

async fn side_by_side(
    kafka: KafkaRows,
    lake: &mut LakeRows<'_>,
    gaps: &[Span],
    compared: &mut Compared,
    differences: &mut Differences,
) -> Result<(), Stopped> {
    let KafkaRows { log_start, compacted, rows } = kafka;
    let mut records = KafkaSide { rows, chunk: Vec::new().into_iter() };
    let (mut record, mut row) = (records.next().await?, lake.next().await?);
    loop {
        match (record, row) {
            (None, None) => return Ok(()),
            (Some(kafka), Some(stored)) if kafka.offset == stored.offset => {
                if kafka.crc32c == stored.crc32c {
                    compared.equal += 1;
                } else {
                    compared.differing += 1;
                    differences.differing.add(kafka.offset);
                }
                (record, row) = (records.next().await?, lake.next().await?);
            }
            (None, Some(stored)) => {
                only_in_the_lake(stored.offset, log_start, compacted, compared, differences);
                row = lake.next().await?;
            }
            (Some(kafka), Some(stored)) if stored.offset < kafka.offset => {
                only_in_the_lake(stored.offset, log_start, compacted, compared, differences);
                row = lake.next().await?;
            }
            (Some(kafka), _) => {
                let lost = |gaps: &[Span]| gaps.iter().any(|gap| gap.contains(kafka.offset));
                if lost(gaps) || lost(&lake.gaps) {
                    differences.in_gap.add(kafka.offset);
                } else {
                    compared.missing += 1;
                    differences.missing.add(kafka.offset);
                }
                record = records.next().await?;
            }
        }
    }
}

fn only_in_the_lake(
    offset: i64,
    log_start: i64,
    compacted: bool,
    compared: &mut Compared,
    differences: &mut Differences,
) {
    if offset < log_start {
        compared.expired += 1;
    } else if compacted {
        compared.compacted += 1;
    } else {
        compared.unknown += 1;
        differences.unknown.add(offset);
    }
}

struct KafkaSide {
    rows: BoxStream<'static, Result<Vec<RowSum>, String>>,
    chunk: std::vec::IntoIter<RowSum>,
}

impl KafkaSide {
    async fn next(&mut self) -> Result<Option<RowSum>, Stopped> {
        loop {
            if let Some(row) = self.chunk.next() {
                return Ok(Some(row));
            }
            match self.rows.next().await {
                Some(chunk) => self.chunk = chunk.map_err(Stopped::Kafka)?.into_iter(),
                None => return Ok(None),
            }
        }
    }
}

type Chunks = BoxStream<'static, Result<Vec<RowSum>, SinkError>>;

/// The rows of the files up to `until`, one file after the other.
struct LakeRows<'a> {
    run: &'a Run<'a>,
    files: Files<'a>,
    until: i64,
    /// Gaps of the files so far: the lake runs ahead of Kafka by one row, which may be several files.
    gaps: Vec<Span>,
    rows: Option<(Chunks, std::vec::IntoIter<RowSum>)>,
}

impl LakeRows<'_> {
    async fn next(&mut self) -> Result<Option<RowSum>, Stopped> {
        loop {
            if let Some((chunks, chunk)) = &mut self.rows {
                if let Some(row) = chunk.next() {
                    return Ok(Some(row));
                }
                if let Some(next) = chunks.next().await {
                    *chunk = next.map_err(Stopped::Lake)?.into_iter();
                    continue;
                }
                self.rows = None;
            }
            let Some(shown) = self.files.next().await else { return Ok(None) };
            let landed = shown.map_err(Stopped::Lake)?.landed;
            if landed.span.from >= self.until {
                return Ok(None);
            }
            let chunks = self.run.scope.auditor.rows(&landed).await.map_err(Stopped::Lake)?;
            self.gaps = merge_spans([std::mem::take(&mut self.gaps), landed.gaps].concat());
            self.rows = Some((chunks, Vec::new().into_iter()));
        }
    }
}
