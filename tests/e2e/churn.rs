//! One to four processes share 24 partitions under load, and one of them is killed or started every five seconds:
//! nothing is lost or repeated, and what is of interest is how far it gets on meanwhile.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::sharing::shared;
use crate::rig::driver::Running;
use crate::rig::{Landfall, Record, Scene, Settings, all};

const PARTITIONS: i32 = 24;
const MOST: usize = 4;
const BEAT: Duration = Duration::from_secs(5);

/// With static ids, as recommended, and where the broker leads the group; the usual run takes one of the two.
#[test]
fn killed_and_started_all_the_time() {
    let kinds: &[usize] = if all() { &[0, 1] } else { &[rand::random_range(0..2)] };
    for kind in kinds {
        match kind {
            0 => churn("static ids", |settings, number| {
                without_session(settings).property("group.instance.id", &format!("landfall-{number}"))
            }),
            _ => churn("KIP-848", |settings, _| without_session(settings).property("group.protocol", "consumer")),
        }
    }
}

/// With the session's length that landfall, or the broker, has by default.
fn without_session(mut settings: Settings) -> Settings {
    settings.properties.retain(|(name, _)| name != "session.timeout.ms");
    settings
}

fn churn(kind: &str, vary: impl Fn(Settings, usize) -> Settings) {
    let seed: u64 =
        std::env::var("LANDFALL_SEED").map_or_else(|_| rand::random(), |text| text.parse().expect("a number"));
    let mut dice = StdRng::seed_from_u64(seed);
    let mut scene = Scene::new("churn", PARTITIONS);
    let usual = Settings { max_age: "500ms", ..shared(&scene) };
    let installations: Vec<Landfall> = (0..MOST).map(|number| scene.beside(&vary(usual.clone(), number))).collect();
    let producer = scene.producer();
    let (enough, long) = (AtomicBool::new(false), Duration::from_secs(if all() { 120 } else { 30 }));
    let mut progress = Progress::default();
    let mut kills = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                if enough.load(Ordering::Relaxed) {
                    break;
                }
                producer.send(&scene.topic, number as i32 % PARTITIONS, &Record::numbered(number));
                if number % PARTITIONS as usize == 0 {
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
            producer.flush();
        });
        let _end = End(&enough);
        let mut running: Vec<Option<Running>> = (0..MOST).map(|_| None).collect();
        running[0] = Some(installations[0].run());
        let (began, mut beat) = (Instant::now(), Instant::now());
        while began.elapsed() < long {
            if beat.elapsed() >= BEAT {
                beat = Instant::now();
                kills += strike(&mut running, &installations, &mut dice);
            }
            progress.look(&scene, began.elapsed());
            std::thread::sleep(Duration::from_millis(250));
        }
        scene.check.look(&scene.journal).assert_sound_while_producing(&format!("{kind}, LANDFALL_SEED={seed}"));
        running.into_iter().flatten().for_each(|one| drop(one.kill()));
    });
    let under_way = scene.look().rows;
    let rows = scene.finish(&shared(&scene)).rows;
    let (median, longest) = progress.standstills(long);
    let _ = writeln!(
        std::io::stderr(),
        "churn, {kind}: {kills} kills in {long:?}, {under_way} of {rows} rows landed under way, 0 lost, 0 repeated; \
         the longest standstill of a partition {longest:.1} s, of the one in the middle {median:.1} s, LANDFALL_SEED={seed}"
    );
    assert!(under_way * 4 > rows, "{kind}: only {under_way} of {rows} rows landed while processes came and went");
}

/// The end of the load, also where a test fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Kills one, or starts one, so that one to four are there; returns how many were killed.
fn strike(running: &mut [Option<Running>], installations: &[Landfall], dice: &mut StdRng) -> usize {
    let alive = running.iter().flatten().count();
    let kill = alive == MOST || alive > 1 && dice.random_bool(0.5);
    let fitting: Vec<usize> = (0..MOST).filter(|number| running[*number].is_some() == kill).collect();
    let number = fitting[dice.random_range(0..fitting.len())];
    match running[number].take() {
        Some(one) => {
            let ended = one.kill();
            assert!(ended.killed(), "it ended by itself: {:?}\n{}", ended.status, ended.stderr);
            1
        }
        None => {
            running[number] = Some(installations[number].run());
            0
        }
    }
}

/// When each partition last got a file, and how long it had stood still before.
#[derive(Default)]
struct Progress(BTreeMap<i32, (usize, Duration, Duration)>);

impl Progress {
    fn look(&mut self, scene: &Scene, now: Duration) {
        for partition in 0..PARTITIONS {
            let directory = scene.landfall.lake().join(&scene.topic).join(partition.to_string());
            let files = std::fs::read_dir(directory).map_or(0, |entries| entries.count());
            let (known, since, longest) = self.0.entry(partition).or_default();
            if files > *known {
                (*known, *longest, *since) = (files, (now - *since).max(*longest), now);
            }
        }
    }

    /// In seconds: of the partition in the middle, and of the one that stood still the longest.
    fn standstills(&self, end: Duration) -> (f64, f64) {
        let mut each: Vec<f64> =
            self.0.values().map(|(_, since, longest)| (end - *since).max(*longest).as_secs_f64()).collect();
        each.sort_by(f64::total_cmp);
        (each[each.len() / 2], each[each.len() - 1])
    }
}
