//! The example `wal` as a process that is killed, frozen and told to fail, and a ledger of what it acknowledged.
//!
//! The ledger is kept here, from the pipe, and the log is read back without opening it for writing, so that looking
//! between two runs changes nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use landfall::wal::{check, frames};

pub const STREAMS: i32 = 4;
/// The example's writers give back what is this far behind.
const KEPT: i64 = 32;
const RECORD_BYTES: usize = 100;

/// Where a test may make files: memory where the disk's speed is not the point.
pub fn scratch(memory: bool) -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    let disk = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let made = if memory && shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir_in(disk) };
    made.expect("a directory for the test")
}

pub fn seed() -> u64 {
    let given = std::env::var("LANDFALL_SEED").ok();
    given.map_or_else(rand::random, |text| text.parse().expect("LANDFALL_SEED is a number"))
}

pub fn all() -> bool {
    std::env::var_os("LANDFALL_TEST_ALL").is_some_and(|value| !value.is_empty())
}

/// To the terminal also where the test harness keeps a passing test's output.
pub fn say(line: &str) {
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{line}\n").as_bytes());
}

/// What the example's writer gives as a value.
pub fn value(partition: i32, offset: i64) -> Vec<u8> {
    let mut seed = (partition as u64) << 48 ^ offset as u64 ^ 0x9e37_79b9_7f4a_7c15;
    let word = |seed: &mut u64| {
        *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        *seed >> 56
    };
    (0..RECORD_BYTES).map(|_| word(&mut seed) as u8).collect()
}

/// The last acknowledged offset of each partition; every one before it was acknowledged as well, or recovered.
#[derive(Debug, Default, Clone)]
pub struct Ledger {
    pub last: BTreeMap<i32, i64>,
    pub acked: u64,
    /// Acknowledgements that do not follow the one before them.
    pub disorder: Vec<String>,
}

impl Ledger {
    fn note(&mut self, line: &str) {
        let parsed = line.split_once(' ').and_then(|(p, o)| Some((p.parse().ok()?, o.trim_end().parse().ok()?)));
        let Some((partition, offset)) = parsed.filter(|_| line.ends_with('\n')) else {
            self.disorder.push(format!("half an acknowledgement: {line:?}"));
            return;
        };
        let before = self.last.insert(partition, offset);
        if before.unwrap_or(-1) + 1 != offset {
            self.disorder.push(format!("events/{partition}: {offset} was acknowledged after {before:?}"));
        }
        self.acked += 1;
    }

    pub fn most(&self) -> i64 {
        self.last.values().copied().max().unwrap_or(-1)
    }
}

/// What became of acknowledgements, added up over rounds. All but the first two must be 0.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    pub acked: u64,
    pub read: u64,
    pub lost: u64,
    pub wrong: u64,
    pub duplicated: u64,
    /// Read, and never even appended.
    pub invented: u64,
    /// Damage that a crash alone cannot have done.
    pub false_alarms: u64,
    /// Openings that failed and should not have.
    pub refused: u64,
}

impl Tally {
    pub fn add(&mut self, other: Tally) {
        let Tally { acked, read, lost, wrong, duplicated, invented, false_alarms, refused } = other;
        self.acked += acked;
        self.read += read;
        self.lost += lost;
        self.wrong += wrong;
        self.duplicated += duplicated;
        self.invented += invented;
        self.false_alarms += false_alarms;
        self.refused += refused;
    }

    pub fn sound(&self) -> bool {
        let Tally { lost, wrong, duplicated, invented, false_alarms, refused, .. } = *self;
        lost + wrong + duplicated + invented + false_alarms + refused == 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { acked, read, lost, wrong, duplicated, invented, false_alarms, refused } = self;
        write!(
            f,
            "{acked} acked, {read} read back | lost {lost}, wrong {wrong}, duplicated {duplicated}, \
             invented {invented}, false alarms {false_alarms}, refused {refused}"
        )
    }
}

/// A log, and what was acknowledged of it.
pub struct Tool {
    pub log: PathBuf,
    /// A rule that its runs break on purpose.
    pub sabotage: Option<&'static str>,
    ledger: Arc<Mutex<Ledger>>,
}

/// One run of the writer.
pub struct Writing {
    child: Child,
    acks: Option<JoinHandle<()>>,
    errors: Option<JoinHandle<String>>,
    ledger: Arc<Mutex<Ledger>>,
}

