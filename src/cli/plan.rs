//! `landfall plan`: what a run would do now, without doing it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use clap::Args;
use futures::TryStreamExt;
use landfall_sink::{Layout, Span, Stream};
use serde::Serialize;

use super::engine::{asked, block_on, connect, known_checkpoints, origin, same_owner};
use super::table::{Table, bytes, number, or_dash};
use super::{ConfigArg, Console, Exit, Failure, Render};
use crate::checkpoint::Checkpoint;
use crate::config::{Config, OnGap, Start, StoreKind};
use crate::files;
use crate::kafka::{At, Kafka, KafkaError, MatchedBy, Selection, TopicId, TopicMeta};
use crate::landfall::roll;
use crate::origin::Origin;
use crate::plan::{Learned, Roll};
use crate::supervisor::resolve_start;

/// Shows the ranges, file names and sizes that a run would make now; changes nothing
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    landfall plan landfall.toml\n  \
    landfall plan --output json landfall.toml | jq '.batches[].file'\n  \
    landfall plan --price 0.005 landfall.toml          what the requests of a busy day cost")]
pub struct PlanArgs {
    #[command(flatten)]
    pub config: ConfigArg,
    /// What 1,000 PUT or LIST requests cost, as the store's price list says it: the requests of a day get a price
    #[arg(long, value_name = "PRICE", value_parser = parse_price)]
    pub price: Option<f64>,
}

fn parse_price(text: &str) -> Result<f64, String> {
    let price = text.parse().ok().filter(|price: &f64| price.is_finite() && *price >= 0.0);
    price.ok_or_else(|| format!("{text:?} is not a price; expected one for 1,000 requests, as in 0.005"))
}

/// The batches that a run would make.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanResult {
    pub batches: Vec<PlanRow>,
    pub requests: Requests,
}

/// What a day of the destination costs in requests, with records in every partition all the time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Requests {
    pub partitions: u64,
    /// By `lake.roll.max_age`; a backlog, or more than one file's worth of records in that time, makes more.
    pub batches_per_day: u64,
    /// One file a batch.
    pub data_puts_per_day: u64,
    /// Of a checkpoint store in the lake: the plan and the commit of a batch.
    pub checkpoint_puts_per_day: u64,
    pub lists_per_day: u64,
    pub deletes_per_day: u64,
    pub price_per_thousand: Option<f64>,
    /// Of puts and lists; nobody charges for deletions.
    pub cost_per_day: Option<f64>,
}

/// Old versions are deleted so many at a time.
const DELETED_AT_ONCE: u64 = crate::checkpoint::lake::DELETED_AT_ONCE as u64;

impl Requests {
    fn of(config: &Config, partitions: u64, price: Option<f64>) -> Requests {
        let age = config.lake.roll.max_age.as_secs_f64().max(0.001);
        let batches = (partitions as f64 * 86_400.0 / age).ceil() as u64;
        let in_lake = if config.checkpoint.store == StoreKind::Lake { batches } else { 0 };
        let charged = batches + 3 * in_lake;
        Requests {
            partitions,
            batches_per_day: batches,
            data_puts_per_day: batches,
            checkpoint_puts_per_day: 2 * in_lake,
            lists_per_day: in_lake,
            deletes_per_day: (2 * in_lake).div_ceil(DELETED_AT_ONCE),
            price_per_thousand: price,
            cost_per_day: price.map(|price| (charged as f64 * price / 1000.0 * 1e4).round() / 1e4),
        }
    }

    fn text(&self) -> String {
        let puts = self.data_puts_per_day + self.checkpoint_puts_per_day;
        let (partitions, lists) = (number(self.partitions), number(self.lists_per_day));
        let (puts, deletes) = (number(puts), number(self.deletes_per_day));
        let cost = self.cost_per_day.map_or(String::new(), |cost| format!(", {cost:.2} a day at that price"));
        format!(
            "A day with records in all {partitions} partitions: {puts} puts, {lists} lists, {deletes} deletes{cost}\n"
        )
    }
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
            return format!("Nothing to land now.\n{}", self.requests.text());
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
        table.render() + &self.requests.text()
    }
}

