//! Killed and told to fail at every step of the log, and killed at any moment: what was acknowledged is there, once,
//! and the log opens again.
//!
//! `make test` runs a slice, `make test-all` every cell. `LANDFALL_SEED=n` repeats, `LANDFALL_CELL=wal.seal.before:1=kill`
//! runs one cell.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use landfall::wal::{AssignReason, Isolation, Options, Record, Run, Stream, Wal, check, segments};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::tool::{Tally, Tool, Write, all, say, scratch, seed, value};

const PATIENCE: Duration = Duration::from_secs(60);

/// Every failpoint that the log's source names; one that is added later is part of the matrix at once.
pub fn failpoints() -> BTreeSet<String> {
    let (mut names, mut open) = (BTreeSet::new(), vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/wal")]);
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).expect("the log's source").flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if !path.ends_with("tests.rs") {
                let text = std::fs::read_to_string(&path).expect("a source");
                let text = text.split("#[cfg(test)]").next().unwrap_or_default();
                names.extend(text.split('"').filter(|part| is_point(part)).map(String::from));
            }
        }
    }
    names
}

fn is_point(text: &str) -> bool {
    text.strip_prefix("wal.").is_some_and(|rest| {
        rest.contains('.') && rest.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'.' | b'_'))
    })
}

/// Bytes that were being written when everything stopped: whatever they are, they were never proven durable.
pub fn tear(log: &Path, random: &mut StdRng) -> bool {
    let Some(last) = segments(log).ok().and_then(|mut lines| lines.pop()).filter(|last| !last.sealed) else {
        return false;
    };
    let path = log.join(&last.file);
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).expect("the last segment");
    let end = 4096 + last.end_lsn - last.base_lsn;
    let mut bytes = vec![0; random.random_range(1..20_000)];
    random.fill(&mut bytes[..]);
    // Also the first block of a group that was written before, at another place.
    if random.random() && end > 8192 {
        bytes.resize(4096, 0);
        let _ = std::os::unix::fs::FileExt::read_at(&file, &mut bytes[..4096], end - 4096);
    }
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, end).expect("torn bytes");
    bytes.iter().any(|byte| *byte != 0)
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Cell {
    failpoint: String,
    visit: usize,
    action: &'static str,
}

impl Cell {
    fn name(&self) -> String {
        format!("{}:{}={}", self.failpoint, self.visit, self.action)
    }

    /// Whether a full disk is waited out here. Everywhere else what is written has its room already, so that a disk
    /// that says it is full is a failure like any other.
    fn waits_for_room(&self) -> bool {
        self.failpoint.starts_with("wal.prepare.") || self.failpoint == "wal.publish.before_rename"
    }
}

fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for failpoint in failpoints() {
        for (action, visits) in [("kill", &[1, 2, 3, 9][..]), ("fail", &[1, 2, 5]), ("full", &[1, 2, 5])] {
            let cell = |visit: &usize| Cell { failpoint: failpoint.clone(), visit: *visit, action };
            cells.extend(visits.iter().map(cell));
        }
    }
    cells
}

/// Each failpoint once with each action, at a visit by chance.
fn slice(mut cells: Vec<Cell>, random: &mut StdRng) -> Vec<Cell> {
    cells.shuffle(random);
    let mut met = BTreeSet::new();
    // An opening passes its steps once.
    let most = |cell: &Cell| if cell.failpoint.starts_with("wal.recover.") { 1 } else { 2 };
    cells.retain(|cell| cell.visit <= most(cell) && met.insert((cell.failpoint.clone(), cell.action)));
    cells
}

#[derive(Debug, Default)]
struct Outcome {
    tally: Tally,
    reached: bool,
    kills: usize,
}

