//! `landfall rebuild`: a lost checkpoint store, from what the lake shows.

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clap::{Args, ValueEnum};
use landfall_lake::Lake;
use landfall_sink::{OffsetRange, Sink};
use serde::Serialize;

use super::engine::{asked as asked_kafka, block_on, connect, known_checkpoints};
use super::progress::aside;
use super::table::{Table, number, spans};
use super::{Bar, ConfigArg, Console, Exit, Failure, Progress, Render};
use crate::checkpoint::{CheckpointStore, LakeStore, SledStore};
use crate::config::{Config, StoreKind};
use crate::files;
use crate::lakes::{self, IO_THREADS};
use crate::landfall::{self, LandfallError};
use crate::origin::{Origin, OriginError, OwnerAbout};
#[cfg(test)]
use crate::rebuild::RebuiltStream;
use crate::rebuild::{self, Operator, Rebuild, Rebuilt, Source};

/// Makes a lost checkpoint store anew from the files of the lake
#[derive(Debug, Args)]
#[command(
    long_about = "Makes a lost checkpoint store anew from the files of the lake.\n\n\
        No other landfall may be writing to this lake, and none may have been writing a moment ago. It asks before it \
        changes anything, and may be stopped at any point and called again. Where a store is damaged, move its \
        directory aside first.",
    after_help = "Examples:\n  \
    landfall rebuild landfall.toml\n  \
    landfall rebuild --take-over landfall.toml        the lake belonged to another store, which is gone for good\n  \
    landfall rebuild --holes removed landfall.toml    files were moved away on purpose; do not land them again"
)]
pub struct RebuildArgs {
    #[command(flatten)]
    pub config: ConfigArg,
    /// Take the lake over from another owner, every process of which has ended
    #[arg(long)]
    pub take_over: bool,
    /// What ranges without a file mean
    #[arg(long, value_name = "MEANING", default_value = "land")]
    pub holes: Holes,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// What a range without a file means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Holes {
    /// The file was lost, or never made: land the range again
    Land,
    /// The file was moved away on purpose: leave the range alone. Right only if nothing was planned when the store was lost
    Removed,
}

impl From<Holes> for rebuild::Holes {
    fn from(holes: Holes) -> rebuild::Holes {
        match holes {
            Holes::Land => rebuild::Holes::Land,
            Holes::Removed => rebuild::Holes::Removed,
        }
    }
}

impl Render for Rebuilt {
    fn text(&self) -> String {
        let titles = ["topic", ">partition", ">genesis", ">next", "from", "planned", "removed", "gaps"];
        let mut table = Table::new(&titles);
        for row in &self.streams {
            table.row([
                row.stream.topic.clone(),
                row.stream.partition.to_string(),
                number(row.genesis),
                number(row.next),
                match row.source {
                    Source::Store => "the store",
                    Source::Former => "a former store",
                    Source::Names => "its files",
                }
                .into(),
                spans(&row.planned),
                spans(&row.removed),
                spans(&row.gaps),
            ]);
        }
        let count = number(self.streams.len() as u64);
        table.render() + &format!("{count} checkpoints stand; the next run lands what is planned\n")
    }
}

pub fn run(args: &RebuildArgs, console: &Console) -> Result<Exit, Failure> {
    let config = args.config.load(console.env())?;
    let rebuilt = make(&config, args, console)?;
    console.show(&rebuilt)?;
    Ok(Exit::Done)
}

