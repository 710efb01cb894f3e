//! Kinds of topics and records: compacted, with tombstones, headers and nulls, large messages, growing
//! topics, topics that are made again under the same name.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::rig::producer::EPOCH_MS;
use crate::rig::{Ended, Producer, Record, Scene, Settings, fresh, shared, wait_until};

const COMPACTED: [(&str, &str); 5] = [
    ("cleanup.policy", "compact"),
    ("segment.bytes", "1048576"),
    ("segment.ms", "200"),
    ("min.cleanable.dirty.ratio", "0.001"),
    ("max.compaction.lag.ms", "1"),
];

#[test]
fn headers_nulls_empty_values_and_timestamps_come_back_as_they_were() {
    let future = [("message.timestamp.after.max.ms", "9223372036854775807")];
    let mut scene = Scene::on(shared(), "shapes", 2, &future);
    let producer = scene.producer();
    let header = |key: &str, value: Option<&[u8]>| (key.to_owned(), value.map(<[u8]>::to_vec));
    let shapes = [
        Record::keyed("tombstone", None),
        Record::keyed("empty", Some("")),
        Record { value: Some(b"no key".to_vec()), timestamp: EPOCH_MS, ..Record::default() },
        Record { timestamp: EPOCH_MS, ..Record::default() },
        Record { key: Some(Vec::new()), value: Some(vec![0, 255, 254]), timestamp: 0, ..Record::default() },
        Record {
            headers: vec![header("a", Some(b"1")), header("a", None), header("b", Some(b"")), header("a", Some(b"2"))],
            ..Record::keyed("headers", Some("v"))
        },
        Record { headers: vec![header("ключ", Some(&[0, 159, 146, 150]))], ..Record::keyed("unicode", Some("v")) },
        Record { timestamp: 253_402_300_799_999, ..Record::keyed("the year 9999", Some("v")) },
    ];
    shapes.iter().for_each(|record| producer.send(&scene.topic, 0, record));
    producer.fill(&scene.topic, 1, 0..500);
    let findings = scene.finish(&scene.settings());
    assert_eq!(findings.rows, shapes.len() + 500);
}

#[test]
fn append_time_is_landed_as_the_broker_gave_it() {
    let mut scene = Scene::on(shared(), "append-time", 1, &[("message.timestamp.type", "LogAppendTime")]);
    scene.fill(50);
    scene.finish(&scene.settings());
}

#[test]
fn every_compression_is_read() {
    let mut scene = Scene::new("codecs", 1);
    for (at, codec) in ["none", "gzip", "snappy", "lz4", "zstd"].into_iter().enumerate() {
        let settings = [("compression.type", codec)];
        let producer = Producer::with(&scene.bootstrap, &scene.journal, &settings);
        producer.fill(&scene.topic, 0, at * 100..at * 100 + 100);
    }
    scene.finish(&scene.settings().max_records(130));
}

#[test]
fn messages_larger_than_a_fetch_are_landed() {
    let mut scene = Scene::on(shared(), "large", 1, &[("max.message.bytes", "33554432")]);
    let producer = scene.producer();
    for size in [10, 3 << 20, 100, 9 << 20, 10] {
        let value: Vec<u8> = (0..size).map(|n: usize| (n * 31 % 251) as u8).collect();
        producer.send(&scene.topic, 0, &Record { value: Some(value), timestamp: EPOCH_MS, ..Record::default() });
    }
    producer.flush();
    let small = scene.settings().property("max.partition.fetch.bytes", "65536");
    let findings = scene.finish(&small);
    assert_eq!(findings.rows, 5);
}

#[test]
fn a_compacted_topic_lands_what_compaction_left() {
    let mut scene = Scene::on(shared(), "compacted", 1, &COMPACTED);
    let producer = scene.producer();
    for round in 0..4 {
        for key in 0..30 {
            let tombstone = round == 2 && key % 5 == 0;
            let record = Record::keyed(&format!("k{key}"), (!tombstone).then_some("v"));
            let timestamp = EPOCH_MS + 60_000 * round;
            producer.send(&scene.topic, 0, &Record { timestamp, ..record });
        }
        producer.flush();
    }
    scene.journal.compact(&scene.topic);
    wait_until("compaction has run", Duration::from_secs(60), || {
        scene.admin.delivered(&scene.topic, 0, "read_committed").len() < 120
    });
    // Ranges whose first, last or every offset is gone.
    let findings = scene.finish(&scene.settings().max_records(7));
    assert!(findings.rows < 120 && findings.rows >= 30, "{findings}");
    assert_eq!(findings.gaps, 0, "compaction makes no gaps: {findings}");
}

