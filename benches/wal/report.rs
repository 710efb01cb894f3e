//! The pairs, the table and `target/bench-wal.json`.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};

use crate::{Measure, Options, Order, arm, median, percentile};

const GROUPS: [(usize, &str); 4] =
    [(64 << 10, "64 KiB"), (256 << 10, "256 KiB"), (1 << 20, "1 MiB"), (4 << 20, "4 MiB")];

pub fn report(options: &Options) -> anyhow::Result<()> {
    let mut json = Map::new();
    println!("medians of {} rounds of {} s, turn about; load {}\n", options.rounds, options.seconds, load());
    against_raw(options, &mut json)?;
    appends_per_fsync(options, &mut json)?;
    one_appender(options, &mut json)?;
    recovery(options, &mut json)?;
    if let Some(peers) = &options.peers {
        others(options, peers, &mut json)?;
    }
    let path = Path::new("target/bench-wal.json");
    std::fs::create_dir_all("target")?;
    std::fs::write(path, serde_json::to_vec_pretty(&json)?)?;
    println!("\nwritten to {}", path.display());
    Ok(())
}

fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().split_whitespace().next().unwrap_or("?").into()
}

/// A directory that is gone afterwards.
fn fresh(options: &Options) -> anyhow::Result<tempdir::Dir> {
    tempdir::Dir::below(&options.dir)
}

/// Turn about: both arms of a pair once a round, the first of the two changing.
fn pairs(options: &Options, a: &Order, b: &Order) -> anyhow::Result<(Vec<Measure>, Vec<Measure>)> {
    let dir = fresh(options)?;
    let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
    for round in 0..options.rounds {
        if round % 2 == 0 {
            of_a.push(arm(a, options, dir.path())?);
            of_b.push(arm(b, options, dir.path())?);
        } else {
            of_b.push(arm(b, options, dir.path())?);
            of_a.push(arm(a, options, dir.path())?);
        }
    }
    Ok((of_a, of_b))
}

fn of(measures: &[Measure], figure: impl Fn(&Measure) -> f64) -> f64 {
    median(measures.iter().map(figure).collect())
}

fn ratios(a: &[Measure], b: &[Measure], figure: impl Fn(&Measure) -> f64) -> f64 {
    median(a.iter().zip(b).map(|(a, b)| figure(a) / figure(b)).collect())
}

fn against_raw(options: &Options, json: &mut Map<String, Value>) -> anyhow::Result<()> {
    println!(
        "append at full rate against write + fdatasync of as many bytes at a time, over recycled files (goal 0.90)"
    );
    println!(
        "{:>9}  {:>10} {:>10}  {:>6}  {:>12} {:>14} {:>8}",
        "group", "log MB/s", "raw MB/s", "ratio", "bytes/sync", "CPU s/GB more", "RSS MB"
    );
    let rate = |measure: &Measure| measure.bytes as f64 / measure.seconds / 1e6;
    let cost = |measure: &Measure| measure.cpu_seconds / (measure.bytes as f64 / 1e9);
    for (bytes, name) in GROUPS {
        let (log, raw) = pairs(options, &Order::Append { group: bytes }, &Order::Raw { bytes })?;
        let ratio = ratios(&log, &raw, rate);
        let more = median(log.iter().zip(&raw).map(|(log, raw)| cost(log) - cost(raw)).collect());
        let rss = log.iter().map(|measure| measure.peak_rss_mb).fold(0.0, f64::max);
        let per_sync = of(&log, |measure| measure.bytes as f64 / measure.fsyncs as f64);
        println!(
            "{name:>9}  {:>10.0} {:>10.0}  {ratio:>6.2}  {per_sync:>12.0} {more:>14.2} {rss:>8.0}",
            of(&log, rate),
            of(&raw, rate)
        );
        json.insert(format!("append {name}"), json!({
            "over_raw": ratio, "log_mb_per_s": of(&log, rate), "raw_mb_per_s": of(&raw, rate), "bytes_per_sync": per_sync,
            "cpu_s_per_gb_above_raw": more, "peak_rss_mb": rss,
        }));
    }
    Ok(())
}

fn appends_per_fsync(options: &Options, json: &mut Map<String, Value>) -> anyhow::Result<()> {
    println!("\nappends of 1 KB that each wait until they are durable (goal: 0.65 × appenders a sync)");
    println!(
        "{:>9}  {:>10}  {:>12} {:>8}  {:>8} {:>8}",
        "appenders", "appends/s", "appends/sync", "ratio", "p50 µs", "p99 µs"
    );
    for appenders in [4, 16, 64] {
        let dir = fresh(options)?;
        let order = Order::Closed { appenders, record: 1000 };
        let rounds =
            (0..options.rounds).map(|_| arm(&order, options, dir.path())).collect::<anyhow::Result<Vec<_>>>()?;
        let per_sync = of(&rounds, |measure| measure.appends as f64 / measure.fsyncs as f64);
        let ratio = per_sync / appenders as f64;
        let rate = of(&rounds, |measure| measure.appends as f64 / measure.seconds);
        let (p50, p99) = (of(&rounds, |measure| measure.p50_us), of(&rounds, |measure| measure.p99_us));
        println!("{appenders:>9}  {rate:>10.0}  {per_sync:>12.1} {ratio:>8.2}  {p50:>8.0} {p99:>8.0}");
        json.insert(format!("closed {appenders}"), json!({
            "appends_per_sync": per_sync, "over_appenders": ratio, "appends_per_s": rate, "p50_us": p50, "p99_us": p99,
        }));
    }
    Ok(())
}

