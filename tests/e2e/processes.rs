//! Processes that meet, that are asked to end, and that are told nonsense.

use std::time::{Duration, Instant};

use crate::rig::{Landfall, Scene, Settings};

#[test]
fn a_second_process_is_refused_and_a_killed_one_leaves_no_lock() {
    let mut scene = Scene::new("second", 1);
    scene.fill(50);
    let running = scene.landfall.run();
    scene.until_landed(Duration::from_secs(30));
    scene.landfall.once().expect_code(73);
    // Another store on the same lake.
    let dir = scene.dir().join("other");
    std::fs::create_dir_all(&dir).unwrap();
    std::os::unix::fs::symlink(scene.landfall.lake(), dir.join("lake")).unwrap();
    let other = Landfall::new(&dir, &scene.settings());
    other.once().expect_code(73);
    assert!(running.kill().killed());
    // The kernel has given the lock back; the other store is still not the lake's.
    other.once().expect_code(73).expect_words(&["--take-over"]);
    scene.fill_from(50, 10);
    let began = Instant::now();
    assert_eq!(scene.finish(&scene.settings()).rows, 60);
    assert!(began.elapsed() < Duration::from_secs(10), "it waited {:?} for a dead process", began.elapsed());
}

#[test]
fn an_idle_process_ends_at_once_when_it_is_asked_to() {
    let mut scene = Scene::new("term", 2);
    scene.fill(50);
    scene.landfall.configure(&Settings { max_age: "200ms", ..scene.settings() });
    let running = scene.landfall.run();
    scene.until_landed(Duration::from_secs(30));
    std::thread::sleep(Duration::from_secs(1));
    let asked = Instant::now();
    running.terminate(Duration::from_secs(20)).expect_code(0);
    assert!(asked.elapsed() < Duration::from_secs(2), "it took {:?}", asked.elapsed());
    scene.look().assert_clean("after SIGTERM");
}

/// A store that answers slowly is probed for long before anything lands.
#[test]
fn a_process_that_is_still_opening_its_lake_ends_when_it_is_asked_to() {
    let mut scene = Scene::new("early-term", 1);
    scene.fill(50);
    let frozen = scene.landfall.at("lake.create.before_link", 1, "stop").run();
    let began = Instant::now();
    while !frozen.is_stopped() {
        assert!(began.elapsed() < Duration::from_secs(30), "the lake is opened without a file");
        std::thread::sleep(Duration::from_millis(20));
    }
    frozen.signal(libc::SIGTERM);
    frozen.resume();
    frozen.wait(Duration::from_secs(20)).expect_code(0);
    scene.look().assert_sound("after SIGTERM at the start");
    assert_eq!(scene.finish(&scene.settings()).rows, 50);
}

#[test]
fn a_wrong_configuration_is_told_with_its_key_and_exits_78() {
    let scene = Scene::without_topic("127.0.0.1:1", "wrong", 1);
    let good = std::fs::read_to_string(scene.landfall.config()).unwrap();
    let wrong: [(&str, &str, &[&str]); 7] = [
        ("max_age = \"1s\"", "max_agee = \"1s\"", &["max_agee", "max_age"]),
        ("max_age = \"1s\"", "max_age = \"1 parsec\"", &["max_age", "parsec"]),
        ("store = \"sled\"", "store = \"slet\"", &["store", "slet", "sled"]),
        ("on_gap = \"fail\"", "on_gap = 7", &["on_gap"]),
        ("[kafka.properties]", "[kafka.properties]\n\"enable.auto.commit\" = \"true\"", &["enable.auto.commit"]),
        ("[lake]\n", "[lake\n", &["landfall.toml"]),
        ("format = \"parquet\"", "format = \"parket\"", &["format", "parket", "parquet"]),
    ];
    for (right, other, words) in wrong {
        assert!(good.contains(right), "{right} in {good}");
        std::fs::write(scene.landfall.config(), good.replace(right, other)).unwrap();
        scene.landfall.once().expect_code(78).expect_words(words);
    }
    scene.landfall.command(&["run", "--once", "no-such-file.toml"]).expect_code(78).expect_words(&["no-such-file"]);
    scene.landfall.command(&["run", "--twice", "landfall.toml"]).expect_code(2);
    assert_eq!(scene.landfall.files(), 0);
}
