//! The checker against lakes made by hand: it calls a good one clean, and names each kind of damage.

use std::path::{Path, PathBuf};

use crate::rig::damage::HandMade;
use crate::rig::journal::Fate;
use crate::rig::{Check, Findings, Journal, Record};

/// Two partitions, three files, 30 records, all acknowledged.
struct Good {
    root: tempfile::TempDir,
    journal: Journal,
    first: HandMade,
    second: HandMade,
}

impl Good {
    fn new() -> Good {
        let root = tempfile::tempdir().expect("a directory");
        let journal = Journal::new();
        let files = [HandMade::new("a", 0, 0, 10), HandMade::new("a", 0, 10, 20), HandMade::new("a", 1, 0, 10)];
        for file in &files {
            file.acknowledge_in(&journal);
            file.write(root.path());
        }
        let [first, second, _] = files;
        Good { root, journal, first, second }
    }

    fn root(&self) -> &Path {
        self.root.path()
    }

    fn look(&self) -> Findings {
        Check::new(self.root()).look(&self.journal)
    }

    /// Writes a changed second file over the good one.
    fn second(&self, change: impl FnOnce(&mut HandMade)) -> Findings {
        let mut file = self.second.clone();
        change(&mut file);
        file.write(self.root());
        self.look()
    }
}

#[test]
fn a_good_lake_is_clean() {
    let good = Good::new();
    std::fs::create_dir_all(good.root().join("_landfall/owner")).unwrap();
    std::fs::write(good.root().join("_landfall/owner/1.json"), "{}").unwrap();
    let findings = good.look();
    assert!(findings.clean(), "{findings}");
    assert_eq!((findings.files, findings.rows), (3, 30));
}

#[test]
fn a_file_that_is_missing_is_lost_rows_and_a_hole() {
    let good = Good::new();
    std::fs::remove_file(good.first.path(good.root())).unwrap();
    assert_eq!(good.look().lost, 10);
    HandMade::new("a", 0, 0, 5).write(good.root());
    let findings = good.look();
    assert_eq!((findings.lost, findings.holes), (5, 1), "{findings}");
    assert!(!findings.clean() && findings.sound());
}

#[test]
fn a_row_that_is_missing_is_lost() {
    let good = Good::new();
    let findings = good.second(|file| {
        file.rows.remove(4);
        file.set("landfall.rows", "9");
    });
    assert_eq!(findings.lost, 1, "{findings}");
    assert!(!findings.clean());
}

#[test]
fn a_lost_row_is_lost_even_if_it_was_called_a_gap() {
    let good = Good::new();
    let findings = good.second(|file| {
        file.rows.remove(4);
        file.set("landfall.rows", "9").set("landfall.gaps", "[[14,15]]");
    });
    assert_eq!((findings.lost, findings.gaps, findings.mislabelled), (1, 1, 0), "{findings}");
    good.journal.set_fate("a", 0, 14, Fate::Optional);
    assert!(good.look().clean());
}

#[test]
fn overlapping_ranges_are_found_and_their_rows_are_repeated() {
    let good = Good::new();
    HandMade::new("a", 0, 15, 18).write(good.root());
    let findings = good.look();
    assert_eq!((findings.overlaps, findings.repeated), (1, 3), "{findings}");
}

#[test]
fn a_row_twice_in_one_file_is_repeated_and_out_of_order() {
    let good = Good::new();
    let findings = good.second(|file| {
        file.rows[5] = file.rows[4].clone();
    });
    assert_eq!((findings.repeated, findings.outside, findings.lost), (1, 1, 1), "{findings}");
}

#[test]
fn rows_outside_the_range_are_found() {
    let good = Good::new();
    let findings = good.second(|file| {
        file.rows.push((20, Record::numbered(20)));
        file.set("landfall.rows", "11");
    });
    assert_eq!((findings.outside, findings.invented), (1, 1), "{findings}");
}

#[test]
fn rows_out_of_order_are_found() {
    let good = Good::new();
    let findings = good.second(|file| file.rows.swap(2, 3));
    assert_eq!(findings.outside, 1, "{findings}");
}

#[test]
fn a_row_of_another_partition_is_found() {
    let good = Good::new();
    let mut file = good.second.clone();
    file.partition = 1;
    let wrong = file.write(&good.root().join("elsewhere"));
    std::fs::copy(wrong, good.second.path(good.root())).unwrap();
    let _ = std::fs::remove_dir_all(good.root().join("elsewhere"));
    let findings = good.look();
    assert_eq!((findings.outside, findings.lost, findings.invented), (10, 10, 10), "{findings}");
}

