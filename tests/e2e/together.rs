//! Several processes on one lake that keeps its own checkpoints, on a local disk and in a bucket: each of them lands
//! every partition, whoever else does so, is killed, frozen and started again, and nothing is lost or repeated.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use crate::rig::liar::Rates;
use crate::rig::{Landfall, Liar, S3Server, Scene, Settings, all, wait_until};

/// An installation of its own on the same lake.
pub(super) fn beside(scene: &Scene) -> Landfall {
    scene.beside(&shared(scene))
}

/// As [`Scene::new`], with the lake in a bucket of a real S3 server.
pub(super) fn in_bucket(stem: &str, partitions: i32) -> Scene {
    let server = S3Server::shared();
    Scene::in_bucket(server, &server.endpoint(), stem, partitions)
}

pub(super) fn shared(scene: &Scene) -> Settings {
    scene.settings().store("lake").assignment("all")
}

pub(super) fn seed() -> u64 {
    let given = std::env::var("LANDFALL_SEED").ok();
    given.map_or_else(rand::random, |text| text.parse().expect("LANDFALL_SEED is a number"))
}

/// To the terminal also where the test harness keeps a passing test's output.
pub(super) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

pub(super) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("no JSON: {text}"))
}

#[test]
fn two_processes_under_random_kills() {
    under_random_kills(Scene::new("together", 3), if all() { 60 } else { 10 });
}

#[test]
fn two_processes_under_random_kills_in_a_bucket() {
    under_random_kills(in_bucket("together-bucket", 3), if all() { 60 } else { 8 });
}

fn under_random_kills(mut scene: Scene, rounds: usize) {
    let seed = seed();
    say(&format!("two processes: LANDFALL_SEED={seed}"));
    let installations = [scene.landfall.clone(), beside(&scene)];
    let producer = scene.producer();
    let usual = shared(&scene);
    let produced = AtomicBool::new(false);
    let mut kills = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| producer.trickle(&scene.topic, &produced));
        let churning = installations.iter().enumerate().map(|(number, landfall)| {
            let random = StdRng::seed_from_u64(seed.wrapping_add(number as u64));
            let usual = usual.clone();
            scope.spawn(move || churn(landfall, &usual, random, rounds))
        });
        let churning: Vec<_> = churning.collect();
        while churning.iter().any(|thread| !thread.is_finished()) {
            scene.check.look(&scene.journal).assert_sound_while_producing("while two processes are killed");
            std::thread::sleep(Duration::from_millis(500));
        }
        produced.store(true, Ordering::Relaxed);
        kills = churning.into_iter().map(|thread| thread.join().expect("a churning thread")).sum();
    });
    // Both at once, to the end.
    for landfall in &installations {
        landfall.configure(&usual.clone().max_records(1000));
    }
    let ending = installations.each_ref().map(Landfall::start_once);
    for running in ending {
        running.wait(Duration::from_secs(120)).expect_code(0);
    }
    let findings = scene.look();
    findings.assert_clean("two processes");
    let (landfall, lake) = scene.by_url();
    let verified = landfall.command(&["verify", "--output", "json", &lake]).expect_code(0);
    assert_eq!(json(&verified.stdout)["against"], "checkpoint");
    scene.landfall.command(&["verify", "--kafka", "landfall.toml"]).expect_code(0);
    say(&format!("two processes: {kills} kills, {} rows in {} files", findings.rows, findings.files));
}

/// Started, and killed or frozen for a while, again and again.
fn churn(landfall: &Landfall, usual: &Settings, mut random: StdRng, rounds: usize) -> usize {
    for _ in 0..rounds {
        let records = random.random_range(1..400);
        landfall.configure(&Settings { max_age: "100ms", ..usual.clone().max_records(records) });
        let running = landfall.run();
        std::thread::sleep(Duration::from_millis(random.random_range(100..2500)));
        if random.random_bool(0.3) {
            running.pause();
            std::thread::sleep(Duration::from_millis(random.random_range(100..3000)));
            running.resume();
            std::thread::sleep(Duration::from_millis(random.random_range(0..500)));
        }
        let ended = running.kill();
        assert!(ended.killed(), "it ended by itself: {:?}\n{}", ended.status, ended.stderr);
    }
    rounds
}

/// One is frozen inside a step, another lands everything, and the first wakes.
#[test]
fn frozen_at_a_step_while_another_takes_over() {
    let points = [
        "pipeline.before_plan",
        "pipeline.after_plan",
        "sink.before_publish",
        "lake.before_link",
        "pipeline.before_commit",
        "store.before_swap",
        "lake.create.before_link",
        "store.after_swap",
        "store.after_list",
    ];
    std::thread::scope(|scope| {
        for point in points {
            scope.spawn(move || frozen_at(Scene::new("zombie", 1), point));
        }
    });
}

