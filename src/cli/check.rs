//! `landfall check`: is everything there that a run needs?

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use landfall_sink::Stream;
use rustix::fs::Access;
use serde::Serialize;

use super::engine::{asked, block_on, connect, known_checkpoints, origin};
use super::status::{self, StreamState};
use super::table::{Table, number};
use super::{ConfigArg, Console, Exit, Failure, Render, view};
use crate::checkpoint::holder::{Client, Inspection, open_or_ask};
use crate::checkpoint::{Checkpoint, store_id};
use crate::config::{Config, OnGap, StoreKind};
use crate::files;
use crate::kafka::{At, Kafka, KafkaError, MatchedBy, Selection, TopicId, TopicMeta};
use crate::lakes;
use crate::landfall;
use crate::origin::Origin;

/// Checks the configuration, Kafka, the checkpoint store and the lake; changes nothing
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    landfall check landfall.toml\n  \
    landfall check --probe landfall.toml      also prove that the lake can create exclusively\n\n\
Exit codes: 0 all is well, 1 something is not, 69 Kafka or the store cannot be reached, 73 the lake is owned by \
another store, 78 the configuration is wrong.")]
pub struct CheckArgs {
    #[command(flatten)]
    pub config: ConfigArg,
    /// Also write and remove small files below _landfall/ to prove exclusive creation, one after the other and at once
    #[arg(long)]
    pub probe: bool,
}

/// Everything that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    pub ok: bool,
    pub checks: Vec<CheckRow>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckRow {
    /// `configuration`, `kafka`, `topic orders`, `lake`, `checkpoint store`, …
    pub what: String,
    pub ok: bool,
    pub detail: String,
    /// The way out, where it is not well.
    pub hint: Option<String>,
    /// What the command exits with because of it.
    #[serde(skip)]
    pub exit: Exit,
}

impl CheckRow {
    pub fn well(what: impl Into<String>, detail: impl Into<String>) -> CheckRow {
        CheckRow { what: what.into(), ok: true, detail: detail.into(), hint: None, exit: Exit::Done }
    }

    pub fn wrong(what: impl Into<String>, failure: Failure) -> CheckRow {
        let what = what.into();
        // What an error says first is what the row is about.
        let rest = failure.what.strip_prefix(&what).and_then(|rest| rest.strip_prefix(' ')).map(str::to_owned);
        let detail = rest.unwrap_or(failure.what);
        CheckRow { what, ok: false, detail, hint: failure.hint, exit: failure.code }
    }
}

impl Checked {
    pub fn new(checks: Vec<CheckRow>) -> Checked {
        Checked { ok: checks.iter().all(|row| row.ok), checks }
    }

    /// That of the first thing that is not well: what comes later may only follow from it.
    pub fn exit(&self) -> Exit {
        self.checks.iter().find(|row| !row.ok).map_or(Exit::Done, |row| row.exit)
    }
}

impl Render for Checked {
    fn text(&self) -> String {
        let mut table = Table::new(&["", "what", "detail"]);
        for row in &self.checks {
            let mark = if row.ok { "ok" } else { "FAILED" };
            table.row([mark.into(), row.what.clone(), row.detail.clone()]);
            if let Some(hint) = &row.hint {
                table.row([String::new(), String::new(), format!("way out: {hint}")]);
            }
        }
        table.render()
    }
}

pub fn run(args: &CheckArgs, console: &Console) -> Result<Exit, Failure> {
    let config = args.config.load_and_warn(console.env())?;
    let checked = look(&args.config, &config, args.probe)?;
    console.show(&checked)?;
    Ok(checked.exit())
}

/// Asks Kafka, the store and the lake.
fn look(file: &ConfigArg, config: &Config, probe: bool) -> Result<Checked, Failure> {
    block_on(async {
        let mut rows = vec![CheckRow::well("configuration", file.config.display().to_string())];
        // What is wrong with the store is told in its own row.
        let known = known_checkpoints(config).await.ok().flatten().unwrap_or_default();
        let known = known.into_iter().map(|checkpoint| (checkpoint.stream.clone(), checkpoint)).collect();
        rows.extend(kafka(config, &known).await);
        rows.push(row("checkpoint store", store(config).await));
        rows.extend(stopped(config).await);
        rows.push(row("lake", lake(config).await));
        if probe {
            rows.push(row("probe", prove(config).await));
        }
        Ok(Checked::new(rows))
    })
}

fn row(what: impl Into<String>, found: Result<String, Failure>) -> CheckRow {
    match found {
        Ok(detail) => CheckRow::well(what, detail),
        Err(failure) => CheckRow::wrong(what, failure),
    }
}

/// The next offset of each stream.
type Known = BTreeMap<Stream, Checkpoint>;

/// So many streams that are stopped are told one by one.
const TOLD: usize = 10;

