//! A log that lost its end: an unclean leader election, or a machine that came back without its last writes.
//! Simulated as a crash does it: the segment file is cut while the broker is down.

use std::time::Duration;

use landfall::checkpoint::{SledStore, holder};
use landfall_sink::Span;

use crate::rig::{Broker, Journal, Producer, Record, Scene, Settings, all, fresh, segment, wait, wait_until};

/// A topic whose records are on the disk as soon as they are acknowledged.
const FLUSHED: [(&str, &str); 1] = [("flush.messages", "1")];

/// Cuts partition 0 so that it ends at `end`, which is where a batch begins.
fn cut(broker: &Broker, topic: &str, end: i64) {
    let batches = segment::batches(broker, topic, 0);
    let first = batches.iter().find(|batch| batch.first == end).unwrap_or_else(|| panic!("no batch at {end}"));
    broker.kill();
    let file = std::fs::OpenOptions::new().write(true).open(&first.file).expect("a segment");
    file.set_len(first.position).expect("cut");
    broker.restart();
}

#[test]
fn a_stream_whose_log_was_cut_stops_alone_and_goes_on_when_told_to() {
    let broker = Broker::start();
    let mut scene = Scene::on(&broker, "cut", 1, &FLUSHED);
    let steady = fresh("steady");
    scene.admin.create(&steady, 1, &FLUSHED);
    let producer = scene.producer();
    producer.fill(&scene.topic, 0, 0..12);
    producer.fill(&scene.topic, 0, 12..18);
    producer.fill(&steady, 0, 0..10);
    let both = Settings::new(&broker.bootstrap(), &[&scene.topic, &steady]);
    assert_eq!(scene.finish(&both).rows, 28);

    cut(&broker, &scene.topic, 12);
    assert_eq!(scene.admin.watermarks(&scene.topic, 0), (0, 12));
    // Another history, longer than the first: only the leader epoch tells.
    let second = Journal::new();
    Producer::new(&broker.bootstrap(), &second).fill(&scene.topic, 0, 500..530);
    scene.producer().fill(&steady, 0, 10..30);
    let ended = scene.landfall.once().expect_code(1);
    let command = format!("landfall resolve --stream {}/0 --range 12-18 --as truncated", scene.topic);
    ended.expect_words(&[&format!("{}/0", scene.topic), "18", &command]);
    let findings = scene.look();
    findings.assert_clean("stopped for a truncation");
    assert_eq!(findings.rows, 48, "the other topic landed, and nothing of the new history");

    let (stream, config) = (format!("{}/0", scene.topic), "landfall.toml");
    let resolve = ["resolve", "--stream", &stream, "--range", "12-18", "--as", "truncated", config];
    scene.landfall.command(&resolve).expect_code(0);
    // What landed stays; what the new history holds from where reading had got to is landed.
    let mut truth = scene.journal.snapshot().remove(&(scene.topic.clone(), 0)).expect("the first history");
    let after = second.snapshot().remove(&(scene.topic.clone(), 0)).expect("the second history");
    truth.extend(after.into_iter().filter(|(offset, _)| *offset >= 18));
    scene.journal.serve(&scene.topic, 0, truth);
    assert_eq!(scene.finish(&both).rows, 48 + 24);
}

/// The log ends before an open plan does, whose records nobody has any more.
#[test]
fn a_log_that_was_cut_below_an_open_plan_stops_and_each_range_is_decided() {
    let broker = Broker::start();
    let mut scene = Scene::on(&broker, "short", 1, &FLUSHED);
    let producer = scene.producer();
    producer.fill(&scene.topic, 0, 0..12);
    producer.fill(&scene.topic, 0, 12..18);
    let dead = scene.landfall.at("sink.before_publish", 1, "kill").once();
    assert!(dead.killed(), "{}", dead.stderr);
    cut(&broker, &scene.topic, 12);

    let running = scene.landfall.run();
    let stream = format!("{}/0", scene.topic);
    let words = [stream.as_str(), "12", "18", "truncated", "resolve"];
    wait_until("the stream has stopped", Duration::from_secs(100), || {
        let errors = running.errors();
        words.iter().all(|word| errors.contains(word))
    });
    assert_eq!(scene.look().rows, 0);
    let resolve = ["resolve", "--stream", &stream, "--range", "0-18", "--as", "truncated", "landfall.toml"];
    let told = scene.landfall.command(&resolve).expect_code(0);
    assert!(told.stdout.contains("running landfall"), "{}", told.stdout);
    // The plan takes its name with an empty file, and the stream waits for the log to reach it again.
    wait_until("the plan took its name", Duration::from_secs(60), || scene.landfall.files() == 1);
    wait_until("it was carried out, and stands", Duration::from_secs(20), || {
        scene.landfall.command(&resolve).expect_code(0).stdout.contains("It has been carried out")
    });
    scene.journal.forget(&scene.topic);
    Producer::new(&broker.bootstrap(), &Journal::new()).fill(&scene.topic, 0, 500..506);
    scene.producer().fill(&scene.topic, 0, 600..640);
    scene.until_landed(Duration::from_secs(60));
    running.terminate(Duration::from_secs(20)).expect_code(0);
    let findings = scene.finish(&scene.settings());
    assert_eq!((findings.rows, findings.gaps), (40, 18), "{findings}");
}

