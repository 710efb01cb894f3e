//! A disk that is full: what runs says which path, waits, and goes on by itself when there is space;
//! `--once` does not end as if it were done.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::rig::{Scene, Settings, wait_until};

/// A small file system of its own, where this user may mount one.
struct Small {
    at: PathBuf,
}

impl Small {
    fn mount(at: &Path, size: &str) -> Option<Small> {
        std::fs::create_dir_all(at).expect("a directory");
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Small { at: at.into() });
        }
        eprintln!("skipped: this user may not mount a tmpfs");
        None
    }

    /// Until not one byte more fits.
    fn fill(&self) {
        let mut ballast = File::create(self.at.join("ballast")).expect("a file");
        while ballast.write_all(&[0x55; 4096]).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.at.join("ballast")).expect("the ballast");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.at).output());
    }
}

fn passes(scene: &mut Scene, small: &Small) {
    let path = small.at.display().to_string();
    scene.check.overlook(&small.at.join("ballast"));
    let usual = Settings { max_age: "200ms", ..scene.settings() };
    scene.fill(100);
    scene.landfall.configure(&usual);
    let running = scene.landfall.run();
    scene.until_landed(Duration::from_secs(60));
    small.fill();
    scene.fill_from(100, 300);
    wait_until(&format!("{path} is named"), Duration::from_secs(60), || running.errors().contains(&path));
    let findings = scene.look();
    findings.assert_sound("on a full disk");
    assert!(findings.lost > 0, "there was no room for it: {findings}");
    small.free();
    scene.until_landed(Duration::from_secs(60));
    running.terminate(Duration::from_secs(20)).expect_code(0);

    small.fill();
    scene.fill_from(400, 50);
    let ended = scene.landfall.start_once().wait(Duration::from_secs(150)).expect_words(&[&path]);
    assert!(ended.code().is_some_and(|code| code != 0), "{:?}", ended.status);
    small.free();
    assert!(scene.finish(&usual).rows >= 450);
}

#[test]
fn a_full_lake_is_waited_for() {
    let mut scene = Scene::new("full-lake", 1);
    let Some(small) = Small::mount(&scene.landfall.lake(), "6m") else { return };
    passes(&mut scene, &small);
}

#[test]
fn a_full_checkpoint_store_is_waited_for() {
    let mut scene = Scene::new("full-state", 1);
    let Some(small) = Small::mount(&scene.landfall.state(), "16m") else { return };
    passes(&mut scene, &small);
}