#[test]
fn half_files_are_found() {
    let good = Good::new();
    let path = good.second.path(good.root());
    let whole = std::fs::read(&path).unwrap();
    for length in [0, 4, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        let findings = good.look();
        assert_eq!((findings.half, findings.lost), (1, 10), "{length} bytes: {findings}");
    }
    let mut turned = whole.clone();
    turned[whole.len() - 9] ^= 0xff;
    std::fs::write(&path, &turned).unwrap();
    assert!(!good.look().clean(), "a byte of the footer turned over");
}

#[test]
fn altered_content_is_found_in_every_column() {
    let changes: [fn(&mut Record); 5] = [
        |record| record.value = Some(b"other".to_vec()),
        |record| record.key = Some(b"other".to_vec()),
        |record| record.timestamp += 1,
        |record| record.headers.push(("h".into(), None)),
        |record| record.value = None,
    ];
    for change in changes {
        let good = Good::new();
        let findings = good.second(|file| change(&mut file.rows[6].1));
        assert_eq!(findings.altered, 1, "{findings}");
    }
}

#[test]
fn a_null_is_no_empty_value() {
    let mut null = Record::keyed("k", None);
    let before = null.content();
    null.value = Some(Vec::new());
    assert_ne!(before, null.content());
    let of = |headers: &[(&str, Option<&str>)]| {
        let headers = headers.iter().map(|(key, value)| ((*key).to_owned(), value.map(|value| value.into())));
        Record { headers: headers.collect(), ..Record::default() }.content()
    };
    assert_ne!(of(&[("a", Some("1")), ("a", Some("2"))]), of(&[("a", Some("2")), ("a", Some("1"))]));
    assert_ne!(of(&[("a", None)]), of(&[("a", Some(""))]));
}

#[test]
fn uncommitted_rows_are_found() {
    let good = Good::new();
    good.journal.set_fate("a", 0, 3, Fate::Hidden);
    let findings = good.look();
    assert_eq!(findings.uncommitted, 1, "{findings}");
}

#[test]
fn files_that_are_no_batches_are_stray() {
    let names =
        ["a/0/.tmp-1", "a/0/00000000000000000020-00000000000000000030.parquet.tmp", "x.parquet", "a/0/1-2.parquet"];
    let empty = "a/0/00000000000000000020-00000000000000000020.parquet";
    for name in names.into_iter().chain([empty, "_landfall/stage/1.parquet"]) {
        let good = Good::new();
        let path = good.root().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
        let findings = good.look();
        assert_eq!(findings.stray, 1, "{name}: {findings}");
    }
}

#[test]
fn a_file_that_changes_or_vanishes_is_found() {
    let good = Good::new();
    let mut check = Check::new(good.root());
    assert!(check.look(&good.journal).clean());
    assert!(check.look(&good.journal).clean());
    let path = good.second.path(good.root());
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(check.look(&good.journal).changed, 1, "the same bytes, written again");
    std::fs::remove_file(path).unwrap();
    assert_eq!(check.look(&good.journal).changed, 1, "removed");
}

#[test]
fn labels_that_contradict_the_file_are_found() {
    let labels = [
        ("landfall.from", "11"),
        ("landfall.until", "21"),
        ("landfall.rows", "9"),
        ("landfall.topic", "b"),
        ("landfall.partition", "7"),
        ("landfall.gaps", "[[12,13]]"),
        ("landfall.gaps", "[[18,22]]"),
        ("landfall.gaps", "none"),
        ("landfall.isolation", "read_uncommitted"),
        ("landfall.checksum", ""),
        ("landfall.topic_id", ""),
    ];
    for (key, value) in labels {
        let good = Good::new();
        let findings = good.second(|file| _ = file.set(key, value));
        assert!(findings.mislabelled > 0, "{key} = {value}: {findings}");
    }
}

#[test]
fn an_empty_file_that_tiles_is_fine() {
    let good = Good::new();
    let mut empty = HandMade::new("a", 0, 20, 30);
    empty.rows.clear();
    empty.set("landfall.rows", "0");
    let _: PathBuf = empty.write(good.root());
    let findings = good.look();
    assert!(findings.clean(), "{findings}");
}
