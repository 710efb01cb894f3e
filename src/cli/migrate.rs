//! `landfall migrate`: the checkpoints of one host's store, moved into the lake.

use clap::{Args, ValueEnum};

use super::engine::block_on;
use super::rebuild::confirm;
use super::table::{Table, number, spans};
use super::{ConfigArg, Console, Exit, Failure, Render};
use crate::checkpoint::{LakeStore, SledStore};
use crate::config::{Config, StoreKind};
use crate::files;
use crate::lakes;
use crate::landfall::{self, LandfallError};
#[cfg(test)]
use crate::migrate::MigratedStream;
use crate::migrate::{Migrated, Migration, migrate};

/// Moves the checkpoints of the sled store into the lake, exactly
#[derive(Debug, Args)]
#[command(
    long_about = "Moves the checkpoints of the sled store into the lake, exactly.\n\n\
        Nothing is landed again, and nothing is left out: plans that are open stay open. The landfall that uses the \
        store must have ended. It asks before it changes anything, and may be stopped at any point and called again. \
        Afterwards the lake belongs to its own store, the old one is refused, and checkpoint.store has to be \"lake\".",
    after_help = "Examples:\n  \
    landfall migrate landfall.toml --to lake\n  \
    landfall migrate landfall.toml --to lake --yes        without being asked"
)]
pub struct MigrateArgs {
    #[command(flatten)]
    pub config: ConfigArg,
    /// Where to
    #[arg(long, value_name = "STORE")]
    pub to: Destination,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// A kind of store that checkpoints can be moved into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Destination {
    /// The lake itself, for any number of processes
    Lake,
}

impl Render for Migrated {
    fn text(&self) -> String {
        let mut table = Table::new(&["topic", ">partition", ">next", "planned", ""]);
        for row in &self.streams {
            table.row([
                row.stream.topic.clone(),
                row.stream.partition.to_string(),
                number(row.next),
                spans(&row.planned),
                if row.already { "was there already" } else { "" }.into(),
            ]);
        }
        let mut text = table.render();
        let count = number(self.streams.len() as u64);
        text.push_str(&format!("{count} checkpoints are in the lake; now set checkpoint.store = \"lake\"\n"));
        text
    }
}

pub fn run(args: &MigrateArgs, console: &Console) -> Result<Exit, Failure> {
    let config = args.config.load(console.env())?;
    console.show(&make(&config, args, console)?)?;
    Ok(Exit::Done)
}

/// Holds the locks of the old store and of the lake while it works.
fn make(config: &Config, args: &MigrateArgs, console: &Console) -> Result<Migrated, Failure> {
    let Destination::Lake = args.to;
    block_on(async {
        // A lake that is not there must not be made by opening it.
        drop(lakes::open_to_read(&config.lake.url, &config.lake.options, 1)?);
        let path = &config.checkpoint.path;
        if !SledStore::is_there(path)? {
            let what = format!("there is no checkpoint store at {}", path.display());
            return Err(Failure::new(Exit::Failure, what).way_out("correct checkpoint.path"));
        }
        let from = SledStore::open(path)?;
        console.remark(&format!("lake              {}", config.lake.url));
        console.remark(&format!("checkpoint store  {}", path.display()));
        confirm("move its checkpoints into the lake", args.yes)?;
        lakes::must_be_coherent(&config.lake.url)?;
        let (lake, _lock) = lakes::take(config, "landfall migrate").map_err(LandfallError::from)?;
        let to = LakeStore::new(lake.clone());
        let mut target = config.clone();
        target.checkpoint.store = StoreKind::Lake;
        let migration = Migration { lake, from: &from, to: &to, about: landfall::about(&target) };
        let sink = |origin: &crate::origin::Origin| {
            Ok(files::sink(config, origin.lake(), files::layout(config, origin.lake_id()))?)
        };
        Ok(migrate(migration, sink).await?)
    })
}

#[cfg(test)]
pub fn sample() -> Migrated {
    let stream =
        landfall_sink::Stream { cluster: "lkc-1".into(), topic: "orders".into(), topic_id: None, partition: 0 };
    let planned = vec![landfall_sink::Span::new(1200, 1234)];
    Migrated {
        lake: "6f1d8a".into(),
        owner: 2,
        streams: vec![MigratedStream { stream, next: 1234, planned, already: false }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_moved_is_shown_with_what_is_left_to_do() {
        assert_eq!(
            sample().text(),
            "topic   partition   next  planned\n\
             orders          0  1_234  [1200, 1234)\n\
             1 checkpoints are in the lake; now set checkpoint.store = \"lake\"\n"
        );
    }
}