/// Asks with [`confirm`], takes the locks of the store and of the lake, and makes the checkpoints.
fn make(config: &Config, args: &RebuildArgs, console: &Console) -> Result<Rebuilt, Failure> {
    if config.checkpoint.store == StoreKind::Memory {
        return Err(Failure::new(Exit::Config, "a store in memory has nothing that could be made anew"));
    }
    block_on(async {
        // A lake that is not there must not be made by opening it.
        let lake = lakes::open_to_read(&config.lake.url, &config.lake.options, IO_THREADS)?;
        let owner = announce(config, args, lake, console).await?;
        confirm("make the checkpoints anew", args.yes)?;
        // Its lock is held from here on, and so is that of the lake.
        let sled = match config.checkpoint.store {
            StoreKind::Sled => Some(SledStore::open(&config.checkpoint.path)?),
            StoreKind::Lake | StoreKind::Memory => None,
        };
        let (lake, _lock) = lakes::take(config, "landfall rebuild").map_err(LandfallError::from)?;
        let store: Box<dyn CheckpointStore> = match sled {
            Some(store) => Box::new(store),
            None => {
                lakes::must_be_coherent(&config.lake.url)?;
                Box::new(LakeStore::new(lake.clone()))
            }
        };
        let about = landfall::about(config);
        // A store that stood in this very place is the lost one, not another's.
        let was_here = owner.is_some_and(|owner| (owner.host, owner.path) == (about.host.clone(), about.path.clone()));
        let bar = console.bar("rebuild", "streams");
        let workers = config.limits.workers_or_cores();
        // On one disk nothing of a process outlives it; in an object store a late put of the lost store's may come. And
        // a store in the lake has no lock that says that nobody else works on it.
        let wait = args.take_over || config.lake.url.object().is_some() || config.checkpoint.store == StoreKind::Lake;
        let late = wait.then(|| lake.longest_request());
        let operator = Person { config, args, console, bar, late };
        let work = Rebuild {
            lake,
            store: store.as_ref(),
            about,
            take_over: args.take_over || was_here,
            holes: args.holes.into(),
            // Records that the store still has are taken from it, and those of former owners from the lake.
            former: None,
            parallel: workers,
        };
        Ok(rebuild::rebuild(work, &operator).await?)
    })
}

/// Says on standard error what is about to be done to which lake.
async fn announce(
    config: &Config,
    args: &RebuildArgs,
    lake: Arc<dyn Lake>,
    console: &Console,
) -> Result<Option<OwnerAbout>, Failure> {
    console.remark(&format!("lake              {}", lake.url()));
    let mut in_lake = None;
    let owner = match Origin::open(lake).await {
        Ok(origin) => {
            console.remark(&format!("its owner         {}", origin.owner()));
            if config.checkpoint.store == StoreKind::Lake {
                in_lake = Some(origin.streams().await?.len());
            }
            Some(origin.owner().about.clone())
        }
        // The rebuild itself says whether the layouts still tell the lake's id.
        Err(OriginError::NoLake { .. }) => {
            console.remark("its owner         is not told any more");
            None
        }
        Err(error) => return Err(error.into()),
    };
    if config.checkpoint.store == StoreKind::Lake {
        let born = number(in_lake.unwrap_or(0) as u64);
        console.remark(&format!("checkpoint store  in the lake, under a new owner's number; {born} streams were born"));
        console.remark("no process may land into this lake until it is done: end all of them, on every host");
    } else {
        let there = known_checkpoints(config).await?.map_or(0, |known| known.len());
        let store = config.checkpoint.path.display();
        console.remark(&format!("checkpoint store  {store}, with {} checkpoints", number(there as u64)));
    }
    if args.take_over {
        console.remark("with --take-over: no process of the present owner may run, nor ever be started again");
    }
    Ok(owner)
}

const ASK: Duration = Duration::from_secs(10);

/// Whoever called this command.
struct Person<'a> {
    config: &'a Config,
    args: &'a RebuildArgs,
    console: &'a Console,
    bar: Bar,
    /// How long a request of a process that has ended may still be under way, where one may.
    late: Option<Duration>,
}

