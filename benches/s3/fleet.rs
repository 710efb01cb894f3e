//! Several processes that share a lake through a consumer group: what they cost together, and how fast they are on one
//! partition's backlog.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, ensure};
use serde::Serialize;

use crate::arms::{Kind, Order};
use crate::member::Member;
use crate::rig::servers::Server;
use crate::rig::shapes::shape;
use crate::rig::{gauge, median};
use crate::rounds::{BUCKET, Bench, Site, Topic};

#[derive(Debug, Clone, Serialize)]
pub struct Fleet {
    /// CPU seconds of two processes ÷ of one, on the same partitions.
    pub two_over_one_cpu: f64,
    /// Records a second of two processes with half a core each ÷ of one with half a core, on the backlog of one partition.
    pub two_over_one_rate: f64,
    pub one_cpu_s_per_million: f64,
    pub two_cpu_s_per_million: f64,
    pub one_records_per_s: f64,
    pub two_records_per_s: f64,
    /// Until the second process had landed its first piece.
    pub helps_after_s: f64,
    /// What kept the processes to half a core.
    pub quota: String,
    pub rounds: Vec<Round>,
}

/// What each figure is from.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    one: Together,
    two: Together,
    half: Together,
    halves: Together,
}

/// What some processes did together.
#[derive(Debug, Clone, Serialize)]
struct Together {
    cpu_s_per_million: f64,
    /// What each of them landed.
    landed: Vec<u64>,
    /// Until everything had landed.
    seconds: f64,
    /// Until each had landed something.
    all_land_s: f64,
    /// From then on.
    records_per_s: f64,
    quota: String,
    /// Cores that other programs kept busy meanwhile.
    others: f64,
}

const PARTITIONS: i32 = 12;
const RECORDS: i64 = 12_000_000;
const HOT: i64 = 12_000_000;
/// Enough files that the processes can share a partition.
const PIECE: u64 = 4 << 20;
/// So late that no rest of a backlog is cut into small files; each arm waits for it once, at its end.
const WIDE_AGE: Duration = Duration::from_secs(10);
/// Who is later by this and 10 s is helped with.
const HOT_AGE: Duration = Duration::from_secs(3);
/// Files at the end that may not be shared any more.
const LAST: usize = 3;
const FEWEST: usize = 8;
/// As Kafka has it by default: processes that start together are given their partitions at once, and none is taken from
/// another again.
const FIRST_SHARE: Duration = Duration::from_secs(3);
const HALF: f64 = 0.5;
/// Until each of them lands: so the backlog needs not be so long that it lasts until the second begins to help.
const SLOW: f64 = 0.1;
const LOOK: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(600);

pub fn measure(bench: &Bench) -> anyhow::Result<Fleet> {
    let small = shape("100B").context("the shape of 100 B")?;
    let server = Server::kafka_with(&bench.dir, FIRST_SHARE)?;
    let scale = |records: i64| (records as f64 * bench.options.scale) as i64;
    let topic = |name: &str, partitions: i32, records: i64| {
        let records_each = scale(records) / i64::from(partitions);
        server.create(name, partitions)?;
        server.fill(name, partitions, records_each, &small)?;
        anyhow::Ok(Topic { server: &server, name: name.into(), partitions, records_each })
    };
    let (wide, hot) = (topic("wide", PARTITIONS, RECORDS)?, topic("one", 1, HOT)?);
    let mut rounds = Vec::new();
    for number in 1..=bench.options.rounds {
        let round = Round {
            one: together(bench, &wide, 1, false)?,
            two: together(bench, &wide, 2, false)?,
            half: together(bench, &hot, 1, true)?,
            halves: together(bench, &hot, 2, true)?,
        };
        eprintln!("fleet: round {number} {round:#?}");
        rounds.push(round);
    }
    let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure));
    Ok(Fleet {
        two_over_one_cpu: of(|round| round.two.cpu_s_per_million / round.one.cpu_s_per_million),
        two_over_one_rate: of(|round| round.halves.records_per_s / round.half.records_per_s),
        one_cpu_s_per_million: of(|round| round.one.cpu_s_per_million),
        two_cpu_s_per_million: of(|round| round.two.cpu_s_per_million),
        one_records_per_s: of(|round| round.half.records_per_s),
        two_records_per_s: of(|round| round.halves.records_per_s),
        helps_after_s: of(|round| round.halves.all_land_s),
        quota: rounds.first().map(|round| round.halves.quota.clone()).unwrap_or_default(),
        rounds,
    })
}

