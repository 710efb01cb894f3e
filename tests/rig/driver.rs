//! The binary under test, as a person runs it: a configuration file, arguments, an exit code, two streams
//! of text; and what a person does not do: kill it at a chosen step.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::process::{signal, spawn_bound};

/// What the tests vary of a configuration; everything else is the default.
#[derive(Debug, Clone)]
pub struct Settings {
    pub bootstrap: String,
    pub topics: Vec<String>,
    pub on_gap: &'static str,
    pub start: String,
    pub max_age: &'static str,
    pub max_size: &'static str,
    pub max_records: u64,
    pub workers: usize,
    pub memory: &'static str,
    pub group: Option<String>,
    /// `lake.path`.
    pub path: &'static str,
    /// Of the checkpoints: `sled` or `lake`.
    pub store: &'static str,
    /// Which partitions a process plans: `group` or `all`.
    pub assignment: &'static str,
    /// Further lines of `[kafka.properties]`.
    pub properties: Vec<(String, String)>,
    /// A lake elsewhere than on the local disk.
    pub bucket: Option<Bucket>,
    /// Further lines of `[lake]`.
    pub lake_lines: String,
    /// The roll and `lake.path` are not given: each release has its own.
    pub by_default: bool,
}

/// A lake in an object store: its URL, and what it takes to reach it.
#[derive(Debug, Clone)]
pub struct Bucket {
    pub url: String,
    pub options: Vec<(&'static str, String)>,
    /// Where the server keeps its objects, as files that a checker can read.
    pub objects: PathBuf,
}

impl Settings {
    pub fn new(bootstrap: &str, topics: &[&str]) -> Settings {
        Settings {
            bootstrap: bootstrap.into(),
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            on_gap: "fail",
            start: "\"earliest\"".into(),
            max_age: "1s",
            max_size: "16MiB",
            max_records: 10_000_000,
            workers: 2,
            memory: "96MiB",
            group: None,
            path: "{topic}/{partition}",
            store: "sled",
            assignment: "group",
            properties: Vec::new(),
            bucket: None,
            lake_lines: String::new(),
            by_default: false,
        }
    }

    pub fn max_records(mut self, records: u64) -> Settings {
        self.max_records = records;
        self
    }

    pub fn max_put(mut self, size: &str) -> Settings {
        self.lake_lines = format!("max_put = {size:?}\n");
        self
    }

    pub fn on_gap(mut self, what: &'static str) -> Settings {
        self.on_gap = what;
        self
    }

    pub fn store(mut self, kind: &'static str) -> Settings {
        self.store = kind;
        self
    }

    pub fn assignment(mut self, which: &'static str) -> Settings {
        self.assignment = which;
        self
    }

    pub fn property(mut self, name: &str, value: &str) -> Settings {
        self.properties.push((name.into(), value.into()));
        self
    }

    pub fn group(mut self, group: &str) -> Settings {
        self.group = Some(group.into());
        self
    }

    /// The lake's URL and its options, as lines.
    fn place(&self, lake: &Path) -> (String, String) {
        let Some(bucket) = &self.bucket else { return (format!("file://{}", lake.display()), String::new()) };
        let options = bucket.options.iter().map(|(name, value)| format!("{name} = {value:?}\n"));
        (bucket.url.clone(), format!("[lake.options]\n{}", options.collect::<String>()))
    }

    fn toml(&self, lake: &Path, state: &Path) -> String {
        let (url, options) = self.place(lake);
        let Settings { on_gap, start, max_age, max_size, max_records, workers, memory, .. } = self;
        let Settings { path, store, assignment, lake_lines, .. } = self;
        let topics = self.topics.iter().map(|topic| format!("{topic:?}")).collect::<Vec<_>>().join(", ");
        let group = self.group.iter().map(|group| ("group.id".to_owned(), group.clone()));
        let further = self.properties.iter().cloned().chain(group);
        let properties: String = further.map(|(name, value)| format!("{name:?} = {value:?}\n")).collect();
        let of_the_lake = if self.by_default {
            lake_lines.clone()
        } else {
            format!(
                "path = {path:?}\n{lake_lines}\n\
                 [lake.roll]\nmax_age = {max_age:?}\nmax_size = {max_size:?}\nmax_records = {max_records}\n"
            )
        };
        format!(
            "[kafka]\ntopics = [{topics}]\n\n[kafka.properties]\n\"bootstrap.servers\" = {:?}\n\
             \"reconnect.backoff.max.ms\" = \"500\"\n{properties}\n\
             [source]\nmode = \"direct\"\nassignment = {assignment:?}\nstart = {start}\non_gap = {on_gap:?}\n\n\
             [checkpoint]\nstore = {store:?}\npath = {:?}\n\n\
             [lake]\nurl = {url:?}\nformat = \"parquet\"\n{of_the_lake}\n{options}\n[limits]\nmemory = {memory:?}\nworkers = {workers}\nshutdown = \"10s\"\n",
            self.bootstrap,
            state.display().to_string(),
        )
    }
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Ended {
    /// `None` where a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    pub fn killed(&self) -> bool {
        use std::os::unix::process::ExitStatusExt;
        self.status.signal() == Some(libc::SIGKILL)
    }

    pub fn expect_code(self, code: i32) -> Ended {
        assert_eq!(self.code(), Some(code), "{:?}\n{}", self.status, self.stderr);
        self
    }

    /// That each of these words is in the message.
    pub fn expect_words(self, words: &[&str]) -> Ended {
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} in:\n{}", self.stderr);
        }
        self
    }
}

