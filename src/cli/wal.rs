//! `landfall wal`: a look into a write-ahead log. Nothing here writes or takes a lock, so a log that is in use may be
//! looked at too.

mod cat;
mod check;
mod ls;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Console, Exit, Failure};

#[cfg(test)]
pub use {check::sample as check_sample, ls::sample as ls_sample};

/// Looks into a write-ahead log: its segments, its records, its damage
#[derive(Debug, Args)]
#[command(
    long_about = "Looks into a write-ahead log: its segments, its records, its damage.\n\n\
        Nothing is written and no lock is taken, so a log that is in use may be looked at too.",
    after_help = "Examples:\n  \
    landfall wal ls ./wal\n  \
    landfall wal cat ./wal --topic orders --partition 0 --from 100 --until 200 | jq .value\n  \
    landfall wal check ./wal"
)]
pub struct WalArgs {
    #[command(subcommand)]
    pub command: WalCommand,
}

#[derive(Debug, Subcommand)]
pub enum WalCommand {
    Ls(ls::LsArgs),
    Cat(cat::CatArgs),
    Check(check::CheckArgs),
}

/// `DIR`.
#[derive(Debug, Args)]
pub struct LogArg {
    /// The log's directory
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

pub fn run(args: &WalArgs, console: &Console) -> Result<Exit, Failure> {
    match &args.command {
        WalCommand::Ls(args) => ls::run(args, console),
        WalCommand::Cat(args) => cat::run(args, console),
        WalCommand::Check(args) => check::run(args, console),
    }
}
