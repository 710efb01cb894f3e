//! Landing a backlog, and its parts alone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use landfall::Landfall;
use landfall::kafka::TopicId;
use landfall::origin::{self, Genesis};
use landfall::sink::Layout;
use landfall::supervisor::Mode;
use landfall_lake::{Created, Lake, ObjectLake, ObjectLimits};

use crate::arms::Order;
use crate::blind;
use crate::rig::encoding;
use crate::rig::work::{Cost, Stopwatch};

/// Births at once, as the product has it.
const BIRTHS: usize = 64;
/// Puts at once. More or fewer made none faster here.
const PUTS: usize = 16;

pub fn encode(order: &Order) -> anyhow::Result<Cost> {
    encoding::encode(&order.work, |turn| Ok(blind::lake(&order.dir.join(format!("turn-{turn}")))?))
}

pub fn dry(order: &Order) -> anyhow::Result<Cost> {
    let watch = Stopwatch::start()?;
    let landed = encoding::runtime()?.block_on(async {
        let landfall = order.open(&order.place).await?;
        let root = order.place.url.strip_prefix("file://").context("a lake on the disk")?;
        let own = Layout { lake: landfall.lake_id().to_owned(), ..(*encoding::layout()).clone() };
        let sink = encoding::sink(blind::lake(root.as_ref())?, Arc::new(own))?;
        landfall.run_sink(Arc::new(sink), Mode::Once, std::future::pending()).await?;
        committed(&landfall).await
    })?;
    ensure!(landed == order.work.records(), "{landed} offsets are committed of {}", order.work.records());
    watch.stop(landed)
}

/// Answers how many streams were born.
pub fn prepare(order: &Order) -> anyhow::Result<usize> {
    encoding::runtime()?.block_on(async {
        let landfall = order.open(&order.place).await?;
        let (kafka, topic) = (landfall.kafka().clone(), order.work.topic.clone());
        let asked = tokio::task::spawn_blocking(move || {
            let ids = kafka.topic_ids(std::slice::from_ref(&topic))?;
            kafka.cluster_id(std::time::Duration::from_secs(10)).map(|cluster| (cluster, ids.get(&topic).cloned()))
        });
        let (cluster, id) = asked.await??;
        let id = match id {
            Some(TopicId::Id(id)) => Some(id),
            Some(TopicId::Unsupported) => None,
            other => anyhow::bail!("the id of {}: {other:?}", order.work.topic),
        };
        let zeros = vec![0; usize::try_from(order.work.partitions)?];
        let genesis = Genesis::new(cluster, &order.work.topic, id, zeros, "earliest");
        let genesis = landfall.origin().freeze_genesis(genesis).await?;
        let (landfall, sink) = (&landfall, landfall.sink()?);
        let born: Vec<_> = stream::iter(0..order.work.partitions)
            .map(|partition| {
                let (stream, genesis, sink) = (genesis.stream(partition), &genesis, &sink);
                async move {
                    let (origin, store) = (landfall.origin(), landfall.store());
                    origin::birth(origin, store.as_ref(), sink.as_ref(), &stream, genesis, None).await
                }
            })
            .buffer_unordered(BIRTHS)
            .try_collect()
            .await?;
        Ok(born.len())
    })
}

pub fn land(order: &Order) -> anyhow::Result<Cost> {
    let watch = Stopwatch::start()?;
    let landed = encoding::runtime()?.block_on(async {
        let landfall = order.open(&order.place).await?;
        landfall.run_once(std::future::pending()).await?;
        anyhow::Ok(landfall.board().rows().iter().map(|row| row.committed).sum::<i64>())
    })?;
    let landed = u64::try_from(landed)?;
    ensure!(landed == order.work.records(), "{landed} offsets are committed of {}", order.work.records());
    watch.stop(landed)
}

async fn committed(landfall: &Landfall) -> anyhow::Result<u64> {
    let mut landed = 0;
    for stream in landfall.store().streams().await? {
        landed += landfall.store().load(&stream).await?.map_or(0, |checkpoint| checkpoint.committed());
    }
    Ok(u64::try_from(landed)?)
}

pub fn put(order: &Order, from: &Path) -> anyhow::Result<Cost> {
    let objects = objects(from)?;
    let memory = usize::try_from(order.work.memory / 4)?;
    let limits = ObjectLimits { memory, ..ObjectLimits::new(order.dir.join("spool")) };
    let options = order.place.options.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let lake = ObjectLake::open(&order.place.url, options, limits)?;
    let runtime = encoding::runtime()?;
    let watch = Stopwatch::start()?;
    let lake = &lake;
    let puts = stream::iter(objects).map(|(name, content)| async move {
        let created = lake.create(&name, content).await?;
        ensure!(created == Created::Created, "{name} stands already");
        Ok(())
    });
    runtime.block_on(puts.buffer_unordered(PUTS).try_collect::<Vec<()>>())?;
    watch.stop(order.work.records())
}

/// Data files by their names below the directory, with what is in them.
fn objects(from: &Path) -> anyhow::Result<Vec<(String, Bytes)>> {
    let (mut objects, mut below) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(directory) = below.pop() {
        for entry in std::fs::read_dir(from.join(&directory))? {
            let entry = entry?;
            let name = directory.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                below.push(name);
            } else if name.extension().is_some_and(|extension| extension == "parquet") {
                objects.push((name.display().to_string(), std::fs::read(entry.path())?.into()));
            }
        }
    }
    ensure!(!objects.is_empty(), "no objects below {}", from.display());
    Ok(objects)
}