/// One installation: a lake, a state directory, and a configuration that can change between runs.
#[derive(Debug, Clone)]
pub struct Landfall {
    pub dir: PathBuf,
    /// Where the lake's files can be seen.
    lake: PathBuf,
    environment: Vec<(String, String)>,
}

impl Landfall {
    pub fn new(dir: &Path, settings: &Settings) -> Landfall {
        let lake = settings.bucket.as_ref().map_or_else(|| dir.join("lake"), |bucket| bucket.objects.clone());
        std::fs::create_dir_all(dir.join("lake")).expect("a lake");
        let landfall = Landfall { dir: dir.into(), lake, environment: Vec::new() };
        landfall.configure(settings);
        landfall
    }

    pub fn lake(&self) -> PathBuf {
        self.lake.clone()
    }

    pub fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    pub fn config(&self) -> PathBuf {
        self.dir.join("landfall.toml")
    }

    /// From the next start on.
    pub fn configure(&self, settings: &Settings) {
        std::fs::write(self.config(), settings.toml(&self.lake(), &self.state())).expect("landfall.toml");
    }

    /// This installation with one variable more in its environment.
    pub fn with(&self, name: &str, value: &str) -> Landfall {
        let mut other = self.clone();
        other.environment.push((name.into(), value.into()));
        other
    }

    /// The next processes do this at the n-th visit of a failpoint: `kill`, `stop` or `fail`.
    pub fn at(&self, failpoint: &str, visit: usize, action: &str) -> Landfall {
        self.with("LANDFALL_FAILPOINT", &format!("{failpoint}:{visit}={action}"))
    }

    /// The next processes break one rule.
    pub fn sabotaged(&self, name: &str) -> Landfall {
        self.with("LANDFALL_SABOTAGE", name)
    }

    /// The next processes are another release: the next `minor` or the next `major`.
    pub fn of_release(&self, release: &str) -> Landfall {
        self.with("LANDFALL_RELEASE", release)
    }

    /// `landfall <arguments> landfall.toml …`, not waited for.
    pub fn start(&self, arguments: &[&str]) -> Running {
        let stem = self.dir.join(format!("run-{}", super::fresh("r")));
        let (stdout, stderr) = (stem.with_extension("out"), stem.with_extension("err"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
        command
            .args(arguments)
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(File::create(&stdout).expect("a file"))
            .stderr(File::create(&stderr).expect("a file"))
            .env_remove("LANDFALL_FAILPOINT")
            .env_remove("LANDFALL_SABOTAGE")
            .env_remove("LANDFALL_RELEASE")
            .env("RUST_BACKTRACE", "1")
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        let child = spawn_bound(command).expect("the binary");
        Running { child, stdout, stderr, started: Instant::now() }
    }

    /// `landfall run`, not waited for.
    pub fn run(&self) -> Running {
        self.start(&["run", "landfall.toml"])
    }

    /// `landfall run --once`, not waited for.
    pub fn start_once(&self) -> Running {
        self.start(&["run", "--once", "landfall.toml"])
    }

    /// `landfall run --once`, to its end.
    pub fn once(&self) -> Ended {
        self.start_once().wait(Duration::from_secs(90))
    }

    /// Another command, to its end.
    pub fn command(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).wait(Duration::from_secs(60))
    }

    /// The names below the lake's hidden directory, for messages and for what must not be left there.
    pub fn hidden_files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut open = vec![self.lake().join("_landfall")];
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.path().is_dir() { open.push(entry.path()) } else { found.push(entry.path()) }
            }
        }
        found
    }

    /// How many files the lake shows.
    pub fn files(&self) -> usize {
        let below = |dir: PathBuf| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let topics = below(self.lake()).filter(|path| !path.ends_with("_landfall"));
        topics.flat_map(below).flat_map(below).count()
    }
}

/// A process of the binary under test; killed when it is dropped.
pub struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    started: Instant,
}

impl Running {
    /// Until it ends by itself; a test fails that has to wait longer.
    pub fn wait(self, within: Duration) -> Ended {
        self.wait_for(within).unwrap_or_else(|late| panic!("{late}"))
    }

    /// Until it ends by itself; killed, with what it had to say, where that takes longer.
    pub fn wait_for(mut self, within: Duration) -> Result<Ended, String> {
        let waiting = Instant::now();
        while waiting.elapsed() < within {
            if let Some(status) = self.child.try_wait().expect("the process") {
                return Ok(self.ended(status));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        Err(format!("landfall did not end in {within:?}\n{}", self.errors()))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// For how long it has been running.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("the process").is_some()
    }

    /// `kill -9`, wherever it is.
    pub fn kill(mut self) -> Ended {
        let _ = self.child.kill();
        let status = self.child.wait().expect("the process");
        self.ended(status)
    }

    /// As an operator stops it.
    pub fn terminate(self, within: Duration) -> Ended {
        signal(&self.child, libc::SIGTERM);
        self.wait(within)
    }

    /// Whether a signal (or a failpoint told to stop) holds it.
    pub fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    }

    pub fn signal(&self, which: i32) {
        signal(&self.child, which);
    }

    /// Frozen, as by a debugger or an overcommitted host.
    pub fn pause(&self) {
        signal(&self.child, libc::SIGSTOP);
    }

    pub fn resume(&self) {
        signal(&self.child, libc::SIGCONT);
    }

    /// What it has written to standard error so far.
    pub fn errors(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    fn ended(&self, status: ExitStatus) -> Ended {
        let stdout = std::fs::read_to_string(&self.stdout).unwrap_or_default();
        Ended { status, stdout, stderr: self.errors(), took: self.started.elapsed() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
