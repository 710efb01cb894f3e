//! Brokers that go away, come back, lose their leaders, or give back damaged batches.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::rig::{
    Admin, Broker, Cluster, Findings, Journal, Landfall, Producer, Record, Scene, Settings, all, fresh, segment,
    wait_until,
};

#[test]
fn a_broker_restarted_in_the_middle_loses_nothing() {
    let broker = Broker::start();
    let mut scene = Scene::on(&broker, "restart", 3, &[]);
    scene.fill(200);
    scene.landfall.configure(&Settings { max_age: "200ms", ..scene.settings() });
    let running = scene.landfall.run();
    scene.until_landed(Duration::from_secs(30));
    broker.stop();
    std::thread::sleep(Duration::from_secs(1));
    broker.restart();
    scene.fill_from(200, 200);
    scene.until_landed(Duration::from_secs(60));
    broker.kill();
    std::thread::sleep(Duration::from_millis(500));
    broker.restart();
    scene.fill_from(400, 200);
    scene.until_landed(Duration::from_secs(60));
    running.terminate(Duration::from_secs(20)).expect_code(0);

    // A byte of a batch turns over on the disk: no record may be jumped over, and the stream says so.
    let damaged = fresh("damaged");
    let steady = fresh("steady");
    let admin = Admin::of(&broker);
    admin.create(&damaged, 1, &[]);
    admin.create(&steady, 1, &[]);
    let producer = scene.producer();
    (0..5).for_each(|round| producer.fill(&damaged, 0, round * 20..round * 20 + 20));
    producer.fill(&steady, 0, 0..50);
    let batches = segment::batches(&broker, &damaged, 0);
    let broken = batches.iter().find(|batch| batch.first >= 40).expect("a batch in the middle").clone();
    broker.stop();
    segment::flip(&broken);
    broker.restart();
    scene.landfall.configure(&Settings::new(&broker.bootstrap(), &[&damaged, &steady]));
    let ended = scene.landfall.once();
    assert_ne!(ended.code(), Some(0), "{}", ended.stderr);
    ended.expect_words(&[&damaged]);
    let findings = scene.look();
    findings.assert_sound("a damaged batch");
    assert!(findings.lost > 0, "nobody can read a damaged batch: {findings}");
    let rows = findings.rows - 3 * 600 - 50;
    assert!(rows as i64 <= broken.first, "nothing behind the damaged batch may land: {rows} rows, {broken:?}");
    assert_eq!(findings.lost, 100 - rows, "{findings}");
}

#[test]
fn a_broker_that_is_away_is_waited_for_and_once_gives_up() {
    let broker = Broker::start();
    let mut scene = Scene::on(&broker, "away", 1, &[]);
    scene.fill(20);
    broker.stop();
    let once = scene.landfall.start_once();
    let other = crate::rig::Landfall::new(&scene.dir().join("other"), &scene.settings());
    let running = other.run();
    once.wait(Duration::from_secs(100)).expect_code(69).expect_words(&[&broker.bootstrap()]);
    assert!(!running.errors().is_empty(), "it says what it waits for");
    broker.restart();
    let mut check = crate::rig::Check::new(&other.lake());
    wait_until("it goes on by itself", Duration::from_secs(60), || check.look(&scene.journal).clean());
    running.terminate(Duration::from_secs(20)).expect_code(0);
    scene.finish(&scene.settings());
}

