//! The `landfall run` that the demo kills.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// How an audit ends that found nothing.
pub const CLEAN: &str = "clean";
/// Asks a child to end when its parent does, however that ends.
pub const DIE_WITH_PARENT: &str = "LANDFALL_DIE_WITH_PARENT";

pub struct Child(std::process::Child);

/// The lake and the store are named from the folder of this file, so that its own name, whatever characters it has,
/// needs no quoting.
pub fn write_config(dir: &Path, bootstrap_servers: &str) -> anyhow::Result<PathBuf> {
    let path = dir.join("landfall.toml");
    let text = format!(
        "[kafka]\ntopics = [\"orders\", \"/payments-.*/\", \"clicks\"]\n\n\
         [kafka.properties]\n\"bootstrap.servers\" = \"{bootstrap_servers}\"\n\n\
         [source]\nstart = \"earliest\"\n\n\
         [checkpoint]\nstore = \"sled\"\npath = \"state\"\n\n\
         [lake]\nurl = \"lake\"\n\n[lake.roll]\nmax_age = \"2s\"\n\n\
         [limits]\nmemory = \"128MiB\"\n",
    );
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

pub fn log_path(config: &Path) -> PathBuf {
    config.with_file_name("run.log")
}

fn landfall(config: &Path, args: &[&str]) -> anyhow::Result<Command> {
    let log = File::options().create(true).append(true).open(log_path(config))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(args).arg(config).stdin(Stdio::null()).stderr(log).env(DIE_WITH_PARENT, "1");
    Ok(command)
}

impl Child {
    pub fn start(config: &Path) -> anyhow::Result<Child> {
        let child = landfall(config, &["run"])?.stdout(Stdio::null()).spawn();
        child.map(Child).context("starting `landfall run`")
    }

    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.0.try_wait()?)
    }

    /// SIGTERM, and up to 15 s of patience.
    pub fn terminate(mut self) -> anyhow::Result<()> {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let deadline = Instant::now() + Duration::from_secs(15);
        while Instant::now() < deadline {
            if self.0.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.kill()
    }
}

/// Lands what is left.
pub fn drain(config: &Path) -> anyhow::Result<()> {
    let status = landfall(config, &["run", "--once"])?.stdout(Stdio::null()).status()?;
    if !status.success() {
        bail!("`landfall run --once` ended with {status}; see {}", log_path(config).display());
    }
    Ok(())
}

/// `clean`, or how the audit ended.
pub fn verify(config: &Path) -> anyhow::Result<String> {
    let status = landfall(config, &["verify"])?.stdout(Stdio::null()).status()?;
    Ok(if status.success() { CLEAN.into() } else { format!("{status}; see {}", log_path(config).display()) })
}
