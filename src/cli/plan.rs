//! `landfall plan`: what a run would do now, without doing it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures::TryStreamExt;
use landfall_lake::Lake;
use landfall_sink::{Layout, Span, Stream};
use serde::Serialize;

use super::engine::{asked, block_on, connect, known_checkpoints};
use super::table::{Table, bytes, number, or_dash};
use super::{ConfigArg, Console, Exit, Failure, Render};
use crate::checkpoint::Checkpoint;
use crate::config::{Config, OnGap, Start};
use crate::files;
use crate::kafka::{At, Kafka, KafkaError, MatchedBy, Selection, TopicId, TopicMeta};
use crate::lakes::{self, IO_THREADS};
use crate::origin::{Origin, OriginError};
use crate::plan::{Learned, Roll};
use crate::supervisor::resolve_start;

/// Shows the ranges, file names and sizes that a run would make now; changes nothing
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    landfall plan landfall.toml\n  \
    landfall plan --output json landfall.toml | jq '.batches[].file'")]
pub struct PlanArgs {
    #[command(flatten)]
    pub config: ConfigArg,
}

/// The batches that a run would make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanResult {
    pub batches: Vec<PlanRow>,
}

/// One batch of the near future.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanRow {
    pub topic: String,
    pub partition: i32,
    pub from: i64,
    pub until: i64,
    /// The most it can hold: offsets may be markers or compacted away.
    pub records: u64,
    /// Of the file, estimated; `null` where nothing is known of the topic yet.
    pub bytes: Option<u64>,
    /// Below the lake.
    pub file: String,
    /// It is planned already: a run finishes it first.
    pub planned: bool,
}

impl Render for PlanResult {
    fn text(&self) -> String {
        if self.batches.is_empty() {
            return "Nothing to land now.\n".into();
        }
        let mut table = Table::new(&["topic", ">partition", ">from", ">until", ">records", ">about", "state", "file"]);
        for row in &self.batches {
            table.row([
                row.topic.clone(),
                row.partition.to_string(),
                number(row.from),
                number(row.until),
                number(row.records),
                or_dash(row.bytes, bytes),
                if row.planned { "planned" } else { "new" }.into(),
                row.file.clone(),
            ]);
        }
        table.render()
    }
}

pub fn run(args: &PlanArgs, console: &Console) -> Result<Exit, Failure> {
    let config = args.config.load(console.env())?;
    console.show(&foresee(&config)?)?;
    Ok(Exit::Done)
}

/// Looks at the checkpoints, at Kafka's ends and at the newest files of each stream.
fn foresee(config: &Config) -> Result<PlanResult, Failure> {
    block_on(async {
        let known = known_checkpoints(config).await?.unwrap_or_default();
        let known: BTreeMap<Stream, Checkpoint> =
            known.into_iter().map(|checkpoint| (checkpoint.stream.clone(), checkpoint)).collect();
        let kafka = connect(config)?;
        let cluster = asked(&kafka, |kafka| kafka.cluster_id(ASK)).await?;
        let (lake, origin) = if lakes::is_there(&config.lake.url) {
            let lake = lakes::open_to_read(&config.lake.url, &config.lake.options, IO_THREADS)?;
            let origin = match Origin::open(lake.clone()).await {
                Ok(origin) => Some(origin),
                Err(OriginError::NoLake { .. }) => None,
                Err(error) => return Err(error.into()),
            };
            (Some(lake), origin)
        } else {
            (None, None)
        };
        // No name depends on the lake's id, so one that has none yet is asked like any other.
        let layout = files::layout(config, origin.as_ref().map_or("", Origin::lake_id));
        Foresight { config, known, kafka, cluster, lake, origin, layout }.plan().await
    })
}

const ASK: Duration = Duration::from_secs(10);
/// More batches of one partition are not listed.
const MOST: usize = 10_000;
/// So many files tell what an offset costs.
const NEWEST: usize = 8;

struct Foresight<'a> {
    config: &'a Config,
    known: BTreeMap<Stream, Checkpoint>,
    kafka: Kafka,
    cluster: String,
    lake: Option<Arc<dyn Lake>>,
    origin: Option<Origin>,
    layout: Layout,
}