/// What has landed is announced every five seconds; here that falls due while no broker answers, and the one
/// that held the group comes back while the announcement is waited for.
#[test]
fn an_announcement_that_is_due_while_the_broker_is_away_comes_later() {
    let broker = Broker::start();
    let mut scene = Scene::on(&broker, "announce", 1, &[]);
    scene.fill(10);
    scene.landfall.configure(&scene.settings().group("lake-monitor"));
    let mut running = scene.landfall.run();
    scene.until_landed(Duration::from_secs(4));
    std::thread::sleep(Duration::from_secs(4).saturating_sub(running.age()));
    broker.kill();
    std::thread::sleep(Duration::from_millis(8500));
    broker.restart();
    let until = Instant::now() + Duration::from_secs(25);
    while Instant::now() < until {
        assert!(!running.has_ended(), "it ended by itself:\n{}", running.errors());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(scene.admin.committed("lake-monitor", &scene.topic, 0), Some(10), "{}", running.errors());
    scene.fill_from(10, 10);
    scene.until_landed(Duration::from_secs(30));
    running.terminate(Duration::from_secs(20)).expect_code(0);
    assert_eq!(scene.admin.committed("lake-monitor", &scene.topic, 0), Some(20));
}

/// Where a stream is idle and nothing is fetched, its topic is compared all the same: a log that is gone, or is
/// shorter than it was, is no truncation when the topic is not the one that was read.
#[test]
fn a_topic_that_was_deleted_or_made_again_is_not_called_truncated() {
    let broker = Broker::start();
    let mut scene = Scene::on(&broker, "made-again", 1, &[]);
    let deleted = fresh("deleted");
    scene.admin.create(&deleted, 1, &[]);
    scene.fill(50);
    scene.producer().fill(&deleted, 0, 0..50);
    scene.landfall.configure(&Settings::new(&broker.bootstrap(), &[&scene.topic, &deleted]));
    let running = scene.landfall.run();
    scene.until_landed(Duration::from_secs(30));
    broker.stop();
    broker.restart();
    let admin = Admin::of(&broker);
    admin.delete(&deleted);
    admin.recreate(&scene.topic, 1);
    Producer::new(&broker.bootstrap(), &Journal::new()).fill(&scene.topic, 0, 500..505);
    let gone = format!("topic {deleted} does not exist any more");
    let another = format!("topic {} was re-created", scene.topic);
    wait_until("both say so", Duration::from_secs(45), || {
        let errors = running.errors();
        errors.contains(&gone) && errors.contains(&another)
    });
    let ended = running.terminate(Duration::from_secs(20)).expect_code(0);
    assert!(!ended.stderr.contains("truncated"), "{}", ended.stderr);
    assert_eq!(scene.look().rows, 100, "nothing of the new topic");
}

/// Where no broker answers, an idle stream waits like any other, and that is said once, as is the end of it.
#[test]
fn streams_wait_while_no_broker_answers_and_it_is_said_once() {
    let broker = Broker::start();
    let mut scene = Scene::on(&broker, "waits", 4, &[]);
    scene.fill(10);
    let running = scene.landfall.run();
    scene.until_landed(Duration::from_secs(30));
    let states = |wanted: &str| {
        let status = ["status", "landfall.toml", "--output", "json"];
        let status = scene.landfall.command(&status).expect_code(0).stdout;
        status.matches(&format!("\"state\":\"{wanted}\"")).count()
            + status.matches(&format!("\"state\": \"{wanted}\"")).count()
    };
    wait_until("they are idle", Duration::from_secs(20), || states("idle") == 4);
    broker.kill();
    wait_until("they wait", Duration::from_secs(20), || states("waiting") == 4);
    // Long enough for every question that is asked again and again to have failed.
    std::thread::sleep(Duration::from_secs(25));
    let warned: Vec<String> =
        running.errors().lines().filter(|line| line.contains(" WARN ")).map(str::to_owned).collect();
    assert_eq!(warned.len(), 1, "{warned:#?}");
    broker.restart();
    wait_until("they go on", Duration::from_secs(60), || states("idle") == 4);
    wait_until("it says so", Duration::from_secs(10), || running.errors().contains("the brokers answer again"));
    scene.fill_from(10, 10);
    scene.until_landed(Duration::from_secs(60));
    running.terminate(Duration::from_secs(20)).expect_code(0);
}

/// The first signal finishes what is under way; where that waits for a broker, the second need not.
#[test]
fn a_second_signal_does_not_wait_for_a_broker_that_hangs() {
    let broker = Broker::start();
    let mut scene = Scene::on(&broker, "hangs", 1, &[]);
    scene.fill(50);
    // The plan is durable; before the put the broker is asked once more which topic this is.
    let running = scene.landfall.at("pipeline.before_land", 1, "stop").run();
    wait_until("it stands still", Duration::from_secs(30), || running.is_stopped());
    broker.freeze();
    running.signal(libc::SIGTERM);
    running.resume();
    std::thread::sleep(Duration::from_secs(1));
    let asked = Instant::now();
    running.terminate(Duration::from_secs(9)).expect_code(143);
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?} for the second signal", asked.elapsed());
    broker.thaw();
    assert_eq!(scene.finish(&scene.settings()).rows, 50);
}

