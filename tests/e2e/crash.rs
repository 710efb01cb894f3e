//! The crash matrix: killed at every step of the protocol, and at random moments, started again with other
//! roll settings; nothing lost, nothing repeated, no half file, no row outside its file's range.
//!
//! Every cell is one place (a local disk with either store, a bucket of a real S3 server), one story, one failpoint, one
//! visit and what happens there. In a bucket the server is killed as well, in some of the cells.
//!
//! `make test` runs a slice, chosen by a seed that is printed; `make test-all` runs every cell.
//! `LANDFALL_SEED=n` repeats a slice, `LANDFALL_CELL=plain/sink.sealed:1=kill` runs one cell, and `LANDFALL_CELL=minio+`
//! those whose name begins like that. `LANDFALL_SLICE=600` runs as many as fit into so many seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::rig::s3::Kind;
use crate::rig::{Ended, Landfall, Producer, Record, S3Server, Scene, Settings, all, failpoints, fresh};

/// Cells at once: most of a cell is waiting for the broker.
const SHARDS: usize = 4;
const SLICE: Duration = Duration::from_secs(60);

/// What the topic looks like when the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Story {
    /// Two partitions, several batches each.
    Plain,
    /// Committed and aborted transactions, markers at the end of ranges.
    Transactions,
    /// Some of it landed before, then retention overtakes the reader; gaps are recorded.
    Gap,
    /// Something landed before: the process that dies finds a checkpoint.
    Resumed,
}

/// Where the lake and the checkpoints are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// The lake and its sled store on a local disk.
    Sled,
    /// The lake on a local disk, its checkpoints in it.
    Lake,
    /// The lake in a bucket of a real server, its checkpoints in it.
    Bucket(Kind),
}

impl Place {
    const ON_DISK: [Place; 2] = [Place::Sled, Place::Lake];
    const IN_BUCKETS: [Place; 2] = [Place::Bucket(Kind::Versitygw), Place::Bucket(Kind::Minio)];

    fn store(self) -> &'static str {
        if self == Place::Sled { "sled" } else { "lake" }
    }

    fn prefix(self) -> &'static str {
        match self {
            Place::Sled => "",
            Place::Lake => "lake+",
            Place::Bucket(Kind::Minio) => "minio+",
            Place::Bucket(_) => "versitygw+",
        }
    }
}

const STORIES: [Story; 4] = [Story::Plain, Story::Transactions, Story::Gap, Story::Resumed];

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Cell {
    place: Place,
    story: Story,
    failpoint: String,
    visit: usize,
    action: &'static str,
    /// The S3 server is killed as well, and started again, in each of the runs.
    outage: bool,
}

impl Cell {
    /// The probe of a new lake visits the steps of a put a thousand times, and whoever dies at one of them dies there.
    /// It is tested on its own; here it takes place in one story on the disk.
    fn is_not_probed(&self) -> bool {
        matches!(self.place, Place::Bucket(_)) || self.story == Story::Transactions
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let story = format!("{:?}", self.story).to_lowercase();
        let outage = if self.outage { "+server" } else { "" };
        write!(f, "{}{story}/{}:{}={}{outage}", self.place.prefix(), self.failpoint, self.visit, self.action)
    }
}

/// What became of a cell.
#[derive(Debug, Default, Clone, Copy)]
struct Outcome {
    /// The failpoint was visited.
    reached: bool,
    kills: usize,
    /// Of the S3 server.
    outages: usize,
    rows: usize,
}

/// Failpoints that `run` never visits: the commands that do are tested on their own, and so is the write-ahead log.
fn outside_of_run(failpoint: &str) -> bool {
    ["rebuild.", "migrate.", "wal."].iter().any(|prefix| failpoint.starts_with(prefix))
}

