//! The commands that look and repair, against a real Kafka: check, plan, verify --kafka, rebuild.

use std::fs::File;
use std::time::Duration;

use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;

use crate::rig::damage::HandMade;
use crate::rig::{Check, Ended, Landfall, Scene};

fn call(landfall: &Landfall, arguments: &[&str]) -> Ended {
    landfall.command(&[arguments, &["--output", "json", "landfall.toml"]].concat())
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("no JSON: {}\n{}", ended.stdout, ended.stderr))
}

/// The row of a check by its name.
fn row<'a>(checked: &'a Value, what: &str) -> &'a Value {
    let rows = checked["checks"].as_array().expect("checks");
    rows.iter().find(|row| row["what"] == what).unwrap_or_else(|| panic!("no {what} in {checked}"))
}

#[test]
fn a_plan_is_what_a_run_does() {
    let mut scene = Scene::new("foreseen", 2);
    scene.fill(250);
    scene.landfall.configure(&scene.settings().max_records(100));
    let foreseen = json(&call(&scene.landfall, &["plan"]).expect_code(0));
    let before: Vec<String> =
        foreseen["batches"].as_array().expect("batches").iter().map(|row| row["file"].to_string()).collect();
    assert_eq!(before.len(), 6, "{foreseen}");
    assert_eq!(scene.landfall.hidden_files().len() + scene.landfall.files(), 0, "a plan writes nothing");
    scene.finish(&scene.settings().max_records(100));
    assert_eq!(scene.landfall.files(), 6);
    for file in before {
        assert!(scene.landfall.lake().join(file.trim_matches('"')).is_file(), "{file} was foreseen, and is not there");
    }
    let after = json(&call(&scene.landfall, &["plan"]).expect_code(0));
    assert_eq!(after["batches"], Value::Array(vec![]), "{after}");
}

#[test]
fn a_plan_shows_first_what_a_killed_run_has_planned() {
    let scene = Scene::new("left-open", 1);
    scene.fill(100);
    assert!(scene.landfall.at("sink.before_publish", 1, "kill").once().killed());
    let open = json(&call(&scene.landfall, &["plan"]).expect_code(0));
    let first = &open["batches"][0];
    assert_eq!((&first["planned"], &first["from"]), (&true.into(), &0.into()), "{open}");
    assert_eq!(scene.landfall.files(), 0);
}

#[test]
fn check_tells_what_is_missing_and_changes_nothing() {
    let scene = Scene::new("checked", 2);
    let well = json(&call(&scene.landfall, &["check"]).expect_code(0));
    assert_eq!(well["ok"], true, "{well}");
    let kafka = row(&well, "kafka")["detail"].as_str().expect("text");
    assert!(kafka.starts_with("cluster ") && kafka.ends_with(&format!(" at {}", scene.bootstrap)), "{kafka}");
    assert_eq!(scene.landfall.hidden_files().len(), 0, "a check writes nothing");
    assert!(!scene.landfall.state().exists(), "a check makes no store");
    call(&scene.landfall, &["check", "--probe"]).expect_code(0);
    scene.admin.delete(&scene.topic);
    let gone = json(&call(&scene.landfall, &["check"]).expect_code(1));
    assert_eq!(row(&gone, &format!("topic {}", scene.topic))["ok"], false, "{gone}");
    assert_eq!(row(&gone, "lake")["ok"], true, "{gone}");
}

#[test]
fn check_and_plan_see_a_topic_that_was_created_again() {
    let scene = Scene::new("again", 1);
    scene.fill(20);
    scene.landfall.once().expect_code(0);
    scene.admin.recreate(&scene.topic, 1);
    scene.journal.forget(&scene.topic);
    scene.fill(5);
    let checked = json(&call(&scene.landfall, &["check"]).expect_code(1));
    let topic = row(&checked, &format!("topic {}", scene.topic));
    assert!(topic["detail"].as_str().expect("text").contains("created again"), "{checked}");
    let plan = call(&scene.landfall, &["plan"]).expect_code(0).expect_words(&["created again"]);
    assert_eq!(json(&plan)["batches"], Value::Array(vec![]));
    // Nothing of the new topic may be compared with what is left of the former one.
    let verified = json(&call(&scene.landfall, &["verify", "--kafka"]).expect_code(74));
    assert_eq!(verified["outcome"], "incomplete", "{verified}");
}

