//! A start: how long until all streams run, and until all have landed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use landfall::Landfall;
use serde::{Deserialize, Serialize};

use crate::arms::Order;
use crate::rig::{encoding, median};
use crate::store::Liar;

/// Seconds since the start of the process's work.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Started {
    pub partitions: i32,
    /// The lake is open: its owner is known, and where it is new it was probed.
    pub opened_s: f64,
    /// Every stream has its checkpoint and its task.
    pub running_s: f64,
    /// Every stream has landed what was there.
    pub landed_s: f64,
    /// From the open lake until all ran, by method; empty where nothing was counted.
    pub requests_per_partition: BTreeMap<String, f64>,
}

const LOOK: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(600);

pub fn start(order: &Order, counted: bool) -> anyhow::Result<Started> {
    let (place, liar) = match counted {
        true => order.place.counted().map(|(place, liar)| (place, Some(liar)))?,
        false => (order.place.clone(), None),
    };
    let began = Instant::now();
    let partitions = order.work.partitions;
    encoding::runtime()?.block_on(async {
        let landfall = order.open(&place).await?;
        let opened_s = began.elapsed().as_secs_f64();
        let count = || liar.as_ref().map(Liar::asked).unwrap_or_default();
        // Of the probe of a new lake, which has nothing to do with the partitions.
        let before = count();
        let (mut running_s, mut landed_s, mut asked) = (f64::NAN, f64::NAN, BTreeMap::new());
        let all = usize::try_from(partitions)?;
        let stop = async {
            while landfall.board().totals().streams < all && began.elapsed() < PATIENCE {
                tokio::time::sleep(LOOK).await;
            }
            running_s = began.elapsed().as_secs_f64();
            asked = count();
            while !has_landed(&landfall, all, order.work.records_each) && began.elapsed() < PATIENCE {
                tokio::time::sleep(LOOK).await;
            }
            landed_s = began.elapsed().as_secs_f64();
        };
        landfall.run(stop).await?;
        ensure!(landed_s < PATIENCE.as_secs_f64(), "{partitions} partitions have not landed in {PATIENCE:?}");
        let each = |(method, count): (String, usize)| {
            let count = count - before.get(&method).copied().unwrap_or(0);
            (method, count as f64 / f64::from(partitions))
        };
        let requests_per_partition = asked.into_iter().map(each).collect();
        Ok(Started { partitions, opened_s, running_s, landed_s, requests_per_partition })
    })
}

fn has_landed(landfall: &Landfall, partitions: usize, records_each: i64) -> bool {
    let rows = landfall.board().rows();
    rows.len() == partitions && rows.iter().all(|row| row.committed >= records_each)
}

/// The median of each time on its own.
pub fn medians<'a>(starts: impl Iterator<Item = &'a Started> + Clone) -> anyhow::Result<Started> {
    let of = |figure: fn(&Started) -> f64| median(starts.clone().map(figure));
    let first = starts.clone().next().context("--rounds must be at least 1")?;
    Ok(Started {
        opened_s: of(|started| started.opened_s),
        running_s: of(|started| started.running_s),
        landed_s: of(|started| started.landed_s),
        ..first.clone()
    })
}