#[test]
fn partitions_that_are_added_are_landed_from_their_first_offset() {
    let mut scene = Scene::new("growing", 1);
    scene.fill(50);
    scene.landfall.configure(&scene.settings().property("topic.metadata.refresh.interval.ms", "1000"));
    let running = scene.landfall.run();
    scene.until_landed(Duration::from_secs(30));
    scene.admin.grow(&scene.topic, 3);
    scene.partitions = 3;
    // Written before the running process can know of the new partitions.
    scene.fill_from(1000, 40);
    scene.until_landed(Duration::from_secs(60));
    running.terminate(Duration::from_secs(20)).expect_code(0);
    scene.finish(&scene.settings());
    // And once more while nothing runs; `start = "latest"` is for streams of the first sight only.
    scene.admin.grow(&scene.topic, 4);
    scene.partitions = 4;
    scene.fill_from(2000, 40);
    let latest = Settings { start: "\"latest\"".into(), ..scene.settings() };
    scene.finish(&latest);
}

#[test]
fn latest_starts_at_the_end_and_only_once() {
    let mut scene = Scene::new("latest", 1);
    scene.fill(50);
    scene.journal.forget(&scene.topic);
    let latest = Settings { start: "\"latest\"".into(), ..scene.settings() };
    assert_eq!(scene.finish(&latest).rows, 0);
    scene.fill_from(50, 20);
    assert_eq!(scene.finish(&latest).rows, 20);
}

#[test]
fn explicit_offsets_and_times_are_where_it_starts() {
    let mut scene = Scene::new("explicit", 2);
    scene.fill(60);
    let start = format!("{{ {} = {{ 0 = 25 }} }}", scene.topic);
    scene.journal.expire(&scene.topic, 0, 25);
    let findings = scene.finish(&Settings { start, ..scene.settings() });
    assert_eq!(findings.rows, 35 + 60, "a partition that is not named starts at the earliest");

    let mut timed = Scene::new("timed", 1);
    timed.fill(60);
    timed.journal.expire(&timed.topic, 0, 40);
    // Record n was written at EPOCH_MS + n milliseconds.
    let findings = timed.finish(&Settings { start: "\"2026-01-01T00:00:00.040Z\"".into(), ..timed.settings() });
    assert_eq!(findings.rows, 20);
}

#[test]
fn a_topic_made_again_stops_alone_and_the_others_go_on() {
    let mut scene = Scene::new("again", 1);
    let other = fresh("steady");
    scene.admin.create(&other, 1, &[]);
    let both = Settings::new(&scene.bootstrap, &[&scene.topic, &other]);
    let producer = scene.producer();
    scene.fill(50);
    producer.fill(&other, 0, 0..50);
    scene.finish(&both);
    scene.admin.recreate(&scene.topic, 1);
    // More than before, so that the old position is inside the new log: only the topic id tells.
    let strangers = Producer::new(&scene.bootstrap, &Default::default());
    strangers.fill(&scene.topic, 0, 5000..5200);
    producer.fill(&other, 0, 50..90);
    let ended = scene.landfall.once();
    assert_ne!(ended.code(), Some(0), "{}", ended.stderr);
    let ended = ended.expect_words(&[scene.topic.as_str(), "resolve"]);
    assert!(ended.stderr.contains("again") || ended.stderr.contains("re-created"), "{}", ended.stderr);
    let findings = scene.look();
    findings.assert_clean("the topic that was made again");
    assert_eq!(findings.rows, 50 + 90, "not one row of the new topic");
}

#[test]
fn a_topic_made_again_while_it_runs_stops_alone() {
    let mut scene = Scene::new("again-live", 1);
    let other = fresh("steady");
    scene.admin.create(&other, 1, &[]);
    let both = Settings::new(&scene.bootstrap, &[&scene.topic, &other]);
    scene.landfall.configure(&both.property("topic.metadata.refresh.interval.ms", "1000"));
    scene.fill(50);
    let running = scene.landfall.run();
    scene.until_landed(Duration::from_secs(30));
    scene.admin.recreate(&scene.topic, 1);
    Producer::new(&scene.bootstrap, &Default::default()).fill(&scene.topic, 0, 5000..5200);
    scene.producer().fill(&other, 0, 0..40);
    scene.until_landed(Duration::from_secs(60));
    std::thread::sleep(Duration::from_secs(2));
    running.terminate(Duration::from_secs(20));
    let findings = scene.look();
    findings.assert_clean("the topic that was made again");
    assert_eq!(findings.rows, 50 + 40, "not one row of the new topic");
}

