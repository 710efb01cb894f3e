//! Processes that share the partitions of a topic through Kafka's group coordinator: each plans its own, takes over
//! those of the dead, helps with a backlog, and wakes from a freeze without doing harm.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::rig::driver::Running;
use crate::rig::{Landfall, Scene, Settings, fresh, wait_until};

const SOON: Duration = Duration::from_secs(60);

/// Of a process that shares the partitions with others, and whose session ends soon.
pub fn shared(scene: &Scene) -> Settings {
    scene.settings().store("lake").property("session.timeout.ms", "6000")
}

/// The partitions that a process plans, as its log says.
fn planned_by(running: &Running) -> BTreeSet<i32> {
    let mut partitions = BTreeSet::new();
    for line in running.errors().lines() {
        let Some((_, told)) = line.split_once("this process ") else { continue };
        let named = told.split(';').next().unwrap_or_default().split([' ', ',']);
        let named = named.filter_map(|name| name.rsplit_once('/')?.1.parse().ok());
        match told.split(' ').next() {
            Some("plans") => partitions.extend(named),
            Some("gives") => named.for_each(|partition: i32| assert!(partitions.remove(&partition))),
            _ => {}
        }
    }
    partitions
}

/// Each partition is one process's, and every partition is somebody's.
fn are_shared_out(running: &[&Running], partitions: i32) -> bool {
    let shares: Vec<BTreeSet<i32>> = running.iter().map(|one| planned_by(one)).collect();
    let all: BTreeSet<i32> = shares.iter().flatten().copied().collect();
    let count: usize = shares.iter().map(BTreeSet::len).sum();
    all.len() == partitions as usize && count == all.len() && shares.iter().all(|share| !share.is_empty())
}

#[test]
fn partitions_are_shared_out_and_those_of_the_dead_are_taken_over() {
    taken_over(|settings, _| settings);
}

#[test]
fn a_group_that_the_broker_leads_shares_partitions_out() {
    taken_over(|mut settings, _| {
        settings.properties.retain(|(name, _)| name != "session.timeout.ms");
        settings.property("group.protocol", "consumer")
    });
}

fn taken_over(vary: impl Fn(Settings, usize) -> Settings) {
    let mut scene = Scene::new("shared-out", 6);
    scene.fill(50);
    let installations: Vec<Landfall> = (0..3).map(|number| scene.beside(&vary(shared(&scene), number))).collect();
    let mut running: Vec<Running> = installations.iter().map(Landfall::run).collect();
    wait_until("the partitions are shared out", SOON, || are_shared_out(&running.iter().collect::<Vec<_>>(), 6));
    scene.until_landed(SOON);
    commands_know_the_members(&installations[0]);
    let dead = running.pop().expect("three");
    let orphans = planned_by(&dead);
    dead.kill();
    scene.fill_from(50, 50);
    scene.until_landed(SOON);
    assert!(are_shared_out(&running.iter().collect::<Vec<_>>(), 6), "{orphans:?} were its");
    // Who ends gives its partitions away at once.
    running.pop().expect("two").terminate(Duration::from_secs(20)).expect_code(0);
    scene.fill_from(100, 50);
    scene.until_landed(Duration::from_secs(30));
    for one in running {
        one.terminate(Duration::from_secs(20)).expect_code(0);
    }
    scene.look().assert_clean("shared out");
    assert_eq!(scene.finish(&shared(&scene)).rows, 900);
}

/// Who plans what is told, and what must not be done beside them is refused.
fn commands_know_the_members(landfall: &Landfall) {
    let status = landfall.command(&["status", "--output", "json", "landfall.toml"]).expect_code(0).stdout;
    let told: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    let rows = told["streams"].as_array().expect("streams");
    let owners: BTreeSet<&str> = rows.iter().filter_map(|row| row["owner"].as_str()).collect();
    assert!(rows.iter().all(|row| row["owner"].is_string() && row["lag"] == 0) && owners.len() == 3, "{status}");
    let rebuild = landfall.command(&["rebuild", "--yes", "landfall.toml"]);
    assert_ne!(rebuild.code(), Some(0));
    rebuild.expect_words(&["has members", "127.0.0.1"]);
}

/// Killed, and back at once under the same name: the coordinator holds its place until it comes, or until its session
/// ends.
#[test]
fn a_process_that_comes_back_under_its_name_gets_its_place() {
    comes_back(|settings| settings);
}

