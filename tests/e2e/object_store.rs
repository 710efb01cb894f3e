//! A lake on a real S3 server: landed, audited and looked at; killed at every step; and the server killed.

use std::time::Duration;

use serde_json::Value;

use crate::rig::forgetful::{Forgetful, Forgets};
use crate::rig::liar::Rates;
use crate::rig::s3::Kind;
use crate::rig::{Landfall, Liar, S3Server, Scene, Settings, all};

fn scene(stem: &str, partitions: i32) -> Scene {
    let server = S3Server::shared();
    Scene::in_bucket(server, &server.endpoint(), stem, partitions)
}

fn json(landfall: &Landfall, arguments: &[&str]) -> Value {
    let ended = landfall.command(&[arguments, &["--output", "json"]].concat()).expect_code(0);
    serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("no JSON: {}\n{}", ended.stdout, ended.stderr))
}

#[test]
fn a_topic_lands_in_a_bucket_and_every_command_finds_it_there() {
    let mut scene = scene("bucket", 3);
    scene.fill(400);
    let settings = scene.settings().max_records(150);
    scene.landfall.configure(&settings);
    let checked = json(&scene.landfall, &["check", "--probe", "landfall.toml"]);
    assert_eq!(checked["ok"], true, "{checked}");
    let foreseen = json(&scene.landfall, &["plan", "landfall.toml"]);
    assert_eq!(foreseen["batches"].as_array().map(Vec::len), Some(9), "{foreseen}");
    assert_eq!(scene.finish(&settings).rows, 1200);
    for row in foreseen["batches"].as_array().expect("batches") {
        let file = row["file"].as_str().expect("a file");
        assert!(scene.landfall.lake().join(file).is_file(), "{file} was foreseen, and is not there");
    }
    let audited = json(&scene.landfall, &["verify", "--kafka", "landfall.toml"]);
    assert_eq!(audited["outcome"], "clean", "{audited}");

    let (landfall, url) = scene.by_url();
    let audited = json(&landfall, &["verify", &url]);
    assert_eq!(audited["outcome"], "clean", "{audited}");
    let offsets = json(&landfall, &["offsets", &url]);
    assert_eq!(offsets[&scene.topic]["2"]["committed"], 400, "{offsets}");
    landfall.command(&["status", &url]).expect_code(0);

    // What is spooled has no name.
    let spool = scene.landfall.state().join("spool");
    assert_eq!(std::fs::read_dir(&spool).map_or(0, Iterator::count), 0, "{}", spool.display());
}

#[test]
fn files_too_large_to_be_gathered_wait_on_the_disk_without_a_name() {
    let mut scene = scene("bucket-large", 1);
    scene.fill(20_000);
    let settings = Settings { memory: "24MiB", ..scene.settings() };
    scene.landfall.configure(&settings);
    for action in ["kill", "fail"] {
        let ended = scene.landfall.at("lake.before_stage", 1, action).once();
        assert!(ended.killed() || action == "fail", "{:?} {}", ended.status, ended.stderr);
        scene.look().assert_sound("before a file goes to the disk");
    }
    assert_eq!(scene.finish(&settings).rows, 20_000);
    let spool = scene.landfall.state().join("spool");
    assert_eq!(std::fs::read_dir(&spool).expect("it was used").count(), 0, "{}", spool.display());
    let audited = json(&scene.landfall, &["verify", "--kafka", "landfall.toml"]);
    assert_eq!(audited["outcome"], "clean", "{audited}");
}