fn run_cell(cell: &Cell, seed: u64) -> Outcome {
    let mut random = StdRng::seed_from_u64(seed);
    let directory = scratch(random.random_bool(0.7));
    let tool = Tool::new(directory.path().join("wal"));
    let mut outcome = Outcome::default();
    let sizes = [128 << 10, 192 << 10, 256 << 10];
    let write = |random: &mut StdRng, until| Write { segment: sizes[random.random_range(0..3)], retire: true, until };

    // Something is there, and it ends in the middle of something.
    let mut first = tool.write(write(&mut random, i64::MAX), None);
    first.until_acked(random.random_range(20..400), PATIENCE);
    outcome.kills += usize::from(first.kill().killed());
    outcome.tally.add(tool.audit(&tool.promised()));
    if random.random() {
        tear(&tool.log, &mut random);
    }

    let until = tool.promised().most() + 300;
    let ended = tool.write(write(&mut random, until), Some(&cell.name())).wait(PATIENCE);
    outcome.reached = match cell.action {
        "kill" => ended.killed(),
        // The same place is reached by a kill; here it must go on as if nothing had been.
        "full" if cell.waits_for_room() => ended.status.success(),
        _ => !ended.status.success(),
    };
    outcome.kills += usize::from(ended.killed());
    if !ended.status.success() && cell.action != "kill" {
        let told = ["failpoint", "No space left"].iter().any(|word| ended.errors.contains(word));
        assert!(told, "it failed for another reason: {}", ended.errors);
    }
    outcome.tally.add(tool.audit(&tool.promised()));

    // Recovery is killed at the same step as well.
    let again = Cell { visit: 1, action: "kill", ..cell.clone() };
    let ended = tool.write(write(&mut random, until + 80), Some(&again.name())).wait(PATIENCE);
    outcome.kills += usize::from(ended.killed());
    outcome.tally.add(tool.audit(&tool.promised()));

    let until = tool.promised().most() + 60;
    let ended = tool.write(write(&mut random, until), None).wait(PATIENCE);
    assert!(ended.status.success(), "{}: it does not go on: {}", cell.name(), ended.errors);
    let closed = check(&tool.log).expect("a log").closed;
    assert!(closed, "{}: it ended by itself, and the log is not closed", cell.name());
    outcome.tally.add(tool.audit(&tool.promised()));
    outcome.tally.add(tool.audit_by_reading(&tool.promised()));
    outcome
}

/// What a run visits is by chance: a step that it did not come to is tried again, at its first visit.
fn run_until_reached(cell: &Cell, seed: u64) -> Outcome {
    let mut outcome = run_cell(cell, seed);
    for again in 1..5 {
        if outcome.reached {
            break;
        }
        let Outcome { tally, reached, kills } = run_cell(&Cell { visit: 1, ..cell.clone() }, seed.rotate_left(again));
        outcome.tally.add(tally);
        outcome.kills += kills;
        outcome.reached = reached;
    }
    outcome
}

#[derive(Default)]
struct Matrix {
    cells: usize,
    tally: Tally,
    kills: usize,
    /// By action: failpoints that were reached, and those that were tried.
    reached: BTreeMap<&'static str, (BTreeSet<String>, BTreeSet<String>)>,
    failures: Vec<String>,
}

fn run_cells(cells: Vec<Cell>, seed: u64) -> Matrix {
    let (waiting, matrix) = (Mutex::new(cells.into_iter().enumerate()), Mutex::new(Matrix::default()));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let Some((number, cell)) = waiting.lock().expect("cells").next() else { return };
                    let run = || run_until_reached(&cell, seed.wrapping_add(number as u64));
                    let outcome = std::panic::catch_unwind(run);
                    let mut matrix = matrix.lock().expect("matrix");
                    matrix.cells += 1;
                    let (reached, tried) = matrix.reached.entry(cell.action).or_default();
                    tried.insert(cell.failpoint.clone());
                    match outcome {
                        Ok(outcome) => {
                            if outcome.reached {
                                reached.insert(cell.failpoint.clone());
                            }
                            if !outcome.tally.sound() {
                                matrix.failures.push(format!("{}: {}", cell.name(), outcome.tally));
                            }
                            matrix.tally.add(outcome.tally);
                            matrix.kills += outcome.kills;
                        }
                        Err(_) => matrix.failures.push(cell.name()),
                    }
                }
            });
        }
    });
    matrix.into_inner().expect("matrix")
}

#[test]
fn killed_and_failed_at_every_step() {
    let (mut cells, seed, started) = (cells(), seed(), Instant::now());
    assert!(cells.len() > 100, "the source has few failpoints: {cells:?}");
    let one = std::env::var("LANDFALL_CELL").ok();
    if let Some(one) = &one {
        cells.retain(|cell| cell.name() == *one);
        assert_eq!(cells.len(), 1, "LANDFALL_CELL={one} names no cell");
    } else if !all() {
        cells = slice(cells, &mut StdRng::seed_from_u64(seed));
    }
    let matrix = run_cells(cells, seed);
    let (cells, kills) = (matrix.cells, matrix.kills);
    say(&format!("wal crash matrix (LANDFALL_SEED={seed}): {cells} cells, {kills} kills, {:?}", started.elapsed()));
    say(&format!("  {}", matrix.tally));
    for (action, (reached, tried)) in &matrix.reached {
        say(&format!("  {action}: {} of {} failpoints reached", reached.len(), tried.len()));
    }
    assert!(matrix.failures.is_empty(), "LANDFALL_SEED={seed} LANDFALL_CELL= one of {:#?}", matrix.failures);
    if one.is_none() {
        for (action, (reached, tried)) in &matrix.reached {
            let never: Vec<_> = tried.difference(reached).collect();
            assert!(never.is_empty(), "{action} never reached {never:?} (LANDFALL_SEED={seed})");
        }
    }
}

