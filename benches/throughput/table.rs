//! The table for people, and `target/bench.json` for the next run to be compared with.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::rounds::{Report, Seen};

pub fn print(report: &Report) {
    println!(
        "{} cores, {} workers, limits.memory {} MiB, medians of {} rounds (memory: the worst)\n",
        report.cores,
        report.workers,
        report.limits_memory >> 20,
        report.rounds
    );
    println!(
        "{:<14} {:>9} {:>8} {:>8} {:>7} {:>9} {:>6} {:>8} {:>7}",
        "", "CPU s/M", "broker", "M rec/s", "RSS MB", "records", "files", "MB", "others"
    );
    for (name, figures) in &report.shapes {
        row(&format!("{name} consume"), &figures.consume);
        row(&format!("{name} encode"), &figures.encode);
        row(&format!("{name} whole"), &figures.whole);
        println!(
            "{:<14} {:.2} of the ceiling of {:.2} M rec/s; CPU of the parts over the whole {:.2}\n",
            "",
            figures.whole_over_ceiling,
            figures.ceiling_records_per_s / 1e6,
            figures.parts_over_whole
        );
    }
    match (&report.kafka, &report.kafka_missing) {
        (Some(kafka), _) => {
            row("Kafka whole", &kafka.whole);
            row("Kafka hasty", &kafka.hasty);
            row("Kafka hot", &kafka.hot_partition);
            row("Kafka busy", &kafka.busy_partitions);
            println!("{:<14} protocol overhead {:.1} %", "", kafka.protocol_overhead * 100.0);
        }
        (None, Some(why)) => println!("nothing measured on a real Kafka: {why}"),
        (None, None) => {}
    }
    if report.shapes.values().any(|figures| figures.whole.others > 0.2) {
        println!("\nOther programs kept the machine busy: believe CPU seconds, not records a second.");
    }
}

fn row(name: &str, seen: &Seen) {
    println!(
        "{name:<14} {:>9.3} {:>8.3} {:>8.2} {:>7.0} {:>9} {:>6} {:>8.0} {:>7.1}",
        seen.cpu_s_per_million,
        seen.broker_cpu_s_per_million,
        seen.records_per_s / 1e6,
        seen.peak_rss_mb,
        seen.records,
        seen.files,
        seen.file_bytes as f64 / 1e6,
        seen.others
    );
}

/// Shapes stand at the top, so that a program finds `.json."100B".cpu_s_per_million`.
pub fn write(report: &Report) -> anyhow::Result<PathBuf> {
    let mut top = Map::new();
    for (name, figures) in &report.shapes {
        top.insert(name.clone(), serde_json::to_value(figures)?);
    }
    let overhead = report.kafka.as_ref().map(|kafka| kafka.protocol_overhead);
    top.insert("protocol_overhead".into(), json!(overhead));
    top.insert("kafka".into(), serde_json::to_value(&report.kafka)?);
    top.insert("cores".into(), json!(report.cores));
    top.insert("workers".into(), json!(report.workers));
    top.insert("limits_memory".into(), json!(report.limits_memory));
    top.insert("rounds".into(), json!(report.rounds));
    // Beside the build, wherever that is.
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = tmp.parent().unwrap_or(tmp).join("bench.json");
    std::fs::write(&path, serde_json::to_string_pretty(&Value::Object(top))? + "\n")?;
    Ok(path)
}