#[test]
fn killed_at_every_step_of_a_put_nothing_is_lost_or_repeated() {
    let points = [
        "lake.staged",
        "lake.before_link",
        "lake.after_link",
        "lake.create.before_link",
        "lake.create.after_link",
        "sink.before_publish",
        "sink.after_publish",
        "store.after_swap",
    ];
    std::thread::scope(|scope| {
        for (number, point) in points.into_iter().enumerate() {
            scope.spawn(move || {
                let mut scene = scene("bucket-killed", 2);
                scene.fill(220);
                // More batches than are under way at once: what is put when the first is killed may all stand.
                scene.landfall.configure(&scene.settings().max_records(20));
                let action = if number % 3 == 2 { "fail" } else { "kill" };
                for visit in [1, 3] {
                    let ended = scene.landfall.at(point, visit, action).once();
                    assert!(ended.killed() || action == "fail", "{point}: {:?} {}", ended.status, ended.stderr);
                    scene.look().assert_sound(point);
                }
                assert_eq!(scene.finish(&scene.settings().max_records(70)).rows, 440, "{point}");
            });
        }
    });
}

#[test]
fn a_server_that_is_killed_and_comes_back_costs_time_and_no_record() {
    let server = S3Server::start(Kind::Versitygw);
    let mut scene = Scene::in_bucket(&server, &server.endpoint(), "bucket-server", 2);
    scene.fill(300);
    scene.landfall.configure(&scene.settings().max_records(20));
    let run = scene.landfall.run();
    for round in 0..3 {
        std::thread::sleep(Duration::from_millis(900));
        server.kill();
        std::thread::sleep(Duration::from_millis(700));
        server.launch();
        scene.fill_from(300 + round * 100, 100);
    }
    let findings = scene.until_landed(Duration::from_secs(60));
    assert_eq!(findings.rows, 1200);
    run.terminate(Duration::from_secs(30)).expect_code(0);
    scene.finish(&scene.settings());
}

#[test]
fn a_bucket_that_is_not_there_and_wrong_keys_are_told_as_such() {
    let mut scene = scene("bucket-wrong", 1);
    scene.fill(5);
    let right = scene.bucket.clone().expect("a bucket");
    let mut told = |url: &str, option: Option<(&'static str, &str)>, words: &[&str]| {
        let mut bucket = right.clone();
        bucket.url = url.into();
        for (name, value) in &mut bucket.options {
            if let Some((_, other)) = option.filter(|(changed, _)| changed == name) {
                *value = other.into();
            }
        }
        scene.bucket = Some(bucket);
        scene.landfall.configure(&scene.settings());
        let ended = scene.landfall.once();
        assert!(matches!(ended.code(), Some(69 | 73..=78)), "{:?}\n{}", ended.status, ended.stderr);
        ended.expect_words(words);
    };
    told("s3://no-such-bucket/x", None, &["NoSuchBucket", "create the bucket"]);
    told(&right.url, Some(("aws_secret_access_key", "wrong")), &["credentials"]);
    told(&right.url, Some(("aws_endpoint", "http://127.0.0.1:9")), &["no connection", "aws_endpoint"]);
    assert!(!right.objects.exists(), "nothing was made");
}

#[test]
fn between_a_liar_and_the_truth_every_record_lands_once() {
    let server = S3Server::shared();
    let seeds = if all() { 24 } else { 4 };
    std::thread::scope(|scope| {
        for shard in 0..4 {
            scope.spawn(move || (shard..seeds).step_by(4).for_each(|seed| lied_to(server, seed)));
        }
    });
}

fn lied_to(server: &S3Server, seed: u64) {
    let liar = Liar::before(server.port);
    let mut scene = Scene::in_bucket(server, &liar.endpoint(), "bucket-lies", 2);
    let each = if all() { 5000 } else { 400 };
    scene.fill(each);
    liar.lie(seed, Rates { puts: 0.15, reads: 0.08, lists: 0.08 });
    scene.landfall.configure(&scene.settings().max_records(10));
    // At the start a lie may be an error that a person is told; under way it never is.
    let mut starts = 0;
    while scene.landfall.start_once().wait(Duration::from_secs(300)).code() != Some(0) {
        starts += 1;
        scene.look().assert_sound(&format!("seed {seed}"));
        assert!(starts < 30, "seed {seed}: {starts} starts came to nothing");
    }
    let (lies, requests, twice) = (liar.lies(), liar.requests(), liar.written_twice());
    liar.be_honest();
    println!("seed {seed}: {lies} lies in {requests} requests, {starts} further starts: {:?}", liar.told());
    assert!(lies > 10, "only {lies} lies in {requests} requests");
    let twice: Vec<_> = twice.iter().filter(|name| !name.contains("_landfall/probe")).collect();
    assert!(twice.is_empty(), "seed {seed}: written twice: {twice:?}");
    assert_eq!(scene.finish(&scene.settings()).rows, 2 * each, "seed {seed}");
}