impl Foresight<'_> {
    async fn plan(&self) -> Result<PlanResult, Failure> {
        let wanted: Vec<String> = self.config.kafka.topics.iter().map(ToString::to_string).collect();
        let selection = Selection::new(&wanted).map_err(|error| Failure::new(Exit::Config, error))?;
        let found = asked(&self.kafka, move |kafka| kafka.topics(&selection, ASK)).await?;
        let mut batches = Vec::new();
        for topic in found {
            match &topic.problem {
                Some(problem @ KafkaError::Missing(_)) => tracing::warn!("{problem}: a run waits until it is created"),
                Some(problem) => return Err(problem.clone().into()),
                None => self.topic(&topic, &mut batches).await?,
            }
        }
        Ok(PlanResult { batches })
    }

    async fn topic(&self, topic: &TopicMeta, batches: &mut Vec<PlanRow>) -> Result<(), Failure> {
        let (name, isolation) = (topic.name.clone(), self.config.isolation());
        let asks: Vec<(String, i32, At)> =
            (0..topic.partitions).flat_map(|at| [At::Start, At::End].map(|end| (name.clone(), at, end))).collect();
        let (ids, ends) = asked(&self.kafka, move |kafka| {
            Ok((kafka.topic_ids(&[name])?, kafka.list_offsets(&asks, isolation, ASK)?))
        })
        .await?;
        let shown = match ids.get(&topic.name) {
            Some(TopicId::Id(id)) => Some(id.as_str()),
            Some(TopicId::Failed(error)) => return Err(error.clone().into()),
            _ => None,
        };
        let topic_id = match &self.origin {
            Some(origin) => origin.known_as(&self.cluster, &topic.name, shown).await?,
            None => shown.map(str::to_owned),
        };
        let first = self.first_offsets(topic, topic_id.as_deref()).await?;
        let mut ends = ends.into_iter();
        for (partition, genesis) in (0..topic.partitions).zip(first) {
            let (Some(start), Some(end)) = (ends.next(), ends.next()) else { break };
            let (start, end) = (start?.offset, end?.offset);
            let stream = Stream {
                cluster: self.cluster.clone(),
                topic: topic.name.clone(),
                topic_id: topic_id.clone(),
                partition,
            };
            if let Some(origin) = &self.origin
                && let Some(why) = origin.blocked(&stream, &self.layout).await?
            {
                // A run leaves the whole topic alone.
                tracing::warn!("{why}");
                return Ok(());
            }
            self.stream(&stream, genesis, start, end, batches).await?;
        }
        Ok(())
    }

    /// Of the topic's partitions: frozen in the lake, or what `source.start` means now.
    async fn first_offsets(&self, topic: &TopicMeta, topic_id: Option<&str>) -> Result<Vec<i64>, Failure> {
        let mut start = self.config.source.start.clone();
        if let Some(origin) = &self.origin {
            let frozen = origin.genesis(&self.cluster, &topic.name, topic_id.unwrap_or("-")).await?;
            if let Some(frozen) = frozen {
                return Ok((0..topic.partitions).map(|partition| frozen.first_offset(partition)).collect());
            }
            if let MatchedBy::Pattern(pattern) = &topic.matched_by
                && let Some(used) = origin.pattern_use(&self.cluster, pattern).await?
                && !used.knew(&topic.name)
            {
                start = Start::Earliest;
            }
        }
        let isolation = self.config.isolation();
        Ok(resolve_start(&self.kafka, &topic.name, topic.partitions, &start, isolation).await?)
    }

    async fn stream(
        &self,
        stream: &Stream,
        genesis: i64,
        start: i64,
        end: i64,
        batches: &mut Vec<PlanRow>,
    ) -> Result<(), Failure> {
        let learned = self.learned(stream).await?;
        let row = |span: Span, layout: &Layout, planned| {
            let readable = Span::new(span.from.max(start), span.until);
            PlanRow {
                topic: stream.topic.clone(),
                partition: stream.partition,
                from: span.from,
                until: span.until,
                records: u64::try_from(readable.len()).unwrap_or(0),
                bytes: learned.bytes(readable),
                file: layout.file(stream, span),
                planned,
            }
        };
        let mut next = genesis;
        if let Some(checkpoint) = self.known.get(stream) {
            next = checkpoint.next;
            for plan in &checkpoint.planned {
                let layout = match &self.origin {
                    Some(origin) => origin.layout(&plan.layout).await?.as_ref().clone(),
                    None => self.layout.clone(),
                };
                batches.push(row(plan.span(), &layout, true));
            }
        }
        if start > next {
            let gap = stream.range(Span::new(next, start));
            match self.config.source.on_gap {
                OnGap::Record => batches.push(row(Span::new(next, start), &self.layout, false)),
                OnGap::Fail => {
                    tracing::warn!("{gap}: Kafka has dropped these records; the stream stops there (source.on_gap)");
                    return Ok(());
                }
            }
        }
        let spans = cut(next.max(start), end, &learned, &roll(self.config));
        if spans.last().is_some_and(|last| last.until < end) {
            tracing::warn!("{stream}: only the first {MOST} batches are listed");
        }
        batches.extend(spans.into_iter().map(|span| row(span, &self.layout, false)));
        Ok(())
    }

    /// What an offset costs, from the newest files of the stream: a single small one is mostly metadata.
    async fn learned(&self, stream: &Stream) -> Result<Learned, Failure> {
        let mut learned = Learned::default();
        let Some(lake) = &self.lake else { return Ok(learned) };
        let directory = self.layout.directory(stream);
        let mut entries = lake.list(&directory, None).await?;
        let mut newest = VecDeque::new();
        while let Some(entry) = entries.try_next().await? {
            let name = entry.path.strip_prefix(&directory).and_then(|rest| rest.strip_prefix('/'));
            if let Some(span) = name.and_then(|name| self.layout.parse_file_name(name)) {
                newest.push_back((span.len(), entry.size));
                newest.drain(..newest.len().saturating_sub(NEWEST));
            }
        }
        let (offsets, size) = newest.into_iter().fold((0, 0), |(o, s), (offsets, size)| (o + offsets, s + size));
        learned.observe(Span::new(0, offsets), size);
        Ok(learned)
    }
}

