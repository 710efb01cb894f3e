//! Files and small objects: created once, whole, and by one writer only.

use futures::future::join_all;
use proptest::prelude::*;

use super::*;

#[test]
fn a_created_object_is_read_back_whole_and_in_part() {
    for (_dir, lake) in both() {
        block_on(async {
            assert_eq!(lake.read("a/b.json").await.unwrap(), None);
            assert_eq!(lake.size("a/b.json").await.unwrap(), None);
            assert_eq!(lake.create("a/b.json", Bytes::from("content")).await.unwrap(), Created::Created);
            assert_eq!(lake.create("a/b.json", Bytes::from("other")).await.unwrap(), Created::Exists);
            assert_eq!(lake.read("a/b.json").await.unwrap().unwrap(), "content");
            assert_eq!(lake.size("a/b.json").await.unwrap(), Some(7));
            assert_eq!(lake.read_range("a/b.json", 2..5).await.unwrap(), "nte");
            assert_eq!(lake.read_range("a/b.json", 7..7).await.unwrap(), "");
            assert!(matches!(lake.read_range("a/b.json", 5..8).await, Err(LakeError::NotDone { .. })));
            assert!(matches!(lake.read_range("a/c.json", 0..1).await, Err(LakeError::NotDone { .. })));
            // A name below a file is known to be absent; a directory is no file.
            assert_eq!(lake.read("a/b.json/c").await.unwrap(), None);
            assert_eq!(lake.size("a").await.unwrap(), None);
            assert!(matches!(lake.read("a").await, Err(LakeError::Refused { .. })));
        });
    }
}

#[test]
fn a_staged_file_has_no_name_until_it_is_published_and_leaves_nothing_when_dropped() {
    for (dir, lake) in both() {
        let content: Vec<u8> = (0..20 << 20).map(|n| (n % 251) as u8).collect();
        let before = on_disk(dir.path());
        let mut file = lake.stage().unwrap();
        for chunk in content.chunks(100_000) {
            file.write(chunk).unwrap();
        }
        assert_eq!(names(&lake, "", None), Vec::<String>::new());
        drop(file);
        assert_eq!(on_disk(dir.path()), before);

        let mut file = lake.stage().unwrap();
        for chunk in content.chunks(70_001) {
            file.write(chunk).unwrap();
        }
        assert_eq!(block_on(file.publish("t/0/x")).unwrap(), Created::Created);
        assert!(!file.spent());
        drop(file);
        assert_eq!(names(&lake, "", None), ["t/0/x"]);
        assert!(block_on(lake.read("t/0/x")).unwrap().unwrap() == content, "other bytes than were written");
        assert_eq!(on_disk(dir.path()).len(), before.len() + 1);
    }
}

#[test]
fn publishing_again_finds_the_name_and_the_bytes_cannot_change_any_more() {
    for (_dir, lake) in both() {
        let mut file = staged(&lake, b"first");
        assert_eq!(block_on(file.publish("t/x")).unwrap(), Created::Created);
        // As after a lost answer.
        assert_eq!(block_on(file.publish("t/x")).unwrap(), Created::Exists);
        assert!(matches!(file.write(b"more"), Err(LakeError::Refused { .. })));

        let mut late = staged(&lake, b"second");
        assert_eq!(block_on(late.publish("t/x")).unwrap(), Created::Exists);
        assert_eq!(block_on(late.publish("t/y")).unwrap(), Created::Created);
        assert_eq!(text(&lake, "t/x").unwrap(), "first");
        assert_eq!(text(&lake, "t/y").unwrap(), "second");
    }
}

#[test]
fn an_empty_file_takes_its_name() {
    for (_dir, lake) in both() {
        assert_eq!(block_on(staged(&lake, b"").publish("t/empty")).unwrap(), Created::Created);
        assert_eq!(block_on(lake.size("t/empty")).unwrap(), Some(0));
    }
}

#[test]
fn of_many_writers_one_creates_the_name_and_its_bytes_stand() {
    for (_dir, lake) in both() {
        for round in 0..10 {
            let path = format!("race/{}/{round}", round % 3);
            let mut files: Vec<_> = (0..8u8).map(|n| staged(&lake, &vec![n; 40_000])).collect();
            let answers = block_on(join_all(files.iter_mut().map(|file| file.publish(&path))));
            let winners: Vec<_> =
                (0..8u8).filter(|n| *answers[usize::from(*n)].as_ref().unwrap() == Created::Created).collect();
            assert_eq!(winners.len(), 1, "{answers:?}");
            assert!(block_on(lake.read(&path)).unwrap().unwrap() == vec![winners[0]; 40_000]);
        }
    }
}