/// What a running landfall has stopped.
async fn stopped(config: &Config) -> Vec<CheckRow> {
    let Ok(Some(client)) = Client::connect(&config.checkpoint.path).await else { return Vec::new() };
    let rows = status::of_store(&Inspection::Running(client)).await.unwrap_or_default();
    let stopped = rows.into_iter().filter(|row| row.state == StreamState::Stopped);
    let told = stopped.take(TOLD).map(|row| {
        let why = row.reason.unwrap_or_default();
        let what = if row.partition < 0 { row.topic } else { format!("stream {}/{}", row.topic, row.partition) };
        CheckRow::wrong(what, Failure::new(Exit::Failure, format!("stopped: {why}")))
    });
    told.collect()
}

const ASK: Duration = Duration::from_secs(10);

/// The cluster, and each topic of it.
async fn kafka(config: &Config, known: &Known) -> Vec<CheckRow> {
    let reached = async {
        let kafka = connect(config)?;
        let cluster = asked(&kafka, |kafka| kafka.cluster_id(ASK)).await?;
        Ok((kafka, cluster))
    };
    let (kafka, cluster) = match reached.await {
        Ok(reached) => reached,
        Err(failure) => return vec![CheckRow::wrong("kafka", failure)],
    };
    let given = |name| config.kafka.properties.get(name);
    let brokers = given("bootstrap.servers").or(given("metadata.broker.list")).unwrap_or_default();
    let mut rows = vec![CheckRow::well("kafka", format!("cluster {cluster} at {brokers}"))];
    match topics(config, known, &kafka, &cluster).await {
        Ok(topics) => rows.extend(topics),
        Err(failure) => rows.push(CheckRow::wrong("topics", failure)),
    }
    rows
}

async fn topics(config: &Config, known: &Known, kafka: &Kafka, cluster: &str) -> Result<Vec<CheckRow>, Failure> {
    // What is wrong with the lake is told in its own row.
    let origin = origin(config).await.ok().flatten();
    let wanted: Vec<String> = config.kafka.topics.iter().map(ToString::to_string).collect();
    let selection = Selection::new(&wanted).map_err(|error| Failure::new(Exit::Config, error))?;
    let found = asked(kafka, move |kafka| kafka.topics(&selection, ASK)).await?;
    let mut rows = Vec::new();
    for topic in &found {
        let look = Look { config, known, kafka, cluster, origin: origin.as_ref(), topic };
        rows.push(row(format!("topic {}", topic.name), look.readable().await));
    }
    for pattern in config.kafka.topics.iter().filter(|topic| topic.name().is_none()).map(ToString::to_string) {
        let matches = |topic: &&TopicMeta| topic.matched_by == MatchedBy::Pattern(pattern.clone());
        let count = found.iter().filter(matches).count();
        rows.push(CheckRow::well(format!("topics {pattern}"), format!("{count} match now")));
    }
    Ok(rows)
}

/// A topic, with everything that says something of it.
struct Look<'a> {
    config: &'a Config,
    known: &'a Known,
    kafka: &'a Kafka,
    cluster: &'a str,
    origin: Option<&'a Origin>,
    topic: &'a TopicMeta,
}

impl Look<'_> {
    async fn readable(&self) -> Result<String, Failure> {
        let Look { config, topic, .. } = self;
        if let Some(why) = config.collision(&topic.name) {
            let failure = Failure::new(Exit::Config, why);
            return Err(failure.way_out("change lake.path, as in \"topic={topic}/{partition}\""));
        }
        match &topic.problem {
            Some(problem @ KafkaError::Missing(_)) => {
                return Err(Failure::new(Exit::Failure, problem).way_out("create it, or correct kafka.topics"));
            }
            Some(problem) => return Err(problem.clone().into()),
            None => {}
        }
        let (name, isolation) = (topic.name.clone(), config.isolation());
        let both = |at| [At::Start, At::End].map(|end| (topic.name.clone(), at, end));
        let asks: Vec<(String, i32, At)> = (0..topic.partitions).flat_map(both).collect();
        let ask = move |kafka: &Kafka| Ok((kafka.topic_ids(&[name])?, kafka.list_offsets(&asks, isolation, ASK)?));
        let (ids, ends) = asked(self.kafka, ask).await?;
        let id = match ids.get(&topic.name) {
            Some(TopicId::Id(id)) => Some(id.as_str()),
            Some(TopicId::Failed(error)) => return Err(error.clone().into()),
            _ => None,
        };
        let topic_id = match self.origin {
            Some(origin) => origin.known_as(self.cluster, &topic.name, id).await?,
            None => id.map(str::to_owned),
        };
        let mut offsets = 0;
        let mut ends = ends.into_iter();
        for partition in 0..topic.partitions {
            let (Some(start), Some(end)) = (ends.next(), ends.next()) else { break };
            let (cluster, topic_id) = (self.cluster.to_owned(), topic_id.clone());
            let stream = Stream { cluster, topic: topic.name.clone(), topic_id, partition };
            offsets += self.to_read(&stream, start?.offset, end?.offset).await?;
        }
        let id = id.map_or("no topic id: these brokers have none".into(), |id| format!("id {id}"));
        Ok(format!("{} partitions, {id}, {} offsets to read", topic.partitions, number(offsets)))
    }

    /// From where the stream has got to. A run would refuse one whose files would stand among those of a former topic,
    /// and stop at a gap.
    async fn to_read(&self, stream: &Stream, start: i64, end: i64) -> Result<i64, Failure> {
        if let Some(origin) = self.origin {
            let layout = files::layout(self.config, origin.lake_id());
            if let Some(why) = origin.blocked(stream, &layout).await? {
                return Err(why.into());
            }
        }
        let Some(checkpoint) = self.known.get(stream) else { return Ok(end - start) };
        let next = checkpoint.next;
        if start > next && self.config.source.on_gap == OnGap::Fail {
            let what = format!("{stream}: offsets {next} to {start} are gone from Kafka; landfall had got to {next}");
            return Err(Failure::new(Exit::Failure, what).way_out(format!(
                "set source.on_gap = \"record\", or give up this range alone: `landfall resolve --stream {stream} --range \
                 {next}-{start} --as gap`"
            )));
        }
        Ok((end - next.max(start)).max(0))
    }
}