/// So many processes on one lake, each with a state directory and a name of its own, until everything has landed.
/// In `halves` each has half a core.
fn together(bench: &Bench, topic: &Topic<'_>, processes: usize, halves: bool) -> anyhow::Result<Together> {
    let site = bench.site(BUCKET)?;
    let prepare = bench.order(Kind::Prepare, topic, &site);
    let _: usize = bench.ask(&prepare)?;
    let orders = (0..processes).map(|number| order(bench, topic, &site, number, halves));
    let orders: Vec<Order> = orders.collect::<anyhow::Result<_>>()?;
    let objects = site.objects.join(&topic.name);
    let records = topic.records_each * i64::from(topic.partitions);
    let has_landed = || anyhow::Ok(sum(&files(&objects)?) >= records);
    let servers = || anyhow::Ok(cpu_of(topic.server.pid)? + cpu_of(bench.store.pid())?);
    let (machine, served) = (gauge::machine_busy_seconds(), servers()?);
    let began = Instant::now();
    let started = orders.iter().map(|order| Member::start(order, halves.then_some(SLOW)));
    let mut members: Vec<Member> = started.collect::<anyhow::Result<_>>()?;
    wait(&mut members, |members| Ok(members.iter().all(Member::lands) || has_landed()?))?;
    ensure!(members.iter().all(Member::lands), "{}: one landed everything before another began", topic.name);
    let (all_land_s, all_land) = (began.elapsed().as_secs_f64(), SystemTime::now());
    let quotas = || members.iter().filter_map(|member| member.quota.as_ref());
    quotas().try_for_each(|quota| quota.set(HALF))?;
    let quota = quotas().next().map(|quota| quota.by().to_owned()).unwrap_or_default();
    wait(&mut members, |_| has_landed())?;
    let seconds = began.elapsed().as_secs_f64();
    members.iter_mut().try_for_each(Member::end)?;
    let costs: Vec<_> = members.into_iter().map(Member::cost).collect::<anyhow::Result<_>>()?;
    let lived = began.elapsed().as_secs_f64();
    let (machine, served) = (gauge::machine_busy_seconds() - machine, servers()? - served);
    let files = files(&objects)?;
    ensure!(sum(&files) == records, "{}: {} offsets are landed of {records}", topic.name, sum(&files));
    let cpu: f64 = costs.iter().map(|cost| cost.cpu_seconds).sum();
    let records_per_s = if halves { steady(files, all_land, processes)? } else { records as f64 / seconds };
    let landed = costs.iter().map(|cost| cost.records).collect();
    let cpu_s_per_million = cpu / records as f64 * 1e6;
    let others = ((machine - served - cpu) / lived).max(0.0);
    Ok(Together { cpu_s_per_million, landed, seconds, all_land_s, records_per_s, quota, others })
}

fn cpu_of(pid: Option<u32>) -> anyhow::Result<f64> {
    pid.map_or(Ok(0.0), |pid| Ok(gauge::cpu_seconds(pid)?))
}

fn order(bench: &Bench, topic: &Topic<'_>, site: &Site, number: usize, halves: bool) -> anyhow::Result<Order> {
    let group = site.dir.file_name().context("a lake has a name")?.to_string_lossy().into_owned();
    let mut order = bench.order(Kind::Share { group, instance: format!("process-{number}") }, topic, site);
    order.dir = order.dir.join(format!("process-{number}"));
    order.work.max_size = PIECE;
    order.max_age = if halves { HOT_AGE } else { WIDE_AGE };
    if halves {
        // As `limits.workers` is by default where there is half a core.
        order.work.workers = 1;
    }
    std::fs::create_dir_all(&order.dir)?;
    Ok(order)
}

fn wait(members: &mut [Member], mut until: impl FnMut(&[Member]) -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let began = Instant::now();
    while !until(members)? {
        members.iter().try_for_each(Member::is_there)?;
        ensure!(began.elapsed() < PATIENCE, "not done in {PATIENCE:?}");
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// When a file was landed, and how many offsets are its.
type Landed = (SystemTime, i64);

/// Of all partitions of a topic, in no order.
fn files(topic: &Path) -> anyhow::Result<Vec<Landed>> {
    let mut files = Vec::new();
    for partition in std::fs::read_dir(topic).into_iter().flatten() {
        for entry in std::fs::read_dir(partition?.path())? {
            let entry = entry?;
            let (name, when) = (entry.file_name(), entry.metadata()?.modified()?);
            let range = name.to_str().and_then(|name| name.strip_suffix(".parquet")?.split_once('-'));
            if let Some((from, until)) = range {
                files.push((when, until.parse::<i64>()? - from.parse::<i64>()?));
            }
        }
    }
    Ok(files)
}

fn sum(files: &[Landed]) -> i64 {
    files.iter().map(|(_, offsets)| offsets).sum()
}

/// Records a second from the first files that were begun after `all_land`, until the backlog is too short to be shared.
fn steady(mut files: Vec<Landed>, all_land: SystemTime, processes: usize) -> anyhow::Result<f64> {
    files.sort();
    files.retain(|(when, _)| *when > all_land);
    let counted = files.get(processes..files.len().saturating_sub(LAST)).unwrap_or_default();
    let [(first, _), rest @ .., (last, offsets)] = counted else {
        anyhow::bail!("no files to count: a larger --scale")
    };
    ensure!(counted.len() >= FEWEST, "{} files are too few to count: a larger --scale", counted.len());
    Ok((sum(rest) + offsets) as f64 / last.duration_since(*first)?.as_secs_f64())
}
