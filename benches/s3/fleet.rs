//! Several processes on one lake: what they cost together, and how fast they are on one partition's backlog.

use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::Serialize;

use crate::arms::{Kind, Order};
use crate::rig::median;
use crate::rig::servers::Server;
use crate::rig::shapes::shape;
use crate::rig::work::Cost;
use crate::rounds::{BUCKET, Bench, Topic, arm};

#[derive(Debug, Clone, Serialize)]
pub struct Fleet {
    /// CPU seconds of two processes ÷ of one, on the same partitions.
    pub two_over_one_cpu: f64,
    /// Seconds of one process with half a core ÷ of two with half a core each, on the backlog of one partition.
    pub one_over_two_wall: f64,
    pub one_cpu_s_per_million: f64,
    pub two_cpu_s_per_million: f64,
    pub one_records_per_s: f64,
    pub two_records_per_s: f64,
}

/// What some processes cost together.
#[derive(Debug, Clone, Copy)]
struct Together {
    cpu_s_per_million: f64,
    records_per_s: f64,
}

const PARTITIONS: i32 = 24;
const RECORDS: i64 = 6_000_000;
const HOT: i64 = 4_000_000;
/// Pieces of a backlog: enough that two processes can share it.
const PIECE: u64 = 8 << 20;

pub fn measure(bench: &Bench) -> anyhow::Result<Fleet> {
    let small = shape("100B").context("the shape of 100 B")?;
    let server = Server::kafka(&bench.dir)?;
    let scale = |records: i64| (records as f64 * bench.options.scale) as i64;
    let topic = |name: &str, partitions: i32, records: i64| {
        let records_each = scale(records) / i64::from(partitions);
        server.create(name, partitions)?;
        server.fill(name, partitions, records_each, &small)?;
        anyhow::Ok(Topic { server: &server, name: name.into(), partitions, records_each })
    };
    let (wide, hot) = (topic("wide", PARTITIONS, RECORDS)?, topic("one", 1, HOT)?);
    let mut rounds = Vec::new();
    for round in 1..=bench.options.rounds {
        let one = together(bench, &wide, 1, None)?;
        let two = together(bench, &wide, 2, None)?;
        let half = together(bench, &hot, 1, Some(HALF))?;
        let halves = together(bench, &hot, 2, Some(HALF))?;
        eprintln!("fleet: round {round} one {one:?}, two {two:?}, half a core {half:?}, twice {halves:?}");
        rounds.push([one, two, half, halves]);
    }
    let of = |figure: fn(&[Together; 4]) -> f64| median(rounds.iter().map(figure));
    Ok(Fleet {
        two_over_one_cpu: of(|[one, two, ..]| two.cpu_s_per_million / one.cpu_s_per_million),
        one_over_two_wall: of(|[.., one, two]| two.records_per_s / one.records_per_s),
        one_cpu_s_per_million: of(|[one, ..]| one.cpu_s_per_million),
        two_cpu_s_per_million: of(|[_, two, ..]| two.cpu_s_per_million),
        one_records_per_s: of(|[.., one, _]| one.records_per_s),
        two_records_per_s: of(|[.., two]| two.records_per_s),
    })
}

/// So many processes on one lake, each with a state directory of its own, until all of them are done.
fn together(bench: &Bench, topic: &Topic<'_>, processes: usize, share: Option<Share>) -> anyhow::Result<Together> {
    let site = bench.site(BUCKET)?;
    let prepare = bench.order(Kind::Prepare, topic, &site);
    let _: usize = bench.ask(&prepare)?;
    let orders = (0..processes).map(|process| {
        let mut order = bench.order(Kind::Land, topic, &site);
        order.dir = order.dir.join(format!("process-{process}"));
        order.work.max_size = PIECE;
        std::fs::create_dir_all(&order.dir)?;
        Ok(order)
    });
    let orders: Vec<Order> = orders.collect::<anyhow::Result<_>>()?;
    let began = Instant::now();
    let children: Vec<Child> = orders.iter().map(|order| Ok(arm(order)?.spawn()?)).collect::<anyhow::Result<_>>()?;
    let costs = std::thread::scope(|scope| {
        let waits: Vec<_> = children.into_iter().map(|child| scope.spawn(move || answer(child, share))).collect();
        let joined = waits.into_iter().map(|wait| wait.join().unwrap_or_else(|_| anyhow::bail!("a wait panicked")));
        joined.collect::<anyhow::Result<Vec<Cost>>>()
    })?;
    let seconds = began.elapsed().as_secs_f64();
    let records = topic.records_each as f64 * f64::from(topic.partitions);
    let cpu: f64 = costs.iter().map(|cost| cost.cpu_seconds).sum();
    Ok(Together { cpu_s_per_million: cpu / records * 1e6, records_per_s: records / seconds })
}

/// A part of a core.
#[derive(Debug, Clone, Copy)]
struct Share {
    runs: Duration,
    rests: Duration,
}

/// By letting it run and rest, as the kernel's own quota does: that one needs rights that not everybody has.
const HALF: Share = Share { runs: Duration::from_millis(10), rests: Duration::from_millis(10) };

fn answer(mut child: Child, share: Option<Share>) -> anyhow::Result<Cost> {
    if let Some(share) = share {
        while child.try_wait()?.is_none() {
            std::thread::sleep(share.runs);
            // Not waited for yet, so the id is still its own; that it has ended meanwhile is no harm.
            signal(&child, libc::SIGSTOP)?;
            std::thread::sleep(share.rests);
            signal(&child, libc::SIGCONT)?;
        }
    }
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "a process of several failed");
    serde_json::from_slice(&output.stdout).context("an arm's answer")
}

fn signal(child: &Child, signal: i32) -> anyhow::Result<()> {
    let pid = i32::try_from(child.id())?;
    // SAFETY: `kill` reads its two numbers and nothing else.
    #[allow(unsafe_code)]
    let answer = unsafe { libc::kill(pid, signal) };
    ensure!(answer == 0, "signal {signal} to {pid}: {}", std::io::Error::last_os_error());
    Ok(())
}