/// Failpoints that a lake in a bucket never visits: those of the local disk and of sled. A file goes to the disk first
/// (`lake.before_stage`) where it is too large to be gathered, which is tested on its own.
fn outside_of_buckets(failpoint: &str) -> bool {
    let of_a_put = [".staged", ".before_link", ".after_link"];
    match failpoint.strip_prefix("lake") {
        Some(step) if step.starts_with(".create") => !of_a_put[1..].iter().any(|visited| step.ends_with(visited)),
        Some(step) => !of_a_put.contains(&step),
        None => failpoint == "store.after_sync",
    }
}

fn cells(places: &[Place]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for failpoint in failpoints::failpoints().into_iter().filter(|name| !outside_of_run(name)) {
        for (&place, story) in places.iter().flat_map(|place| STORIES.map(|story| (place, story))) {
            let bucket = matches!(place, Place::Bucket(_));
            if bucket && outside_of_buckets(&failpoint) {
                continue;
            }
            let cell = Cell { place, story, failpoint: failpoint.clone(), visit: 1, action: "kill", outage: false };
            for visit in [1, 2, 5] {
                cells.push(Cell { visit, ..cell.clone() });
            }
            cells.push(Cell { action: "fail", ..cell.clone() });
            if bucket {
                cells.push(Cell { visit: 2, outage: true, ..cell });
            }
        }
    }
    cells
}

fn settings(scene: &Scene, cell: &Cell, records: u64) -> Settings {
    let on_gap = if cell.story == Story::Gap { "record" } else { "fail" };
    scene.settings().max_records(records).on_gap(on_gap).store(cell.place.store())
}

/// Brings the topic to where the story's process will die.
fn prepare(scene: &Scene, story: Story) {
    match story {
        Story::Plain => scene.fill(400),
        Story::Transactions => transactions(scene, 6),
        Story::Resumed | Story::Gap => {
            scene.fill(200);
            scene.landfall.once().expect_code(0);
            scene.fill_from(200, 300);
            if story == Story::Gap {
                scene.admin.delete_records(&scene.topic, 0, 330);
                scene.journal.expire(&scene.topic, 0, 330);
            }
        }
    }
}

fn transactions(scene: &Scene, count: usize) {
    let producer = Producer::transactional(&scene.bootstrap, &scene.journal, &fresh("crash-tx"));
    for number in 0..count {
        producer.begin();
        for partition in 0..scene.partitions {
            (0..40).for_each(|n| producer.send(&scene.topic, partition, &Record::numbered(number * 40 + n)));
        }
        if number % 3 == 1 { producer.abort() } else { producer.commit() }
    }
}

/// The S3 servers of one shard, so that a cell can kill its own.
#[derive(Default)]
struct Servers(BTreeMap<Kind, S3Server>);

impl Servers {
    fn get(&mut self, kind: Kind) -> &S3Server {
        self.0.entry(kind).or_insert_with(|| S3Server::start(kind))
    }

    fn scene(&mut self, place: Place) -> Scene {
        let Place::Bucket(kind) = place else { return Scene::new("crash", 2) };
        let server = self.get(kind);
        Scene::in_bucket(server, &server.endpoint(), "crash-bucket", 2)
    }

    /// `landfall run --once` to its end; where the cell wants it, its server is gone for a while meanwhile.
    fn once(&mut self, cell: &Cell, landfall: &Landfall) -> Ended {
        let running = landfall.start_once();
        if let (Place::Bucket(kind), true) = (cell.place, cell.outage) {
            let server = self.get(kind);
            std::thread::sleep(Duration::from_millis(rand::random_range(50..1500)));
            server.kill();
            std::thread::sleep(Duration::from_millis(rand::random_range(50..700)));
            server.launch();
        }
        running.wait(Duration::from_secs(90))
    }
}

