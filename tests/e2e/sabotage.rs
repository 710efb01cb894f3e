//! Mutation tests by hand: each switch breaks one rule of the protocol, and something here must notice.
//!
//! A story is told twice: once as it should be, where nothing may be noticed, and once with the rule
//! broken, where something must. Rules that no story from outside can show (what a power cut would lose,
//! say) are shown by a unit test that fails when the rule is broken.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::rig::damage::HandMade;
use crate::rig::forgetful::{Forgetful, Forgets};
use crate::rig::{Bucket, Landfall, Producer, Record, S3Server, Scene, Settings, failpoints, fresh};

/// What was noticed, if anything.
type Notice = Result<(), String>;
type Story = fn(&mut Scene, &Landfall) -> Notice;

const STORIES: [(&str, Story); 12] = [
    ("commit_before_publish", killed_before_a_put),
    ("ignore_open_plans", killed_before_a_put),
    ("float_the_end", killed_before_a_put),
    ("no_rows_no_file", ranges_without_rows),
    ("no_topic_id_check", topic_made_again),
    ("reconcile_ignores_files", store_of_yesterday),
    ("start_at_group_offset", group_moved_by_a_stranger),
    ("overwrite_on_exists", name_is_taken),
    ("believe_exists", name_is_taken),
    ("exists_is_created", name_is_taken),
    ("lost_swap_counts", woken_behind_another),
    ("skip_probe", store_that_is_no_lake),
];

/// Switch, the test binary, and the test in it that fails.
const UNIT_TESTS: [(&str, &str, &str); 16] = [
    ("swap_ignores_version", "landfall", "checkpoint::memory::tests::it_keeps_the_contract"),
    ("swap_ignores_version", "landfall", "checkpoint::sled::tests::it_keeps_the_contract"),
    ("swap_without_list", "landfall", "checkpoint::lake::tests::a_version_above_a_pruned_range_has_not_won"),
    (
        "next_lower_version_read",
        "landfall",
        "checkpoint::lake::tests::a_version_that_is_gone_when_it_is_read_means_list_again",
    ),
    (
        "list_and_read_apart",
        "landfall",
        "checkpoint::lake::tests::only_the_object_that_was_listed_as_the_highest_is_acted_on",
    ),
    (
        "revived_version_believed",
        "landfall",
        "checkpoint::lake::tests::a_version_without_the_one_below_it_is_no_checkpoint",
    ),
    ("answer_not_read_back", "landfall", "checkpoint::lake::tests::a_version_of_another_is_not_taken_for_the_own_one"),
    ("swap_without_sync", "landfall", "checkpoint::group_commit::tests::what_was_answered_survives_a_power_loss"),
    ("swap_without_sync", "landfall", "checkpoint::sled::tests::swaps_that_wait_together_share_one_sync"),
    (
        "store_never_looks_for_space",
        "landfall",
        "checkpoint::sled::tests::room_is_looked_for_before_sled_meets_a_full_disk",
    ),
    ("start_without_mark", "landfall", "origin::tests::a_missing_checkpoint_of_a_born_stream_asks_for_a_rebuild"),
    (
        "skip_dir_fsync",
        "landfall_lake",
        "local::tests::disk::every_new_name_costs_one_sync_of_its_file_and_one_of_each_directory_that_changed",
    ),
    (
        "overwrite_on_exists",
        "landfall_lake",
        "local::tests::files::of_many_writers_one_creates_the_name_and_its_bytes_stand",
    ),
    ("gap_of_the_attempt", "conformance", "parquet_files_keep_the_contract"),
    ("no_rows_no_file", "conformance", "parquet_files_keep_the_contract"),
    ("believe_exists", "conformance", "parquet_files_keep_the_contract"),
];

#[test]
fn every_sabotage_is_in_a_list() {
    let listed = STORIES.iter().map(|(name, _)| *name).chain(UNIT_TESTS.iter().map(|(name, ..)| *name));
    // Those of the write-ahead log are watched by a table of their own, in tests/wal.
    let listed: BTreeSet<String> = listed.chain(landfall::wal::SABOTAGES.iter().copied()).map(str::to_owned).collect();
    assert_eq!(failpoints::sabotages(), listed, "left: the switches in the source; right: the lists of this file");
    assert!(listed.len() >= 10);
}

#[test]
fn every_sabotage_is_noticed() {
    // Most of a story is waiting; each tells its honest version first.
    let mut stories: Vec<(Story, Vec<&str>)> = Vec::new();
    for (name, story) in STORIES {
        match stories.iter_mut().find(|(other, _)| std::ptr::fn_addr_eq(*other, story)) {
            Some((_, names)) => names.push(name),
            None => stories.push((story, vec![name])),
        }
    }
    std::thread::scope(|scope| {
        for (story, names) in stories {
            scope.spawn(move || tell(story, &names));
        }
    });
}

