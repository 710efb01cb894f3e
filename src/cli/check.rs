//! `landfall check`: is everything there that a run needs?

use std::path::Path;
use std::time::Duration;

use clap::Args;
use landfall_sink::Stream;
use rustix::fs::Access;
use serde::Serialize;

use super::engine::{asked, block_on, connect};
use super::table::{Table, number};
use super::{ConfigArg, Console, Exit, Failure, Render};
use crate::checkpoint::holder::{Inspection, open_or_ask};
use crate::checkpoint::store_id;
use crate::config::{Config, StoreKind};
use crate::files;
use crate::kafka::{At, Kafka, KafkaError, MatchedBy, Selection, TopicId, TopicMeta};
use crate::lakes;
use crate::origin::{Origin, OriginError};

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
        CheckRow { what: what.into(), ok: false, detail: failure.what, hint: failure.hint, exit: failure.code }
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
        rows.extend(kafka(config).await);
        rows.push(row("checkpoint store", store(config).await));
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

const ASK: Duration = Duration::from_secs(10);

/// The cluster, and each topic of it.
async fn kafka(config: &Config) -> Vec<CheckRow> {
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
    match topics(config, &kafka, &cluster).await {
        Ok(topics) => rows.extend(topics),
        Err(failure) => rows.push(CheckRow::wrong("topics", failure)),
    }
    rows
}

async fn topics(config: &Config, kafka: &Kafka, cluster: &str) -> Result<Vec<CheckRow>, Failure> {
    // What is wrong with the lake is told in its own row.
    let origin = origin(config).await.ok().flatten();
    let wanted: Vec<String> = config.kafka.topics.iter().map(ToString::to_string).collect();
    let selection = Selection::new(&wanted).map_err(|error| Failure::new(Exit::Config, error))?;
    let found = asked(kafka, move |kafka| kafka.topics(&selection, ASK)).await?;
    let mut rows = Vec::new();
    for topic in &found {
        rows.push(row(format!("topic {}", topic.name), readable(config, kafka, cluster, origin.as_ref(), topic).await));
    }
    for pattern in config.kafka.topics.iter().filter(|topic| topic.name().is_none()).map(ToString::to_string) {
        let matches = |topic: &&TopicMeta| topic.matched_by == MatchedBy::Pattern(pattern.clone());
        let count = found.iter().filter(matches).count();
        rows.push(CheckRow::well(format!("topics {pattern}"), format!("{count} match now")));
    }
    Ok(rows)
}

async fn readable(
    config: &Config,
    kafka: &Kafka,
    cluster: &str,
    origin: Option<&Origin>,
    topic: &TopicMeta,
) -> Result<String, Failure> {
    if let Some(why) = config.collision(&topic.name) {
        return Err(Failure::new(Exit::Config, why).way_out("change lake.path, as in \"topic={topic}/{partition}\""));
    }
    match &topic.problem {
        Some(problem @ KafkaError::Missing(_)) => {
            return Err(Failure::new(Exit::Failure, problem).way_out("create it, or correct kafka.topics"));
        }
        Some(problem) => return Err(problem.clone().into()),
        None => {}
    }
    let (name, isolation) = (topic.name.clone(), config.isolation());
    let asks: Vec<(String, i32, At)> =
        (0..topic.partitions).flat_map(|at| [At::Start, At::End].map(|end| (topic.name.clone(), at, end))).collect();
    let (ids, ends) =
        asked(kafka, move |kafka| Ok((kafka.topic_ids(&[name])?, kafka.list_offsets(&asks, isolation, ASK)?))).await?;
    let id = match ids.get(&topic.name) {
        Some(TopicId::Id(id)) => Some(id.as_str()),
        Some(TopicId::Failed(error)) => return Err(error.clone().into()),
        _ => None,
    };
    if let Some(origin) = origin {
        not_created_again(config, cluster, origin, topic, id).await?;
    }
    let id = id.map_or("no topic id: these brokers have none".into(), |id| format!("id {id}"));
    let mut offsets = 0;
    let mut ends = ends.into_iter();
    while let (Some(start), Some(end)) = (ends.next(), ends.next()) {
        offsets += end?.offset - start?.offset;
    }
    Ok(format!("{} partitions, {id}, {} offsets to read", topic.partitions, number(offsets)))
}

/// A run would refuse a topic whose files would stand among those of a former one.
async fn not_created_again(
    config: &Config,
    cluster: &str,
    origin: &Origin,
    topic: &TopicMeta,
    id: Option<&str>,
) -> Result<(), Failure> {
    let topic_id = origin.known_as(cluster, &topic.name, id).await?;
    let layout = files::layout(config, origin.lake_id());
    for partition in 0..topic.partitions {
        let stream =
            Stream { cluster: cluster.into(), topic: topic.name.clone(), topic_id: topic_id.clone(), partition };
        if let Some(why) = origin.blocked(&stream, &layout).await? {
            return Err(why.into());
        }
    }
    Ok(())
}

/// Whether a run could have the store, or has it.
async fn store(config: &Config) -> Result<String, Failure> {
    if config.checkpoint.store == StoreKind::Memory {
        return Ok("in memory: it forgets everything".into());
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

/// Whether it can be written to, and is this store's or nobody's.
async fn lake(config: &Config) -> Result<String, Failure> {
    if let Some(place) = config.lake.url.local_path() {
        may_write(place, "lake.url")?;
    }
    if !lakes::is_there(&config.lake.url) {
        return Ok(format!("{} will be created", config.lake.url));
    }
    let Some(origin) = origin(config).await? else { return Ok(format!("{} has no owner yet", config.lake.url)) };
    let own = store_id(&config.checkpoint.path)?;
    if own.as_deref() == Some(origin.owner().store.as_str()) {
        return Ok(format!("{}, lake id {}, owned by this store", config.lake.url, origin.lake_id()));
    }
    let what = format!("lake {} is owned by another store: {}", config.lake.url, origin.owner());
    Err(Failure::new(Exit::Owned, what).way_out(
        "use that store; if every process of it has ended for good, `landfall rebuild --take-over` makes this one the owner",
    ))
}

/// `None` where there is no lake yet.
async fn origin(config: &Config) -> Result<Option<Origin>, Failure> {
    if !lakes::is_there(&config.lake.url) {
        return Ok(None);
    }
    let lake = lakes::open_to_read(&config.lake.url, &config.lake.options, 1)?;
    match Origin::open(lake).await {
        Ok(origin) => Ok(Some(origin)),
        Err(OriginError::NoLake { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The nearest directory that there is decides whether the others can be made.
fn may_write(place: &Path, key: &str) -> Result<(), Failure> {
    let there = place.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("."));
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
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
        CheckRow::well("kafka", "cluster lkc-1 at localhost:9092, 3 brokers"),
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
             ok      kafka           cluster lkc-1 at localhost:9092, 3 brokers\n\
             FAILED  topic payments  topic payments does not exist\n\
             \u{20}                       way out: create it, or correct kafka.topics\n"
        );
        assert_eq!((checked.ok, checked.exit()), (false, Exit::Failure));
        assert_eq!(Checked::new(checked.checks[..2].to_vec()).exit(), Exit::Done);
    }
}
