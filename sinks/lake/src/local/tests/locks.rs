//! The lock of a lake, and the sweep of what ended writers left.

use super::*;

#[test]
fn a_second_owner_is_refused_and_told_who_holds_the_lake() {
    let (dir, lake) = fresh(false);
    let held = lake.lock("the sled store at /state").unwrap();
    let other = LocalLake::open(dir.path().join("lake"), 1).unwrap();
    let error = other.lock("another").unwrap_err();
    assert!(matches!(error, LakeError::Refused { .. }), "{error:?}");
    let message = error.to_string();
    assert!(message.contains("the sled store at /state"), "{message}");
    assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
    drop(held);
    let _held = other.lock("another").unwrap();
    assert!(lake.lock("the first").unwrap_err().to_string().contains("held by another (process"));
}

#[test]
fn the_sweep_removes_drafts_of_ended_writers_and_nothing_else() {
    let (dir, lake) = fresh(true);
    let tmp = dir.path().join("lake/_landfall/tmp");
    let mine = staged(&lake, &[1; 100_000]);

    // A writer that is alive, in this process or another: its lock is what counts.
    let alive = LocalLake::open_with(&dir.path().join("lake"), 1, true).unwrap();
    let mut theirs = staged(&alive, &[2; 100_000]);

    // One that ended: its lock's file, and a draft that is a second link to a published file.
    std::fs::write(tmp.join("17-00000000000000aa.run"), b"").unwrap();
    std::fs::write(tmp.join("17-00000000000000aa-1"), b"published").unwrap();
    std::fs::create_dir(dir.path().join("lake/t")).unwrap();
    std::fs::hard_link(tmp.join("17-00000000000000aa-1"), dir.path().join("lake/t/x")).unwrap();
    // One whose lock's file is gone, and names that are not ours.
    std::fs::write(tmp.join("18-00000000000000bb-5"), b"").unwrap();
    std::fs::write(tmp.join("somebody's.txt"), b"").unwrap();

    assert_eq!(block_on(lake.sweep()).unwrap(), 2);
    assert_eq!(block_on(lake.sweep()).unwrap(), 0);
    let left = on_disk(&tmp);
    assert_eq!(left.len(), 5, "two drafts, two locks, one of somebody else: {left:?}");
    assert_eq!(text(&lake, "t/x").unwrap(), "published");
    assert_eq!(block_on(theirs.publish("t/y")).unwrap(), Created::Created);
    drop((mine, theirs, alive));
    assert_eq!(block_on(lake.sweep()).unwrap(), 0);
    assert_eq!(on_disk(&tmp).len(), 2, "the own lock, and somebody else's file");
}

#[test]
fn without_names_for_drafts_there_is_nothing_to_sweep() {
    let (dir, lake) = fresh(false);
    if !matches!(lake.inner.temporaries, Temporaries::Nameless) {
        return println!("skipped: {} has no files without a name", dir.path().display());
    }
    let _file = staged(&lake, &[1; 100_000]);
    assert_eq!(on_disk(dir.path()), Vec::<String>::new());
    assert_eq!(block_on(lake.sweep()).unwrap(), 0);
}
