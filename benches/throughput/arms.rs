//! The arms. Each runs in a process of its own, so that its CPU seconds and its memory are its own.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::ensure;
use landfall::Landfall;
use landfall::config::StoreKind;
use landfall::sink::Layout;
use landfall::supervisor::Mode;
use landfall_lake::{Lake, LocalLake};
use serde::{Deserialize, Serialize};

use crate::hasty;
use crate::rig::encoding::{self, encode};
use crate::rig::reading::consume;
use crate::rig::work::{Cost, Stopwatch, Work, written};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The product's own reader into record batches, which are thrown away.
    Consume,
    /// The product's own sink, fed with batches that were read before the clock started.
    Encode,
    /// `landfall run --once`.
    Whole,
    /// The same with the checkpoints in memory, and nothing synced.
    Hasty,
}

/// What the parent asks of an arm: one argument, as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    pub kind: Kind,
    #[serde(flatten)]
    pub work: Work,
    /// An empty directory, on the disk that is measured.
    pub dir: PathBuf,
}

pub fn run(order: &Order) -> anyhow::Result<Cost> {
    let lake_of = |turn: u64| -> anyhow::Result<Arc<dyn Lake>> {
        Ok(Arc::new(LocalLake::open(order.dir.join(format!("turn-{turn}")), 4)?))
    };
    let cost = match order.kind {
        Kind::Consume => consume(&order.work),
        Kind::Encode => encode(&order.work, lake_of),
        Kind::Whole | Kind::Hasty => whole(order),
    }?;
    let (files, file_bytes) = written(&order.dir)?;
    Ok(Cost { files, file_bytes, ..cost })
}

fn whole(order: &Order) -> anyhow::Result<Cost> {
    let watch = Stopwatch::start()?;
    let lake = order.dir.join("lake");
    let work = &order.work;
    let landed = encoding::runtime()?.block_on(async {
        let landfall = Landfall::builder()
            .property("bootstrap.servers", &work.bootstrap)
            .topic(&work.topic)
            .lake(&format!("file://{}", lake.display()))
            .state(order.dir.join("state"))
            .max_size(work.max_size)
            .memory(work.memory)
            .workers(work.workers)
            .with(|config| match order.kind {
                Kind::Hasty => config.checkpoint.store = StoreKind::Memory,
                _ => config.checkpoint.store = StoreKind::Sled,
            })
            .open()
            .await?;
        match order.kind {
            Kind::Hasty => {
                let own = Layout { lake: landfall.lake_id().to_owned(), ..(*encoding::layout()).clone() };
                let hasty = hasty::lake(&lake)?;
                let sink = Arc::new(encoding::sink(hasty, Arc::new(own))?);
                landfall.run_sink(sink, Mode::Once, std::future::pending()).await?;
            }
            _ => landfall.run_once(std::future::pending()).await?,
        }
        let mut landed = 0;
        for stream in landfall.store().streams().await? {
            landed += landfall.store().load(&stream).await?.map_or(0, |checkpoint| checkpoint.committed());
        }
        anyhow::Ok(u64::try_from(landed)?)
    })?;
    ensure!(landed == work.records(), "{landed} offsets are committed of {}", work.records());
    watch.stop(landed)
}
