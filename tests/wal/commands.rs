//! `landfall wal`: what it says of a log that is whole, torn, damaged or in use, and that it changes nothing.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;

use crate::crash::tear;
use crate::tool::{Tool, Write, built, scratch, seed, value};

const PATIENCE: Duration = Duration::from_secs(60);

fn landfall(args: &[&str], log: &Path) -> Output {
    let mut command = Command::new(built("landfall"));
    command.arg("wal").arg(args[0]).arg(log).args(&args[1..]);
    command.output().expect("landfall")
}

fn json(args: &[&str], log: &Path, code: i32) -> Value {
    let output = landfall(&[args, &["--output", "json"]].concat(), log);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{args:?}: {error}: {said}"))
}

fn cat(args: &[&str], log: &Path) -> Vec<Value> {
    let output = landfall(&[&["cat"], args].concat(), log);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).expect("a JSON object a line")).collect()
}

/// Every byte and every time of change below a directory.
fn everything(directory: &Path) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
    let (mut files, mut open) = (BTreeMap::new(), vec![directory.to_path_buf()]);
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).expect("a directory").flatten() {
            let (path, meta) = (entry.path(), entry.metadata().expect("a file"));
            if meta.is_dir() {
                open.push(path.clone());
            }
            let bytes = if meta.is_dir() { Vec::new() } else { std::fs::read(&path).expect("a file") };
            files.insert(path, (bytes, meta.modified().expect("a time")));
        }
    }
    files
}

/// A log of 4 streams, closed or killed.
fn log(directory: &Path, records: i64, killed: bool) -> Tool {
    let tool = Tool::new(directory.join("wal"));
    let until = if killed { i64::MAX } else { records };
    let mut writing = tool.write(Write { segment: 128 << 10, retire: false, until }, None);
    if killed {
        assert!(writing.until_acked(records as u64 * 4, PATIENCE));
        writing.kill();
    } else {
        assert!(writing.wait(PATIENCE).status.success());
    }
    tool
}

#[test]
fn a_whole_log_is_listed_and_printed() {
    let directory = scratch(true);
    let log = log(directory.path(), 150, false).log;
    let before = everything(&log);

    let segments = json(&["ls"], &log, 0)["segments"].as_array().expect("segments").clone();
    assert!(segments.len() > 2, "{segments:?}");
    assert_eq!(segments.iter().map(|row| row["records"].as_u64().unwrap()).sum::<u64>(), 600);
    for pair in segments.windows(2) {
        assert!(pair[0]["until_lsn"] == pair[1]["from_lsn"] && pair[0]["sealed"] == true, "{pair:?}");
        assert!(log.join(pair[0]["file"].as_str().unwrap()).exists());
    }
    let listed = landfall(&["ls"], &log);
    assert_eq!(String::from_utf8_lossy(&listed.stdout).lines().count(), segments.len() + 1);

    let records = cat(&[], &log);
    assert_eq!(records.len(), 600);
    for partition in 0..4 {
        let offsets = records.iter().filter(|record| record["partition"] == partition).map(|record| &record["offset"]);
        assert!(offsets.map(|offset| offset.as_i64().unwrap()).eq(0..150), "events/{partition}");
    }
    let some = cat(&["--topic", "events", "--partition", "2", "--from", "40", "--until", "45"], &log);
    assert!(some.iter().map(|record| record["offset"].as_i64().unwrap()).eq(40..45), "{some:?}");
    assert!(some.iter().all(|record| record["value"]["base64"].as_str().is_some_and(|text| text.len() == 136)));
    assert!(cat(&["--topic", "others"], &log).is_empty());

    let verdict = json(&["check"], &log, 0);
    assert!(verdict["outcome"] == "clean" && verdict["closed"] == true && verdict["records"] == 600, "{verdict}");
    assert_eq!(verdict["streams"][3]["held"], serde_json::json!([[0, 150]]));
    assert!(everything(&log) == before, "looking at a log changed it");
}

#[test]
fn a_torn_tail_is_mentioned_and_is_no_damage() {
    let mut random = StdRng::seed_from_u64(seed());
    let directory = scratch(true);
    let log = loop {
        let tool = log(directory.path(), 20, true);
        if tear(&tool.log, &mut random) {
            break tool.log;
        }
        std::fs::remove_dir_all(&tool.log).expect("the log");
    };
    let before = everything(&log);
    let verdict = json(&["check"], &log, 0);
    assert!(verdict["torn"]["bytes"].as_u64() > Some(0) && verdict["closed"] == false, "{verdict}");
    let told = landfall(&["check"], &log);
    assert!(String::from_utf8_lossy(&told.stdout).contains("never acknowledged: no damage"));
    assert!(everything(&log) == before, "looking at a log changed it");
}