#[async_trait]
impl Operator for Person<'_> {
    async fn nobody_else(&self, lake_id: &str) -> Result<(), OriginError> {
        let group = self.config.group_id().map_or_else(|| format!("landfall-{lake_id}"), str::to_owned);
        let kafka = connect(self.config).map_err(|failure| OriginError::Refused(failure.what))?;
        let asked = group.clone();
        match asked_kafka(&kafka, move |kafka| kafka.members(&asked, ASK)).await {
            Ok(members) if members.is_empty() => Ok(()),
            Ok(members) => {
                let told = members.iter().map(|member| format!("{} on {}", member.name, member.host));
                Err(OriginError::Refused(format!(
                    "the consumer group {group} has members: {}. End every process that works on this lake first; one \
                     that was killed is a member until its session has ended",
                    told.collect::<Vec<String>>().join(", ")
                )))
            }
            Err(failure) => {
                let what = failure.what;
                self.console.remark(&format!(
                    "warning: the members of the consumer group {group} cannot be asked for ({what}); the lock of the \
                     lake alone says that nobody else works on it"
                ));
                Ok(())
            }
        }
    }

    async fn requests_have_ended(&self) {
        let Some(late) = self.late else { return };
        let seconds = late.as_secs();
        self.console
            .remark(&format!("waiting {seconds} s, so that no request of an ended process is under way any more"));
        tokio::time::sleep(late).await;
    }

    fn sink(&self, origin: &Origin) -> Result<Arc<dyn Sink>, OriginError> {
        let layout = files::layout(self.config, origin.lake_id());
        Ok(files::sink(self.config, origin.lake(), layout)?)
    }

    async fn were_removed(&self, ranges: &[OffsetRange]) -> bool {
        self.console.remark("no file holds these ranges:");
        for range in ranges {
            self.console.remark(&format!("  {range}"));
        }
        let question = "did you move the files of exactly these ranges away";
        // What has become of the lake by now is told by the rebuild itself.
        match ask(question, self.args.yes) {
            Ok(agreed) => agreed,
            Err(failure) => {
                self.console.remark(&failure.what);
                false
            }
        }
    }

    fn progress(&self, done: usize, total: usize) {
        self.bar.feed(Progress { total: total as u64, done: done as u64, bytes: 0 });
    }
}

/// Asks before anything is changed.
pub fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    match ask(question, yes)? {
        true => Ok(()),
        false => Err(Failure::new(Exit::Failure, "stopped by your answer; nothing was changed")),
    }
}

/// Asks a person, on standard error. Without a person to ask, `--yes` has to have been given.
fn ask(question: &str, yes: bool) -> Result<bool, Failure> {
    if yes {
        return Ok(true);
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::new(Exit::Usage, format!("{question}: nobody is there to answer"))
            .way_out("look at what is shown above, then call it again with --yes"));
    }
    let mut answer = String::new();
    let read = aside(|| {
        let _ = write!(io::stderr().lock(), "{question}? [y/N] ");
        io::stdin().lock().read_line(&mut answer)
    });
    read.map_err(|error| Failure::new(Exit::Io, format!("the answer cannot be read: {error}")))?;
    Ok(is_yes(&answer))
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
pub fn sample() -> Rebuilt {
    let stream =
        landfall_sink::Stream { cluster: "lkc-1".into(), topic: "orders".into(), topic_id: None, partition: 0 };
    let row = RebuiltStream {
        stream,
        source: Source::Names,
        genesis: 0,
        next: 1234,
        planned: vec![landfall_sink::Span::new(100, 200)],
        removed: vec![],
        gaps: vec![],
    };
    Rebuilt { lake: "6f1d8a".into(), owner: 2, streams: vec![row] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_of_each_stream_is_shown() {
        assert_eq!(
            sample().text(),
            "topic   partition  genesis   next  from       planned     removed  gaps\n\
             orders          0        0  1_234  its files  [100, 200)\n\
             1 checkpoints stand; the next run lands what is planned\n"
        );
    }

    #[test]
    fn only_a_clear_yes_is_one() {
        assert!(is_yes("y\n") && is_yes(" YES\n"));
        assert!(!is_yes("\n") && !is_yes("no\n") && !is_yes("yep\n"));
        assert_eq!(confirm("go on", true), Ok(()));
    }
}