#[test]
fn a_run_refuses_a_store_that_takes_two_puts_under_one_name() {
    let server = Forgetful::start(Forgets::OtherWriters);
    let scene = Scene::in_bucket(S3Server::shared(), &server.endpoint(), "bucket-forgetful", 1);
    scene.fill(5);
    let probe = scene.landfall.command(&["check", "--probe", "landfall.toml"]);
    assert_eq!(probe.code(), Some(74), "{}\n{}", probe.stdout, probe.stderr);
    assert!(probe.stdout.contains("creation is not exclusive"), "{}", probe.stdout);
    scene.landfall.once().expect_code(74).expect_words(&["creation is not exclusive"]);
}

/// Two servers that people test with: each passes one create after the other, and no concurrent ones.
#[test]
fn servers_that_let_several_writers_create_one_name_are_refused() {
    let_several_win(Kind::S3mock);
    if all() {
        // Built for minutes.
        let_several_win(Kind::S3sFs);
    }
}

fn let_several_win(kind: Kind) {
    let server = S3Server::start(kind);
    let scene = Scene::in_bucket(&server, &server.endpoint(), "bucket-of-a-liar", 1);
    scene.fill(5);
    let probe = scene.landfall.command(&["check", "--probe", "landfall.toml"]);
    println!("{kind:?}, in {:?}: {}", probe.took, probe.stdout);
    assert_eq!(probe.code(), Some(74), "{}\n{}", probe.stdout, probe.stderr);
    assert!(probe.stdout.contains("creation is not exclusive"), "{}", probe.stdout);
    scene.landfall.once().expect_code(74).expect_words(&["creation is not exclusive", "use a store that can"]);
    // It was entrusted with nothing.
    let status = scene.landfall.command(&["status", "landfall.toml"]);
    assert!(status.stdout.contains("No partition has been landed"), "{}", status.stdout);
}

#[test]
fn a_switch_that_overwrites_is_noticed_by_the_probe() {
    let scene = scene("bucket-sabotaged", 1);
    for switch in ["overwrite_on_exists", "exists_is_created"] {
        let probe = scene.landfall.sabotaged(switch).command(&["check", "--probe", "landfall.toml"]);
        assert!(probe.stdout.contains("creation is not exclusive"), "{switch}: {}", probe.stdout);
    }
}

#[test]
fn a_lost_store_is_rebuilt_from_the_bucket() {
    if !all() {
        // It waits for the requests of the dead, and that takes half a minute.
        return;
    }
    let mut scene = scene("bucket-rebuild", 2);
    scene.fill(150);
    let settings = Settings { max_size: "1MiB", ..scene.settings().max_records(40) };
    scene.landfall.configure(&settings.clone().max_put("2MiB"));
    assert!(scene.landfall.at("sink.before_publish", 4, "kill").once().killed());
    std::fs::remove_dir_all(scene.landfall.state()).expect("the state");
    scene.landfall.once().expect_words(&["rebuild"]);
    let rebuilt = scene.landfall.command(&["rebuild", "--take-over", "--yes", "landfall.toml"]).expect_code(0);
    assert!(rebuilt.took >= Duration::from_secs(32), "{:?}", rebuilt.took);
    scene.fill_from(150, 30);
    assert_eq!(scene.finish(&settings).rows, 360);
}
