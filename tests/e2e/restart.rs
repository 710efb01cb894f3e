//! What a process does first after a crash: the batches that were planned get the names that they were to have.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::rig::{Scene, Settings, all, wait_until};

/// The files that open plans name.
fn planned_files(scene: &Scene) -> Vec<PathBuf> {
    let said = scene.landfall.command(&["offsets", "landfall.toml", "--output", "json"]).expect_code(0).stdout;
    let said: Value = serde_json::from_str(&said).expect("JSON");
    let partitions = said[&scene.topic].as_object().expect("partitions");
    let mut files = Vec::new();
    for (partition, entry) in partitions {
        for span in entry["planned"].as_array().expect("spans") {
            let name =
                format!("{:020}-{:020}.parquet", span[0].as_i64().expect("from"), span[1].as_i64().expect("until"));
            files.push(scene.landfall.lake().join(&scene.topic).join(partition).join(name));
        }
    }
    files
}

/// Killed when a batch of every partition is planned, hardly any has landed. The figure is printed: one second, and 20 ms
/// for each partition, is what it may take on an idle machine.
#[test]
fn open_plans_stand_soon_after_a_restart() {
    let partitions = if all() { 400 } else { 60 };
    let mut scene = Scene::new("restart", partitions);
    scene.fill(20);
    scene.landfall.configure(&Settings { max_age: "2s", ..scene.settings() });
    let first = scene.landfall.at("pipeline.after_plan", partitions as usize, "kill").run();
    assert!(first.wait(Duration::from_secs(60)).killed());
    let files = planned_files(&scene);
    assert!(!files.is_empty(), "no plan was open");
    let (started, again) = (Instant::now(), scene.landfall.run());
    wait_until("every open plan's file stands", Duration::from_secs(60), || files.iter().all(|file| file.exists()));
    println!("{partitions} partitions, {} open plans: their files stand after {:?}", files.len(), started.elapsed());
    again.terminate(Duration::from_secs(20)).expect_code(0);
    let settings = scene.settings();
    scene.finish(&settings);
}
