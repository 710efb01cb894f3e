//! A machine that never comes back, and then all of them: processes are killed with plans open, and everything that they
//! had on their own disks is deleted. Others finish what they planned; a fresh installation, with nothing but the name of
//! the lake, goes on from what stands in it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::together::{beside, in_bucket, json, say, shared};
use crate::rig::{Ended, Landfall, Scene, Settings, all};

/// The files of the plans that are open, as the newest checkpoints of the lake and its layouts tell them.
fn open_plans(landfall: &Landfall) -> Vec<PathBuf> {
    let mut newest: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    for path in landfall.hidden_files() {
        if path.components().any(|part| part.as_os_str() == "checkpoints") {
            let of_the_stream = newest.entry(path.parent().expect("a stream").to_owned()).or_default();
            *of_the_stream = path.max(std::mem::take(of_the_stream));
        }
    }
    let record =
        |path: PathBuf| -> Value { serde_json::from_slice(&std::fs::read(path).expect("a version")).expect("JSON") };
    let mut open = Vec::new();
    for record in newest.into_values().map(record) {
        let record = &record["checkpoint"];
        let (topic, partition) = (record["topic"].as_str().expect("a topic"), &record["partition"]);
        for plan in record["planned"].as_array().expect("plans") {
            let of = |end: &str| plan[end].as_i64().expect("an offset");
            let name = format!("{topic}/{partition}/{:020}-{:020}.parquet", of("from"), of("until"));
            open.push(landfall.lake().join(name));
        }
    }
    open
}

/// Killed at its n-th visit of this step, and everything of it deleted: configuration, state, spool.
fn dies_for_good(landfall: &Landfall, step: &str, visit: usize) {
    let dead = landfall.at(step, visit, "kill").start(&["run", "landfall.toml"]).wait(Duration::from_secs(90));
    assert!(dead.killed(), "{step}: {:?}\n{}", dead.status, dead.stderr);
    std::fs::remove_dir_all(&landfall.dir).expect("all that it had");
}

fn quick(scene: &Scene, records: u64) -> Settings {
    // A bucket is waited for as long as its largest put may take.
    Settings { max_age: "100ms", max_size: "1MiB", ..shared(scene).max_records(records).max_put("2MiB") }
}

#[test]
fn plans_of_a_lost_machine_are_finished_by_the_others() {
    lost_machine(Scene::new("machine", 2));
}

#[test]
fn plans_of_a_lost_machine_are_finished_by_the_others_in_a_bucket() {
    lost_machine(in_bucket("machine-bucket", 2));
}

fn lost_machine(mut scene: Scene) {
    let steps = ["pipeline.before_land", "sink.before_publish", "pipeline.before_commit", "store.after_swap"];
    let mut left_open = 0;
    for (round, step) in steps.into_iter().enumerate() {
        scene.fill_from(round * 160, 160);
        let lost = beside(&scene);
        lost.configure(&quick(&scene, 20));
        dies_for_good(&lost, step, 6);
        let left = open_plans(&scene.landfall);
        left_open += left.len();
        // Others, with another roll: what the dead one planned has the bounds that it planned.
        let others = [scene.landfall.clone(), beside(&scene)];
        others.iter().for_each(|other| other.configure(&quick(&scene, 33)));
        let running = others.each_ref().map(Landfall::run);
        scene.until_landed(Duration::from_secs(90));
        let standing = left.iter().filter(|file| file.is_file()).count();
        assert_eq!(standing, left.len(), "{step}: not all of these were finished as planned: {left:?}");
        for running in running {
            running.terminate(Duration::from_secs(20)).expect_code(0);
        }
    }
    say(&format!("a lost machine: {left_open} open plans were finished by others"));
    assert!(left_open > 4, "{left_open} plans were open");
    assert_eq!(scene.finish(&shared(&scene)).rows, 2 * 160 * steps.len());
    scene.landfall.command(&["verify", "--kafka", "landfall.toml"]).expect_code(0);
}

/// What is left of the checkpoints when the fleet is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// All of them: a fresh fleet needs no command.
    AllAndNoRebuild,
    All,
    /// Names of files alone.
    Names,
}

#[test]
fn a_lost_fleet_is_replaced_by_a_fresh_one() {
    // The usual run has the bucket below.
    if all() {
        lost_fleet(Scene::new("fleet", 3), Left::AllAndNoRebuild);
    }
}

