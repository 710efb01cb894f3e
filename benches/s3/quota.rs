//! A part of a core for a process: by the kernel's quota, or where that cannot be had by letting it run and rest.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::ensure;

/// What the parts are parts of.
const PERIOD: Duration = Duration::from_millis(20);
/// A process whose group is to be removed may take a moment to be gone from it.
const GOING: Duration = Duration::from_secs(2);
const HIERARCHIES: [(&str, Version); 2] = [("/sys/fs/cgroup/cpu", Version::One), ("/sys/fs/cgroup", Version::Two)];
/// No part, but all that there is.
const WHOLE: u64 = u64::MAX;

/// Of the kernel's control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// Holds one process; to be dropped after that was waited for, and lifted before.
pub struct Quota(How);

enum How {
    /// A control group of its own.
    Group(PathBuf, Version),
    /// A thread that stops it and lets it go on; microseconds of each period that it runs.
    Signals(Arc<AtomicU64>, Option<JoinHandle<()>>),
}

impl Quota {
    pub fn new(child: &Child, share: f64) -> anyhow::Result<Quota> {
        let group = HIERARCHIES.iter().find_map(|(root, version)| group(Path::new(root), *version, child.id(), share));
        if let Some((group, version)) = group {
            return Ok(Quota(How::Group(group, version)));
        }
        let (pid, runs) = (i32::try_from(child.id())?, Arc::new(AtomicU64::new(micros(share))));
        let shared = runs.clone();
        let thread = std::thread::spawn(move || turns(pid, &shared));
        Ok(Quota(How::Signals(runs, Some(thread))))
    }

    pub fn by(&self) -> &'static str {
        match self.0 {
            How::Group(_, Version::One) => "cgroup v1",
            How::Group(_, Version::Two) => "cgroup v2",
            How::Signals(..) => "SIGSTOP and SIGCONT",
        }
    }

    pub fn set(&self, share: f64) -> anyhow::Result<()> {
        match &self.0 {
            How::Group(group, version) => ensure!(limit(group, *version, micros(share)), "{}", group.display()),
            How::Signals(runs, _) => runs.store(micros(share), Ordering::Relaxed),
        }
        Ok(())
    }

    /// The process has all that there is, and is sent no signal any more.
    pub fn lift(&mut self) -> anyhow::Result<()> {
        match &mut self.0 {
            How::Group(group, version) => ensure!(limit(group, *version, WHOLE), "{}", group.display()),
            How::Signals(runs, thread) => {
                runs.store(WHOLE, Ordering::Relaxed);
                ensure!(thread.take().is_none_or(|thread| thread.join().is_ok()), "the quota's thread panicked");
            }
        }
        Ok(())
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        let _ = self.lift();
        let How::Group(group, _) = &self.0 else { return };
        for _ in 0..GOING.as_millis() / PERIOD.as_millis() {
            if fs::remove_dir(group).is_ok() {
                return;
            }
            std::thread::sleep(PERIOD);
        }
        eprintln!("{} was left: remove it", group.display());
    }
}

/// `None` where there is no such hierarchy, or no right to it.
fn group(root: &Path, version: Version, pid: u32, share: f64) -> Option<(PathBuf, Version)> {
    let group = root.join(format!("landfall-bench-{pid}"));
    fs::create_dir(&group).ok()?;
    let holds = limit(&group, version, micros(share)) && fs::write(group.join("cgroup.procs"), pid.to_string()).is_ok();
    if !holds {
        let _ = fs::remove_dir(&group);
    }
    holds.then_some((group, version))
}

/// Files that are not there are never made: the place may be no control group at all.
fn limit(group: &Path, version: Version, micros: u64) -> bool {
    let period = PERIOD.as_micros();
    let write = |name: &str, value: String| {
        let path = group.join(name);
        path.exists() && fs::write(path, value).is_ok()
    };
    let quota = |none: &str| if micros == WHOLE { none.to_owned() } else { micros.to_string() };
    match version {
        Version::One => write("cpu.cfs_period_us", period.to_string()) && write("cpu.cfs_quota_us", quota("-1")),
        Version::Two => write("cpu.max", format!("{} {period}", quota("max"))),
    }
}

fn micros(share: f64) -> u64 {
    (PERIOD.as_micros() as f64 * share) as u64
}

/// Nobody has waited for the process yet, so the id is still its own; that it has ended meanwhile is no harm.
fn turns(pid: i32, runs: &AtomicU64) {
    loop {
        let micros = runs.load(Ordering::Relaxed);
        if micros == WHOLE {
            return;
        }
        let runs = Duration::from_micros(micros).min(PERIOD);
        std::thread::sleep(runs);
        signal(pid, libc::SIGSTOP);
        std::thread::sleep(PERIOD - runs);
        signal(pid, libc::SIGCONT);
    }
}

fn signal(pid: i32, signal: i32) {
    // SAFETY: `kill` reads its two numbers and nothing else.
    #[allow(unsafe_code)]
    let answer = unsafe { libc::kill(pid, signal) };
    if answer != 0 {
        eprintln!("signal {signal} to {pid}: {}", std::io::Error::last_os_error());
    }
}
