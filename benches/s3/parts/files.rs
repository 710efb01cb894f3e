//! A restart beside few data files, and beside many: it must not depend on their number.

use anyhow::{Context, ensure};
use serde::Serialize;

use crate::arms::Kind;
use crate::rig::servers::Server;
use crate::rig::shapes::shape;
use crate::rig::work::{Cost, written};
use crate::rounds::{BUCKET, Bench, Topic, Where};
use crate::starts::{Started, medians};

#[derive(Debug, Clone, Serialize)]
pub struct Files {
    pub bucket: Grown,
    pub disk: Grown,
}

/// Restarts beside few files and beside many, medians of several.
#[derive(Debug, Clone, Serialize)]
pub struct Grown {
    pub few: u64,
    pub with_few: Started,
    pub many: u64,
    pub with_many: Started,
    /// While they were made, one after the other in each partition: plan, put, commit.
    pub files_per_s: f64,
}

const PARTITIONS: i32 = 4;
const RECORDS: i64 = 10;
const FEW: i64 = 100;
const RESTARTS: i64 = 3;

pub fn measure(bench: &Bench) -> anyhow::Result<Files> {
    Ok(Files { bucket: grown(bench, BUCKET)?, disk: grown(bench, Where::Disk)? })
}

fn grown(bench: &Bench, at: Where) -> anyhow::Result<Grown> {
    let small = shape("100B").context("the shape of 100 B")?;
    let server = Server::kafka(&bench.dir)?;
    server.create("files", PARTITIONS)?;
    let site = bench.site(at)?;
    let mut there = 0;
    // So many batches more in every partition.
    let mut grow = |batches: i64, kind: Kind| -> anyhow::Result<crate::arms::Order> {
        let until = there + batches * RECORDS;
        server.fill_from("files", PARTITIONS, there, until, &small)?;
        there = until;
        let topic = Topic { server: &server, name: "files".into(), partitions: PARTITIONS, records_each: until };
        let mut order = bench.order(kind, &topic, &site);
        order.max_records = RECORDS.unsigned_abs();
        Ok(order)
    };
    let mut sample = |batches: i64| -> anyhow::Result<(u64, Started, f64)> {
        let cost: Cost = bench.ask(&grow(batches, Kind::Land)?)?;
        let (files, _) = written(&site.objects)?;
        let restarts: Vec<Started> = (0..RESTARTS)
            .map(|_| bench.ask(&grow(1, Kind::Start { counted: false })?))
            .collect::<anyhow::Result<_>>()?;
        let started = medians(restarts.iter())?;
        eprintln!("files: {at:?} {files} files, {started:?}");
        let made = batches * i64::from(PARTITIONS);
        Ok((files, started, made as f64 / cost.seconds))
    };
    let few = sample(FEW / i64::from(PARTITIONS))?;
    let many = sample((bench.options.files - few.0.cast_signed()) / i64::from(PARTITIONS))?;
    ensure!(many.0 > few.0, "the files have not become more: {} and {}", few.0, many.0);
    Ok(Grown { few: few.0, with_few: few.1, many: many.0, with_many: many.1, files_per_s: many.2 })
}