#[test]
fn verify_finds_in_kafka_what_the_lake_alone_cannot_show() {
    let scene = Scene::new("compared", 1);
    scene.fill(60);
    scene.landfall.configure(&scene.settings());
    scene.landfall.once().expect_code(0);
    let clean = json(&call(&scene.landfall, &["verify", "--kafka"]).expect_code(0));
    assert_eq!(clean["streams"][0]["kafka"]["equal"], 60, "{clean}");

    let mut file = HandMade::new(&scene.topic, 0, 0, 60);
    let original = SerializedFileReader::new(File::open(file.path(&scene.landfall.lake())).expect("the file"));
    let original = original.expect("a Parquet file");
    let pairs = original.metadata().file_metadata().key_value_metadata().expect("metadata").iter();
    let pairs = pairs.filter(|pair| pair.key.starts_with("landfall."));
    file.metadata = pairs.map(|pair| (&*pair.key.clone().leak(), pair.value.clone().unwrap_or_default())).collect();
    // The same rows, but for one that is gone and one that is another.
    file.rows[7].1.value = Some(b"not what was produced".to_vec());
    file.rows.remove(30);
    file.write(&scene.landfall.lake());
    let damaged = json(&call(&scene.landfall, &["verify", "--kafka"]).expect_code(65));
    let kafka = &damaged["streams"][0]["kafka"];
    let counts = ["equal", "differing", "missing", "unknown"].map(|name| kafka[name].as_i64().expect("a count"));
    assert_eq!(counts, [58, 1, 1, 0], "{damaged}");
}

#[test]
fn rows_that_kafka_dropped_since_are_no_damage() {
    let scene = Scene::new("expired", 1);
    scene.fill(50);
    scene.landfall.once().expect_code(0);
    scene.admin.delete_records(&scene.topic, 0, 20);
    let verified = json(&call(&scene.landfall, &["verify", "--kafka"]).expect_code(0));
    let kafka = &verified["streams"][0]["kafka"];
    assert_eq!((&kafka["expired"], &kafka["equal"]), (&20.into(), &30.into()), "{verified}");
}

#[test]
fn a_lost_store_is_made_again_and_nothing_is_lost_or_repeated() {
    let mut scene = Scene::new("rebuilt", 2);
    scene.fill(120);
    scene.finish(&scene.settings().max_records(50));
    std::fs::remove_dir_all(scene.landfall.state()).expect("the store");
    let own = call(&scene.landfall, &["check"]).expect_code(73);
    assert_eq!(row(&json(&own), "lake")["ok"], false);
    call(&scene.landfall, &["run", "--once"]).expect_code(73).expect_words(&["landfall rebuild"]);
    call(&scene.landfall, &["rebuild"]).expect_code(2);
    let hole = scene.landfall.lake().join(&scene.topic).join("1/00000000000000000000-00000000000000000050.parquet");
    std::fs::remove_file(hole).expect("a landed file");
    // One that does not remember the file that was taken away here, and is landed again.
    scene.check = Check::new(&scene.landfall.lake());
    let rebuilt = json(&call(&scene.landfall, &["rebuild", "--yes"]).expect_code(0));
    let planned: Vec<&Value> =
        rebuilt["streams"].as_array().expect("streams").iter().map(|row| &row["planned"]).collect();
    assert_eq!(planned, [&serde_json::json!([]), &serde_json::json!([[0, 50]])], "{rebuilt}");
    scene.fill_from(120, 30);
    let findings = scene.finish(&scene.settings().max_records(50));
    assert_eq!(findings.rows, 300);
    call(&scene.landfall, &["verify", "--kafka"]).expect_code(0);
}