fn tell(story: Story, names: &[&str]) {
    let mut scene = Scene::new("honest", 1);
    let honest = scene.landfall.clone();
    story(&mut scene, &honest).unwrap_or_else(|notice| panic!("noticed without {names:?}: {notice}"));
    for name in names {
        let mut scene = Scene::new("sabotaged", 1);
        let broken = scene.landfall.sabotaged(name);
        let notice = story(&mut scene, &broken).expect_err(&format!("nothing noticed {name}"));
        eprintln!("{name}: {}", notice.lines().next().unwrap_or_default());
    }
}

/// `run --once` to its end; anything but 0 is a notice.
fn once(landfall: &Landfall) -> Notice {
    let ended = landfall.start_once().wait_for(Duration::from_secs(30))?;
    match ended.code() {
        Some(0) => Ok(()),
        code => Err(format!("exit {code:?}: {}", ended.stderr)),
    }
}

fn clean(scene: &mut Scene) -> Notice {
    let findings = scene.look();
    if findings.clean() { Ok(()) } else { Err(findings.to_string()) }
}

/// A store where two writers can create one name is entrusted with nothing.
fn store_that_is_no_lake(scene: &mut Scene, landfall: &Landfall) -> Notice {
    scene.fill(5);
    let server = Forgetful::start(Forgets::OtherWriters);
    let options = S3Server::options(&server.endpoint());
    let bucket = Bucket { url: "s3://lake/no-lake".into(), options, objects: scene.dir().join("objects") };
    landfall.configure(&Settings { bucket: Some(bucket), ..scene.settings() });
    let ended = landfall.start_once().wait_for(Duration::from_secs(30))?;
    let refused = ended.code() == Some(74) && ended.stderr.contains("creation is not exclusive");
    if refused { Ok(()) } else { Err(format!("not refused: {:?} {}", ended.status, ended.stderr)) }
}

/// Dies with a plan that is durable and a file that is not there; more records come; it runs again.
fn killed_before_a_put(scene: &mut Scene, landfall: &Landfall) -> Notice {
    scene.fill(120);
    landfall.configure(&scene.settings().max_records(50));
    let dead = landfall.at("sink.before_publish", 1, "kill").start_once().wait_for(Duration::from_secs(30))?;
    if !dead.killed() {
        return Err(format!("it was not killed: {}", dead.stderr));
    }
    scene.fill_from(120, 60);
    once(landfall)?;
    clean(scene)
}

/// Whole ranges of aborted records between ranges with rows.
fn ranges_without_rows(scene: &mut Scene, landfall: &Landfall) -> Notice {
    let producer = Producer::transactional(&scene.bootstrap, &scene.journal, &fresh("sabotage-tx"));
    for abort in [false, true, false] {
        producer.begin();
        (0..59).for_each(|number| producer.send(&scene.topic, 0, &Record::numbered(number)));
        if abort { producer.abort() } else { producer.commit() }
    }
    landfall.configure(&scene.settings().max_records(20));
    once(landfall)?;
    clean(scene)
}

/// A topic that is deleted and made again behind the back of a running process, longer than before: nothing
/// of it may land under the names of the old one.
fn topic_made_again(scene: &mut Scene, landfall: &Landfall) -> Notice {
    scene.fill(100);
    landfall.configure(&Settings { max_age: "200ms", ..scene.settings() });
    let running = landfall.run();
    scene.until_landed(Duration::from_secs(30));
    running.pause();
    scene.admin.recreate(&scene.topic, 1);
    Producer::new(&scene.bootstrap, &Default::default()).fill(&scene.topic, 0, 5000..5300);
    running.resume();
    std::thread::sleep(Duration::from_secs(4));
    let _ = running.terminate(Duration::from_secs(20));
    let findings = scene.look();
    if findings.sound() { Ok(()) } else { Err(findings.to_string()) }
}

/// The store comes back from a copy that is older than the lake.
fn store_of_yesterday(scene: &mut Scene, landfall: &Landfall) -> Notice {
    scene.fill(100);
    landfall.configure(&scene.settings().max_records(50));
    once(landfall)?;
    let copy = scene.dir().join("copy");
    copy_directory(&landfall.state(), &copy);
    scene.fill_from(100, 100);
    once(landfall)?;
    std::fs::remove_dir_all(landfall.state()).expect("the state");
    copy_directory(&copy, &landfall.state());
    scene.fill_from(200, 30);
    landfall.configure(&scene.settings().max_records(70));
    once(landfall)?;
    clean(scene)
}

/// Somebody moves the offsets of the consumer group, as a tool for lag does, or a hand that slipped.
fn group_moved_by_a_stranger(scene: &mut Scene, landfall: &Landfall) -> Notice {
    let group = fresh("group");
    scene.fill(100);
    landfall.configure(&scene.settings().group(&group));
    once(landfall)?;
    scene.fill_from(100, 100);
    scene.admin.commit(&group, &scene.topic, 0, 150);
    once(landfall)?;
    clean(scene)
}