fn one_appender(options: &Options, json: &mut Map<String, Value>) -> anyhow::Result<()> {
    let (log, raw) = pairs(options, &Order::Closed { appenders: 1, record: 1000 }, &Order::Raw { bytes: 4096 })?;
    let ratio = ratios(&log, &raw, |measure| measure.p50_us);
    let (log, raw) = (of(&log, |measure| measure.p50_us), of(&raw, |measure| measure.p50_us));
    println!("\none appender, 1 KB: p50 {log:.0} µs, raw 4 KiB {raw:.0} µs, ratio {ratio:.2} (goal 1.15)");
    json.insert("one appender".into(), json!({ "p50_us": log, "raw_p50_us": raw, "over_raw": ratio }));
    Ok(())
}

fn recovery(options: &Options, json: &mut Map<String, Value>) -> anyhow::Result<()> {
    let opened = |segment: u64, segments: usize| -> anyhow::Result<(f64, u64)> {
        let mut taken = Vec::new();
        let mut found = 0;
        for _ in 0..options.rounds.min(3) {
            let dir = fresh(options)?;
            found = arm(&Order::Fill { segment, segments }, options, dir.path())?.fsyncs;
            forget_cache();
            taken.push(arm(&Order::Open, options, dir.path())?.open_ms);
        }
        Ok((median(taken), found))
    };
    let (unsealed, _) = opened(128 << 20, 1)?;
    let (few, few_found) = opened(4 << 20, 2)?;
    let (many, many_found) = opened(4 << 20, 102)?;
    let sealed = (many - few) / (many_found - few_found) as f64;
    let cold = if can_forget() { "cold cache" } else { "warm cache: not root" };
    println!(
        "opening, {cold}: {unsealed:.0} ms with an unsealed segment of 128 MiB (goal 300), {sealed:.2} ms for each sealed one (goal 2)"
    );
    json.insert("recovery".into(), json!({ "unsealed_128_mib_ms": unsealed, "sealed_ms_each": sealed, "cache": cold }));
    Ok(())
}

const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";

fn can_forget() -> bool {
    std::fs::OpenOptions::new().write(true).open(DROP_CACHES).is_ok()
}

fn forget_cache() {
    let _ = Command::new("sync").status();
    let _ = std::fs::write(DROP_CACHES, "3");
}

fn others(options: &Options, peers: &Path, json: &mut Map<String, Value>) -> anyhow::Result<()> {
    println!("\nrecords of 1 KB, each acknowledged when it is synced, against what others would take");
    println!("{:>12}  {:>9}  {:>10} {:>8} {:>8}", "log", "appenders", "appends/s", "p50 µs", "p99 µs");
    for appenders in [1usize, 16] {
        let mut table: Vec<(&str, Vec<Measure>)> = Vec::new();
        for round in 0..options.rounds.min(3) {
            for (place, name) in ["landfall", "okaywal", "raft-engine", "fjall", "sqlite"].into_iter().enumerate() {
                let dir = fresh(options)?;
                let measure = match name {
                    "landfall" => arm(&Order::Closed { appenders, record: 1000 }, options, dir.path())?,
                    name => peer(peers, name, dir.path(), appenders, options.seconds)?,
                };
                if round == 0 {
                    table.push((name, Vec::new()));
                }
                table[place].1.push(measure);
            }
        }
        for (name, rounds) in table {
            let rate = of(&rounds, |measure| measure.appends as f64 / measure.seconds);
            let (p50, p99) = (of(&rounds, |measure| measure.p50_us), of(&rounds, |measure| measure.p99_us));
            println!("{name:>12}  {appenders:>9}  {rate:>10.0} {p50:>8.0} {p99:>8.0}");
            json.insert(format!("{name} {appenders}"), json!({ "appends_per_s": rate, "p50_us": p50, "p99_us": p99 }));
        }
    }
    Ok(())
}

fn peer(peers: &Path, name: &str, dir: &Path, appenders: usize, seconds: u64) -> anyhow::Result<Measure> {
    let mut command = Command::new(peers);
    command.arg(name).arg(dir.join("peer")).args([appenders.to_string(), "1000".into(), seconds.to_string()]);
    let started = Instant::now();
    let output = command.output().with_context(|| format!("starting {}", peers.display()))?;
    if !output.status.success() {
        bail!("{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8(output.stdout)?;
    let mut taken: Vec<u64> = text.lines().flat_map(str::parse).collect();
    Ok(Measure {
        seconds: started.elapsed().as_secs_f64().min(seconds as f64 * 1.5),
        appends: taken.len() as u64,
        p50_us: percentile(&mut taken, 0.5),
        p99_us: percentile(&mut taken, 0.99),
        ..Measure::default()
    })
}

mod tempdir {
    //! A directory that is removed when it is dropped.

    use std::path::{Path, PathBuf};

    pub struct Dir(PathBuf);

    impl Dir {
        pub fn below(parent: &Path) -> anyhow::Result<Dir> {
            let name = format!("bench-wal-{}-{}", std::process::id(), landfall::ambient::random_id());
            let path = std::path::absolute(parent)?.join(name);
            std::fs::create_dir_all(&path)?;
            Ok(Dir(path))
        }

        pub fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}
