//! Kills: at any time, and at each step of a swap; and that the tests notice a broken rule.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use super::*;

const CHILD: &str = "LANDFALL_TEST_SWAP_CHILD";

/// Not a test of its own: the process that is killed. It says every version that was acknowledged.
#[test]
fn the_child_that_is_killed() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async move {
        let store = Arc::new(SledStore::open(Path::new(&path)).unwrap());
        let tasks: Vec<_> = (0..8)
            .map(|partition| {
                let store = store.clone();
                tokio::spawn(async move {
                    loop {
                        let standing = store.load(&stream(partition)).await.unwrap();
                        let mut new = standing.as_ref().map_or_else(|| born(partition), grown);
                        if new.version % 7 == 0 {
                            new.unknown.insert("padding".into(), "long ".repeat(1500).into());
                        } else {
                            new.unknown.clear();
                        }
                        let expected = standing.map(|record| record.version);
                        assert_eq!(store.swap(expected, &new).await.unwrap(), Swap::Won);
                        let line = format!("acknowledged {partition} {}\n", new.version);
                        std::io::stderr().write_all(line.as_bytes()).unwrap();
                    }
                })
            })
            .collect();
        futures::future::join_all(tasks).await;
    });
}

/// Versions that were acknowledged, by partition.
type Acknowledged = [u64; 8];

/// Runs the child until it is killed, by `arms` or after so many acknowledged swaps; returns how many it said.
fn run_child(path: &Path, arms: Option<&str>, kill_after: u64, acknowledged: &mut Acknowledged) -> u64 {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["checkpoint::sled::tests::crashes::the_child_that_is_killed", "--exact", "--nocapture"]);
    command.env(CHILD, path).stdout(Stdio::null()).stderr(Stdio::piped());
    if let Some(arms) = arms {
        command.env("LANDFALL_FAILPOINT", arms);
    }
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut seen = 0;
    for line in lines.map_while(Result::ok) {
        let Some(words) = line.strip_prefix("acknowledged ") else { panic!("the child said: {line}") };
        let (partition, version) = words.split_once(' ').unwrap();
        let partition: usize = partition.parse().unwrap();
        acknowledged[partition] = acknowledged[partition].max(version.parse().unwrap());
        seen += 1;
        if seen == kill_after {
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(9), "the child ended by itself");
    seen
}

async fn nothing_acknowledged_is_lost(path: &Path, acknowledged: &Acknowledged) {
    let store = SledStore::open(path).unwrap();
    for (partition, acknowledged) in (0..).zip(*acknowledged) {
        let record = store.load(&stream(partition)).await.unwrap();
        let version = record.map_or(0, |record| record.version);
        assert!(version >= acknowledged, "partition {partition}: {version}, but {acknowledged} was acknowledged");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_version_survives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let rounds: u64 = std::env::var("LANDFALL_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let mut acknowledged = Acknowledged::default();
    for round in 0..rounds {
        let kill_after = 20 + round * 37 % 200;
        assert!(run_child(directory.path(), None, kill_after, &mut acknowledged) >= kill_after);
        nothing_acknowledged_is_lost(directory.path(), &acknowledged).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_each_step_of_a_swap_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = Acknowledged::default();
    for place in ["store.before_swap", "store.after_swap", "store.after_sync"] {
        for visit in [1, 2, 9, 30] {
            let arms = format!("{place}:{visit}=kill");
            run_child(directory.path(), Some(&arms), u64::MAX, &mut acknowledged);
            nothing_acknowledged_is_lost(directory.path(), &acknowledged).await;
        }
    }
    assert!(acknowledged.iter().sum::<u64>() > 0);
}