#[test]
fn a_lost_fleet_is_replaced_by_a_fresh_one_in_a_bucket() {
    lost_fleet(in_bucket("fleet-bucket", 3), Left::AllAndNoRebuild);
}

#[test]
fn a_lost_fleet_is_taken_over_from_its_checkpoints() {
    lost_fleet(Scene::new("fleet-former", 3), Left::All);
}

#[test]
fn a_lost_fleet_is_taken_over_from_names_alone() {
    lost_fleet(Scene::new("fleet-names", 3), Left::Names);
}

/// A rebuild waits here until no request of the dead can be under way: more than half a minute.
#[test]
fn a_lost_fleet_is_taken_over_in_a_bucket() {
    if all() {
        lost_fleet(in_bucket("fleet-bucket-former", 3), Left::All);
    }
}

#[test]
fn a_lost_fleet_is_taken_over_from_names_alone_in_a_bucket() {
    if all() {
        lost_fleet(in_bucket("fleet-bucket-names", 3), Left::Names);
    }
}

fn lost_fleet(mut scene: Scene, left: Left) {
    let fleet = [beside(&scene), beside(&scene), beside(&scene)];
    fleet.iter().zip([17, 23, 40]).for_each(|(process, records)| process.configure(&quick(&scene, records)));
    let producer = scene.producer();
    let produced = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| producer.trickle(&scene.topic, &produced));
        let running = fleet.each_ref().map(Landfall::run);
        std::thread::sleep(Duration::from_secs(4));
        running.into_iter().for_each(|running| assert!(running.kill().killed()));
        produced.store(true, Ordering::Relaxed);
    });
    // Whatever they were at, one more dies with several plans open for certain, and so that nobody finishes them.
    scene.fill_from(100_000, 150);
    let last = beside(&scene);
    last.configure(&quick(&scene, 20));
    dies_for_good(&last, "pipeline.before_land", 3);
    fleet.iter().for_each(|process| std::fs::remove_dir_all(&process.dir).expect("all that it had"));
    scene.look().assert_sound("the fleet is gone");
    let open = open_plans(&scene.landfall);
    assert!(!open.is_empty(), "no plan was open");

    let fresh = [beside(&scene), beside(&scene)];
    fresh.iter().for_each(|process| process.configure(&quick(&scene, 200)));
    if left == Left::Names {
        std::fs::remove_dir_all(scene.landfall.lake().join("_landfall/checkpoints")).expect("the checkpoints");
        fresh[0].once().expect_code(1).expect_words(&["landfall rebuild"]);
    }
    if left != Left::AllAndNoRebuild {
        let rebuilt = take_over(&fresh[0]);
        let rows = json(&rebuilt.stdout);
        let source = if left == Left::All { "former" } else { "names" };
        let streams = rows["streams"].as_array().expect("streams");
        assert!(streams.len() == 3 && streams.iter().all(|row| row["source"] == source), "{rows}");
        say(&format!("a lost fleet ({left:?}): {} open plans, taken over in {:?}", open.len(), rebuilt.took));
    }
    // Landing goes on, by as many as one likes.
    scene.fill_from(200_000, 80);
    let running = fresh.each_ref().map(Landfall::run);
    scene.until_landed(Duration::from_secs(120));
    running.into_iter().for_each(|running| drop(running.terminate(Duration::from_secs(20)).expect_code(0)));
    if left != Left::Names {
        // From names alone nobody knows how far a plan behind the last file reached.
        let standing = open.iter().filter(|file| file.is_file()).count();
        assert_eq!(standing, open.len(), "not all of these were finished as planned: {open:?}");
    }
    let findings = scene.finish(&shared(&scene));
    scene.landfall.command(&["verify", "--kafka", "landfall.toml"]).expect_code(0);
    say(&format!("a lost fleet ({left:?}): {} rows in {} files", findings.rows, findings.files));
}

/// `rebuild --take-over`; whoever was killed may be a member of the group until its session has ended.
fn take_over(landfall: &Landfall) -> Ended {
    let began = Instant::now();
    loop {
        let arguments = ["rebuild", "--take-over", "--yes", "--output", "json", "landfall.toml"];
        let rebuilt = landfall.start(&arguments).wait(Duration::from_secs(120));
        let members = rebuilt.stderr.contains("members: end every process");
        if members && began.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_secs(1));
            continue;
        }
        return rebuilt.expect_code(0);
    }
}
