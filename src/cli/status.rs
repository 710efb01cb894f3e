//! `landfall status`: where every partition stands.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use landfall_sink::{Span, Stream};
use serde::Serialize;

use super::engine::{block_on, known_checkpoints, same_owner};
use super::table::{Table, number, or_dash, spans};
use super::view::{self, View};
use super::{Console, Exit, Failure, Render, Target, TargetArg};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::holder::{Client, Inspection, open_or_ask};
use crate::config::StoreKind;
use crate::status::{Activity, StreamStatus};

/// Shows where every partition stands: next, committed, planned, lag, gaps
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    landfall status landfall.toml             asks the checkpoint store, through a running landfall if there is one\n  \
    landfall status file:///data/lake         what the files alone show\n  \
    landfall status --output json | jq '.streams[] | select(.state == \"stopped\")'")]
pub struct StatusArgs {
    #[command(flatten)]
    pub target: TargetArg,
}

/// Every stream of a lake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    pub streams: Vec<StatusRow>,
}

/// One stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatusRow {
    pub topic: String,
    pub partition: i32,
    /// Tells topics of one name apart; `null` where the broker has no ids.
    pub topic_id: Option<String>,
    /// The first offset that was ever meant to be landed.
    pub genesis: i64,
    /// The first offset that no plan covers.
    pub next: i64,
    /// Everything from `genesis` up to here has landed, or is a recorded gap.
    pub committed: i64,
    /// Planned, not committed.
    pub planned: Vec<Span>,
    /// Kafka's last stable offset; `null` where Kafka was not asked.
    pub end: Option<i64>,
    /// From `committed` to `end`.
    pub lag: Option<i64>,
    /// Records that Kafka dropped before they were read.
    pub gaps: Vec<Span>,
    pub state: StreamState,
    /// The process that plans it, where processes share the lake and Kafka tells.
    pub owner: Option<String>,
    /// Why, where it is stopped or waiting, and the way out.
    pub reason: Option<String>,
}

/// What a stream does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamState {
    /// At its end.
    Idle,
    Landing,
    /// For Kafka or the lake; it goes on by itself.
    Waiting,
    /// Until a person decides.
    Stopped,
    /// Nobody runs, so nothing is known of what it does.
    Unknown,
}

impl StreamState {
    pub fn as_str(self) -> &'static str {
        match self {
            StreamState::Idle => "idle",
            StreamState::Landing => "landing",
            StreamState::Waiting => "waiting",
            StreamState::Stopped => "stopped",
            StreamState::Unknown => "-",
        }
    }
}

impl Render for Status {
    fn text(&self) -> String {
        if self.streams.is_empty() {
            return "No partition has been landed yet.\n".into();
        }
        let mut titles =
            vec!["topic", ">partition", ">genesis", ">committed", ">next", ">end", ">lag", "state", "planned", "gaps"];
        let is_owned = self.streams.iter().any(|row| row.owner.is_some());
        titles.extend(is_owned.then_some("owner"));
        let mut table = Table::new(&titles);
        let shared = self.shared_names();
        for row in &self.streams {
            let mut cells = vec![
                name(row, &shared),
                row.partition.to_string(),
                number(row.genesis),
                number(row.committed),
                number(row.next),
                or_dash(row.end, number),
                or_dash(row.lag, number),
                row.state.as_str().into(),
                spans(&row.planned),
                spans(&row.gaps),
            ];
            cells.extend(is_owned.then(|| row.owner.clone().unwrap_or_else(|| "-".into())));
            table.row(cells);
        }
        let mut text = table.render();
        for row in &self.streams {
            if let Some(reason) = &row.reason {
                text.push_str(&format!("{}/{} {}: {reason}\n", name(row, &shared), row.partition, row.state.as_str()));
            }
        }
        text
    }
}

impl Status {
    /// Names that more than one topic of this lake has.
    fn shared_names(&self) -> BTreeSet<&str> {
        let mut ids: BTreeMap<&str, Option<&str>> = BTreeMap::new();
        let mut shared = BTreeSet::new();
        for row in self.streams.iter().filter(|row| row.partition >= 0) {
            let id = row.topic_id.as_deref();
            if *ids.entry(&row.topic).or_insert(id) != id {
                shared.insert(row.topic.as_str());
            }
        }
        shared
    }
}

fn name(row: &StatusRow, shared: &BTreeSet<&str>) -> String {
    match shared.contains(row.topic.as_str()) {
        true => format!("{} (id {})", row.topic, row.topic_id.as_deref().unwrap_or("-")),
        false => row.topic.clone(),
    }
}

pub fn run(args: &StatusArgs, console: &Console) -> Result<Exit, Failure> {
    let target = args.target.load(console.env())?;
    console.show(&ask(&target)?)?;
    Ok(Exit::Done)
}