/// Killed whenever, in the middle of opening, appending, rotating and giving back.
#[test]
fn killed_at_any_moment() {
    let (seed, started) = (seed(), Instant::now());
    let shards: u64 = 2;
    let rounds = if all() { 600 } else { 24 };
    let tallies = std::thread::scope(|scope| {
        let shard = |number| scope.spawn(move || random_kills(seed.wrapping_add(number), rounds, number == 0));
        let running: Vec<_> = (0..shards).map(shard).collect();
        running.into_iter().map(|one| one.join().expect("a shard")).collect::<Vec<_>>()
    });
    let (mut total, mut kills) = (Tally::default(), 0);
    for (tally, killed) in tallies {
        total.add(tally);
        kills += killed;
    }
    let took = started.elapsed();
    let rate = f64::from(kills) / took.as_secs_f64();
    say(&format!("wal random kills (LANDFALL_SEED={seed}): {kills} SIGKILL in {took:?} ({rate:.0}/s)"));
    say(&format!("  {total}"));
    assert!(total.sound(), "LANDFALL_SEED={seed}: {total}");
    assert!(f64::from(kills) > 0.9 * (shards * rounds) as f64, "most ended before they were killed");
}

fn random_kills(seed: u64, rounds: u64, memory: bool) -> (Tally, u32) {
    let mut random = StdRng::seed_from_u64(seed);
    let directory = scratch(memory);
    let tool = Tool::new(directory.path().join("wal"));
    let (mut tally, mut kills) = (Tally::default(), 0);
    for round in 0..rounds {
        let longest = if random.random() { 8_000 } else { 80_000 };
        let pause = Duration::from_micros(random.random_range(0..longest));
        if round % 10 == 9 {
            let mut reading = tool.start_read(None);
            std::thread::sleep(pause);
            reading.kill().expect("SIGKILL");
            let status = reading.wait().expect("the reader");
            kills += u32::from(std::os::unix::process::ExitStatusExt::signal(&status).is_some());
        } else {
            let segment = [128 << 10, 200 << 10, 512 << 10][random.random_range(0..3)];
            let writing = tool.write(Write { segment, retire: true, until: i64::MAX }, None);
            std::thread::sleep(pause);
            let ended = writing.kill();
            kills += u32::from(ended.killed());
            assert!(ended.killed() || ended.status.success(), "LANDFALL_SEED={seed}: {}", ended.errors);
        }
        tally.add(tool.audit(&tool.promised()));
        if round % 3 == 2 {
            tear(&tool.log, &mut random);
        }
        if round % 6 > 3 {
            tally.add(tool.audit_by_reading(&tool.promised()));
        }
        assert!(tally.sound(), "LANDFALL_SEED={seed}, round {round}: {tally}");
    }
    tally.add(tool.audit_by_reading(&tool.promised()));
    (tally, kills)
}

/// A log in which one stream has a record and the ones before it none yet, as an early kill leaves it.
#[test]
fn a_stream_is_read_without_the_ones_before_it() {
    let directory = scratch(true);
    let tool = Tool::new(directory.path().join("wal"));
    let (wal, _) = Wal::open(&tool.log, Options::default()).expect("a log");
    let stream = Stream { cluster: "example".into(), topic: "events".into(), topic_id: None, partition: 3 };
    let id = wal.stream(&stream, Isolation::ReadCommitted).expect("a stream");
    wal.start_run(id, 0, AssignReason::Start).expect("a run");
    let value = value(3, 0);
    let record = Record { value: Some(&value), ..Record::default() };
    wal.wait(wal.append(id, Run::new(&[record], 1)).expect("room")).expect("durable");
    wal.close().expect("closed");
    let mut promised = tool.promised();
    promised.last.insert(3, 0);
    assert_eq!(tool.audit_by_reading(&promised), Tally { read: 1, ..Tally::default() });
}