fn run_cell(cell: &Cell, servers: &mut Servers) -> Outcome {
    let mut scene = servers.scene(cell.place);
    let story = cell.story;
    if cell.is_not_probed() {
        scene.landfall = scene.landfall.sabotaged("skip_probe");
    }
    scene.landfall.configure(&settings(&scene, cell, 110));
    prepare(&scene, story);
    let mut outcome = Outcome::default();

    let first = servers.once(cell, &scene.landfall.at(&cell.failpoint, cell.visit, cell.action));
    match cell.action {
        "kill" => outcome.reached = first.killed(),
        _ => outcome.reached = first.stderr.contains("failpoint") || first.code() != Some(0),
    }
    outcome.kills += usize::from(first.killed());
    // Without its server a start may give up, and says so; under way it waits.
    if !first.killed() && cell.action == "kill" && !cell.outage {
        first.expect_code(0);
    }
    scene.look().assert_sound(&format!("{cell}, dead"));

    // Recovery is the normal path run again, so it is killed at the same step as well.
    scene.landfall.configure(&settings(&scene, cell, 70));
    let second = servers.once(cell, &scene.landfall.at(&cell.failpoint, 1, "kill"));
    outcome.kills += usize::from(second.killed());
    outcome.outages += 2 * usize::from(cell.outage);
    scene.look().assert_sound(&format!("{cell}, dead again"));

    scene.fill_from(500, 30);
    let findings = scene.finish(&settings(&scene, cell, 1000));
    outcome.rows = findings.rows;

    // A run that finds nothing to do changes nothing.
    let files = findings.files;
    let again = scene.finish(&settings(&scene, cell, 17));
    assert_eq!(again.files, files, "{cell}: a run without new records made files");
    // The long run has over a thousand cells, and one small broker.
    scene.admin.delete(&scene.topic);
    outcome
}

#[derive(Default)]
struct Tally {
    cells: usize,
    kills: usize,
    outages: usize,
    rows: usize,
    reached: BTreeMap<String, usize>,
    failures: Vec<String>,
}

