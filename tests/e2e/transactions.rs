//! Transactions: what was committed lands, what was aborted does not, and an open one is waited for.

use std::time::Duration;

use crate::rig::journal::Fate;
use crate::rig::{Producer, Record, Scene, fresh};

fn send(producer: &Producer, scene: &Scene, numbers: std::ops::Range<usize>) {
    numbers.for_each(|number| producer.send(&scene.topic, 0, &Record::numbered(number)));
}

fn transactional(scene: &Scene) -> Producer {
    Producer::transactional(&scene.bootstrap, &scene.journal, &fresh("tx"))
}

#[test]
fn committed_lands_and_aborted_does_not() {
    let mut scene = Scene::new("tx-mixed", 1);
    let producer = transactional(&scene);
    for number in 0..12 {
        producer.begin();
        send(&producer, &scene, number * 25..number * 25 + 25);
        if number % 3 == 0 { producer.abort() } else { producer.commit() }
    }
    // Ranges that end on a marker, inside an aborted transaction, and in the middle of a committed one.
    let findings = scene.finish(&scene.settings().max_records(26));
    assert_eq!(findings.rows, 200);
    let (_, high) = scene.admin.watermarks(&scene.topic, 0);
    assert_eq!(high, 312, "300 records and 12 markers");
    assert_eq!(committed_until(&scene), 312, "the markers at the end are covered too");
}

#[test]
fn an_aborted_end_is_reached_by_once() {
    let mut scene = Scene::new("tx-aborted", 1);
    let producer = transactional(&scene);
    producer.begin();
    send(&producer, &scene, 0..50);
    producer.abort();
    let findings = scene.finish(&scene.settings());
    assert_eq!(findings.rows, 0);
    assert_eq!(committed_until(&scene), 51);
}

#[test]
fn an_open_transaction_holds_back_what_follows_and_is_landed_when_it_ends() {
    let mut scene = Scene::new("tx-open", 1);
    scene.fill(20);
    let (open, plain) = (transactional(&scene), scene.producer());
    open.begin();
    send(&open, &scene, 100..110);
    open.flush();
    plain.fill(&scene.topic, 0, 200..210);
    // What follows an open transaction is not stable yet: it must not land now.
    scene.landfall.once().expect_code(0);
    let early = scene.look();
    early.assert_sound("with an open transaction");
    assert_eq!((early.rows, early.lost), (20, 10), "{early}");
    open.commit();
    let findings = scene.finish(&scene.settings());
    assert_eq!(findings.rows, 40);
    assert_eq!(scene.journal.count(Fate::Hidden), 0);
}

#[test]
fn a_transaction_that_is_left_open_for_ever_never_lands() {
    let mut scene = Scene::new("tx-left", 1);
    scene.fill(30);
    let open = transactional(&scene);
    open.begin();
    send(&open, &scene, 100..110);
    open.flush();
    let running = scene.landfall.run();
    scene.until_landed(Duration::from_secs(30));
    std::thread::sleep(Duration::from_secs(2));
    running.terminate(Duration::from_secs(20)).expect_code(0);
    let findings = scene.look();
    findings.assert_clean("with a transaction left open");
    assert_eq!(findings.rows, 30);
    assert_eq!(committed_until(&scene), 30, "nothing beyond the last stable offset is claimed");
}

/// Where `landfall offsets` says the batch view ends.
fn committed_until(scene: &Scene) -> i64 {
    let ended = scene.landfall.command(&["offsets", "landfall.toml"]).expect_code(0);
    let offsets: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    offsets[&scene.topic]["0"]["committed"].as_i64().unwrap_or_else(|| panic!("no committed offset in {offsets}"))
}
