//! Processes that share the partitions of a topic through Kafka's group coordinator: each plans its own, takes over
//! those of the dead, helps with a backlog, and wakes from a freeze without doing harm.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::rig::driver::Running;
use crate::rig::{Landfall, Scene, Settings, wait_until};

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

/// One partition, two processes: the one that the partition is not given to takes pieces of the backlog.
#[test]
fn a_backlog_of_one_partition_is_landed_by_two_processes() {
    let mut scene = Scene::new("helped", 1);
    let settings = || Settings { workers: 1, max_age: "60s", ..shared(&scene) }.max_records(300);
    scene.fill(60_000);
    let installations = [scene.beside(&settings()), scene.beside(&settings())];
    let running: Vec<Running> = installations.iter().map(Landfall::run).collect();
    wait_until("all but the end has landed", Duration::from_secs(120), || scene.landfall.files() >= 199);
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