/// Frozen before its first plan is made, while another process on the same lake lands everything in other pieces.
fn woken_behind_another(scene: &mut Scene, landfall: &Landfall) -> Notice {
    let dir = scene.dir().join("beside");
    std::fs::create_dir_all(&dir).expect("a directory");
    std::os::unix::fs::symlink(scene.landfall.lake(), dir.join("lake")).expect("the same lake");
    let other = Landfall::new(&dir, &scene.settings().store("lake").max_records(40));
    // More than the frozen one's two next batches, so that the other's cuts differ whichever swap it was frozen at.
    scene.fill(300);
    landfall.configure(&scene.settings().store("lake").max_records(70));
    let frozen = landfall.at("store.before_swap", 2, "stop").start_once();
    let waiting = std::time::Instant::now();
    while !frozen.is_stopped() {
        if waiting.elapsed() > Duration::from_secs(20) {
            return Err(format!("it was not frozen: {}", frozen.errors()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    once(&other)?;
    frozen.resume();
    let ended = frozen.wait_for(Duration::from_secs(30))?;
    clean(scene)?;
    if ended.code() == Some(0) { Ok(()) } else { Err(format!("{:?}: {}", ended.status, ended.stderr)) }
}

/// Somebody else's file stands under the name of the next batch: it must be left alone, and not be taken
/// for the batch.
fn name_is_taken(scene: &mut Scene, landfall: &Landfall) -> Notice {
    scene.fill(100);
    once(landfall)?;
    landfall.configure(&Settings { max_age: "10m", ..scene.settings().max_records(50) });
    let running = landfall.run();
    std::thread::sleep(Duration::from_secs(2));
    let foreign = HandMade::new(&scene.topic, 0, 100, 150);
    let path = foreign.write(&landfall.lake());
    let before = std::fs::read(&path).expect("the foreign file");
    scene.fill_from(100, 50);
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    let mut told = false;
    let patience = std::time::Instant::now();
    while !told && patience.elapsed() < Duration::from_secs(15) {
        std::thread::sleep(Duration::from_millis(100));
        told = running.errors().contains(&name);
    }
    let ended = running.terminate(Duration::from_secs(20));
    let offsets = landfall.command(&["offsets", "landfall.toml"]);
    let offsets: serde_json::Value = serde_json::from_str(&offsets.stdout).map_err(|error| error.to_string())?;
    let committed = offsets[&scene.topic]["0"]["committed"].as_i64();
    if std::fs::read(&path).expect("the foreign file") != before {
        return Err("the file of somebody else was overwritten".into());
    }
    if committed != Some(100) {
        return Err(format!("somebody else's file was committed as a batch: {offsets}"));
    }
    if told { Ok(()) } else { Err(format!("nobody was told of {name}\n{}", ended.stderr)) }
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory").flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_directory(&path, &target);
        } else if path.is_file() {
            let _ = std::fs::copy(&path, &target).expect("a copy");
        }
    }
}

/// The test binaries of the workspace by name, built as this one was.
fn test_binaries() -> BTreeMap<String, PathBuf> {
    let build = ["test", "--workspace", "--no-run", "--locked", "--message-format=json"];
    let output =
        Command::new(env!("CARGO")).args(build).current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8(output.stdout).expect("JSON");
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let tests = artifacts.filter(|artifact| {
        artifact["profile"]["test"] == true
            && (artifact["target"]["kind"][0] == "lib" || artifact["target"]["kind"][0] == "test")
    });
    let named = tests.filter_map(|artifact| {
        let name = artifact["target"]["name"].as_str()?.to_owned();
        Some((name, PathBuf::from(artifact["executable"].as_str()?)))
    });
    named.collect()
}

#[test]
fn every_sabotage_below_is_noticed_by_its_unit_test() {
    let binaries = test_binaries();
    let mut honest = BTreeSet::new();
    for (name, binary, test) in UNIT_TESTS {
        let run = |sabotage: Option<&str>| {
            let mut command = Command::new(&binaries[binary]);
            command.args([test, "--exact"]).env_remove("LANDFALL_SABOTAGE");
            sabotage.iter().for_each(|name| _ = command.env("LANDFALL_SABOTAGE", name));
            String::from_utf8_lossy(&command.output().expect("a test binary").stdout).into_owned()
        };
        if honest.insert((binary, test)) {
            let said = run(None);
            assert!(said.contains("1 passed; 0 failed"), "{binary} {test}:\n{said}");
        }
        let broken = run(Some(name));
        assert!(broken.contains("0 passed; 1 failed"), "{name} is not noticed by {binary} {test}:\n{broken}");
    }
}
