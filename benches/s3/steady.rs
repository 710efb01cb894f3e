//! How long a batch takes from its plan to its commit, and what is asked of the store for it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::arms::Order;
use crate::listener::Heard;
use crate::rig::encoding;
use crate::store::Liar;

const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rhythm {
    pub batches: usize,
    /// From the plan to the commit, in milliseconds.
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub worst_ms: f64,
    /// By method; `LIST` is one of its own. Empty where nothing was counted.
    pub requests_per_batch: BTreeMap<String, f64>,
}

/// Runs for so many seconds, or once, after `warm` batches in every partition.
pub fn run(order: &Order, heard: &Heard, seconds: Option<u64>, warm: usize, counted: bool) -> anyhow::Result<Rhythm> {
    let (place, liar) = match counted {
        true => order.place.counted().map(|(place, liar)| (place, Some(liar)))?,
        false => (order.place.clone(), None),
    };
    let (liar, warm) = (liar.as_ref(), usize::try_from(order.work.partitions)? * warm);
    let (before, after) = encoding::runtime()?.block_on(async {
        let landfall = order.open(&place).await?;
        let Some(seconds) = seconds else {
            let once = async { anyhow::Ok(landfall.run_once(std::future::pending()).await?) };
            let (before, ()) = tokio::try_join!(warmed(heard, liar, warm), once)?;
            return anyhow::Ok((before, seen(heard, liar)));
        };
        let (tell, told) = tokio::sync::oneshot::channel();
        let stop = async {
            let before = warmed(heard, liar, warm).await;
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            drop(tell.send(before.map(|before| (before, seen(heard, liar)))));
        };
        landfall.run(stop).await?;
        told.await.context("it ended by itself")?
    })?;
    rhythm(heard, &before, &after)
}

/// Commits, and requests by method.
type Sight = (usize, BTreeMap<String, usize>);

fn seen(heard: &Heard, liar: Option<&Liar>) -> Sight {
    (heard.count(), liar.map(Liar::asked).unwrap_or_default())
}

async fn warmed(heard: &Heard, liar: Option<&Liar>, commits: usize) -> anyhow::Result<Sight> {
    let began = Instant::now();
    while heard.count() < commits {
        ensure!(began.elapsed() < PATIENCE, "{} batches of {commits} were committed in {PATIENCE:?}", heard.count());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(seen(heard, liar))
}

fn rhythm(heard: &Heard, before: &Sight, after: &Sight) -> anyhow::Result<Rhythm> {
    let mut took = heard.since(before.0);
    took.truncate(after.0 - before.0);
    took.sort_by(f64::total_cmp);
    ensure!(!took.is_empty(), "no batch was committed");
    let batches = took.len() as f64;
    let percentile = |part: f64| took[((took.len() - 1) as f64 * part).round() as usize];
    let per_batch = |(method, count): (&String, &usize)| {
        let requests = count - before.1.get(method).copied().unwrap_or(0);
        (method.clone(), requests as f64 / batches)
    };
    Ok(Rhythm {
        batches: took.len(),
        p50_ms: percentile(0.5),
        p99_ms: percentile(0.99),
        worst_ms: percentile(1.0),
        requests_per_batch: after.1.iter().map(per_batch).collect(),
    })
}
