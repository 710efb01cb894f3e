//! `landfall completions`: what a shell needs to complete commands and options.

use clap::{Args, CommandFactory};

use super::{Cli, Console, Exit, Failure};

/// Prints completions for a shell
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    landfall completions bash > ~/.local/share/bash-completion/completions/landfall\n  \
    landfall completions zsh  > ~/.zfunc/_landfall\n  \
    landfall completions fish > ~/.config/fish/completions/landfall.fish")]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

pub fn run(args: &CompletionsArgs, console: &Console) -> Result<Exit, Failure> {
    // Into memory first: the generator takes a closed pipe for a bug.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "landfall", &mut script);
    console.write(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
