//! The tables for people, and `target/bench-s3.json` for programs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::parts::{Backlog, Report};
use crate::starts::Started;
use crate::steady::Rhythm;

pub fn print(report: &Report) {
    println!(
        "{} cores, {} workers, limits.memory {} MiB, medians of {} rounds (memory: the worst)",
        report.cores,
        report.workers,
        report.limits_memory >> 20,
        report.rounds
    );
    for (name, backlog) in &report.landing {
        landing(name, backlog);
    }
    if let Some(backlog) = &report.kafka {
        landing("Kafka", backlog);
    }
    if let Some(steady) = &report.steady {
        println!(
            "\n{:<18} {:>8} {:>8} {:>8} {:>8}  requests per batch",
            "plan to commit", "batches", "p50 ms", "p99 ms", "worst"
        );
        rhythm("bucket", &steady.bucket);
        rhythm("far bucket", &steady.far);
        rhythm("disk", &steady.disk);
        rhythm("backlog, bucket", &steady.backlog_in_bucket);
        rhythm("backlog, disk", &steady.backlog_on_disk);
    }
    if let Some(starts) = &report.starts {
        println!("\n{:<18} {:>8} {:>8} {:>8}  requests per partition", "start, seconds", "open", "run", "landed");
        for (place, pair) in [("bucket", &starts.bucket), ("far bucket", &starts.far), ("disk", &starts.disk)] {
            start(&format!("first, {place}"), &pair.birth);
            start(&format!("again, {place}"), &pair.restart);
        }
    }
    if let Some(files) = &report.files {
        println!("\n{:<18} {:>8} {:>8} {:>8}", "restart, seconds", "open", "run", "landed");
        for (place, grown) in [("bucket", &files.bucket), ("disk", &files.disk)] {
            start(&format!("{} in {place}", grown.few), &grown.with_few);
            start(&format!("{} in {place}", grown.many), &grown.with_many);
            println!("{:<18} {:.0} files a second while they were made", "", grown.files_per_s);
        }
    }
    if let Some(fleet) = &report.fleet {
        println!(
            "\ntwo processes ÷ one, CPU seconds: {:.2} ({:.3} ÷ {:.3} for a million records)",
            fleet.two_over_one_cpu, fleet.two_cpu_s_per_million, fleet.one_cpu_s_per_million
        );
        println!(
            "two with half a core each ÷ one with half a core, on one partition: {:.2} ({:.0} ÷ {:.0} records a second; \
             by {}; the second helps after {:.1} s)",
            fleet.two_over_one_rate, fleet.two_records_per_s, fleet.one_records_per_s, fleet.quota, fleet.helps_after_s
        );
    }
}

fn landing(name: &str, backlog: &Backlog) {
    println!(
        "\n{name:<18} {:>9} {:>8} {:>8} {:>8} {:>7} {:>6} {:>8} {:>7}",
        "CPU s/M", "broker", "store", "M rec/s", "RSS MB", "files", "MB", "others"
    );
    for (arm, seen) in &backlog.arms {
        println!(
            "{arm:<18} {:>9.3} {:>8.3} {:>8.3} {:>8.2} {:>7.0} {:>6} {:>8.0} {:>7.1}",
            seen.cpu_s_per_million,
            seen.broker_cpu_s_per_million,
            seen.store_cpu_s_per_million,
            seen.records_per_s / 1e6,
            seen.peak_rss_mb,
            seen.files,
            seen.file_bytes as f64 / 1e6,
            seen.others
        );
    }
    println!(
        "{:<18} max(encode, put) ÷ bucket {:.2}; max(dry, put) ÷ bucket {:.2}, far {:.2}; of the ceiling of the CPU {:.2}",
        "",
        backlog.parts_over_bucket,
        backlog.read_parts_over_bucket,
        backlog.far_parts_over_bucket,
        backlog.of_the_ceiling
    );
    println!(
        "{:<18} CPU over disk {:.2}, signed {:.2}; signing {:.3} CPU s/M, and {:.3} in the store",
        "", backlog.cpu_over_disk, backlog.signed_over_disk, backlog.signing, backlog.signing_in_store
    );
}

fn start(name: &str, seen: &Started) {
    println!(
        "{name:<18} {:>8.2} {:>8.2} {:>8.2}  {}",
        seen.opened_s,
        seen.running_s,
        seen.landed_s,
        requests(&seen.requests_per_partition)
    );
}

fn rhythm(name: &str, seen: &Rhythm) {
    println!(
        "{name:<18} {:>8} {:>8.1} {:>8.1} {:>8.1}  {}",
        seen.batches,
        seen.p50_ms,
        seen.p99_ms,
        seen.worst_ms,
        requests(&seen.requests_per_batch)
    );
}

fn requests(by_method: &BTreeMap<String, f64>) -> String {
    let each: Vec<String> = by_method.iter().map(|(method, count)| format!("{method} {count:.2}")).collect();
    each.join(", ")
}

pub fn write(report: &Report) -> anyhow::Result<PathBuf> {
    // Beside the build, wherever that is.
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = tmp.parent().unwrap_or(tmp).join("bench-s3.json");
    std::fs::write(&path, serde_json::to_string_pretty(report)? + "\n")?;
    Ok(path)
}