/// Asks the holder of the store, the store itself, the lake that keeps its own checkpoints, or the files.
fn ask(target: &Target) -> Result<Status, Failure> {
    let streams = block_on(async {
        match target {
            Target::Config(config) if config.checkpoint.store == StoreKind::Lake => {
                let checkpoints = known_checkpoints(config).await?.unwrap_or_default();
                let mut rows: Vec<StatusRow> = checkpoints.into_iter().map(of_checkpoint).collect();
                super::owners::add(config, &mut rows).await;
                Ok(rows)
            }
            Target::Config(config) => {
                same_owner(config).await?;
                of_store(&open_or_ask(&config.checkpoint.path).await?).await
            }
            Target::Lake(url) => Ok(view::of_lake(url).await?.into_iter().map(of_view).collect()),
        }
    })?;
    Ok(Status { streams })
}

/// What the store knows of every stream, and its holder if there is one.
pub async fn of_store(store: &Inspection) -> Result<Vec<StatusRow>, Failure> {
    match store {
        Inspection::Running(client) => running(client).await,
        idle => Ok(idle.checkpoints().await?.into_iter().map(of_checkpoint).collect()),
    }
}

/// The holder knows more than its records say: what it waits for, and where Kafka's ends are.
async fn running(client: &Client) -> Result<Vec<StatusRow>, Failure> {
    let told = client.status().await?;
    let live: Vec<StreamStatus> = serde_json::from_value(told).map_err(|error| {
        Failure::new(Exit::Failure, format!("the running landfall answers in another way: {error}"))
    })?;
    let mut live: BTreeMap<Stream, StreamStatus> = live.into_iter().map(|row| (row.stream.clone(), row)).collect();
    let checkpoints = client.checkpoints().await?;
    let mut rows: Vec<StatusRow> = Vec::with_capacity(checkpoints.len());
    for checkpoint in checkpoints {
        let known = live.remove(&checkpoint.stream);
        rows.push(known.as_ref().map_or_else(|| of_checkpoint(checkpoint), of_status));
    }
    // What has no checkpoint was refused before it was born.
    rows.extend(live.values().map(of_status));
    Ok(rows)
}

fn of_status(status: &StreamStatus) -> StatusRow {
    let lag = status.lag();
    let (state, reason) = match &status.activity {
        Activity::Stopped { why, way_out } => (StreamState::Stopped, Some(format!("{why}; {way_out}"))),
        Activity::Waiting { why } => (StreamState::Waiting, Some(why.clone())),
        Activity::Landing | Activity::Done if lag == Some(0) => (StreamState::Idle, None),
        Activity::Landing | Activity::Done => (StreamState::Landing, None),
    };
    StatusRow {
        topic: status.stream.topic.clone(),
        partition: status.stream.partition,
        topic_id: status.stream.topic_id.clone(),
        genesis: status.genesis,
        next: status.next,
        committed: status.committed,
        planned: status.planned.clone(),
        end: status.end,
        lag,
        gaps: status.gaps.clone(),
        state,
        owner: None,
        reason,
    }
}

fn of_checkpoint(checkpoint: Checkpoint) -> StatusRow {
    of_view(View::from(checkpoint))
}

fn of_view(view: View) -> StatusRow {
    StatusRow {
        topic: view.stream.topic,
        partition: view.stream.partition,
        topic_id: view.stream.topic_id,
        genesis: view.genesis,
        next: view.next,
        committed: view.committed,
        planned: view.planned,
        end: None,
        lag: None,
        gaps: view.gaps,
        state: StreamState::Unknown,
        owner: None,
        reason: None,
    }
}

#[cfg(test)]
pub fn sample() -> Status {
    let row = StatusRow {
        topic: "orders".into(),
        partition: 0,
        topic_id: Some("VZg3sBW9Q3uMzzHBT3QDSA".into()),
        genesis: 0,
        next: 1234,
        committed: 1200,
        planned: vec![Span::new(1200, 1234)],
        end: Some(1300),
        lag: Some(100),
        gaps: vec![Span::new(10, 20)],
        state: StreamState::Landing,
        owner: None,
        reason: None,
    };
    Status { streams: vec![row] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_stream_says_why_below_the_table() {
        let mut status = sample();
        status.streams[0].state = StreamState::Stopped;
        status.streams[0].reason = Some("the topic was created again".into());
        status.streams[0].end = None;
        status.streams[0].lag = None;
        assert_eq!(
            status.text(),
            "topic   partition  genesis  committed   next  end  lag  state    planned       gaps\n\
             orders          0        0      1_200  1_234    -    -  stopped  [1200, 1234)  [10, 20)\n\
             orders/0 stopped: the topic was created again\n"
        );
    }

    #[test]
    fn owners_have_a_column_where_there_are_any() {
        let mut status = sample();
        assert!(!status.text().contains("owner"));
        status.streams[0].owner = Some("landfall-0 on 10.0.0.5".into());
        let text = status.text();
        assert!(text.contains("  owner") && text.contains("landfall-0 on 10.0.0.5"), "{text}");
    }

    #[test]
    fn topics_of_one_name_are_told_apart() {
        let mut status = sample();
        let again = StatusRow { topic_id: Some("new".into()), ..status.streams[0].clone() };
        status.streams.push(again);
        let text = status.text();
        assert!(text.contains("orders (id VZg3sBW9Q3uMzzHBT3QDSA)") && text.contains("orders (id new)"), "{text}");
    }
}
