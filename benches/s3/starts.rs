//! A start: how long until all streams run, and until all have landed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::ensure;
use landfall::Landfall;
use serde::{Deserialize, Serialize};

use crate::arms::Order;
use crate::rig::encoding;

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
    /// Until all ran, by method; empty where nothing was counted.
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
        let (mut running_s, mut landed_s, mut asked) = (f64::NAN, f64::NAN, BTreeMap::new());
        let all = usize::try_from(partitions)?;
        let stop = async {
            while landfall.board().totals().streams < all && began.elapsed() < PATIENCE {
                tokio::time::sleep(LOOK).await;
            }
            running_s = began.elapsed().as_secs_f64();
            asked = liar.as_ref().map(|liar| liar.asked()).unwrap_or_default();
            while !has_landed(&landfall, all, order.work.records_each) && began.elapsed() < PATIENCE {
                tokio::time::sleep(LOOK).await;
            }
            landed_s = began.elapsed().as_secs_f64();
        };
        landfall.run(stop).await?;
        ensure!(landed_s < PATIENCE.as_secs_f64(), "{partitions} partitions have not landed in {PATIENCE:?}");
        let each = |(method, count): (String, usize)| (method, count as f64 / f64::from(partitions));
        let requests_per_partition = asked.into_iter().map(each).collect();
        Ok(Started { partitions, opened_s, running_s, landed_s, requests_per_partition })
    })
}

fn has_landed(landfall: &Landfall, partitions: usize, records_each: i64) -> bool {
    let rows = landfall.board().rows();
    rows.len() == partitions && rows.iter().all(|row| row.committed >= records_each)
}