/// What Kafka serves is the truth here. The acknowledgement of a batch that was sent twice, because its leader
/// died before it answered, carries the timestamp of the batch and not those of its records; and it need not
/// carry the offset.
struct Served {
    journal: Journal,
    /// Acknowledged records that Kafka does not serve exactly once.
    not_once: Vec<String>,
    /// Acknowledged with another timestamp than the one that was sent, and is served.
    other_timestamp: usize,
    /// Acknowledged with another offset than the one that Kafka serves them at.
    told_elsewhere: usize,
}

fn served(scene: &Scene) -> Served {
    let journal = Journal::new();
    // Each record has a timestamp of its own: it is known again wherever it stands.
    let mut places: BTreeMap<(i32, i64, u32), Vec<i64>> = BTreeMap::new();
    let told = scene.journal.told();
    for partition in 0..scene.partitions {
        let offsets = scene.admin.served(&scene.topic, partition);
        for (offset, entry) in &offsets {
            places.entry((partition, entry.timestamp, entry.content)).or_default().push(*offset);
        }
        journal.serve(&scene.topic, partition, offsets);
    }
    let mut served = Served { journal, not_once: Vec::new(), other_timestamp: 0, told_elsewhere: 0 };
    for one in told {
        served.other_timestamp += usize::from(one.sent != one.acknowledged);
        match places.get(&(one.partition, one.sent, one.content)).map(Vec::as_slice) {
            Some([place]) => served.told_elsewhere += usize::from(*place != one.offset),
            found => served.not_once.push(format!("{one:?} is served at {found:?}")),
        }
    }
    served
}

#[test]
fn three_brokers_and_their_leaders_killed() {
    let cluster = Cluster::start(3);
    let mut scene = Scene::without_topic(&cluster.bootstrap(), "leaders", 3);
    scene.admin.create_replicated(&scene.topic, 3, 3, &[("min.insync.replicas", "2")]);
    let producer = scene.producer();
    let stop = AtomicBool::new(false);
    let (topic, usual) = (scene.topic.clone(), scene.settings());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                producer.send(&topic, (number % 3) as i32, &Record::numbered(number));
                number += 1;
                std::thread::sleep(Duration::from_millis(2));
            }
            producer.flush();
        });
        let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            scene.landfall.configure(&Settings { max_age: "300ms", ..usual.clone().max_records(400) });
            let running = scene.landfall.run();
            for _ in 0..if all() { 6 } else { 2 } {
                std::thread::sleep(Duration::from_secs(3));
                let leader = cluster.leader(&topic, 0).expect("a leader");
                leader.kill();
                std::thread::sleep(Duration::from_secs(5));
                leader.restart();
                // What the rows hold is compared at the end, with what Kafka serves.
                let findings = scene.check.look(&scene.journal);
                assert!(findings.rows > 0, "nothing lands");
                Findings { invented: 0, altered: 0, ..findings }.assert_sound("a leader was killed");
            }
            running.terminate(Duration::from_secs(30)).expect_code(0);
        }));
        stop.store(true, Ordering::Relaxed);
        killed.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    scene.landfall.configure(&usual);
    scene.landfall.once().expect_code(0);
    let served = served(&scene);
    let findings = scene.check.look(&served.journal);
    eprintln!(
        "leaders killed: {} acknowledged, {} served, {} told another offset and {} another timestamp than they have; {findings}",
        scene.journal.told().len(),
        served.journal.records(),
        served.told_elsewhere,
        served.other_timestamp,
    );
    assert_eq!(served.not_once, Vec::<String>::new(), "Kafka itself lost or repeated what it had acknowledged");
    findings.assert_clean("the lake against what Kafka serves");
}

/// A stream that cannot even begin again hears an operator all the same.
#[test]
fn a_decision_is_heard_while_the_brokers_are_away() {
    let broker = Broker::start();
    let mut scene = Scene::on(&broker, "decided", 1, &[]);
    scene.fill(20);
    scene.landfall.configure(&Settings { max_age: "4s", ..scene.settings() });
    let running = scene.landfall.run();
    // Read, and not landed: the identity of the topic is asked for in vain before the put.
    std::thread::sleep(Duration::from_secs(3));
    broker.kill();
    wait_until("it waits for the broker", Duration::from_secs(40), || running.errors().contains("going on by itself"));
    wait_until("a plan is open", Duration::from_secs(30), || {
        let told = scene.landfall.command(&["offsets", "landfall.toml"]).stdout;
        let offsets: serde_json::Value = serde_json::from_str(&told).unwrap_or_default();
        offsets[&scene.topic]["0"]["planned"] == serde_json::json!([[0, 20]])
    });
    let stream = format!("{}/0", scene.topic);
    let resolve = ["resolve", "--stream", &stream, "--range", "0-20", "--as", "gap", "landfall.toml"];
    let ended = scene.landfall.command(&resolve).expect_code(0);
    println!("heard after {:?}", ended.took);
    running.terminate(Duration::from_secs(30)).expect_code(0);
    assert_eq!(scene.look().rows, 0);
}

