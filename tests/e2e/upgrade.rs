//! A rolling upgrade: this release and another one on one lake, one after the other and at the same time, killed again
//! and again. The other one is this build with a switch (`LANDFALL_RELEASE`): other defaults, other names for its files,
//! records of a newer format with fields that this release does not know.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::together::{beside, in_bucket, say, seed, shared};
use crate::rig::{Landfall, Scene, Settings, all, wait_until};

const FIELD: &str = "of_the_next_minor";

/// An installation of the next minor release, with its own defaults for the roll and the names.
fn next_minor(scene: &Scene) -> Landfall {
    let other = beside(scene).of_release("minor");
    other.configure(&Settings { by_default: true, ..shared(scene) });
    other
}

/// The versions of each stream that stand in the lake, by the directory of the stream.
fn versions(landfall: &Landfall) -> BTreeMap<PathBuf, BTreeMap<u64, Value>> {
    let mut streams: BTreeMap<PathBuf, BTreeMap<u64, Value>> = BTreeMap::new();
    for path in landfall.hidden_files() {
        let is_version = path.components().any(|part| part.as_os_str() == "checkpoints");
        if is_version && path.extension().is_some_and(|end| end == "json") {
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok()).expect("a version");
            let text = std::fs::read(&path).expect("a version");
            let frame: Value = serde_json::from_slice(&text).expect("JSON");
            let directory = path.parent().expect("a stream").to_owned();
            streams.entry(directory).or_default().insert(number, frame["checkpoint"].clone());
        }
    }
    streams
}

/// What the versions of a lake tell of who wrote them.
#[derive(Debug, Default)]
struct History {
    versions: usize,
    /// Written by this release on top of records of the other one.
    carried: usize,
    /// Plans of the other release in such versions.
    carried_plans: usize,
    /// Committed by this release under the other's layout, and the other way round.
    ours_of_theirs: usize,
    theirs_of_ours: usize,
}

impl History {
    /// Reads every version, and expects that nothing unknown was dropped or changed, and that each file that was
    /// committed stands under the name that its plan froze.
    fn of(landfall: &Landfall) -> History {
        let mut history = History::default();
        for versions in versions(landfall).into_values() {
            for (number, record) in &versions {
                history.versions += 1;
                if let Some(before) = number.checked_sub(1).and_then(|before| versions.get(&before)) {
                    history.step(landfall, *number, before, record);
                }
            }
        }
        history
    }

    fn step(&mut self, landfall: &Landfall, number: u64, before: &Value, record: &Value) {
        let theirs = record[FIELD] == json!(format!("since version {number}"));
        let at = || format!("version {number}: {record}\nbefore: {before}");
        if !theirs {
            assert_eq!(record[FIELD], before[FIELD], "{}", at());
            assert_eq!(record["format"], before["format"], "{}", at());
            self.carried += usize::from(!before[FIELD].is_null());
        }
        for plan in before["planned"].as_array().expect("plans") {
            let same = |other: &&Value| (&other["from"], &other["until"]) == (&plan["from"], &plan["until"]);
            let Some(after) = record["planned"].as_array().expect("plans").iter().find(same) else {
                let of_theirs = stands(landfall, record, plan);
                self.ours_of_theirs += usize::from(!theirs && of_theirs);
                self.theirs_of_ours += usize::from(theirs && !of_theirs);
                continue;
            };
            assert_eq!(after["layout"], plan["layout"], "{}", at());
            // The other release gives the field to plans that lack it; nobody takes it away.
            if !theirs || !plan[FIELD].is_null() {
                assert_eq!(after[FIELD], plan[FIELD], "{}", at());
                self.carried_plans += usize::from(!theirs && !plan[FIELD].is_null());
            }
        }
    }
}

/// The file of a plan that was committed stands where its layout says, and nowhere else; whether that is a layout of
/// the other release.
fn stands(landfall: &Landfall, record: &Value, plan: &Value) -> bool {
    let lake = landfall.lake();
    let digest = plan["layout"].as_str().expect("a digest");
    let text = std::fs::read(lake.join(format!("_landfall/layouts/{digest}.json"))).expect("the layout");
    let layout = &serde_json::from_slice::<Value>(&text).expect("JSON")["layout"];
    let of = |name: &str| layout[name].as_str().expect("text").to_owned();
    let (topic, partition) = (record["topic"].as_str().expect("a topic"), record["partition"].to_string());
    let name = |path: &str, extension: &str| {
        let directory = path.replace("{topic}", topic).replace("{partition}", &partition);
        let number = |end: &str| plan[end].as_i64().expect("an offset");
        lake.join(directory).join(format!("{:020}-{:020}.{extension}", number("from"), number("until")))
    };
    let theirs = of("extension") == "snappy.parquet";
    let ways = [("{topic}/{partition}", "parquet"), ("{topic}/p={partition}", "snappy.parquet")];
    let [own, other] = if theirs { [ways[1], ways[0]] } else { ways };
    assert_eq!((of("path").as_str(), of("extension").as_str()), own, "{layout}");
    assert!(name(own.0, own.1).is_file(), "no {}", name(own.0, own.1).display());
    assert!(!name(other.0, other.1).exists(), "{} stands", name(other.0, other.1).display());
    theirs
}
/// Each release dies with plans open, and the other one finishes them as they were frozen.
#[test]
fn open_plans_of_another_release_are_finished_under_their_names() {
    plans_of_both(Scene::new("upgrade", 2));
}