/// Runs cells side by side until they are done or the time is up.
fn run_cells(cells: Vec<Cell>, within: Option<Duration>) -> Tally {
    let started = Instant::now();
    let waiting = Mutex::new(cells.into_iter());
    let tally = Mutex::new(Tally::default());
    let broken = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..SHARDS {
            scope.spawn(|| {
                let mut servers = Servers::default();
                while within.is_none_or(|within| started.elapsed() < within) && !broken.load(Ordering::Relaxed) {
                    let Some(cell) = waiting.lock().expect("cells").next() else { return };
                    let result = catch_unwind(AssertUnwindSafe(|| run_cell(&cell, &mut servers)));
                    let mut tally = tally.lock().expect("tally");
                    tally.cells += 1;
                    match result {
                        Ok(outcome) => {
                            tally.kills += outcome.kills;
                            tally.outages += outcome.outages;
                            tally.rows += outcome.rows;
                            *tally.reached.entry(cell.failpoint.clone()).or_default() += usize::from(outcome.reached);
                        }
                        Err(_) => {
                            tally.failures.push(cell.to_string());
                            // It may have died while its server was gone.
                            servers = Servers::default();
                            // One is enough to see in the usual slice; a long run shows all of them.
                            broken.store(!all(), Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    tally.into_inner().expect("tally")
}

/// To the terminal also where the test harness keeps a passing test's output.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn seed() -> u64 {
    let given = std::env::var("LANDFALL_SEED").ok();
    given.map_or_else(rand::random, |text| text.parse().expect("LANDFALL_SEED is a number"))
}

#[test]
fn killed_at_every_step() {
    crash_matrix(&Place::ON_DISK, SLICE);
}

#[test]
fn killed_at_every_step_in_a_bucket() {
    // The second server is for the long run: it is built for minutes.
    crash_matrix(if all() { &Place::IN_BUCKETS } else { &Place::IN_BUCKETS[..1] }, SLICE / 2);
}

fn crash_matrix(places: &[Place], slice: Duration) {
    let mut cells = cells(places);
    let one = std::env::var("LANDFALL_CELL").ok();
    if let Some(one) = &one {
        let every = self::cells(&[Place::ON_DISK, Place::IN_BUCKETS].concat());
        let exact = every.iter().any(|cell| cell.to_string() == *one);
        let named = |cell: &Cell| if exact { cell.to_string() == *one } else { cell.to_string().starts_with(one) };
        assert!(every.iter().any(named), "LANDFALL_CELL={one} names no cell");
        cells.retain(named);
        if cells.is_empty() {
            return;
        }
    }
    assert!(!cells.is_empty(), "the source has no failpoints");
    let names: BTreeSet<String> = cells.iter().map(|cell| cell.failpoint.clone()).collect();
    let (count, seed) = (cells.len(), seed());
    cells.shuffle(&mut StdRng::seed_from_u64(seed));

    let seconds = std::env::var("LANDFALL_SLICE").ok().map(|text| text.parse().expect("LANDFALL_SLICE is in seconds"));
    let slice = seconds.map(Duration::from_secs).or((!all()).then_some(slice));
    let whole = slice.is_none() && one.is_none();
    let tally = run_cells(cells, slice);
    say(&format!(
        "crash matrix of {places:?}: {} of {count} cells (LANDFALL_SEED={seed}), {} kills, {} kills of the server, \
         {} rows landed, {} of {} failpoints reached",
        tally.cells,
        tally.kills,
        tally.outages,
        tally.rows,
        tally.reached.values().filter(|count| **count > 0).count(),
        names.len(),
    ));
    assert!(tally.failures.is_empty(), "LANDFALL_CELL= one of {:#?}", tally.failures);
    if one.is_some() {
        return;
    }
    if whole {
        let never: Vec<&String> =
            names.iter().filter(|name| tally.reached.get(*name).is_none_or(|n| *n == 0)).collect();
        assert!(never.is_empty(), "no story visits these failpoints: {never:?}");
    } else {
        assert!(tally.kills > 0, "not one failpoint was reached");
    }
}

/// Killed whenever, while a producer goes on.
#[test]
fn killed_at_random_moments() {
    let seed = seed();
    say(&format!("random kills: LANDFALL_SEED={seed}"));
    let rounds = if all() { 60 } else { 8 };
    std::thread::scope(|scope| {
        for shard in 0..2 {
            scope.spawn(move || random_kills(&mut StdRng::seed_from_u64(seed.wrapping_add(shard)), rounds));
        }
    });
}

fn random_kills(random: &mut StdRng, rounds: usize) {
    let mut scene = Scene::new("random", 3);
    let producer = scene.producer();
    let usual = scene.settings();
    let produced = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| producer.trickle(&scene.topic, &produced));
        let kill = catch_unwind(AssertUnwindSafe(|| {
            for _ in 0..rounds {
                let records = random.random_range(1..400);
                scene.landfall.configure(&Settings { max_age: "100ms", ..usual.clone().max_records(records) });
                let running = scene.landfall.run();
                std::thread::sleep(Duration::from_millis(random.random_range(30..1500)));
                let ended = running.kill();
                assert!(ended.killed(), "it ended by itself: {:?}\n{}", ended.status, ended.stderr);
                scene.check.look(&scene.journal).assert_sound_while_producing("between two runs");
            }
        }));
        produced.store(true, Ordering::Relaxed);
        if let Err(panic) = kill {
            std::panic::resume_unwind(panic);
        }
    });
    let findings = scene.finish(&scene.settings().max_records(1000));
    say(&format!("random kills: {rounds} kills, {} rows in {} files", findings.rows, findings.files));
}

/// Frozen inside a step, as by a debugger: nobody else may land anything, and afterwards it goes on.
#[test]
fn frozen_at_a_step_and_going_on() {
    for failpoint in ["sink.before_publish", "store.before_swap", "store.after_swap"] {
        if !failpoints::failpoints().contains(failpoint) {
            panic!("the failpoint {failpoint} is gone: name another here");
        }
        let mut scene = Scene::new("frozen", 1);
        scene.fill(300);
        scene.landfall.configure(&scene.settings().max_records(100));
        let running = scene.landfall.at(failpoint, 2, "stop").start_once();
        std::thread::sleep(Duration::from_millis(1500));
        // The store is held: a second process says by whom, and ends.
        scene.landfall.once().expect_code(73);
        running.resume();
        running.wait(Duration::from_secs(60)).expect_code(0);
        scene.look().assert_clean(failpoint);
    }
}
