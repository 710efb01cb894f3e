//! The disk's own troubles: syncs, space, permission, descriptors.

use std::process::Command;

use super::*;

#[test]
fn every_new_name_costs_one_sync_of_its_file_and_one_of_each_directory_that_changed() {
    for (_dir, lake) in both() {
        let spent = |job: &dyn Fn()| {
            let before = lake.syncs();
            job();
            let after = lake.syncs();
            (after.files - before.files, after.directories - before.directories)
        };
        let publish = |path: &str| assert!(block_on(staged(&lake, b"1").publish(path)).is_ok());
        // The root for `t`, `t` for `t/0`, `t/0` for the name.
        assert_eq!(spent(&|| publish("t/0/a")), (1, 3));
        assert_eq!(spent(&|| publish("t/0/b")), (1, 1));
        assert_eq!(spent(&|| publish("t/1/a")), (1, 2));
        // A name that stands is seen before anything is synced.
        assert_eq!(spent(&|| publish("t/0/a")), (0, 0));
        // Directories of this process are known; the one of the name just changed, so it is synced again.
        assert_eq!(spent(&|| block_on(lake.settle("t/0/a")).unwrap()), (0, 1));
    }
}

#[test]
fn what_was_found_is_synced_up_to_the_root_once_unless_names_were_added() {
    let (dir, lake) = fresh(false);
    let t = dir.path().join("lake/t/0");
    std::fs::create_dir_all(&t).unwrap();
    std::fs::write(t.join("a"), b"").unwrap();
    let settle = || {
        let before = lake.syncs().directories;
        block_on(lake.settle("t/0/a")).unwrap();
        lake.syncs().directories - before
    };
    assert_eq!(settle(), 3);
    std::thread::sleep(std::time::Duration::from_millis(3100));
    assert_eq!(settle(), 1, "the first sync might have shared its time stamp with a later name");
    assert_eq!(settle(), 0);
    std::fs::write(t.join("b"), b"").unwrap();
    assert_eq!(settle(), 1, "another process may have added a name");
    let gone = block_on(lake.settle("t/1/a"));
    assert!(matches!(gone, Err(LakeError::NotDone { .. })), "{gone:?}");
}

#[test]
fn a_file_or_a_missing_permission_in_the_place_of_a_lake_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), b"").unwrap();
    for place in ["file", "file/below"] {
        let error = LocalLake::open(dir.path().join(place), 1).err().unwrap();
        assert!(matches!(error, LakeError::Refused { .. }), "{error:?}");
        assert!(error.to_string().contains("not a directory"), "{error}");
    }
    let error = LocalLake::open("/proc/landfall", 1).err().unwrap();
    assert!(!error.to_string().is_empty());
}

#[test]
fn many_drafts_cost_no_descriptor_until_they_are_large() {
    let (_dir, lake) = fresh(false);
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = count();
    let mut drafts: Vec<_> = (0..3000).map(|_| staged(&lake, b"PAR1")).collect();
    assert!(count() < before + 500, "other tests run beside this one, but they open few files");
    for (n, draft) in drafts.iter_mut().enumerate().take(20) {
        assert_eq!(block_on(draft.publish(&format!("t/{n}"))).unwrap(), Created::Created);
    }
}

/// A small file system of its own, where this user may mount one.
struct Small {
    dir: tempfile::TempDir,
}

impl Small {
    fn mount(options: &str) -> Option<Small> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(dir.path()).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Small { dir });
        }
        println!("skipped: this user may not mount a tmpfs");
        None
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.dir.path()).output());
    }
}

#[test]
fn a_full_disk_is_not_done_says_so_and_goes_on_when_there_is_space() {
    for named in [false, true] {
        let Some(small) = Small::mount("size=3m") else { return };
        let root = small.dir.path().join("lake");
        let lake = LocalLake::open_with(&root, 2, named).unwrap();
        block_on(lake.create("t/before", Bytes::from("1"))).unwrap();
        std::fs::write(small.dir.path().join("ballast"), vec![0; 2 << 20]).unwrap();

        let mut file = lake.stage().unwrap();
        let error = (0..40).find_map(|_| file.write(&[7; 100_000]).err()).expect("4 MB do not fit into 3");
        assert!(matches!(error, LakeError::NotDone { .. }), "{error:?}");
        assert!(error.to_string().contains("no space"), "{error}");
        assert!(error.to_string().contains(&root.display().to_string()), "{error}");
        assert!(file.spent());
        assert!(matches!(block_on(file.publish("t/x")), Err(LakeError::NotDone { .. })));
        assert_eq!(names(&lake, "", None), ["t/before"]);
        drop(file);

        // What the draft had taken is free again, and so is the name.
        std::fs::remove_file(small.dir.path().join("ballast")).unwrap();
        let mut file = staged(&lake, &vec![7; 2 << 20]);
        assert_eq!(block_on(file.publish("t/x")).unwrap(), Created::Created);
        assert_eq!(block_on(lake.size("t/x")).unwrap(), Some(2 << 20));
    }
}

#[test]
fn a_small_object_on_a_full_disk_is_not_done() {
    let Some(small) = Small::mount("size=1m") else { return };
    let lake = LocalLake::open(small.dir.path(), 2).unwrap();
    let mut ballast = std::fs::File::create(small.dir.path().join("ballast")).unwrap();
    while std::io::Write::write(&mut ballast, &[0; 4096]).is_ok() {}
    let error = block_on(lake.create("t/x", Bytes::from(vec![1; 50_000]))).unwrap_err();
    assert!(matches!(error, LakeError::NotDone { .. }), "{error:?}");
    assert_eq!(text(&lake, "t/x"), None);
    drop(ballast);
    std::fs::remove_file(small.dir.path().join("ballast")).unwrap();
    assert_eq!(block_on(lake.create("t/x", Bytes::from(vec![1; 50_000]))).unwrap(), Created::Created);
}

#[test]
fn a_disk_that_became_read_only_is_not_done_and_one_that_is_at_the_start_is_refused() {
    let Some(small) = Small::mount("size=1m") else { return };
    let lake = LocalLake::open(small.dir.path().join("lake"), 2).unwrap();
    block_on(lake.create("t/x", Bytes::from("1"))).unwrap();
    let remount = |how: &str| {
        let done = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(small.dir.path()).output();
        assert!(done.unwrap().status.success());
    };
    remount("ro");
    let error = block_on(lake.create("t/y", Bytes::from("1"))).unwrap_err();
    assert!(matches!(error, LakeError::NotDone { .. }), "{error:?}");
    assert!(error.to_string().contains("read-only"), "{error}");
    let error = LocalLake::open(small.dir.path().join("lake"), 2).err().unwrap();
    assert!(matches!(error, LakeError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("read-only"), "{error}");
    let reader = LocalLake::open_to_read(small.dir.path().join("lake"), 2).unwrap();
    assert_eq!(names(&reader, "", None), ["t/x"]);
    remount("rw");
    assert_eq!(block_on(lake.create("t/y", Bytes::from("1"))).unwrap(), Created::Created);
}

#[test]
fn a_directory_on_another_file_system_is_refused() {
    let Some(small) = Small::mount("size=1m") else { return };
    let (dir, lake) = fresh(false);
    std::os::unix::fs::symlink(small.dir.path(), dir.path().join("lake/t")).unwrap();
    let error = block_on(lake.create("t/x", Bytes::from("1"))).unwrap_err();
    assert!(matches!(error, LakeError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("another file system"), "{error}");
}