#[test]
fn a_running_landfall_is_asked_and_never_rebuilt() {
    let mut scene = Scene::new("asked", 1);
    scene.fill(40);
    let running = scene.landfall.run();
    scene.until_landed(Duration::from_secs(60));
    let verified = json(&call(&scene.landfall, &["verify"]).expect_code(0));
    assert_eq!(verified["streams"][0]["rows"], 40, "{verified}");
    call(&scene.landfall, &["check"]).expect_code(0);
    call(&scene.landfall, &["rebuild", "--yes"]).expect_code(73).expect_words(&["is held by process"]);
    running.terminate(Duration::from_secs(30)).expect_code(0);
}

#[test]
fn check_counts_from_where_a_stream_has_got_to_and_sees_its_gap() {
    let scene = Scene::new("checked-gap", 1);
    scene.fill(40);
    scene.landfall.once().expect_code(0);
    let what = format!("topic {}", scene.topic);
    let detail = |ended: &Ended| row(&json(ended), &what)["detail"].as_str().expect("text").to_owned();
    assert!(detail(&call(&scene.landfall, &["check"]).expect_code(0)).ends_with(" 0 offsets to read"));
    scene.fill_from(40, 40);
    assert!(detail(&call(&scene.landfall, &["check"]).expect_code(0)).ends_with(" 40 offsets to read"));
    scene.admin.delete_records(&scene.topic, 0, 60);
    let gap = detail(&call(&scene.landfall, &["check"]).expect_code(1));
    assert!(gap.contains("offsets 40 to 60 are gone from Kafka"), "{gap}");
}

/// A lake that somebody else's store owns: what this configuration's store knows says nothing about it.
#[test]
fn a_wrong_checkpoint_path_is_never_taken_for_an_empty_lake() {
    let scene = Scene::new("owned", 1);
    scene.fill(40);
    scene.landfall.once().expect_code(0);
    let right = std::fs::read_to_string(scene.landfall.config()).expect("landfall.toml");
    let other = scene.dir().join("other");
    std::fs::write(scene.landfall.config(), right.replace("/state\"", "/other\"")).expect("landfall.toml");
    let commands: [&[&str]; 5] = [&["status"], &["offsets"], &["verify"], &["plan"], &["check"]];
    let all = |when: &str| {
        for command in commands {
            let ended = call(&scene.landfall, command);
            assert_eq!(ended.code(), Some(73), "{when}, {command:?}: {}{}", ended.stdout, ended.stderr);
            let told = format!("{}{}", ended.stdout, ended.stderr);
            assert!(told.contains("belongs to another checkpoint store"), "{when}, {command:?}: {told}");
        }
    };
    all("no store there");
    assert!(!other.exists(), "a look makes no store");
    scene.landfall.command(&["run", "--once", "landfall.toml"]).expect_code(73);
    assert!(other.exists(), "a run made one before it asked the lake");
    all("another store");
    scene.landfall.command(&["status", "lake"]).expect_code(0);
    // The store was deleted in its own place: no other store has to be taken over from.
    std::fs::write(scene.landfall.config(), right).expect("landfall.toml");
    std::fs::remove_dir_all(scene.landfall.state()).expect("the state");
    let checked = json(&call(&scene.landfall, &["check"]).expect_code(73));
    let detail = row(&checked, "lake")["detail"].as_str().expect("text");
    assert!(detail.contains("has been deleted or replaced"), "{detail}");
}

#[test]
fn a_demo_works_in_a_folder_of_any_name() {
    let scene = Scene::new("demo", 1);
    let folder = "a%20b ${x} e\u{301} o'br #[h]\\";
    let arguments = ["demo", "--dir", folder, "--for", "5s", "--kill-every", "2s", "--rate", "300", "--output", "json"];
    let shown = json(&scene.landfall.command(&arguments).expect_code(0));
    assert_eq!((&shown["lost"], &shown["verify"]), (&0.into(), &"clean".into()), "{shown}");
    assert!(scene.dir().join(folder).join("lake/orders").is_dir(), "{shown}");
    let lake = shown["lake"].as_str().expect("a URL");
    scene.landfall.command(&["verify", lake]).expect_code(0);
    assert!(shown["query"].as_str().expect("a query").contains("o''br"), "{shown}");
}
