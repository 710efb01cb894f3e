//! A process is frozen at a step until its session has ended, another takes its partitions over and lands them, and
//! the first one wakes: whatever it does next, nothing is landed twice.
//!
//! `make test` freezes at a few of the steps for 8 s; `make test-all` at every one, side by side, for 120 s, and in a
//! bucket as well.

use std::io::Write;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{SeedableRng, random};

use super::sharing::shared;
use crate::rig::driver::Running;
use crate::rig::{S3Server, Scene, all, failpoints};

/// How long it may take until a step is met; steps of other stores are never met.
const MET: Duration = Duration::from_secs(60);

#[test]
fn frozen_until_another_has_taken_over() {
    every_step("local", || Scene::new("zombie", 1));
}

#[test]
fn frozen_until_another_has_taken_over_in_a_bucket() {
    if !all() {
        return;
    }
    let server = S3Server::shared();
    every_step("bucket", || Scene::in_bucket(server, &server.endpoint(), "zombie-bucket", 1));
}

fn every_step(place: &str, scene: impl Fn() -> Scene + Sync) {
    let given = std::env::var("LANDFALL_SEED").ok().map(|text| text.parse().expect("a number"));
    let seed: u64 = given.unwrap_or_else(random);
    let mut dice = StdRng::seed_from_u64(seed);
    let mut steps: Vec<String> = failpoints::failpoints().into_iter().filter(|step| is_of_a_run(step)).collect();
    steps.shuffle(&mut dice);
    let frozen_for = Duration::from_secs(if all() { 120 } else { 8 });
    // What is met by every process comes first in the short run.
    steps.sort_by_key(|step| !ALWAYS.contains(&step.as_str()));
    let (mut met, mut rows) = (Vec::new(), 0);
    let side_by_side = if all() { 12 } else { 5 };
    let count = if all() { steps.len() } else { side_by_side };
    for some in steps[..count].chunks(side_by_side) {
        std::thread::scope(|scope| {
            let scene = &scene;
            let freezing = some.iter().map(|step| {
                let visit = dice.random_range(1..=3);
                (step, scope.spawn(move || freeze(scene(), step, visit, frozen_for)))
            });
            for (step, frozen) in freezing.collect::<Vec<_>>() {
                if let Some(landed) = frozen.join().unwrap_or_else(|_| panic!("{step}, LANDFALL_SEED={seed}")) {
                    met.push(step.clone());
                    rows += landed;
                }
            }
        });
    }
    met.sort();
    let _ = writeln!(
        std::io::stderr(),
        "zombies, {place}: frozen for {frozen_for:?} at {} of {count} steps, {rows} rows, 0 lost, 0 repeated, LANDFALL_SEED={seed}",
        met.len()
    );
    let missed: Vec<&&str> = ALWAYS.iter().filter(|step| all() && !met.iter().any(|met| met == *step)).collect();
    assert!(missed.is_empty() && !met.is_empty(), "never met: {missed:?}");
}

/// Steps that every process comes to in every kind of lake.
const ALWAYS: &[&str] = &[
    "pipeline.before_plan",
    "pipeline.after_plan",
    "pipeline.after_read",
    "pipeline.before_land",
    "pipeline.after_land",
    "pipeline.before_commit",
    "pipeline.after_commit",
    "store.before_swap",
    "store.after_swap",
    "store.after_list",
    "sink.before_publish",
];

fn is_of_a_run(step: &str) -> bool {
    !["rebuild.", "migrate.", "wal."].iter().any(|prefix| step.starts_with(prefix))
}

/// `None` where the step is not met; else how many rows have landed.
fn freeze(mut scene: Scene, step: &str, visit: usize, frozen_for: Duration) -> Option<usize> {
    let settings = |records| shared(&scene).max_records(records);
    let (first, second) = (scene.beside(&settings(70)), scene.beside(&settings(40)));
    scene.fill(300);
    let frozen = first.at(step, visit, "stop").run();
    if !is_met(&frozen) {
        frozen.terminate(Duration::from_secs(60)).expect_code(0);
        return None;
    }
    let since = Instant::now();
    let other = second.run();
    scene.fill_from(300, 100);
    // The session has ended, and the other has its partition.
    scene.until_landed(frozen_for.max(Duration::from_secs(90)));
    std::thread::sleep(frozen_for.saturating_sub(since.elapsed()));
    frozen.resume();
    scene.fill_from(400, 100);
    scene.until_landed(Duration::from_secs(90));
    // Awake for a while, as a member again.
    std::thread::sleep(Duration::from_secs(1));
    for one in [frozen, other] {
        one.terminate(Duration::from_secs(60)).expect_code(0);
    }
    scene.look().assert_sound(step);
    let rows = scene.finish(&shared(&scene)).rows;
    assert_eq!(rows, 500, "{step}");
    Some(rows)
}

/// Until the process has frozen itself, or has long had the time for it.
fn is_met(running: &Running) -> bool {
    let waiting = Instant::now();
    while waiting.elapsed() < MET {
        if running.is_stopped() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}
