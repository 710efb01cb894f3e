//! The checkpoint store is lost: the lake's names tell what it held, whatever was under way, and wherever
//! the rebuild itself dies.

use std::time::Duration;

use crate::rig::{Scene, failpoints};

const REBUILD: [&str; 4] = ["rebuild", "--take-over", "--yes", "landfall.toml"];

/// Landed in part, with open plans, and the state directory gone.
fn lost(stem: &str) -> Scene {
    let scene = Scene::new(stem, 2);
    scene.fill(150);
    scene.landfall.configure(&scene.settings().max_records(40));
    let dead = scene.landfall.at("sink.before_publish", 4, "kill").once();
    assert!(dead.killed(), "{}", dead.stderr);
    std::fs::remove_dir_all(scene.landfall.state()).expect("the state");
    scene
}

#[test]
fn without_its_store_a_lake_is_not_written_to_until_it_is_rebuilt() {
    let mut scene = lost("rebuild");
    let files = scene.landfall.files();
    let ended = scene.landfall.once();
    assert_ne!(ended.code(), Some(0), "{}", ended.stderr);
    ended.expect_words(&["rebuild"]);
    assert_eq!(scene.landfall.files(), files);
    scene.landfall.command(&["rebuild", "--take-over", "landfall.toml"]).expect_code(2).expect_words(&["--yes"]);
    scene.landfall.command(&REBUILD).expect_code(0);
    scene.fill_from(150, 30);
    assert_eq!(scene.finish(&scene.settings()).rows, 360);
}

#[test]
fn killed_at_every_step_a_rebuild_is_only_called_again() {
    let steps = ["store.before_swap", "store.after_swap", "store.after_sync"];
    let lake = ["lake.create.before_stage", "lake.create.before_link", "lake.create.after_link", "lake.dir_fsync"];
    let mut points: Vec<String> = steps.iter().chain(&lake).map(|name| (*name).to_owned()).collect();
    points.extend(failpoints::failpoints().into_iter().filter(|name| name.starts_with("rebuild.")));
    std::thread::scope(|scope| {
        for point in points {
            scope.spawn(move || {
                let mut scene = lost("rebuild-killed");
                let rebuild = scene.landfall.at(&point, 1, "kill").start(&REBUILD).wait(Duration::from_secs(90));
                assert!(rebuild.killed(), "{point}: {}", rebuild.stderr);
                scene.look().assert_sound(&point);
                scene.landfall.command(&REBUILD).expect_code(0);
                scene.fill_from(150, 30);
                assert_eq!(scene.finish(&scene.settings()).rows, 360, "{point}");
            });
        }
    });
}