#[test]
fn open_plans_of_another_release_are_finished_under_their_names_in_a_bucket() {
    plans_of_both(in_bucket("upgrade-bucket", 2));
}

fn plans_of_both(mut scene: Scene) {
    let (ours, theirs) = (scene.landfall.clone(), next_minor(&scene));
    ours.configure(&shared(&scene).max_records(30));
    for round in 0..4 {
        scene.fill_from(round * 150, 150);
        // Up, and down again.
        let (dies, goes_on) = if round % 2 == 0 { (&theirs, &ours) } else { (&ours, &theirs) };
        assert!(dies.at("pipeline.before_land", 4, "kill").once().killed(), "round {round}");
        scene.look().assert_sound("between two releases");
        goes_on.once().expect_code(0);
        scene.look().assert_clean("after the other release");
    }
    // A release that is older than the newest record goes on, and drops nothing.
    ours.once().expect_code(0);
    let history = History::of(&scene.landfall);
    say(&format!("two releases: {history:?}"));
    assert!(history.carried > 0 && history.carried_plans > 0, "{history:?}");
    assert!(history.ours_of_theirs > 0 && history.theirs_of_ours > 0, "{history:?}");
    for versions in versions(&scene.landfall).into_values() {
        let (number, newest) = versions.last_key_value().expect("a version");
        assert_eq!(newest["format"], json!({"major": 1, "minor": 2}), "version {number}");
    }
    ours.command(&["verify", "--kafka", "landfall.toml"]).expect_code(0);
    theirs.command(&["verify", "--kafka", "landfall.toml"]).expect_code(0);
    assert_eq!(scene.finish(&shared(&scene)).rows, 1200);
}

/// The records of a former owner are taken as they are, with what this release does not know in them; and names of both
/// layouts are found where there is no record any more.
#[test]
fn a_rebuild_carries_what_another_release_wrote() {
    let mut scene = Scene::new("upgrade-rebuilt", 2);
    let (ours, theirs) = (scene.landfall.clone(), next_minor(&scene));
    ours.configure(&shared(&scene).max_records(30));
    scene.fill(150);
    assert!(ours.at("pipeline.before_land", 4, "kill").once().killed());
    scene.fill_from(150, 150);
    assert!(theirs.at("pipeline.before_land", 6, "kill").once().killed());
    let newest = |scene: &Scene| -> Vec<Value> {
        let of_all = versions(&scene.landfall).into_values();
        of_all.map(|versions| versions.into_values().next_back().expect("a version")).collect()
    };
    let before = newest(&scene);
    let open = |record: &Value| record["planned"].as_array().expect("plans").len();
    assert!(before.iter().map(open).sum::<usize>() > 0, "{before:?}");

    ours.command(&["rebuild", "--take-over", "--yes", "landfall.toml"]).expect_code(0);
    let after = newest(&scene);
    for record in &before {
        let same = |other: &&Value| other["partition"] == record["partition"] && other["nonce"] != record["nonce"];
        let rebuilt = after.iter().find(same).expect("the stream under its new owner");
        for field in ["format", "genesis", "next", "planned", "gaps", FIELD] {
            assert_eq!(rebuilt[field], record[field], "{field} of {rebuilt}\nbefore: {record}");
        }
    }
    ours.once().expect_code(0);
    scene.look().assert_clean("with the records of the former owner");

    // And from the names of both.
    std::fs::remove_dir_all(scene.landfall.lake().join("_landfall/checkpoints")).expect("the checkpoints");
    ours.command(&["rebuild", "--take-over", "--yes", "landfall.toml"]).expect_code(0);
    scene.fill_from(300, 50);
    assert_eq!(scene.finish(&shared(&scene)).rows, 700);
}

#[test]
fn two_releases_alternate_and_run_together_under_kills() {
    upgraded_under_kills(Scene::new("rolling", 3), if all() { 60 } else { 4 });
}

#[test]
fn two_releases_alternate_and_run_together_under_kills_in_a_bucket() {
    upgraded_under_kills(in_bucket("rolling-bucket", 3), if all() { 60 } else { 4 });
}