/// Of three brokers one lags behind, as in a pause of its JVM: it does not know a young topic yet. `--once` may say so,
/// or land it; it may neither succeed without having landed it nor call it deleted. Then one of them dies.
#[test]
fn one_broker_of_three_neither_hides_a_topic_nor_holds_up_the_other_partitions() {
    let cluster = Cluster::start(3);
    let (began, rounds) = (Instant::now(), if all() { 60 } else { 4 });
    for round in 0..rounds {
        a_young_topic(&cluster, round);
        if began.elapsed() > Duration::from_secs(200) {
            break;
        }
    }
    println!("young topics: {:?}", began.elapsed());
    without_a_leader(&cluster);
    println!("all: {:?}", began.elapsed());
}

fn a_young_topic(cluster: &Cluster, round: usize) {
    let slow = &cluster.brokers[round % 3];
    let quick = cluster.brokers.iter().filter(|broker| broker.address.node != slow.address.node);
    let bootstrap = quick.map(Broker::bootstrap).collect::<Vec<_>>().join(",");
    let topic = fresh("young");
    slow.freeze();
    if !created_at_once(&bootstrap, &topic) {
        // The frozen one leads the controllers.
        slow.thaw();
        return;
    }
    let dir = std::env::temp_dir().join(fresh("young"));
    let landfall = Landfall::new(&dir, &Settings::new(&bootstrap, &[&topic]));
    let running = landfall.start_once();
    std::thread::sleep(Duration::from_millis(700));
    slow.thaw();
    let ended = running.wait(Duration::from_secs(100));
    println!("round {round}: {:?} after {:?}", ended.code(), ended.took);
    assert!(
        ended.code() != Some(0) || ended.stdout.contains(&topic),
        "not landed:\n{}\n{}",
        ended.stdout,
        ended.stderr
    );
    assert!(!ended.stderr.contains("does not exist any more"), "{}", ended.stderr);
    let _ = std::fs::remove_dir_all(&dir);
}

/// Whether the topic was created within a second through one of these brokers.
fn created_at_once(bootstrap: &str, topic: &str) -> bool {
    use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
    let mut config = rdkafka::ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    let client: AdminClient<rdkafka::client::DefaultClientContext> = config.create().expect("a client");
    let second = Some(Duration::from_millis(1000));
    let options = AdminOptions::new().operation_timeout(second).request_timeout(second);
    let topics = [&NewTopic::new(topic, 1, TopicReplication::Fixed(1))];
    crate::rig::wait(client.create_topics(topics, &options)).is_ok_and(|answer| answer.iter().all(Result::is_ok))
}

fn without_a_leader(cluster: &Cluster) {
    let admin: Admin = cluster.admin();
    let topic = fresh("leaderless");
    admin.create_replicated(&topic, 6, 1, &[]);
    let journal = Journal::new();
    let producer = Producer::new(&cluster.bootstrap(), &journal);
    (0..6).for_each(|partition| producer.fill(&topic, partition, 0..10));
    let dir = std::env::temp_dir().join(fresh("leaderless"));
    let landfall = Landfall::new(&dir, &Settings::new(&cluster.bootstrap(), &[&topic]));
    landfall.once().expect_code(0);
    let before = landfall.files();
    (0..6).for_each(|partition| producer.fill(&topic, partition, 10..20));
    let dead = cluster.leader(&topic, 0).expect("a leader");
    dead.kill();
    wait_until("nobody leads", Duration::from_secs(30), || admin.leader(&topic, 0).is_none());
    let running = landfall.run();
    wait_until("the others have landed", Duration::from_secs(60), || landfall.files() >= before + 4);
    running.terminate(Duration::from_secs(20)).expect_code(0);
    if all() {
        let ended = landfall.once().expect_code(69);
        ended.expect_words(&[&topic]);
    }
    let _ = std::fs::remove_dir_all(&dir);
}
