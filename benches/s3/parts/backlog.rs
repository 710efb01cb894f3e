//! A backlog into the bucket, beside its parts alone and the local disk.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::arms::Kind;
use crate::rig::median;
use crate::rounds::{BUCKET, Bench, SIGNED, Seen, Topic, Where};

/// Ratios are medians of the rounds' own ratios.
#[derive(Debug, Clone, Serialize)]
pub struct Backlog {
    /// The slower of encoding alone and putting alone ÷ landing in the bucket, by the clock.
    pub parts_over_bucket: f64,
    /// The same with reading and encoding as one part: both want the same cores.
    pub read_parts_over_bucket: f64,
    /// The same where each answer takes longer, as from a store that is not next door.
    pub far_parts_over_bucket: f64,
    /// Records a second ÷ what the cores could do if nothing but the CPU seconds of reading, encoding, putting and of
    /// the two servers were spent.
    pub of_the_ceiling: f64,
    /// CPU seconds in the bucket ÷ on the local disk.
    pub cpu_over_disk: f64,
    pub signed_over_disk: f64,
    /// CPU seconds for a million records that signing costs here, and in the store.
    pub signing: f64,
    pub signing_in_store: f64,
    /// Medians; of memory the worst.
    pub arms: BTreeMap<&'static str, Seen>,
}

/// In the order in which they take turns.
const ARMS: [&str; 8] = ["encode", "dry", "bucket", "put", "signed", "far", "far put", "disk"];

pub fn measure(bench: &Bench, topic: &Topic<'_>) -> anyhow::Result<Backlog> {
    let mut rounds = Vec::new();
    for round in 1..=bench.options.rounds {
        let seen = one_round(bench, topic)?;
        for (name, seen) in ARMS.iter().filter_map(|name| seen.get_key_value(name)) {
            eprintln!("{}: round {round} {name:7} {}", topic.name, line(seen));
        }
        rounds.push(seen);
    }
    Ok(figures(bench.cores, &rounds))
}

fn one_round(bench: &Bench, topic: &Topic<'_>) -> anyhow::Result<BTreeMap<&'static str, Seen>> {
    let mut seen = BTreeMap::new();
    for (name, kind) in [("encode", Kind::Encode), ("dry", Kind::Dry)] {
        let site = bench.site(Where::Disk)?;
        seen.insert(name, bench.cost(topic, &bench.order(kind, topic, &site), &site)?);
    }
    for (name, at) in [("bucket", BUCKET), ("signed", SIGNED), ("far", Where::Far), ("disk", Where::Disk)] {
        let site = bench.site(at)?;
        let _: usize = bench.ask(&bench.order(Kind::Prepare, topic, &site))?;
        seen.insert(name, bench.cost(topic, &bench.order(Kind::Land, topic, &site), &site)?);
        let put = match name {
            "bucket" => "put",
            "far" => "far put",
            _ => continue,
        };
        let again = bench.site(at)?;
        let kind = Kind::Put { from: site.objects.clone() };
        seen.insert(put, bench.cost(topic, &bench.order(kind, topic, &again), &again)?);
    }
    Ok(seen)
}

fn figures(cores: usize, rounds: &[BTreeMap<&'static str, Seen>]) -> Backlog {
    let ratio = |of: &dyn Fn(&BTreeMap<&'static str, Seen>) -> f64| median(rounds.iter().map(of));
    let cpu = |arms: &BTreeMap<&str, Seen>, name: &str| arms[name].cpu_s_per_million;
    // Seconds for a record.
    let wall = |arms: &BTreeMap<&str, Seen>, name: &str| 1.0 / arms[name].records_per_s;
    let of_the_ceiling = |arms: &BTreeMap<&'static str, Seen>| {
        let servers = arms["bucket"].broker_cpu_s_per_million + arms["bucket"].store_cpu_s_per_million;
        let ceiling = cores as f64 * 1e6 / (cpu(arms, "dry") + cpu(arms, "put") + servers);
        arms["bucket"].records_per_s / ceiling
    };
    Backlog {
        parts_over_bucket: ratio(&|arms| wall(arms, "encode").max(wall(arms, "put")) / wall(arms, "bucket")),
        read_parts_over_bucket: ratio(&|arms| wall(arms, "dry").max(wall(arms, "put")) / wall(arms, "bucket")),
        far_parts_over_bucket: ratio(&|arms| wall(arms, "dry").max(wall(arms, "far put")) / wall(arms, "far")),
        of_the_ceiling: ratio(&of_the_ceiling),
        cpu_over_disk: ratio(&|arms| cpu(arms, "bucket") / cpu(arms, "disk")),
        signed_over_disk: ratio(&|arms| cpu(arms, "signed") / cpu(arms, "disk")),
        signing: ratio(&|arms| cpu(arms, "signed") - cpu(arms, "bucket")),
        signing_in_store: ratio(&|arms| {
            arms["signed"].store_cpu_s_per_million - arms["bucket"].store_cpu_s_per_million
        }),
        arms: ARMS.into_iter().map(|name| (name, medians(rounds, name))).collect(),
    }
}

/// The median of each figure on its own.
fn medians(rounds: &[BTreeMap<&'static str, Seen>], name: &str) -> Seen {
    let of = |figure: fn(&Seen) -> f64| median(rounds.iter().map(|arms| figure(&arms[name])));
    let last = &rounds[rounds.len() - 1][name];
    Seen {
        cpu_s_per_million: of(|seen| seen.cpu_s_per_million),
        broker_cpu_s_per_million: of(|seen| seen.broker_cpu_s_per_million),
        store_cpu_s_per_million: of(|seen| seen.store_cpu_s_per_million),
        records_per_s: of(|seen| seen.records_per_s),
        peak_rss_mb: rounds.iter().map(|arms| arms[name].peak_rss_mb).fold(0.0, f64::max),
        records: last.records,
        files: last.files,
        file_bytes: last.file_bytes,
        others: of(|seen| seen.others),
    }
}

fn line(seen: &Seen) -> String {
    format!(
        "{:.3} CPU s/M, broker {:.3}, store {:.3}, {:.2} M/s, {:.0} MB, {} files, others {:.1} cores",
        seen.cpu_s_per_million,
        seen.broker_cpu_s_per_million,
        seen.store_cpu_s_per_million,
        seen.records_per_s / 1e6,
        seen.peak_rss_mb,
        seen.files,
        seen.others
    )
}
