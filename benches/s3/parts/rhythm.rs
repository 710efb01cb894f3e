//! From plan to commit, and requests per batch: while records trickle in, and in a backlog of small batches.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use crate::arms::Kind;
use crate::rig::median;
use crate::rig::servers::Server;
use crate::rig::shapes::{Shape, shape};
use crate::rounds::{BUCKET, Bench, Topic, Where};
use crate::steady::Rhythm;

#[derive(Debug, Clone, Serialize)]
pub struct Rhythms {
    /// Records trickle in, and batches end by their age.
    pub bucket: Rhythm,
    /// Each answer takes longer.
    pub far: Rhythm,
    pub disk: Rhythm,
    /// A backlog: batches end by their number of records, and both cores are busy.
    pub backlog_in_bucket: Rhythm,
    pub backlog_on_disk: Rhythm,
}

const PARTITIONS: i32 = 12;
const PER_SECOND: u64 = 400;
const AGE: Duration = Duration::from_millis(250);
/// A backlog of so many batches in every partition.
const BATCHES: i64 = 150;
const RECORDS: i64 = 200;
/// Births and clients are behind it.
const WARM: usize = 3;
/// Requests are counted when old versions are deleted too: 100 are kept, and a batch makes one or two.
const WARM_TO_COUNT: usize = 65;
const WARM_BACKLOG_TO_COUNT: usize = 110;

pub fn measure(bench: &Bench) -> anyhow::Result<Rhythms> {
    let small = shape("100B").context("the shape of 100 B")?;
    let (mut steady, mut backlog) = ([const { Vec::new() }; 3], [const { Vec::new() }; 2]);
    let server = Server::playground(&[("backlog", PARTITIONS)])?;
    server.fill("backlog", PARTITIONS, BATCHES * RECORDS, &small)?;
    let topic =
        Topic { server: &server, name: "backlog".into(), partitions: PARTITIONS, records_each: BATCHES * RECORDS };
    for round in 1..=bench.options.rounds {
        for (to, at) in [BUCKET, Where::Disk, Where::Far].into_iter().enumerate() {
            steady[to].push(trickled(bench, at, false, &small)?);
            eprintln!("steady: round {round} {at:?} {:?}", steady[to].last());
        }
        for (to, at) in [BUCKET, Where::Disk].into_iter().enumerate() {
            backlog[to].push(in_backlog(bench, &topic, at, false)?);
            eprintln!("steady: round {round} {at:?} backlog {:?}", backlog[to].last());
        }
    }
    let [mut bucket, disk, far] = steady.map(|rounds| medians(&rounds));
    let [mut backlog_in_bucket, backlog_on_disk] = backlog.map(|rounds| medians(&rounds));
    // Counting costs time, so it is done apart.
    bucket.requests_per_batch = trickled(bench, BUCKET, true, &small)?.requests_per_batch;
    backlog_in_bucket.requests_per_batch = in_backlog(bench, &topic, BUCKET, true)?.requests_per_batch;
    Ok(Rhythms { bucket, far, disk, backlog_in_bucket, backlog_on_disk })
}

/// On a topic of its own, so that there is no backlog at first.
fn trickled(bench: &Bench, at: Where, counted: bool, shape: &Shape) -> anyhow::Result<Rhythm> {
    let server = Server::playground(&[("trickle", PARTITIONS)])?;
    let topic = Topic { server: &server, name: "trickle".into(), partitions: PARTITIONS, records_each: 0 };
    let site = bench.site(at)?;
    let warm = if counted { WARM_TO_COUNT } else { WARM };
    let mut order = bench.order(Kind::Steady { seconds: bench.options.seconds, warm, counted }, &topic, &site);
    order.max_age = AGE;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let producer = scope.spawn(|| server.trickle("trickle", PARTITIONS, PER_SECOND, shape, &over));
        let asked = bench.ask(&order);
        over.store(true, Ordering::Relaxed);
        producer.join().unwrap_or_else(|_| anyhow::bail!("the producer panicked"))?;
        asked
    })
}

fn in_backlog(bench: &Bench, topic: &Topic<'_>, at: Where, counted: bool) -> anyhow::Result<Rhythm> {
    let site = bench.site(at)?;
    let warm = if counted { WARM_BACKLOG_TO_COUNT } else { WARM };
    let mut order = bench.order(Kind::Backlog { warm, counted }, topic, &site);
    order.max_records = u64::try_from(RECORDS)?;
    bench.ask(&order)
}

fn medians(rounds: &[Rhythm]) -> Rhythm {
    let of = |figure: fn(&Rhythm) -> f64| median(rounds.iter().map(figure));
    Rhythm {
        batches: rounds.iter().map(|rhythm| rhythm.batches).sum(),
        p50_ms: of(|rhythm| rhythm.p50_ms),
        p99_ms: of(|rhythm| rhythm.p99_ms),
        worst_ms: rounds.iter().map(|rhythm| rhythm.worst_ms).fold(0.0, f64::max),
        requests_per_batch: BTreeMap::new(),
    }
}
