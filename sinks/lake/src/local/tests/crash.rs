//! A writer that is killed, or fails, at every step, and every rule broken on purpose: run as a child of
//! this test, because failpoints are armed by the environment, once for a process.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

use super::*;
use crate::fault::POINTS;

/// What a child does; see [`child`].
struct Child<'a> {
    dir: &'a Path,
    named: bool,
    by_create: bool,
    armed: (&'a str, String),
}

impl Child<'_> {
    fn run(&self) -> Output {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "local::tests::crash::child", "--ignored", "--nocapture"]);
        command.env("LAKE_TEST_DIR", self.dir).env("LAKE_TEST_NAMED", if self.named { "1" } else { "0" });
        command.env("LAKE_TEST_CREATE", if self.by_create { "1" } else { "0" });
        command.env_remove("LANDFALL_FAILPOINT").env_remove("LANDFALL_SABOTAGE");
        command.env(self.armed.0, &self.armed.1).output().unwrap()
    }
}

/// The words after `name: ` in the child's output.
fn said(output: &Output, name: &str) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    line.unwrap_or_else(|| panic!("the child did not say {name}: {text}")).to_owned()
}

fn word<T: std::fmt::Debug>(answer: &Result<T, LakeError>) -> String {
    match answer {
        Ok(answer) => format!("{answer:?}"),
        Err(LakeError::NotDone { .. }) => "NotDone".into(),
        Err(LakeError::Unknown { .. }) => "Unknown".into(),
        Err(LakeError::Refused { .. }) => "Refused".into(),
    }
}

#[test]
#[ignore = "run by the tests of this file, in a process of its own"]
fn child() {
    let Some(dir) = std::env::var_os("LAKE_TEST_DIR") else { return };
    let told = |name: &str| std::env::var(name).is_ok_and(|value| value == "1");
    let lake = LocalLake::open_with(Path::new(&dir), 2, told("LAKE_TEST_NAMED")).unwrap();
    let by_create = told("LAKE_TEST_CREATE");
    let content = vec![7u8; 100_000];
    let mut file = lake.stage().unwrap();
    println!();
    for turn in ["first", "second"] {
        let answer = block_on(async {
            if by_create {
                return lake.create("t/0/x", content.clone().into()).await;
            }
            if turn == "first"
                && let Err(error) = file.write(&content)
            {
                return Err(error);
            }
            file.publish("t/0/x").await
        });
        println!("{turn}: {}", word(&answer));
    }
    println!("spent: {}", file.spent());
    println!("settled: {}", word(&block_on(lake.settle("t/0/x"))));
    println!("other: {}", word(&block_on(lake.create("t/0/x", "other".into()))));
    println!("directories: {}", lake.syncs().directories);
    println!("probe: {}", word(&block_on(crate::probe(&lake)).map(|_| "passed")));
}

/// Which visit is the one of `t/0/x`: opening a lake makes two directories, and the name needs two more.
fn visit(point: &str) -> u32 {
    match point {
        "lake.after_mkdir" => 3,
        "lake.dir_fsync" => 5,
        _ => 1,
    }
}

fn points(by_create: bool) -> impl Iterator<Item = &'static str> {
    let both = ["lake.after_mkdir", "lake.dir_fsync"];
    POINTS.iter().copied().filter(move |point| point.starts_with("lake.create.") == by_create || both.contains(point))
}