fn roll(config: &Config) -> Roll {
    let roll = &config.lake.roll;
    Roll {
        max_age: roll.max_age,
        max_size: roll.max_size,
        max_records: i64::try_from(roll.max_records).unwrap_or(i64::MAX),
    }
}

/// `[from, until)` in batches as large as they may be; the first [`MOST`] of them.
fn cut(from: i64, until: i64, learned: &Learned, roll: &Roll) -> Vec<Span> {
    let most = learned.chunk(roll).unwrap_or(roll.max_records).max(1);
    let mut spans = Vec::new();
    let mut at = from;
    while at < until && spans.len() < MOST {
        let end = at.saturating_add(most).min(until);
        spans.push(Span::new(at, end));
        at = end;
    }
    spans
}

#[cfg(test)]
pub fn sample() -> PlanResult {
    let row = PlanRow {
        topic: "orders".into(),
        partition: 0,
        from: 1200,
        until: 1234,
        records: 34,
        bytes: Some(5120),
        file: "orders/0/00000000000000001200-00000000000000001234.parquet".into(),
        planned: true,
    };
    PlanResult { batches: vec![row] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_is_cut_by_records_and_by_size() {
        let roll = Roll { max_age: Duration::from_secs(60), max_size: 1000, max_records: 40 };
        let mut learned = Learned::default();
        assert_eq!(cut(5, 100, &learned, &roll), [Span::new(5, 45), Span::new(45, 85), Span::new(85, 100)]);
        assert_eq!(cut(5, 5, &learned, &roll), []);
        learned.observe(Span::new(0, 10), 1000);
        assert_eq!(cut(0, 15, &learned, &roll), [Span::new(0, 10), Span::new(10, 15)]);
        assert_eq!(learned.bytes(Span::new(0, 5)), Some(500));
        assert_eq!(cut(0, i64::MAX, &learned, &roll).len(), MOST);
    }

    #[test]
    fn batches_are_listed() {
        let mut plan = sample();
        plan.batches[0].bytes = None;
        assert_eq!(
            plan.text(),
            "topic   partition   from  until  records  about  state    file\n\
             orders          0  1_200  1_234       34      -  planned  orders/0/00000000000000001200-00000000000000001234.parquet\n"
        );
        assert!(PlanResult { batches: vec![] }.text().starts_with("Nothing to land"));
    }
}