fn upgraded_under_kills(mut scene: Scene, rounds: usize) {
    let seed = seed();
    say(&format!("two releases: LANDFALL_SEED={seed}"));
    let mut random = StdRng::seed_from_u64(seed);
    let releases = [scene.landfall.clone(), next_minor(&scene)];
    releases[0].configure(&Settings { max_age: "100ms", ..shared(&scene).max_records(60) });
    let producer = scene.producer();
    let (produced, mut kills) = (AtomicBool::new(false), 0);
    std::thread::scope(|scope| {
        scope.spawn(|| producer.trickle(&scene.topic, &produced));
        let rolling = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 0..rounds {
                // The old one, both, the new one, both.
                let alive: &[Landfall] = [&releases[..1], &releases, &releases[1..], &releases][round % 4];
                let running: Vec<_> = alive.iter().map(Landfall::run).collect();
                for running in running {
                    std::thread::sleep(Duration::from_millis(random.random_range(300..2000)));
                    let ended = running.kill();
                    assert!(ended.killed(), "it ended by itself: {:?}\n{}", ended.status, ended.stderr);
                    kills += 1;
                }
                scene.check.look(&scene.journal).assert_sound_while_producing("between two releases");
                let _ = History::of(&scene.landfall);
            }
        }));
        produced.store(true, Ordering::Relaxed);
        rolling.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    // Both at once, to the end; what has gathered meanwhile would take long in files of 60 records.
    releases[0].configure(&Settings { max_age: "100ms", ..shared(&scene).max_records(6_000) });
    let ending = releases.each_ref().map(Landfall::start_once);
    ending.into_iter().for_each(|running| drop(running.wait(Duration::from_secs(120)).expect_code(0)));
    let findings = scene.look();
    findings.assert_clean("two releases");
    scene.landfall.command(&["verify", "--kafka", "landfall.toml"]).expect_code(0);
    let of_theirs = files(&scene.landfall.lake()).iter().filter(|name| name.ends_with(".snappy.parquet")).count();
    say(&format!(
        "two releases: {kills} kills, {} rows in {} files, {of_theirs} of the other release; {:?}",
        findings.rows,
        findings.files,
        History::of(&scene.landfall),
    ));
    assert!(0 < of_theirs && of_theirs < findings.files, "{of_theirs} of {}", findings.files);
}

/// Every path below the lake.
fn files(lake: &Path) -> Vec<String> {
    let (mut found, mut open) = (Vec::new(), vec![lake.to_owned()]);
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { open.push(path) } else { found.push(path.to_string_lossy().into_owned()) }
        }
    }
    found.sort();
    found
}

/// What stands of one topic, to the byte: its files, and all that the lake remembers of it.
fn everything_of(scene: &Scene, topic: &str) -> BTreeMap<String, Vec<u8>> {
    let of_it = files(&scene.landfall.lake()).into_iter().filter(|path| path.split('/').any(|part| part == topic));
    of_it.map(|path| (path.clone(), std::fs::read(&path).expect("a file"))).collect()
}

/// Records of the next major version: their streams stop, by name; the other streams go on, and nothing is changed.
#[test]
fn a_newer_major_version_is_refused_by_name() {
    let mut scene = Scene::new("major", 1);
    let upgraded = format!("{}-upgraded", scene.topic);
    scene.admin.create(&upgraded, 1, &[]);
    let both = Settings { topics: vec![scene.topic.clone(), upgraded.clone()], ..shared(&scene) };
    let both = Settings { max_age: "100ms", ..both };
    let producer = scene.producer();
    let fill = |first: usize| {
        for topic in [&scene.topic, &upgraded] {
            producer.fill(topic, 0, first..first + 100);
        }
    };
    fill(0);
    scene.landfall.configure(&both);
    let major = beside(&scene).of_release("major");
    major.configure(&Settings { topics: vec![upgraded.clone()], ..both.clone() });

    // This release runs when the other one begins to write.
    let ours = scene.landfall.run();
    wait_until("all has landed", Duration::from_secs(60), || scene.check.look(&scene.journal).clean());
    let theirs = major.run();
    wait_until("the upgraded stream has stopped", Duration::from_secs(60), || {
        fill(scene.journal.snapshot()[&(upgraded.clone(), 0)].len());
        std::thread::sleep(Duration::from_millis(300));
        ours.errors().contains("format 2.1")
    });
    wait_until("both have landed", Duration::from_secs(60), || scene.check.look(&scene.journal).clean());
    theirs.terminate(Duration::from_secs(20)).expect_code(0);
    let words = [upgraded.as_str(), "format 2.1", "knows 1.x", "run the release that wrote it, or a newer one"];
    ours.terminate(Duration::from_secs(20)).expect_words(&words);

    fill(scene.journal.snapshot()[&(upgraded.clone(), 0)].len());
    let before = everything_of(&scene, &upgraded);
    let told = scene.landfall.once();
    assert_ne!(told.clone().expect_words(&words).code(), Some(0));
    assert!(everything_of(&scene, &upgraded) == before, "something of {upgraded} was changed");
    let offsets = scene.landfall.command(&["offsets", "landfall.toml"]);
    println!("offsets: {:?} {}{}", offsets.status, offsets.stdout, offsets.stderr);
    // What this release knows has landed, and the other one lands the rest.
    major.once().expect_code(0);
    scene.look().assert_clean("after the newer release");
}