/// Half of a batch was read from one topic, and the other half would come from another of the same name.
#[test]
fn a_topic_made_again_between_two_fetches_of_one_batch_lands_nothing() {
    let mut scene = Scene::new("again-halfway", 1);
    scene.fill(50);
    scene.landfall.configure(&Settings { max_age: "10m", ..scene.settings().max_records(100) });
    let running = scene.landfall.run();
    // Long enough to have read all there is; the batch waits for its other half.
    std::thread::sleep(Duration::from_secs(4));
    running.pause();
    scene.admin.recreate(&scene.topic, 1);
    Producer::new(&scene.bootstrap, &Default::default()).fill(&scene.topic, 0, 5000..5300);
    running.resume();
    let topic = scene.topic.clone();
    wait_until("it says so", Duration::from_secs(60), || {
        let errors = running.errors();
        errors.contains(&topic) && errors.contains("re-created")
    });
    running.terminate(Duration::from_secs(20));
    let findings = scene.look();
    findings.assert_sound("a topic that was made again");
    assert_eq!(findings.rows, 0, "{findings}");
}

/// A mistake in the configuration, said before it is frozen: corrected, the topic lands.
#[test]
fn an_explicit_offset_beyond_the_end_is_refused_and_can_be_corrected() {
    let mut scene = Scene::new("beyond", 2);
    scene.fill(10);
    let start = |offset: i64| format!("{{ {} = {{ 1 = {offset} }} }}", scene.topic);
    let (wrong, right) = (start(1000), start(4));
    scene.landfall.configure(&Settings { start: wrong, ..scene.settings() });
    let ended = scene.landfall.once().expect_code(1);
    let stream = format!("{}/1", scene.topic);
    let ended = ended.expect_words(&[&stream, "1000", "ends at 10", "source.start"]);
    assert!(!ended.stderr.contains("truncated"), "{}", ended.stderr);
    assert_eq!(scene.landfall.files(), 0);
    scene.landfall.configure(&Settings { start: right, ..scene.settings() });
    scene.landfall.once().expect_code(0);
    assert_eq!(scene.look().rows, 10 + 6);
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("no JSON: {}\n{}", ended.stdout, ended.stderr))
}

/// The procedure of operating.md, and then all that is promised of any lake: an audit, the commands that look, and a
/// rebuild of the store. Files under another path are of the other topic, for whichever of them one asks.
#[test]
fn a_topic_made_again_lands_in_another_place_and_the_lake_stays_whole() {
    let mut scene = Scene::new("again-beside", 2);
    scene.fill(50);
    scene.finish(&scene.settings());
    scene.admin.recreate(&scene.topic, 2);
    let strangers = Producer::new(&scene.bootstrap, &Default::default());
    (0..2).for_each(|partition| strangers.fill(&scene.topic, partition, 5000..5080));
    scene.landfall.configure(&Settings { path: "v2/{topic}/{partition}", ..scene.settings() });
    scene.landfall.once().expect_code(0);
    let whole = |when: &str| {
        for target in ["landfall.toml", "lake"] {
            let audit = scene.landfall.command(&["verify", target]).expect_code(0);
            let rows = format!("{} rows", 2 * 50 + 2 * 80);
            assert!(audit.stdout.contains(&rows), "{when}, {target}:\n{}", audit.stdout);
            let status = json(&scene.landfall.command(&["status", "--output", "json", target]).expect_code(0));
            let rows = status["streams"].as_array().expect("streams");
            let ids: BTreeSet<&str> = rows.iter().map(|row| row["topic_id"].as_str().expect("an id")).collect();
            assert_eq!((rows.len(), ids.len()), (4, 2), "{when}, {target}: {status}");
            // The present topic, whichever of the two ids comes first in a dictionary.
            let offsets = json(&scene.landfall.command(&["offsets", target]).expect_code(0));
            let entry = &offsets[scene.topic.as_str()]["1"];
            assert_eq!(entry["committed"], 80, "{when}, {target}: {offsets}");
            assert!(ids.contains(entry["topic_id"].as_str().expect("an id")), "{offsets}");
        }
    };
    whole("as it was landed");
    std::fs::remove_dir_all(scene.landfall.state()).expect("the state");
    scene.landfall.command(&["rebuild", "--yes", "landfall.toml"]).expect_code(0);
    scene.landfall.once().expect_code(0);
    whole("with a store that was made anew");
}
