//! The first start with many partitions, and a start after it.

use anyhow::Context;
use serde::Serialize;

use crate::arms::Kind;
use crate::rig::servers::Server;
use crate::rig::shapes::shape;
use crate::rounds::{BUCKET, Bench, Topic, Where};
use crate::starts::{Started, medians};

#[derive(Debug, Clone, Serialize)]
pub struct Starts {
    pub bucket: Pair,
    /// Each answer takes longer.
    pub far: Pair,
    pub disk: Pair,
}

/// Medians.
#[derive(Debug, Clone, Serialize)]
pub struct Pair {
    pub birth: Started,
    pub restart: Started,
}

/// In every partition, before each start.
const RECORDS: i64 = 5;

pub fn measure(bench: &Bench) -> anyhow::Result<Starts> {
    Ok(Starts { bucket: pairs(bench, BUCKET)?, far: pairs(bench, Where::Far)?, disk: pairs(bench, Where::Disk)? })
}

fn pairs(bench: &Bench, at: Where) -> anyhow::Result<Pair> {
    let rounds: Vec<Pair> = (0..bench.options.rounds)
        .map(|round| {
            let pair = pair(bench, at, bench.options.partitions, false)?;
            eprintln!("starts: round {} {at:?} {pair:?}", round + 1);
            anyhow::Ok(pair)
        })
        .collect::<anyhow::Result<_>>()?;
    let birth = medians(rounds.iter().map(|pair| &pair.birth))?;
    let mut median = Pair { birth, restart: medians(rounds.iter().map(|pair| &pair.restart))? };
    if at == BUCKET {
        // Counting costs time, so it is done apart, and with fewer.
        let counted = pair(bench, at, bench.options.partitions.min(200), true)?;
        median.birth.requests_per_partition = counted.birth.requests_per_partition;
        median.restart.requests_per_partition = counted.restart.requests_per_partition;
    }
    Ok(median)
}

fn pair(bench: &Bench, at: Where, partitions: i32, counted: bool) -> anyhow::Result<Pair> {
    let small = shape("100B").context("the shape of 100 B")?;
    // A group of the in-process broker gives nothing to a second member for as long as a session.
    let server = Server::kafka(&bench.dir)?;
    server.create("many", partitions)?;
    let site = bench.site(at)?;
    let start = |first: i64| -> anyhow::Result<Started> {
        server.fill_from("many", partitions, first, first + RECORDS, &small)?;
        let topic = Topic { server: &server, name: "many".into(), partitions, records_each: first + RECORDS };
        let mut order = bench.order(Kind::Start { counted }, &topic, &site);
        // What is there is landed at once.
        order.max_records = RECORDS.unsigned_abs();
        bench.ask(&order)
    };
    Ok(Pair { birth: start(0)?, restart: start(RECORDS)? })
}
