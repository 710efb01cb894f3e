//! What is measured, part by part.

mod backlog;
mod files;
mod partitions;
mod rhythm;

use std::collections::BTreeMap;

use anyhow::Context;
use serde::Serialize;

use crate::fleet::{self, Fleet};
use crate::rig::servers::Server;
use crate::rig::shapes::shape;
use crate::rounds::{Bench, Topic};
use crate::{Options, Part};
pub use backlog::Backlog;
pub use files::Files;
pub use partitions::Starts;
pub use rhythm::Rhythms;

#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub cores: usize,
    pub workers: usize,
    pub limits_memory: u64,
    pub rounds: usize,
    /// By shape.
    pub landing: BTreeMap<String, Backlog>,
    pub kafka: Option<Backlog>,
    pub steady: Option<Rhythms>,
    pub starts: Option<Starts>,
    pub files: Option<Files>,
    pub fleet: Option<Fleet>,
}

pub fn measure(options: &Options, memory: u64) -> anyhow::Result<Report> {
    let bench = Bench::new(options, memory)?;
    let wanted = |part: Part| options.parts.contains(&part);
    let mut landing = BTreeMap::new();
    for name in options.shapes.iter().filter(|_| wanted(Part::Landing)) {
        landing.insert(name.clone(), of_shape(&bench, name)?);
    }
    Ok(Report {
        cores: bench.cores,
        workers: bench.workers,
        limits_memory: bench.memory,
        rounds: options.rounds,
        landing,
        kafka: wanted(Part::Kafka).then(|| large(&bench)).transpose()?,
        steady: wanted(Part::Steady).then(|| rhythm::measure(&bench)).transpose()?,
        starts: wanted(Part::Starts).then(|| partitions::measure(&bench)).transpose()?,
        files: wanted(Part::Files).then(|| files::measure(&bench)).transpose()?,
        fleet: wanted(Part::Fleet).then(|| fleet::measure(&bench)).transpose()?,
    })
}

/// From the in-process broker: many partitions, small files.
fn of_shape(bench: &Bench, name: &str) -> anyhow::Result<Backlog> {
    let shape = shape(name).with_context(|| format!("no shape {name}: 100B, 1KB, json"))?;
    let records_each = (shape.records as f64 * bench.options.scale) as i64 / i64::from(shape.partitions);
    let server = Server::playground(&[(shape.name, shape.partitions)])?;
    eprintln!("{name}: writing {} records", records_each * i64::from(shape.partitions));
    server.fill(shape.name, shape.partitions, records_each, &shape)?;
    let topic = Topic { server: &server, name: shape.name.into(), partitions: shape.partitions, records_each };
    backlog::measure(bench, &topic)
}

/// From a real Kafka: two partitions, files of 128 MiB.
fn large(bench: &Bench) -> anyhow::Result<Backlog> {
    let small = shape("100B").context("the shape of 100 B")?;
    let server = Server::kafka(&bench.dir)?;
    let (name, partitions) = ("large".to_owned(), 2);
    let records_each = bench.options.kafka_records / i64::from(partitions);
    eprintln!("kafka: writing {} records", records_each * i64::from(partitions));
    server.create(&name, partitions)?;
    server.fill(&name, partitions, records_each, &small)?;
    backlog::measure(bench, &Topic { server: &server, name, partitions, records_each })
}
