//! Listings: the names that stand, in order of path, from anywhere on.

use std::collections::BTreeSet;
use std::time::Instant;

use proptest::prelude::*;

use super::*;

#[test]
fn a_directory_that_is_not_there_holds_nothing() {
    for (_dir, lake) in both() {
        assert_eq!(names(&lake, "t/0", None), Vec::<String>::new());
        assert_eq!(names(&lake, "", None), Vec::<String>::new());
    }
}

#[test]
fn temporary_names_and_the_lock_are_never_shown() {
    let (_dir, lake) = fresh(true);
    let _lock = lake.lock("me").unwrap();
    let _file = staged(&lake, &[1; 100_000]);
    block_on(lake.create("_landfall/x", Bytes::new())).unwrap();
    assert_eq!(names(&lake, "", None), ["_landfall/x"]);
    assert_eq!(names(&lake, "_landfall/", None), ["_landfall/x"]);
    assert_eq!(names(&lake, "_landfall/tmp", None), Vec::<String>::new());
}

#[test]
fn a_linked_directory_is_part_of_the_lake_and_a_dangling_link_is_not() {
    let (dir, lake) = fresh(false);
    let other = dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::os::unix::fs::symlink(&other, dir.path().join("lake/t")).unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join("lake/dangling")).unwrap();
    assert_eq!(block_on(staged(&lake, b"1").publish("t/x")).unwrap(), Created::Created);
    assert_eq!(names(&lake, "", None), ["t/x"]);
}

#[test]
fn a_listing_that_cannot_be_complete_is_an_error() {
    let (dir, lake) = fresh(false);
    block_on(lake.create("t/x", Bytes::new())).unwrap();
    std::os::unix::fs::symlink(".", dir.path().join("lake/t/loop")).unwrap();
    let last = block_on(async { lake.list("t", None).await.unwrap().collect::<Vec<_>>().await }).pop().unwrap();
    assert!(last.is_err(), "{last:?}");
}

#[test]
fn many_names_in_one_directory_are_listed_at_once() {
    let (dir, lake) = fresh(false);
    block_on(lake.create("t/00000000", Bytes::from("first"))).unwrap();
    let count = 20_000;
    for n in 1..count {
        let linked = dir.path().join(format!("lake/t/{:08}", (n * 7919) % count));
        std::fs::write(linked, b"").unwrap();
    }
    let start = Instant::now();
    let shown = names(&lake, "t", None);
    let whole = start.elapsed();
    assert_eq!(shown.len(), count);
    assert!(shown.is_sorted());
    assert_eq!(names(&lake, "t", Some("t/00019997")), ["t/00019998", "t/00019999"]);
    assert!(whole.as_secs() < 5, "{whole:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn a_listing_is_the_sorted_names_below_a_directory(
        paths in prop::collection::btree_set("[a-c](-?[a-c]|/[a-c.]b){0,4}", 0..24),
        prefix in "([a-c](/[a-c]b)?)?",
        after in prop::option::of("[a-c](-?[a-c]|/[a-c.]b){0,4}"),
        named: bool,
    ) {
        let (_dir, lake) = fresh(named);
        let mut stand = BTreeSet::new();
        for path in paths {
            // A name that is a directory, or lies below a file, cannot be created here: that is no listing's matter.
            if block_on(lake.create(&path, Bytes::from(path.clone()))).is_ok_and(|created| created == Created::Created) {
                stand.insert(path);
            }
        }
        let below = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let expected: Vec<_> = stand
            .into_iter()
            .filter(|path| path.starts_with(&below) && after.as_ref().is_none_or(|after| path > after))
            .collect();
        let shown = block_on(async {
            lake.list(&prefix, after.as_deref()).await.unwrap().map(Result::unwrap).collect::<Vec<_>>().await
        });
        prop_assert!(shown.iter().all(|entry| entry.size == entry.path.len() as u64));
        prop_assert_eq!(shown.into_iter().map(|entry| entry.path).collect::<Vec<_>>(), expected);
    }
}
