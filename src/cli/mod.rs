//! The command line: one small file a command, each with its arguments, its result and how that is shown.
//!
//! Data goes to standard output; logs, bars and errors to standard error. `docs/cli.md` holds the shapes of the
//! JSON and the exit codes.

mod causes;
pub mod check;
pub mod completions;
mod console;
pub mod demo;
mod engine;
mod exit;
mod logging;
pub mod migrate;
pub mod offsets;
mod owners;
pub mod plan;
mod progress;
pub mod rebuild;
pub mod resolve;
pub mod run;
pub mod status;
mod table;
mod target;
#[cfg(test)]
mod tests;
pub mod verify;
mod view;
pub mod wal;

use std::io;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use console::{Console, Render};
pub use exit::{Exit, Failure};
pub use progress::{Bar, Progress};
pub use target::{ConfigArg, StreamName, Target, TargetArg};

use crate::config::Env;

/// Lands Kafka topics in a data lake exactly once.
#[derive(Debug, Parser)]
#[command(
    name = "landfall",
    version,
    long_about = "Lands Kafka topics in a data lake exactly once.\n\n\
        Every batch is planned in a checkpoint store before it is written, written under a name that the plan \
        decides and that can be created only once, and then committed. Killed at any point and started again, \
        landfall neither loses nor repeats a record.",
    after_help = EXAMPLES,
    after_long_help = LONG,
    propagate_version = true,
    max_term_width = 110
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "Examples:\n  \
    landfall demo                       see it work, with a Kafka of its own\n  \
    landfall check landfall.toml        is everything there that a run needs?\n  \
    landfall run landfall.toml          land until stopped\n  \
    landfall status landfall.toml       where does every partition stand?\n  \
    landfall verify landfall.toml       audit the lake";

const LONG: &str = "Examples:
  landfall demo                       see it work, with a Kafka of its own
  landfall check landfall.toml        is everything there that a run needs?
  landfall run landfall.toml          land until stopped
  landfall run --once landfall.toml   land what is there now, then exit
  landfall status landfall.toml       where does every partition stand?
  landfall verify file:///data/lake   audit a lake without its configuration

Exit codes:
   0  done, or stopped cleanly
   1  failure
   2  the command line is wrong
  65  verify found holes, overlaps or damage; wal check found damage
  69  Kafka or the store cannot be reached
  73  another process or store owns the lake
  74  reading or writing a disk failed
  78  the configuration is wrong

Environment:
  LANDFALL_CONFIG            the configuration file, where no argument names one
  LANDFALL__SECTION__KEY     overrides a key of the file, as in LANDFALL__LAKE__ROLL__MAX_AGE=5m
  LANDFALL_LOG, RUST_LOG     the log filter, where --log is not given
  NO_COLOR                   no colours";

/// Options that every command takes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// How to show the result: a table for people, or JSON for programs
    #[arg(long, global = true, value_name = "FORMAT")]
    pub output: Option<Output>,
    /// What to log: off, error, warn, info, debug, trace, or a filter such as landfall=debug
    ///
    /// Without it LANDFALL_LOG decides, then RUST_LOG, then "info" for run and demo and "warn" for the others.
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log: Option<String>,
    /// How to write logs
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// No progress bars, also on a terminal
    #[arg(long, global = true)]
    pub no_progress: bool,
}

/// The form of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Table,
    Json,
}

/// The form of the logs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    Demo(demo::DemoArgs),
    Run(run::RunArgs),
    Check(check::CheckArgs),
    Plan(plan::PlanArgs),
    Status(status::StatusArgs),
    Verify(verify::VerifyArgs),
    Rebuild(rebuild::RebuildArgs),
    Migrate(migrate::MigrateArgs),
    Offsets(offsets::OffsetsArgs),
    Resolve(resolve::ResolveArgs),
    Wal(wal::WalArgs),
    Completions(completions::CompletionsArgs),
}

impl Command {
    /// Whether the command is silent by itself: its result is what counts.
    fn is_quiet(&self) -> bool {
        !matches!(self, Command::Run(_) | Command::Demo(_))
    }

    fn default_output(&self) -> Output {
        if matches!(self, Command::Offsets(_)) { Output::Json } else { Output::Table }
    }

    fn run(&self, console: &Console) -> Result<Exit, Failure> {
        match self {
            Command::Demo(args) => demo::run(args, console),
            Command::Run(args) => run::run(args, console),
            Command::Check(args) => check::run(args, console),
            Command::Plan(args) => plan::run(args, console),
            Command::Status(args) => status::run(args, console),
            Command::Verify(args) => verify::run(args, console),
            Command::Rebuild(args) => rebuild::run(args, console),
            Command::Migrate(args) => migrate::run(args, console),
            Command::Offsets(args) => offsets::run(args, console),
            Command::Resolve(args) => resolve::run(args, console),
            Command::Wal(args) => wal::run(args, console),
            Command::Completions(args) => completions::run(args, console),
        }
    }
}

/// The whole program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version go to standard output and are no error; who reads no more has seen enough.
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { Exit::Usage.code() } else { Exit::Done.code() });
        }
    };
    let env = Env::of_process();
    let console = Console::new(&cli.global, cli.command.default_output(), env);
    let started = logging::start(&cli.global, console.env(), cli.command.is_quiet(), console.color());
    match started.and_then(|()| cli.command.run(&console)) {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(failure) => {
            let output = cli.global.output.unwrap_or(Output::Table);
            // Nobody is left to be told where standard error is closed; the exit code still says it.
            let _ = failure.tell(&mut io::stderr().lock(), output, console.color());
            ExitCode::from(failure.code.code())
        }
    }
}