pub struct Ended {
    pub status: ExitStatus,
    pub errors: String,
}

impl Ended {
    pub fn killed(&self) -> bool {
        std::os::unix::process::ExitStatusExt::signal(&self.status) == Some(libc::SIGKILL)
    }
}

/// How a run is told to write.
#[derive(Debug, Clone, Copy)]
pub struct Write {
    pub segment: u64,
    pub retire: bool,
    /// Offsets of each stream at which it ends by itself.
    pub until: i64,
}

/// A program of this build.
pub fn built(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("this program");
    let program = own.parent().and_then(Path::parent).expect("the build's directory").join(name);
    assert!(program.exists(), "{} is missing: cargo build --bins --examples", program.display());
    program
}

impl Tool {
    pub fn new(log: PathBuf) -> Tool {
        Tool { log, sabotage: None, ledger: Arc::default() }
    }

    pub fn write(&self, how: Write, failpoint: Option<&str>) -> Writing {
        let mut command = Command::new(built("examples/wal"));
        command.arg("write").arg(&self.log).args(["--streams", &STREAMS.to_string()]);
        command.args(["--record-bytes", &RECORD_BYTES.to_string()]);
        command.args(["--segment-bytes", &how.segment.to_string(), "--records", &how.until.to_string()]);
        if how.retire {
            command.arg("--retire");
        }
        self.arm(&mut command, failpoint);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the example");
        let (out, mut err) = (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
        let ledger = self.ledger.clone();
        let acks = std::thread::spawn(move || {
            let (mut out, mut line) = (BufReader::new(out), String::new());
            while out.read_line(&mut line).is_ok_and(|read| read > 0) {
                ledger.lock().expect("the ledger").note(&line);
                line.clear();
            }
        });
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = err.read_to_string(&mut text);
            text
        });
        Writing { child, acks: Some(acks), errors: Some(errors), ledger: self.ledger.clone() }
    }

    fn arm(&self, command: &mut Command, failpoint: Option<&str>) {
        for (name, value) in [("LANDFALL_FAILPOINT", failpoint), ("LANDFALL_SABOTAGE", self.sabotage)] {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
    }

    /// A run of the reader, which opens the log for writing as every start does.
    pub fn start_read(&self, failpoint: Option<&str>) -> Child {
        let mut command = Command::new(built("examples/wal"));
        command.arg("read").arg(&self.log);
        self.arm(&mut command, failpoint);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the example")
    }

    /// Reads the log by the example and holds it against the ledger.
    pub fn audit_by_reading(&self, promised: &Ledger) -> Tally {
        let output = self.start_read(None).wait_with_output().expect("the example");
        let mut audit = Audit::new(promised);
        if !output.status.success() {
            audit.tally.refused += 1;
            say(&format!("refused: {}", String::from_utf8_lossy(&output.stderr)));
            return audit.tally;
        }
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let (partition, offset) = (fields[0].parse().expect("a number"), fields[1].parse().expect("a number"));
            let crc = u32::from_str_radix(fields[2], 16).expect("a checksum");
            audit.see(partition, offset, crc32c::crc32c(&value(partition, offset)) == crc);
        }
        self.settle(audit)
    }

    /// Holds the log, as it lies there, against what was promised: without a lock, without writing.
    pub fn audit(&self, promised: &Ledger) -> Tally {
        let mut audit = Audit::new(promised);
        if !self.log.join("META").exists() {
            return self.settle(audit);
        }
        match check(&self.log) {
            Ok(found) => {
                audit.tally.false_alarms += found.damages.len() as u64;
                found.damages.iter().for_each(|damage| say(&format!("false alarm: {damage}")));
            }
            Err(error) => {
                audit.tally.false_alarms += 1;
                say(&format!("false alarm: {error}"));
            }
        }
        let read = frames(&self.log, |def, _, records| {
            for record in records {
                let record = record.map_err(std::io::Error::other)?;
                let right = record.value == Some(value(def.stream.partition, record.offset).as_slice());
                audit.see(def.stream.partition, record.offset, right);
            }
            Ok(())
        });
        if let Err(error) = read {
            audit.tally.refused += 1;
            say(&format!("refused: {error}"));
        }
        self.settle(audit)
    }

    /// From here on the log holds what was found: the next run must go on right behind it.
    fn settle(&self, audit: Audit<'_>) -> Tally {
        let mut ledger = self.ledger.lock().expect("the ledger");
        let (last, tally) = audit.end(&ledger);
        if let Some(line) = ledger.disorder.pop() {
            panic!("{line}");
        }
        ledger.acked = 0;
        ledger.last = last;
        tally
    }

    pub fn promised(&self) -> Ledger {
        self.ledger.lock().expect("the ledger").clone()
    }
}

