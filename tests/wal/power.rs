//! Power cuts: a real file system is shut down under the running log, so that everything that was not synced is gone,
//! in any order; then it is mounted again, as after a boot.
//!
//! What was acknowledged is read from the pipe *before* the cut: an fdatasync that is under way while a file system is
//! shut down may return success.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};

use crate::crash::failpoints;
use crate::image::{Image, Kind};
use crate::tool::{Tally, Tool, Write, all, say, seed};

#[derive(Debug, Default)]
struct Cuts {
    tally: Tally,
    rounds: usize,
    /// Rounds that were cut while the writer was frozen at a failpoint.
    frozen: usize,
    /// Bytes behind the last whole group were found.
    torn: usize,
    longest: Duration,
}

/// One power cut: at a failpoint where the writer was frozen, or at any moment.
fn cut(image: &mut Image, tool: &Tool, random: &mut StdRng, cuts: &mut Cuts) {
    let failpoint = random.random_bool(0.5).then(|| {
        let name = failpoints().into_iter().choose(random).expect("failpoints");
        // An opening passes its steps once.
        let visits = if name.starts_with("wal.recover.") { 2 } else { 6 };
        format!("{name}:{}=stop", random.random_range(1..visits))
    });
    let segment = [128 << 10, 256 << 10, 1 << 20][random.random_range(0..3)];
    let mut writing = tool.write(Write { segment, retire: true, until: i64::MAX }, failpoint.as_deref());
    let longest = if random.random() { 10 } else { 200 };
    match failpoint {
        Some(_) if writing.until_stopped(Duration::from_millis(300)) => {
            cuts.frozen += 1;
            // What it wrote into the pipe before is read.
            std::thread::sleep(Duration::from_millis(20));
        }
        _ => std::thread::sleep(Duration::from_millis(random.random_range(0..longest))),
    }
    let promised = writing.promised();
    image.cut_power(random.random());
    std::thread::sleep(Duration::from_millis(random.random_range(0..4)));
    writing.kill();
    image.mount_again();
    let found = landfall::wal::check(&tool.log).ok().and_then(|found| found.torn);
    cuts.torn += usize::from(found.is_some_and(|(_, _, bytes)| bytes > 0));
    let started = Instant::now();
    cuts.tally.add(tool.audit(&promised));
    cuts.longest = cuts.longest.max(started.elapsed());
    cuts.rounds += 1;
}

fn cuts(kind: Kind, rounds: usize, sabotage: Option<&'static str>, until_bad: bool) -> Option<(Cuts, u64)> {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let mut image = Image::new(kind)?;
    let mut tool = Tool::new(image.at().join("wal"));
    tool.sabotage = sabotage;
    let mut cuts = Cuts::default();
    for round in 0..rounds {
        cut(&mut image, &tool, &mut random, &mut cuts);
        if until_bad && !cuts.tally.sound() {
            break;
        }
        assert!(sabotage.is_some() || cuts.tally.sound(), "LANDFALL_SEED={seed}, round {round}: {}", cuts.tally);
        // It opens, mends its tail and is read; the next round goes on from there.
        if round % 4 == 3 {
            cuts.tally.add(tool.audit_by_reading(&tool.promised()));
        }
    }
    Some((cuts, seed))
}

fn power_is_cut(kind: Kind) {
    let started = Instant::now();
    let Some((cuts, seed)) = cuts(kind, if all() { 250 } else { 12 }, None, false) else { return };
    let Cuts { tally, rounds, frozen, torn, longest } = cuts;
    say(&format!(
        "wal power cuts on {} (LANDFALL_SEED={seed}): {rounds} rounds in {:?}, {frozen} at failpoints, {torn} torn tails, \
         looked at in {longest:?} at most",
        kind.name(),
        started.elapsed()
    ));
    say(&format!("  {tally}"));
    assert!(tally.sound(), "LANDFALL_SEED={seed}: {tally}");
    assert!(tally.acked > 0, "nothing was acknowledged before a cut");
}

#[test]
fn power_is_cut_on_ext4() {
    power_is_cut(Kind::Ext4);
}

#[test]
fn power_is_cut_on_xfs() {
    power_is_cut(Kind::Xfs);
}

/// The cuts would show a log that acknowledges what is not durable.
#[test]
fn an_acknowledgement_before_the_sync_is_noticed() {
    let Some((cuts, seed)) = cuts(Kind::Ext4, 40, Some("wal_ack_before_sync"), true) else { return };
    assert!(!cuts.tally.sound(), "LANDFALL_SEED={seed}: {} power cuts showed nothing", cuts.rounds);
    say(&format!("wal_ack_before_sync is noticed after {} power cuts: {}", cuts.rounds, cuts.tally));
}