#[test]
fn frozen_at_a_step_while_another_takes_over_in_a_bucket() {
    let points = [
        "pipeline.before_plan",
        "pipeline.after_plan",
        "sink.before_publish",
        "lake.before_link",
        "lake.after_link",
        "pipeline.before_commit",
        "lake.create.before_link",
        "lake.create.after_link",
        "store.after_swap",
        "store.after_list",
    ];
    std::thread::scope(|scope| {
        for point in points {
            scope.spawn(move || frozen_at(in_bucket("zombie-bucket", 1), point));
        }
    });
}

fn frozen_at(mut scene: Scene, point: &str) {
    let other = beside(&scene);
    scene.fill(300);
    scene.landfall.configure(&shared(&scene).max_records(70));
    let frozen = scene.landfall.at(point, 3, "stop").start_once();
    let waiting = Instant::now();
    while !frozen.is_stopped() {
        assert!(waiting.elapsed() < Duration::from_secs(120), "{point} was not reached\n{}", frozen.errors());
        std::thread::sleep(Duration::from_millis(20));
    }
    scene.fill_from(300, 100);
    other.configure(&shared(&scene).max_records(40));
    other.once().expect_code(0);
    scene.look().assert_clean(point);
    frozen.resume();
    frozen.wait(Duration::from_secs(60)).expect_code(0);
    scene.look().assert_clean(point);
    assert_eq!(scene.finish(&shared(&scene).max_records(1000)).rows, 400, "{point}");
}

/// What a deployment needs: one process more, one less, and commands that read the lake, without a socket.
#[test]
fn commands_read_the_lake() {
    read_by_commands(Scene::new("shared", 2));
}

#[test]
fn commands_read_the_bucket() {
    read_by_commands(in_bucket("shared-bucket", 2));
}

fn read_by_commands(mut scene: Scene) {
    scene.fill(100);
    scene.landfall.configure(&shared(&scene));
    let checked = scene.landfall.command(&["check", "landfall.toml"]).expect_code(0);
    assert!(checked.stdout.contains("in the lake"), "{}", checked.stdout);
    let (one, other) = (scene.landfall.run(), beside(&scene).run());
    scene.until_landed(Duration::from_secs(60));
    let (landfall, lake) = scene.by_url();
    for target in ["landfall.toml", &lake] {
        let status = landfall.command(&["status", "--output", "json", target]).expect_code(0);
        let rows = json(&status.stdout)["streams"].as_array().expect("streams").len();
        assert_eq!(rows, 2, "{target}: {}", status.stdout);
        let offsets = landfall.command(&["offsets", target]).expect_code(0);
        assert_eq!(json(&offsets.stdout)[&scene.topic]["1"]["next"], 100, "{target}: {}", offsets.stdout);
        landfall.command(&["verify", target]).expect_code(0);
    }
    let plan =
        scene.landfall.command(&["plan", "--price", "0.005", "--output", "json", "landfall.toml"]).expect_code(0);
    assert_eq!(json(&plan.stdout)["requests"]["partitions"], 2, "{}", plan.stdout);
    other.terminate(Duration::from_secs(20)).expect_code(0);
    scene.fill_from(100, 50);
    scene.until_landed(Duration::from_secs(60));
    one.terminate(Duration::from_secs(20)).expect_code(0);
    // A store elsewhere is refused while the lake keeps its own.
    scene.landfall.configure(&scene.settings());
    scene.landfall.once().expect_code(73);
    scene.landfall.configure(&shared(&scene));
    assert_eq!(scene.finish(&shared(&scene)).rows, 300);
}

/// Two small objects a batch at most, and fewer where a commit and the next plan share a swap; nothing else grows.
#[test]
fn a_batch_costs_two_versions_at_most() {
    const BATCHES: usize = 60;
    let mut scene = Scene::new("frugal", 1);
    scene.fill(10 * BATCHES);
    assert_eq!(scene.finish(&shared(&scene).max_records(10)).files, BATCHES);
    let names: Vec<String> =
        scene.landfall.hidden_files().iter().map(|path| path.to_string_lossy().into_owned()).collect();
    let version =
        |name: &String| name.split("/checkpoints/").nth(1)?.rsplit('/').next()?.strip_suffix(".json")?.parse().ok();
    let versions: Vec<usize> = names.iter().filter_map(version).collect();
    let newest = versions.iter().copied().max().expect("versions");
    say(&format!("{BATCHES} batches: {newest} versions, the birth among them"));
    assert!(newest <= 1 + 2 * BATCHES, "{newest} versions for {BATCHES} batches");
    // The owner, the layout, the start, the mark.
    assert_eq!(names.len() - versions.len(), 4, "{names:#?}");
}