/// What is read back, held against what was promised.
struct Audit<'a> {
    promised: &'a Ledger,
    tally: Tally,
    /// First and last offset of each partition.
    seen: BTreeMap<i32, (i64, i64)>,
}

impl<'a> Audit<'a> {
    fn new(promised: &'a Ledger) -> Audit<'a> {
        let tally = Tally { acked: promised.acked, ..Tally::default() };
        Audit { promised, tally, seen: BTreeMap::new() }
    }

    fn see(&mut self, partition: i32, offset: i64, right: bool) {
        self.tally.read += 1;
        self.tally.wrong += u64::from(!right);
        let (_, last) = self.seen.entry(partition).or_insert((offset, offset - 1));
        if offset <= *last {
            self.tally.duplicated += 1;
            say(&format!("events/{partition}: {offset} again, after {last}"));
        } else {
            if offset > *last + 1 {
                say(&format!("events/{partition}: a hole from {} to {offset}", *last + 1));
                self.tally.lost += (offset - *last - 1) as u64;
            }
            *last = offset;
        }
    }

    /// `full` holds also what was acknowledged after the promises that count.
    fn end(mut self, full: &Ledger) -> (BTreeMap<i32, i64>, Tally) {
        for (partition, promised) in &self.promised.last {
            let (first, last) = self.seen.get(partition).copied().unwrap_or((0, -1));
            // A stream has at most one append under way, and gives back what is `KEPT` behind that.
            let kept = (full.last.get(partition).copied().unwrap_or(-1).max(last) + 2 - KEPT).max(0);
            let lost = (promised - last).max(0) + (first - kept).max(0);
            if lost > 0 {
                say(&format!("events/{partition}: acknowledged to {promised}, read {first} to {last}"));
            }
            self.tally.lost += lost as u64;
        }
        for (partition, (_, last)) in &self.seen {
            let appended = full.last.get(partition).copied().unwrap_or(-1) + 1;
            self.tally.invented += (last - appended).max(0) as u64;
        }
        (self.seen.iter().map(|(partition, (_, last))| (*partition, *last)).collect(), self.tally)
    }
}

impl Writing {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything that was acknowledged by now.
    pub fn promised(&self) -> Ledger {
        self.ledger.lock().expect("the ledger").clone()
    }

    /// Waits until `count` more were acknowledged, it ended or the time is up.
    pub fn until_acked(&mut self, count: u64, within: Duration) -> bool {
        let (started, from) = (Instant::now(), self.promised().acked);
        while started.elapsed() < within {
            if self.promised().acked >= from + count {
                return true;
            }
            if self.has_ended() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        false
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("the child").is_some()
    }

    /// Waits until it is stopped (SIGSTOP), it ended or the time is up.
    pub fn until_stopped(&mut self, within: Duration) -> bool {
        let started = Instant::now();
        let stat = format!("/proc/{}/stat", self.child.id());
        while started.elapsed() < within && !self.has_ended() {
            let text = std::fs::read_to_string(&stat).unwrap_or_default();
            if text.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        false
    }

    /// SIGKILL, and what was in the pipe.
    pub fn kill(mut self) -> Ended {
        let _ = self.child.kill();
        self.end()
    }

    /// Waits until it ends by itself.
    pub fn wait(mut self, within: Duration) -> Ended {
        let started = Instant::now();
        while !self.has_ended() {
            assert!(started.elapsed() < within, "the writer hangs: {:?}", self.promised());
            std::thread::sleep(Duration::from_millis(1));
        }
        self.end()
    }

    fn end(&mut self) -> Ended {
        let status = self.child.wait().expect("the child");
        let join = "a thread that reads a pipe";
        if let Some(acks) = self.acks.take() {
            acks.join().expect(join);
        }
        let errors = self.errors.take().map(|errors| errors.join().expect(join)).unwrap_or_default();
        Ended { status, errors }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