#[test]
fn a_writer_killed_anywhere_leaves_a_whole_file_or_none_and_nothing_else() {
    let mut kills = 0;
    for (named, by_create) in [(false, false), (false, true), (true, false), (true, true)] {
        for point in points(by_create) {
            let dir = tempfile::tempdir().unwrap();
            let child = Child {
                dir: dir.path(),
                named,
                by_create,
                armed: ("LANDFALL_FAILPOINT", format!("{point}:{}=kill", visit(point))),
            };
            let output = child.run();
            assert_eq!(output.status.signal(), Some(9), "{point} was not passed: {output:?}");
            kills += 1;

            let lake = LocalLake::open_with(dir.path(), 2, named).unwrap();
            let linked = ["after_link", "dir_fsync"].iter().any(|step| point.ends_with(step));
            assert_eq!(block_on(lake.size("t/0/x")).unwrap(), linked.then_some(100_000), "{point}");
            block_on(lake.sweep()).unwrap();
            let left = on_disk(&dir.path().join("_landfall"));
            assert_eq!(left.len(), usize::from(named), "{point}: {left:?}");
            // Whoever comes next creates it, or finds it whole.
            let mut file = staged(&lake, &[7; 100_000]);
            let expected = if linked { Created::Exists } else { Created::Created };
            assert_eq!(block_on(file.publish("t/0/x")).unwrap(), expected, "{point}");
            assert!(block_on(lake.read("t/0/x")).unwrap().unwrap() == vec![7; 100_000]);
        }
    }
    assert_eq!(kills, 2 * (POINTS.len() + 2));
}

#[test]
fn a_step_that_fails_answers_what_is_true_and_is_never_taken_back() {
    for by_create in [false, true] {
        for point in points(by_create) {
            let dir = tempfile::tempdir().unwrap();
            let armed = ("LANDFALL_FAILPOINT", format!("{point}:{}=fail", visit(point)));
            let output = Child { dir: dir.path(), named: false, by_create, armed }.run();
            assert!(output.status.success(), "{point}: {output:?}");
            let answers = (said(&output, "first"), said(&output, "second"), said(&output, "spent"));
            let expected = match point.strip_prefix("lake.create.").or(point.strip_prefix("lake.")).unwrap() {
                // Bytes that were not taken, or that no fsync can vouch for any more.
                "before_stage" | "before_fsync" if !by_create => ("NotDone", "NotDone", "true"),
                "after_link" | "after_dir_fsync" | "dir_fsync" => ("Unknown", "Exists", "false"),
                _ => ("NotDone", "Created", "false"),
            };
            assert_eq!(answers, (expected.0.into(), expected.1.into(), expected.2.into()), "{point}");
            let settled = said(&output, "settled");
            match point {
                // A directory whose fsync failed is not believed again before the next start.
                "lake.dir_fsync" => assert_eq!(settled, "Refused"),
                "lake.before_stage" | "lake.before_fsync" => assert_eq!(settled, "NotDone"),
                _ => assert_eq!(settled, "()", "{point}"),
            }
        }
    }
}

#[test]
fn every_sabotage_is_noticed() {
    let sabotaged = |name: &str, by_create| {
        let dir = tempfile::tempdir().unwrap();
        let output =
            Child { dir: dir.path(), named: false, by_create, armed: ("LANDFALL_SABOTAGE", name.into()) }.run();
        assert!(output.status.success(), "{output:?}");
        let stands = std::fs::read(dir.path().join("t/0/x")).unwrap();
        (output, stands)
    };
    for by_create in [false, true] {
        let (honest, stands) = sabotaged("", by_create);
        assert_eq!((said(&honest, "other").as_str(), said(&honest, "probe").as_str()), ("Exists", "\"passed\""));
        assert_eq!(stands.len(), 100_000);
        assert!(said(&honest, "directories").parse::<u64>().unwrap() >= 3);

        let (output, stands) = sabotaged("overwrite_on_exists", by_create);
        assert_eq!((said(&output, "other").as_str(), said(&output, "probe").as_str()), ("Created", "Refused"));
        assert_eq!(stands, b"other");

        let (output, stands) = sabotaged("exists_is_created", by_create);
        assert_eq!((said(&output, "other").as_str(), said(&output, "probe").as_str()), ("Created", "Refused"));
        assert_eq!(stands.len(), 100_000);

        let (output, _) = sabotaged("skip_dir_fsync", by_create);
        assert_eq!(said(&output, "directories"), "0");
    }
}