#[test]
fn a_process_that_comes_back_under_its_name_gets_its_place_from_the_broker() {
    comes_back(|mut settings| {
        settings.properties.retain(|(name, _)| name != "session.timeout.ms");
        settings.property("group.protocol", "consumer")
    });
}

fn comes_back(vary: impl Fn(Settings) -> Settings) {
    let mut scene = Scene::new("comes-back", 2);
    scene.fill(50);
    let settings = vary(shared(&scene)).property("group.instance.id", "landfall-0");
    let landfall = scene.beside(&settings);
    for round in 1..=2 {
        let running = landfall.run();
        scene.until_landed(SOON);
        assert_eq!(planned_by(&running).len(), 2);
        running.kill();
        scene.fill_from(50 * round, 50);
    }
    let last = landfall.run();
    scene.until_landed(SOON);
    last.terminate(Duration::from_secs(20)).expect_code(0);
    assert_eq!(scene.finish(&shared(&scene)).rows, 300);
}

/// Who ends leaves its group, so that nobody waits for the end of its session.
#[test]
fn a_process_that_was_ended_plans_again_at_once() {
    let mut scene = Scene::new("again", 4);
    for round in 0..3 {
        scene.fill_from(round * 20, 20);
        let began = Instant::now();
        let running = scene.beside(&shared(&scene)).run();
        scene.until_landed(SOON);
        let landed = began.elapsed();
        running.terminate(Duration::from_secs(20)).expect_code(0);
        assert!(landed < Duration::from_secs(6), "start {round} took {landed:?}");
    }
    assert_eq!(scene.finish(&shared(&scene)).rows, 240);
}

/// The first of them ends, and says what is to be mended; the second lands.
#[test]
fn two_processes_of_one_name_are_told() {
    let mut scene = Scene::new("one-name", 2);
    scene.fill(50);
    let settings = shared(&scene).property("group.instance.id", "landfall-0");
    let (first, second) = (scene.beside(&settings).run(), scene.beside(&settings));
    scene.until_landed(SOON);
    let second = second.run();
    first.wait(SOON).expect_code(78).expect_words(&["group.instance.id", "each needs its own"]);
    scene.fill_from(50, 50);
    scene.until_landed(SOON);
    second.terminate(Duration::from_secs(20)).expect_code(0);
    assert_eq!(scene.finish(&shared(&scene)).rows, 200);
}

/// Each would land the partitions that the group gives to it, and no more.
#[test]
fn a_group_of_another_lake_is_refused() {
    let mut scene = Scene::new("two-lakes", 2);
    scene.fill(50);
    let settings = shared(&scene).group(&fresh("one-group"));
    scene.landfall.configure(&settings);
    let first = scene.landfall.run();
    scene.until_landed(SOON);
    // The committed offsets are announced after five seconds at most.
    std::thread::sleep(Duration::from_secs(7));
    let other = Landfall::new(&scene.dir().join("another"), &settings);
    other.run().wait(SOON).expect_code(78).expect_words(&["is used by lake", "group.id"]);
    scene.fill_from(50, 50);
    scene.until_landed(SOON);
    first.terminate(Duration::from_secs(20)).expect_code(0);
}

/// One partition, two processes: the one that the partition is not given to takes pieces of the backlog.
#[test]
fn a_backlog_of_one_partition_is_landed_by_two_processes() {
    let mut scene = Scene::new("helped", 1);
    let settings = || Settings { workers: 1, ..shared(&scene) }.max_records(50);
    scene.fill(60_000);
    let installations = [scene.beside(&settings()), scene.beside(&settings())];
    let running: Vec<Running> = installations.iter().map(Landfall::run).collect();
    wait_until("all but the end has landed", Duration::from_secs(120), || scene.landfall.files() >= 1199);
    let ended: Vec<String> =
        running.into_iter().map(|one| one.terminate(Duration::from_secs(20)).expect_code(0).stderr).collect();
    scene.look().assert_sound("helped");
    let landed = |log: &String| {
        let line = log.lines().rev().find(|line| line.contains("in this run")).expect("its sum");
        let words: Vec<&str> = line.split(' ').collect();
        let at = words.iter().position(|word| *word == "records").expect("records");
        words[at - 1].parse::<usize>().expect("a number")
    };
    let shares: Vec<usize> = ended.iter().map(landed).collect();
    assert!(shares.iter().all(|share| *share > 3_000), "{shares:?}\n{}\n{}", ended[0], ended[1]);
    assert_eq!(scene.finish(&shared(&scene)).rows, 60_000);
}