/// What a day costs follows from this: a put of the file, two small ones and a list for each batch; deletions of many
/// old versions at once; and nothing is read.
#[test]
fn a_batch_in_a_bucket_costs_three_puts_and_a_list_at_most() {
    const BATCHES: usize = 150;
    let server = S3Server::shared();
    let counter = Liar::before(server.port);
    let mut scene = Scene::in_bucket(server, &counter.endpoint(), "frugal-bucket", 1);
    scene.fill(10);
    scene.finish(&shared(&scene).max_records(10));
    scene.fill_from(10, 10 * BATCHES);
    let before = counter.asked();
    let asked = |method: &str| {
        let count = |asked: &std::collections::BTreeMap<String, usize>| asked.get(method).copied().unwrap_or_default();
        count(&counter.asked()) - count(&before)
    };
    assert_eq!(scene.finish(&shared(&scene).max_records(10)).files, BATCHES + 1);
    let told = ["PUT", "LIST", "GET", "HEAD", "POST", "DELETE"].map(|method| (method, asked(method)));
    say(&format!("{BATCHES} batches in a bucket: {told:?}"));
    // Besides those of the batches there are those of a start, of which no more than a few.
    const START: usize = 20;
    assert!(asked("PUT") <= 3 * BATCHES + START, "{told:?}");
    assert!(asked("LIST") <= BATCHES + START, "{told:?}");
    assert!(asked("GET") + asked("HEAD") <= START, "{told:?}");
    // Many versions go in one request.
    assert!(asked("DELETE") + asked("POST") <= START, "{told:?}");
}

/// Nothing that is said of a put, a read or a list can be relied on, and two processes land the same topic.
#[test]
fn two_processes_are_lied_to() {
    let server = S3Server::shared();
    let seeds = if all() { 24 } else { 4 };
    std::thread::scope(|scope| {
        for shard in 0..4 {
            scope.spawn(move || (shard..seeds).step_by(4).for_each(|seed| both_lied_to(server, seed)));
        }
    });
}

fn both_lied_to(server: &S3Server, seed: u64) {
    let liar = Liar::before(server.port);
    let mut scene = Scene::in_bucket(server, &liar.endpoint(), "together-lies", 2);
    let each = if all() { 5000 } else { 300 };
    scene.fill(each);
    let other = beside(&scene);
    liar.lie(seed, Rates { puts: 0.15, reads: 0.08, lists: 0.08 });
    scene.landfall.configure(&shared(&scene).max_records(10));
    other.configure(&shared(&scene).max_records(7));
    // At the start a lie may be an error that a person is told; under way it never is.
    let mut starts = 0;
    let mut ended = [false, false];
    while ended.contains(&false) {
        let running = [&scene.landfall, &other].map(Landfall::start_once);
        for (number, running) in running.into_iter().enumerate() {
            ended[number] = running.wait(Duration::from_secs(300)).code() == Some(0);
        }
        scene.look().assert_sound(&format!("seed {seed}"));
        starts += 1;
        assert!(starts < 30, "seed {seed}: {starts} starts came to nothing");
    }
    let (lies, requests, twice) = (liar.lies(), liar.requests(), liar.written_twice());
    liar.be_honest();
    say(&format!("seed {seed}: {lies} lies in {requests} requests to two processes, {starts} starts"));
    assert!(lies > 10, "only {lies} lies in {requests} requests");
    let twice: Vec<_> = twice.iter().filter(|name| !name.contains("_landfall/probe")).collect();
    assert!(twice.is_empty(), "seed {seed}: written twice: {twice:?}");
    assert_eq!(scene.finish(&shared(&scene)).rows, 2 * each, "seed {seed}");
}

