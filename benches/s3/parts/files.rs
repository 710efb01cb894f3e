//! A restart beside few data files, and beside many: it must not depend on their number.

use anyhow::{Context, ensure};
use serde::Serialize;

use crate::arms::Kind;
use crate::rig::servers::Server;
use crate::rig::shapes::shape;
use crate::rig::work::{Cost, written};
use crate::rounds::{BUCKET, Bench, Topic, Where};
use crate::starts::Started;

/// Medians of several restarts each.
#[derive(Debug, Clone, Serialize)]
pub struct Files {
    pub few: u64,
    pub many: u64,
    pub few_in_bucket_s: f64,
    pub many_in_bucket_s: f64,
    pub few_on_disk_s: f64,
    pub many_on_disk_s: f64,
    /// Files a second while they were made, one after the other in each partition: plan, put, commit.
    pub files_per_s_in_bucket: f64,
    pub files_per_s_on_disk: f64,
}

const PARTITIONS: i32 = 4;
const RECORDS: i64 = 10;
const FEW: i64 = 100;
const RESTARTS: i64 = 3;

pub fn measure(bench: &Bench) -> anyhow::Result<Files> {
    let bucket = grown(bench, BUCKET)?;
    let disk = grown(bench, Where::Disk)?;
    Ok(Files {
        few: bucket.few.0,
        many: bucket.many.0,
        few_in_bucket_s: bucket.few.1,
        many_in_bucket_s: bucket.many.1,
        few_on_disk_s: disk.few.1,
        many_on_disk_s: disk.many.1,
        files_per_s_in_bucket: bucket.files_per_s,
        files_per_s_on_disk: disk.files_per_s,
    })
}

struct Grown {
    /// Files, and seconds of a restart.
    few: (u64, f64),
    many: (u64, f64),
    files_per_s: f64,
}

fn grown(bench: &Bench, at: Where) -> anyhow::Result<Grown> {
    let small = shape("100B").context("the shape of 100 B")?;
    let server = Server::playground(&[("files", PARTITIONS)])?;
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
    let mut sample = |batches: i64| -> anyhow::Result<(u64, f64, f64)> {
        let cost: Cost = bench.ask(&grow(batches, Kind::Land)?)?;
        let (files, _) = written(&site.objects)?;
        let mut restarts = Vec::new();
        for _ in 0..RESTARTS {
            let started: Started = bench.ask(&grow(1, Kind::Start { counted: false })?)?;
            restarts.push(started.landed_s);
        }
        let seconds = crate::rig::median(restarts);
        eprintln!("files: {at:?} {files} files, restart {seconds:.3} s");
        let made = batches * i64::from(PARTITIONS);
        Ok((files, seconds, made as f64 / cost.seconds))
    };
    let few = sample(FEW / i64::from(PARTITIONS))?;
    let many = sample((bench.options.files - few.0.cast_signed()) / i64::from(PARTITIONS))?;
    ensure!(many.0 > few.0, "the files have not become more: {} and {}", few.0, many.0);
    Ok(Grown { few: (few.0, few.1), many: (many.0, many.1), files_per_s: many.2 })
}