#[test]
fn damage_is_named_by_file_address_and_offset() {
    let directory = scratch(true);
    let log = log(directory.path(), 150, false).log;
    let value = value(2, 70);
    let holds = |bytes: &[u8]| bytes.windows(value.len()).position(|window| window == value);
    let files = everything(&log).into_iter().find_map(|(path, (bytes, _))| Some((path, holds(&bytes)?, bytes)));
    let (path, at, mut bytes) = files.expect("the value of events/2 70");
    bytes[at + 50] ^= 4;
    std::fs::write(&path, bytes).expect("a flipped bit");

    let verdict = json(&["check"], &log, 65);
    let damages = verdict["damages"].as_array().expect("damages");
    assert_eq!(damages.len(), 1, "{verdict}");
    let segments = json(&["ls"], &log, 0);
    let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
    let row = segments["segments"].as_array().unwrap().iter().find(|row| row["file"] == name).expect("its segment");
    let address = row["from_lsn"].as_u64().unwrap() + at as u64 - 4096;
    let range = damages[0]["from_lsn"].as_u64().unwrap()..damages[0]["until_lsn"].as_u64().unwrap();
    assert!(range.contains(&address), "{address:#x} is not in {range:x?}");
    assert_eq!(damages[0]["file"], path.display().to_string());
    let lost = serde_json::json!([{"cluster": "example", "topic": "events", "partition": 2, "from": 70, "until": 71}]);
    assert_eq!(damages[0]["lost"], lost);

    let told = landfall(&["check"], &log);
    let said = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(said.contains("lost: events/2 offsets 70-71") && said.contains("DAMAGE: 1"), "{said}");
    assert!(String::from_utf8_lossy(&told.stderr).contains("refetch"));
    let offsets: Vec<i64> =
        cat(&["--partition", "2"], &log).iter().map(|record| record["offset"].as_i64().unwrap()).collect();
    assert!(offsets.iter().copied().eq((0..150).filter(|offset| *offset != 70)), "{offsets:?}");
}

#[test]
fn what_is_no_log_is_said_to_be_none() {
    let directory = scratch(true);
    for command in ["ls", "cat", "check"] {
        let empty = landfall(&[command], directory.path());
        assert_eq!(empty.status.code(), Some(1), "{command}");
        assert!(String::from_utf8_lossy(&empty.stderr).contains("holds no log"), "{command}");
        let missing = landfall(&[command], &directory.path().join("nowhere"));
        assert_eq!(missing.status.code(), Some(74), "{command}");
        assert!(String::from_utf8_lossy(&missing.stderr).contains("nowhere"), "{command}");
    }
    assert!(everything(directory.path()).is_empty(), "something was made");
}

#[test]
fn who_reads_no_more_has_seen_enough() {
    let directory = scratch(true);
    let log = log(directory.path(), 400, false).log;
    let mut command = Command::new(built("landfall"));
    let child = command.args(["wal", "cat"]).arg(&log).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("landfall");
    let mut line = String::new();
    let mut out = BufReader::with_capacity(256, child.stdout.take().expect("a pipe"));
    out.read_line(&mut line).expect("a record");
    drop(out);
    let output = child.wait_with_output().expect("landfall");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

/// A writer that publishes, gives back and extends while the log is looked at is no damage.
#[test]
fn a_log_in_use_is_looked_at() {
    let directory = scratch(true);
    let tool = Tool::new(directory.path().join("wal"));
    let mut writing = tool.write(Write { segment: 128 << 10, retire: true, until: i64::MAX }, None);
    assert!(writing.until_acked(50, PATIENCE));
    let (started, mut looks) = (Instant::now(), 0);
    while started.elapsed() < Duration::from_secs(2) {
        let found = landfall::wal::check(&tool.log).expect("a log that is in use");
        assert!(found.damages.is_empty(), "look {looks}: {:?}", found.damages);
        assert!(!landfall::wal::segments(&tool.log).expect("a log that is in use").is_empty());
        landfall::wal::frames(&tool.log, |_, _, mut records| {
            records.try_for_each(|record| record.map(drop)).map_err(std::io::Error::other)
        })
        .expect("a log that is in use");
        looks += 1;
    }
    assert!(looks > 3 && !writing.has_ended());
    assert!(writing.until_acked(50, PATIENCE), "it was held up");
    writing.kill();
    let tally = tool.audit(&tool.promised());
    assert!(tally.sound(), "{tally}");
}