/// Both processes stop at a gap; one decision, written into the lake by a third, lets both go on.
#[test]
fn a_decision_reaches_every_process() {
    let mut scene = Scene::new("decided", 1);
    scene.fill(100);
    scene.finish(&shared(&scene));
    scene.fill_from(100, 200);
    scene.admin.delete_records(&scene.topic, 0, 180);
    scene.journal.expire(&scene.topic, 0, 180);
    let (one, other) = (scene.landfall.run(), beside(&scene).run());
    wait_until("both have stopped", Duration::from_secs(30), || {
        [&one, &other].iter().all(|running| running.errors().contains("are gone from Kafka"))
    });
    let stream = format!("{}/0", scene.topic);
    let resolve = ["resolve", "--stream", &stream, "--range", "100-180", "--as", "gap", "landfall.toml"];
    scene.landfall.command(&resolve).expect_code(0);
    scene.until_landed(Duration::from_secs(60));
    for running in [one, other] {
        running.terminate(Duration::from_secs(20)).expect_code(0);
    }
    let findings = scene.finish(&shared(&scene));
    assert_eq!((findings.rows, findings.gaps), (220, 80), "{findings}");
}

/// With open plans, into the lake, and on from there by two processes; the old store is history.
#[test]
fn a_sled_store_is_moved_into_the_lake() {
    move_into_the_lake(Scene::new("migrated", 2));
}

#[test]
fn a_sled_store_is_moved_into_a_bucket() {
    move_into_the_lake(in_bucket("migrated-bucket", 2));
}

fn move_into_the_lake(mut scene: Scene) {
    scene.fill(200);
    scene.landfall.configure(&scene.settings().max_records(60));
    assert!(scene.landfall.at("sink.before_publish", 4, "kill").once().killed());
    let before = scene.landfall.command(&["offsets", "landfall.toml"]).expect_code(0).stdout;
    let migrate = ["migrate", "--to", "lake", "--yes", "landfall.toml"];
    for point in ["migrate.after_owner", "migrate.after_checkpoint"] {
        assert!(scene.landfall.at(point, 1, "kill").command(&migrate).killed(), "{point}");
    }
    // Neither the old store nor the new one is believed before it is complete.
    scene.landfall.once().expect_code(73);
    scene.landfall.command(&migrate).expect_code(0);
    scene.landfall.once().expect_code(73);
    scene.landfall.configure(&shared(&scene).max_records(33));
    let after = scene.landfall.command(&["offsets", "landfall.toml"]).expect_code(0).stdout;
    assert_eq!(json(&before), json(&after));
    scene.fill_from(200, 40);
    let (one, other) = (scene.landfall.start_once(), beside(&scene).start_once());
    one.wait(Duration::from_secs(60)).expect_code(0);
    other.wait(Duration::from_secs(60)).expect_code(0);
    assert_eq!(scene.finish(&shared(&scene)).rows, 480);
    if scene.bucket.is_some() && !all() {
        // The way back waits until no request can be under way: minutes.
        return;
    }
    // And back into a store of one host, which is a take-over: the records in the lake are read, not the names.
    std::fs::remove_dir_all(scene.landfall.state()).expect("the old store");
    scene.landfall.configure(&scene.settings());
    scene.landfall.once().expect_code(73);
    let back = ["rebuild", "--take-over", "--yes", "--output", "json", "landfall.toml"];
    let rows = json(&scene.landfall.command(&back).expect_code(0).stdout);
    assert!(rows["streams"].as_array().expect("streams").iter().all(|row| row["source"] == "former"), "{rows}");
    scene.fill_from(240, 10);
    assert_eq!(scene.finish(&scene.settings()).rows, 500);
}

/// The checkpoints in the lake are gone: the streams stop and ask, and a rebuild makes them again from the names.
#[test]
fn checkpoints_that_were_deleted_are_made_again() {
    let mut scene = Scene::new("emptied", 2);
    scene.fill(150);
    scene.landfall.configure(&shared(&scene).max_records(40));
    assert!(scene.landfall.at("sink.before_publish", 4, "kill").once().killed());
    let tree = scene.landfall.lake().join("_landfall/checkpoints/1");
    std::fs::remove_dir_all(&tree).expect("the tree of the first owner");
    scene.landfall.once().expect_code(1).expect_words(&["landfall rebuild"]);
    let files = scene.landfall.files();
    scene.landfall.command(&["rebuild", "--yes", "landfall.toml"]).expect_code(0);
    assert_eq!(scene.landfall.files(), files, "a rebuild lands nothing");
    scene.fill_from(150, 30);
    assert_eq!(scene.finish(&shared(&scene)).rows, 360);
    // With the tree of the owner before, nothing is taken from names.
    let rebuilt = scene.landfall.command(&["rebuild", "--yes", "--output", "json", "landfall.toml"]).expect_code(0);
    let rows = json(&rebuilt.stdout);
    assert!(rows["streams"].as_array().expect("streams").iter().all(|row| row["source"] == "former"), "{rows}");
    scene.fill_from(180, 20);
    assert_eq!(scene.finish(&shared(&scene)).rows, 400);
}