pub fn run(args: &PlanArgs, console: &Console) -> Result<Exit, Failure> {
    let config = args.config.load(console.env())?;
    console.show(&foresee(&config, args.price)?)?;
    Ok(Exit::Done)
}

/// Looks at the checkpoints, at Kafka's ends and at the newest files of each stream.
fn foresee(config: &Config, price: Option<f64>) -> Result<PlanResult, Failure> {
    block_on(async {
        same_owner(config).await?;
        let known = known_checkpoints(config).await?.unwrap_or_default();
        let known: BTreeMap<Stream, Checkpoint> =
            known.into_iter().map(|checkpoint| (checkpoint.stream.clone(), checkpoint)).collect();
        let kafka = connect(config)?;
        let cluster = asked(&kafka, |kafka| kafka.cluster_id(ASK)).await?;
        let origin = origin(config).await?;
        // No name depends on the lake's id, so one that has none yet is asked like any other.
        let layout = files::layout(config, origin.as_ref().map_or("", Origin::lake_id));
        Foresight { config, known, kafka, cluster, origin, layout }.plan(price).await
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
    origin: Option<Origin>,
    layout: Layout,
}

impl Foresight<'_> {
    async fn plan(&self, price: Option<f64>) -> Result<PlanResult, Failure> {
        let wanted: Vec<String> = self.config.kafka.topics.iter().map(ToString::to_string).collect();
        let selection = Selection::new(&wanted).map_err(|error| Failure::new(Exit::Config, error))?;
        let found = asked(&self.kafka, move |kafka| kafka.topics(&selection, ASK)).await?;
        let mut batches = Vec::new();
        let mut partitions = 0;
        for topic in found {
            partitions += u64::try_from(topic.partitions).unwrap_or(0);
            match &topic.problem {
                Some(problem @ KafkaError::Missing(_)) => tracing::warn!("{problem}: a run waits until it is created"),
                Some(problem) => return Err(problem.clone().into()),
                None => self.topic(&topic, &mut batches).await?,
            }
        }
        Ok(PlanResult { batches, requests: Requests::of(self.config, partitions, price) })
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
        let Some(lake) = self.origin.as_ref().map(Origin::lake) else { return Ok(learned) };
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
    let mut config = Config::default();
    config.checkpoint.store = StoreKind::Lake;
    PlanResult { batches: vec![row], requests: Requests::of(&config, 1, Some(0.005)) }
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
    fn the_requests_of_a_day_follow_from_the_age_of_a_batch() {
        let mut config = Config::default();
        config.lake.roll.max_age = Duration::from_secs(300);
        let requests = Requests::of(&config, 24, None);
        assert_eq!((requests.data_puts_per_day, requests.checkpoint_puts_per_day), (6912, 0));
        assert_eq!((requests.lists_per_day, requests.cost_per_day), (0, None));
        config.checkpoint.store = StoreKind::Lake;
        let requests = Requests::of(&config, 24, Some(0.005));
        assert_eq!((requests.checkpoint_puts_per_day, requests.lists_per_day), (13_824, 6912));
        assert_eq!(requests.cost_per_day, Some(0.1382));
        assert!(parse_price("0.005").is_ok() && parse_price("-1").is_err() && parse_price("x").is_err());
    }

    #[test]
    fn batches_are_listed() {
        let mut plan = sample();
        plan.batches[0].bytes = None;
        assert_eq!(
            plan.text(),
            "topic   partition   from  until  records  about  state    file\n\
             orders          0  1_200  1_234       34      -  planned  orders/0/00000000000000001200-00000000000000001234.parquet\n\
             A day with records in all 1 partitions: 4_320 puts, 1_440 lists, 116 deletes, 0.03 a day at that price\n"
        );
        plan.batches.clear();
        assert!(plan.text().starts_with("Nothing to land"));
    }
}
