//! Landfall on a core of its own, the servers and proxies on the others: as where the store and the brokers are elsewhere.

use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

/// This process, and with it every server that it starts from now on, leaves the first core alone.
pub fn leave_the_first_core(cores: usize) -> anyhow::Result<()> {
    ensure!(cores > 1, "--apart needs two cores or more");
    let (others, own) = (format!("1-{}", cores - 1), std::process::id().to_string());
    let output = Command::new("taskset").args(["-a", "-c", "-p", &others, &own]).output();
    let output = output.context("--apart needs taskset (Debian has it in util-linux)")?;
    ensure!(output.status.success(), "taskset: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The same process, on the first core.
pub fn on_the_first_core(command: &Command) -> Command {
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", "0"]).arg(command.get_program()).args(command.get_args());
    pinned.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    pinned
}