#[test]
fn a_publication_whose_caller_went_away_goes_on_and_is_found() {
    for (_dir, lake) in both() {
        let mut file = staged(&lake, b"content");
        // Polled once: the work is under way, and nobody waits for it any more.
        let waited = futures::FutureExt::now_or_never(file.publish("t/x"));
        let again = block_on(file.publish("t/x")).unwrap();
        let expected = if waited.is_some() { Created::Exists } else { again };
        assert_eq!(again, expected);
        assert_eq!(text(&lake, "t/x").unwrap(), "content");
        assert_eq!(block_on(file.publish("t/x")).unwrap(), Created::Exists);
    }
}

#[test]
fn a_directory_that_was_removed_is_made_again() {
    for (dir, lake) in both() {
        block_on(staged(&lake, b"1").publish("t/0/a")).unwrap();
        std::fs::remove_dir_all(dir.path().join("lake/t")).unwrap();
        assert_eq!(block_on(staged(&lake, b"2").publish("t/0/b")).unwrap(), Created::Created);
        assert_eq!(names(&lake, "t", None), ["t/0/b"]);
    }
}

#[test]
fn in_a_removed_lake_nothing_is_known_to_be_absent() {
    for (dir, lake) in both() {
        std::fs::remove_dir_all(dir.path().join("lake")).unwrap();
        let not_done = |error: LakeError| matches!(error, LakeError::NotDone { .. });
        assert!(not_done(block_on(lake.read("t/x")).unwrap_err()));
        assert!(not_done(block_on(lake.size("t/x")).unwrap_err()));
        assert!(not_done(block_on(lake.list("t", None)).err().unwrap()));
        assert!(not_done(block_on(lake.create("t/x", Bytes::new())).unwrap_err()));
        assert!(not_done(block_on(lake.delete("_landfall/x")).unwrap_err()));
        assert!(not_done(block_on(staged(&lake, b"1").publish("t/x")).unwrap_err()));
    }
}

#[test]
fn only_what_lies_below_landfall_is_deleted() {
    for (_dir, lake) in both() {
        block_on(async {
            lake.create("t/x", Bytes::from("data")).await.unwrap();
            lake.create("_landfall/probe/x", Bytes::from("probe")).await.unwrap();
            assert!(matches!(lake.delete("t/x").await, Err(LakeError::Refused { .. })));
            assert!(matches!(lake.delete("_landfall/../t/x").await, Err(LakeError::Refused { .. })));
            assert!(matches!(lake.delete("_landfall/lock").await, Err(LakeError::Refused { .. })));
            assert!(matches!(lake.delete("_landfallx").await, Err(LakeError::Refused { .. })));
            lake.delete("_landfall/probe/x").await.unwrap();
            lake.delete("_landfall/probe/x").await.unwrap();
        });
        assert_eq!(names(&lake, "", None), ["t/x"]);
    }
}

#[test]
fn paths_that_leave_the_lake_are_refused() {
    for (_dir, lake) in both() {
        for path in ["", "/x", "../x", "a/../x", "a//x", "a/", "./x", "a\0b", "_landfall/tmp/x", "_landfall/lock"] {
            let refused = block_on(lake.create(path, Bytes::new()));
            assert!(matches!(refused, Err(LakeError::Refused { .. })), "{path:?}: {refused:?}");
        }
    }
}

#[test]
fn a_lake_opened_for_reading_changes_nothing() {
    let (dir, lake) = fresh(false);
    block_on(lake.create("t/x", Bytes::from("1"))).unwrap();
    let reader = LocalLake::open_to_read(dir.path().join("lake"), 1).unwrap();
    assert_eq!(text(&reader, "t/x").unwrap(), "1");
    let refused = |error: LakeError| matches!(error, LakeError::Refused { .. });
    assert!(refused(block_on(reader.create("t/y", Bytes::new())).unwrap_err()));
    assert!(refused(reader.stage().err().unwrap()));
    assert!(refused(block_on(reader.delete("_landfall/x")).unwrap_err()));
    assert!(refused(block_on(reader.sweep()).unwrap_err()));
    assert!(refused(LocalLake::open_to_read(dir.path().join("none"), 1).err().unwrap()));
    assert!(!dir.path().join("none").exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_file_holds_what_was_written_however_it_was_cut(
        chunks in prop::collection::vec((any::<u8>(), 0usize..90_000), 0..12), named: bool
    ) {
        let (_dir, lake) = fresh(named);
        let mut file = lake.stage().unwrap();
        let mut all = Vec::new();
        for (byte, length) in chunks {
            let chunk = vec![byte; length];
            file.write(&chunk).unwrap();
            all.extend(chunk);
        }
        prop_assert_eq!(block_on(file.publish("f")).unwrap(), Created::Created);
        prop_assert!(block_on(lake.read("f")).unwrap().unwrap() == all);
    }
}