/// Whether a run could have the store, or has it.
async fn store(config: &Config) -> Result<String, Failure> {
    match config.checkpoint.store {
        StoreKind::Sled => {}
        StoreKind::Memory => return Ok("in memory: it forgets everything".into()),
        StoreKind::Lake => return in_lake(config).await,
    }
    let place = config.checkpoint.path.display();
    match open_or_ask(&config.checkpoint.path).await? {
        Inspection::Running(client) => Ok(format!("{place}, used by {}", client.held_by())),
        Inspection::Absent => {
            may_write(&config.checkpoint.path, "checkpoint.path")?;
            Ok(format!("{place} will be created"))
        }
        idle => {
            may_write(&config.checkpoint.path, "checkpoint.path")?;
            Ok(format!("{place}, {} checkpoints", number(idle.checkpoints().await?.len() as u64)))
        }
    }
}

async fn in_lake(config: &Config) -> Result<String, Failure> {
    if lakes::is_there(&config.lake.url) {
        lakes::must_be_coherent(&config.lake.url)?;
    }
    // Whose it is, is told in the row of the lake.
    let Some(origin) = origin(config).await? else { return Ok("in the lake; nothing there yet".into()) };
    match view::of_origin(&origin).await? {
        Some(known) => Ok(format!("in the lake, {} checkpoints", number(known.len() as u64))),
        None => Ok("in the lake; nothing there yet".into()),
    }
}

/// Whether it can be written to, and is this store's or nobody's.
async fn lake(config: &Config) -> Result<String, Failure> {
    if let Some(place) = config.lake.url.local_path() {
        may_write(place, "lake.url")?;
    }
    if !lakes::is_there(&config.lake.url) {
        return Ok(format!("{} will be created", config.lake.url));
    }
    let Some(origin) = origin(config).await? else { return Ok(format!("{} has no owner yet", config.lake.url)) };
    let about = landfall::about(config);
    match config.checkpoint.store {
        StoreKind::Lake => origin.is_its_own(&about)?,
        StoreKind::Sled | StoreKind::Memory => origin.is_of(store_id(&config.checkpoint.path)?.as_deref(), &about)?,
    }
    Ok(format!("{}, lake id {}, owned by this store", config.lake.url, origin.lake_id()))
}

/// The nearest directory that there is decides whether the others can be made.
fn may_write(place: &Path, key: &str) -> Result<(), Failure> {
    let there = place.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("."));
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    if !there.is_dir() {
        return Err(Failure::new(Exit::Io, format!("{key}: {} is not a directory", there.display()))
            .way_out(format!("name a directory in {key}, or move that file away")));
    }
    let wanted = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    rustix::fs::access(there, wanted).map_err(|error| {
        Failure::new(Exit::Io, format!("{key}: {} cannot be written: {error}", there.display()))
            .way_out("give this user the right to write there, or name another place")
    })
}

async fn prove(config: &Config) -> Result<String, Failure> {
    let lake = lakes::open(config)?;
    Ok(landfall_lake::probe(lake.as_ref()).await?.to_string())
}

#[cfg(test)]
pub fn sample() -> Checked {
    let unknown =
        Failure::new(Exit::Failure, "topic payments does not exist").way_out("create it, or correct kafka.topics");
    Checked::new(vec![
        CheckRow::well("configuration", "landfall.toml"),
        CheckRow::well("kafka", "cluster lkc-1 at localhost:9092"),
        CheckRow::wrong("topic payments", unknown),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_well_is_told_with_its_way_out() {
        let checked = sample();
        assert_eq!(
            checked.text(),
            "        what            detail\n\
             ok      configuration   landfall.toml\n\
             ok      kafka           cluster lkc-1 at localhost:9092\n\
             FAILED  topic payments  does not exist\n\
             \u{20}                       way out: create it, or correct kafka.topics\n"
        );
        assert_eq!((checked.ok, checked.exit()), (false, Exit::Failure));
        assert_eq!(Checked::new(checked.checks[..2].to_vec()).exit(), Exit::Done);
    }
}
