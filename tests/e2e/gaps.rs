//! Records that Kafka dropped before they were read: a stop with both offsets, or a recorded gap.

use std::time::Duration;

use crate::rig::{Scene, Settings, fresh};

/// 100 records landed, 200 more produced, the log start moved to `before`.
fn overtaken(stem: &str, before: i64) -> Scene {
    let mut scene = Scene::new(stem, 1);
    scene.fill(100);
    scene.finish(&scene.settings());
    scene.fill_from(100, 200);
    scene.admin.delete_records(&scene.topic, 0, before);
    scene
}

#[test]
fn under_fail_the_stream_stops_and_names_both_offsets() {
    let mut scene = overtaken("gap-fail", 180);
    let other = fresh("steady");
    scene.admin.create(&other, 1, &[]);
    scene.producer().fill(&other, 0, 0..30);
    scene.landfall.configure(&Settings::new(&scene.bootstrap, &[&scene.topic, &other]));
    let ended = scene.landfall.once().expect_code(1);
    let command = format!("landfall resolve --stream {}/0 --range 100-180 --as gap", scene.topic);
    ended.expect_words(&[scene.topic.as_str(), "100", "180", "on_gap", &command]);
    let findings = scene.look();
    findings.assert_sound("stopped for a gap");
    assert_eq!((findings.rows, findings.lost, findings.gaps), (130, 200, 0), "the other topic landed: {findings}");

    // The setting removes the reason: the stream goes on by itself.
    scene.journal.expire(&scene.topic, 0, 180);
    let record = Settings::new(&scene.bootstrap, &[&scene.topic, &other]).on_gap("record");
    let findings = scene.finish(&record);
    assert_eq!((findings.rows, findings.gaps), (100 + 120 + 30, 80), "{findings}");
}

#[test]
fn under_record_the_gap_is_in_the_file_and_nothing_else_is_missing() {
    let mut scene = overtaken("gap-record", 180);
    scene.journal.expire(&scene.topic, 0, 180);
    let findings = scene.finish(&scene.settings().on_gap("record").max_records(50));
    assert_eq!((findings.rows, findings.gaps), (220, 80), "{findings}");
    let status = scene.landfall.command(&["status", "landfall.toml", "--output", "json"]).expect_code(0);
    assert!(status.stdout.contains("100") && status.stdout.contains("180"), "{}", status.stdout);
}

#[test]
fn retention_that_took_everything_is_one_gap_up_to_the_end() {
    let mut scene = overtaken("gap-all", 300);
    scene.journal.expire(&scene.topic, 0, 300);
    let findings = scene.finish(&scene.settings().on_gap("record"));
    assert_eq!((findings.rows, findings.gaps), (100, 200), "{findings}");
    scene.fill_from(300, 10);
    assert_eq!(scene.finish(&scene.settings()).rows, 110);
}

#[test]
fn an_explicit_start_below_the_log_start_is_a_gap_too() {
    let scene = Scene::new("gap-start", 1);
    scene.fill(100);
    scene.admin.delete_records(&scene.topic, 0, 40);
    scene.journal.expire(&scene.topic, 0, 40);
    let start = format!("{{ {} = {{ 0 = 10 }} }}", scene.topic);
    let fail = Settings { start: start.clone(), ..scene.settings() };
    scene.landfall.configure(&fail);
    scene.landfall.once().expect_code(1).expect_words(&[scene.topic.as_str(), "10", "40"]);
    let mut scene = scene;
    let findings = scene.finish(&Settings { start, ..scene.settings() }.on_gap("record"));
    assert_eq!((findings.rows, findings.gaps), (60, 30), "{findings}");
}

#[test]
fn retention_that_overtakes_a_plan_that_is_open_fills_its_name() {
    let mut scene = Scene::new("gap-open", 1);
    scene.fill(300);
    let settings = scene.settings().max_records(100);
    scene.landfall.configure(&settings);
    // Dead with the plan [0, 100) durable and nothing put.
    let dead = scene.landfall.at("sink.before_publish", 1, "kill").once();
    assert!(dead.killed(), "{}", dead.stderr);
    scene.admin.delete_records(&scene.topic, 0, 60);
    scene.landfall.once().expect_code(1).expect_words(&[scene.topic.as_str(), "60"]);
    scene.look().assert_sound("stopped for a gap in an open plan");
    scene.journal.expire(&scene.topic, 0, 60);
    let findings = scene.finish(&settings.on_gap("record"));
    assert_eq!((findings.rows, findings.gaps), (240, 60), "{findings}");
    let first = scene.landfall.lake().join(&scene.topic).join("0");
    let first = first.join(format!("{:020}-{:020}.parquet", 0, 100));
    assert!(first.exists(), "the plan kept its range: {}", first.display());
}

#[test]
fn a_file_that_stands_is_committed_although_retention_took_its_records() {
    let mut scene = Scene::new("gap-stands", 1);
    scene.fill(100);
    let dead = scene.landfall.at("sink.after_publish", 1, "kill").once();
    assert!(dead.killed(), "{}", dead.stderr);
    scene.admin.delete_records(&scene.topic, 0, 100);
    // `on_gap = "fail"`, and yet no stop: everything that Kafka dropped is in the lake.
    let findings = scene.finish(&scene.settings());
    assert_eq!((findings.rows, findings.gaps), (100, 0), "{findings}");
}

#[test]
fn retention_in_the_middle_of_a_run_stops_or_is_recorded() {
    let mut scene = Scene::new("gap-live", 1);
    scene.fill(100);
    scene.landfall.configure(&scene.settings().on_gap("record"));
    let running = scene.landfall.run();
    scene.until_landed(Duration::from_secs(30));
    running.pause();
    scene.fill_from(100, 200);
    scene.admin.delete_records(&scene.topic, 0, 250);
    scene.journal.expire(&scene.topic, 0, 250);
    running.resume();
    scene.until_landed(Duration::from_secs(60));
    running.terminate(Duration::from_secs(20)).expect_code(0);
    let findings = scene.finish(&scene.settings());
    assert!(findings.rows >= 150, "{findings}");
}