fn send(producer: &Producer, scene: &Scene, numbers: std::ops::Range<usize>) {
    numbers.for_each(|number| producer.send(&scene.topic, 0, &Record::numbered(number)));
}

/// Records of one leader, and behind them the marker of the next, or records that it aborted: the epoch of the records
/// ends before the batch does, and still nothing was lost.
#[test]
fn a_marker_or_an_aborted_end_of_a_later_leader_is_no_truncation() {
    let broker = Broker::start();
    let mut marked = Scene::on(&broker, "later-marker", 1, &[]);
    let mut aborted = Scene::on(&broker, "later-abort", 1, &[]);
    let open = Producer::transactional(&marked.bootstrap, &marked.journal, &fresh("tx"));
    open.begin();
    send(&open, &marked, 0..20);
    open.flush();
    aborted.fill(20);
    broker.stop();
    broker.restart();
    open.commit();
    let given_up = Producer::transactional(&aborted.bootstrap, &aborted.journal, &fresh("tx"));
    given_up.begin();
    send(&given_up, &aborted, 100..120);
    given_up.abort();
    for scene in [&mut marked, &mut aborted] {
        scene.landfall.once().expect_code(0);
        // Twice: from the lineage that was read, and from the one that was kept.
        scene.fill_from(200, 20);
        let findings = scene.finish(&scene.settings());
        assert_eq!(findings.rows, 40);
        scene.fill_from(300, 20);
        scene.finish(&scene.settings());
    }
    if all() {
        a_later_leader_while_it_runs(&broker);
    }
}

fn a_later_leader_while_it_runs(broker: &Broker) {
    let mut scene = Scene::on(broker, "later-running", 1, &[]);
    scene.landfall.configure(&Settings { max_age: "200ms", ..scene.settings() });
    let running = scene.landfall.run();
    let producer = Producer::transactional(&scene.bootstrap, &scene.journal, &fresh("tx"));
    producer.begin();
    send(&producer, &scene, 0..20);
    producer.flush();
    broker.stop();
    broker.restart();
    producer.commit();
    scene.until_landed(Duration::from_secs(60));
    std::thread::sleep(Duration::from_secs(3));
    broker.stop();
    broker.restart();
    scene.fill_from(100, 20);
    scene.until_landed(Duration::from_secs(60));
    running.terminate(Duration::from_secs(20)).expect_code(0);
    scene.finish(&scene.settings());
}

/// The pieces of a backlog are planned before anybody has read up to them: what is read tells the lineage of what
/// follows, so that a log which is cut meanwhile is noticed.
#[test]
fn the_pieces_of_a_backlog_know_the_epoch_before_them() {
    // Whether a backlog is shared depends on who is idle: on a busy machine it takes more than one try.
    let shared = (0..10).any(|_| a_shared_backlog_that_is_killed());
    assert!(shared, "no backlog was shared");
}

/// False where nothing was planned ahead of the rows.
fn a_shared_backlog_that_is_killed() -> bool {
    let mut scene = Scene::new("pieces", 1);
    scene.fill(20_000);
    scene.landfall.configure(&scene.settings().max_records(1000));
    let dead = scene.landfall.at("pipeline.after_commit", 6, "kill").once();
    assert!(dead.killed(), "{}", dead.stderr);
    let store = SledStore::look(&scene.landfall.state()).expect("readable").expect("a store");
    let record = wait(holder::every_checkpoint(&store)).expect("readable").pop().expect("a checkpoint");
    drop(store);
    let landed_before = |from: i64| from > 0 && record.is_committed(Span::new(from - 1, from));
    let pieces = record.planned.iter().filter(|plan| plan.until_epoch.is_none()).count();
    if pieces == 0 {
        return false;
    }
    let blind = record.planned.iter().find(|plan| landed_before(plan.from) && plan.lineage().is_none());
    assert_eq!(blind, None, "{record:?}");
    assert!(record.planned.iter().any(|plan| landed_before(plan.from)), "{record:?}");
    scene.finish(&scene.settings());
    true
}
