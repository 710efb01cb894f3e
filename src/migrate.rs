//! Moves a lake from the store of one host into the store of the lake itself, exactly: every record keeps its
//! genesis, `next`, plans, gaps and epochs, and begins with version 1 in the new place.
//!
//! The order makes it safe to be stopped anywhere and called again: first the old store is brought together with
//! what stands in the lake, as at each of its starts; then the lake gets its new owner, which names the store that it
//! came from, so that no process of the old store can work on; then the records are copied, each create-only. A
//! process that starts in between finds marks without checkpoints, and stops.

use std::sync::Arc;

use landfall_lake::Lake;
use landfall_sink::{Sink, Span, Stream};
use serde::Serialize;

use crate::ambient;
use crate::checkpoint::{Checkpoint, CheckpointStore, Planned, StoreError, Swap};
use crate::origin::{Origin, OriginError, OwnerAbout, point, reconcile};

/// One record that stands in the new store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MigratedStream {
    #[serde(flatten)]
    pub stream: Stream,
    pub next: i64,
    pub planned: Vec<Span>,
    /// It was there already, from an earlier call.
    pub already: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Migrated {
    /// The lake's id.
    pub lake: String,
    /// The number under which the lake's own store owns it now.
    pub owner: u64,
    pub streams: Vec<MigratedStream>,
}

pub struct Migration<'a> {
    pub lake: Arc<dyn Lake>,
    /// Held by this process, so that nobody else changes it.
    pub from: &'a dyn CheckpointStore,
    pub to: &'a dyn CheckpointStore,
    pub about: OwnerAbout,
}

/// `sink` makes the sink for the lake as its owner knows it.
pub async fn migrate(
    migration: Migration<'_>,
    sink: impl Fn(&Origin) -> Result<Arc<dyn Sink>, OriginError>,
) -> Result<Migrated, OriginError> {
    let Migration { lake, from, to, about } = migration;
    let former = Origin::open(lake.clone()).await?;
    let origin = if former.owner().from.as_deref() == Some(from.id()) {
        former.continue_as(to)?
    } else {
        let former = Origin::claim(lake.clone(), from, about.clone()).await?;
        let sink = sink(&former)?;
        for stream in from.streams().await? {
            if let Some(record) = from.load(&stream).await? {
                reconcile(&former, from, sink.as_ref(), &stream, record).await?;
            }
        }
        former.hand_over(from, to, about).await?
    };
    // Once all were copied, a record that is missing was lost here: an old one must not take its place.
    let done = origin.is_handed_over().await?;
    let mut streams = Vec::new();
    for stream in from.streams().await? {
        if let Some(record) = from.load(&stream).await? {
            streams.push(if done { stands(to, &record.stream).await? } else { copy(&origin, to, record).await? });
        }
    }
    origin.handed_over().await?;
    origin.still_owner().await?;
    Ok(Migrated { lake: origin.lake_id().into(), owner: origin.owner().number, streams })
}

async fn copy(origin: &Origin, to: &dyn CheckpointStore, record: Checkpoint) -> Result<MigratedStream, OriginError> {
    let first = Checkpoint { version: 1, nonce: ambient::random_id(), ..record };
    let stream = first.stream.clone();
    let mut already = true;
    let mut stands = to.load(&stream).await?;
    if stands.is_none() {
        already = false;
        stands = match to.swap(None, &first).await {
            Ok(Swap::Won) => Some(first),
            Ok(Swap::Lost) | Err(StoreError::Unknown { .. }) => to.load(&stream).await?,
            Err(error) => return Err(error.into()),
        };
    }
    let stands = stands.ok_or_else(|| {
        let message = format!("{stream} is not there after it was copied; call it again");
        OriginError::Store(StoreError::NotDone { store: to.kind().into(), message })
    })?;
    point("migrate.after_checkpoint")?;
    origin.mark_born(&stream).await?;
    Ok(row(stands, already))
}

/// What became of a record that was copied before.
async fn stands(to: &dyn CheckpointStore, stream: &Stream) -> Result<MigratedStream, OriginError> {
    let why = || "its checkpoint was moved into this lake".into();
    let lost = || OriginError::NeedsRebuild { stream: Box::new(stream.clone()), why: why() };
    to.load(stream).await?.map(|record| row(record, true)).ok_or_else(lost)
}

fn row(record: Checkpoint, already: bool) -> MigratedStream {
    let planned = record.planned.iter().map(Planned::span).collect();
    MigratedStream { stream: record.stream, next: record.next, planned, already }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::LakeStore;
    use crate::origin::doubles::{MemorySink, World, about};
    use crate::origin::{Genesis, birth};

    async fn used() -> World {
        let world = World::new().await;
        let genesis = Genesis::new("c", "orders", Some("id".into()), vec![0, 40], "earliest");
        let genesis = world.origin.freeze_genesis(genesis).await.unwrap();
        for partition in 0..2 {
            let stream = genesis.stream(partition);
            let born = birth(&world.origin, &world.store, &world.sink, &stream, &genesis, None).await.unwrap();
            let first = Span::new(born.next, born.next + 10);
            let planned = born.plan(Planned::new(first, world.sink.layout.digest()), "n1").unwrap();
            let committed = planned.commit(first, &[Span::new(first.from, first.from + 2)], "n2").unwrap();
            let open = Planned::new(Span::new(first.until, first.until + 5), world.sink.layout.digest());
            world.store.set(committed.plan(open, "n3").unwrap());
        }
        world
    }

    async fn moved(world: &World, to: &LakeStore) -> Result<Migrated, OriginError> {
        let lake: Arc<dyn Lake> = world.lake.clone();
        let sink = MemorySink { layout: world.sink.layout.clone(), files: world.sink.files.clone() };
        let sink: Arc<dyn Sink> = Arc::new(sink);
        let migration = Migration { lake, from: &world.store, to, about: about("a") };
        migrate(migration, |_| Ok(sink.clone())).await
    }

    async fn assert_exact(world: &World, to: &LakeStore) {
        for stream in world.store.streams().await.unwrap() {
            let old = world.store.record(&stream).unwrap();
            let new = to.load(&stream).await.unwrap().unwrap();
            assert_eq!(new, Checkpoint { version: 1, nonce: new.nonce.clone(), ..old });
        }
    }

    #[tokio::test]
    async fn every_record_stands_in_the_lake_as_it_was_and_the_old_store_is_refused() {
        let world = used().await;
        let to = LakeStore::new(world.lake.clone());
        let migrated = moved(&world, &to).await.unwrap();
        assert_eq!((migrated.owner, migrated.streams.len()), (2, 2));
        assert_eq!(migrated.streams[1].planned, [Span::new(50, 55)]);
        assert_exact(&world, &to).await;
        let again = Origin::claim(world.lake.clone(), &world.store, about("a")).await;
        assert!(matches!(again, Err(OriginError::OtherOwner { .. })));
        let other = LakeStore::new(world.lake.clone());
        Origin::claim(world.lake.clone(), &other, about("b")).await.unwrap();
        assert_exact(&world, &other).await;
    }

    #[tokio::test]
    async fn files_beyond_the_old_store_are_taken_up_before_it_is_left() {
        let world = used().await;
        let stream = world.store.streams().await.unwrap().remove(0);
        world.sink.land(&stream, 20, 30, &[]);
        let to = LakeStore::new(world.lake.clone());
        moved(&world, &to).await.unwrap();
        let new = to.load(&stream).await.unwrap().unwrap();
        assert_eq!(new.next, 30);
        assert_eq!(new.planned.iter().map(Planned::span).collect::<Vec<_>>(), [Span::new(10, 15), Span::new(15, 20)]);
    }

    #[tokio::test(start_paused = true)]
    async fn stopped_anywhere_it_is_completed_by_the_next_call() {
        let mut stops = 0;
        for at in 0..200 {
            let world = used().await;
            world.lake.trip.arm(at, at % 2 == 0);
            let first = moved(&world, &LakeStore::new(world.lake.clone())).await;
            let calls = world.lake.trip.disarm();
            stops += u64::from(first.is_err());
            let to = LakeStore::new(world.lake.clone());
            let migrated = moved(&world, &to).await.unwrap();
            assert_eq!(migrated.owner, 2, "stopped at call {at}");
            assert_exact(&world, &to).await;
            if first.is_ok() && calls <= at {
                break;
            }
        }
        assert!(stops > 10, "{stops}");
    }

    #[tokio::test]
    async fn records_that_have_grown_in_the_new_place_are_left_alone() {
        let world = used().await;
        let to = LakeStore::new(world.lake.clone());
        moved(&world, &to).await.unwrap();
        let stream = world.store.streams().await.unwrap().remove(0);
        let copied = to.load(&stream).await.unwrap().unwrap();
        let grown = copied.plan(Planned::new(Span::new(copied.next, 99), "l"), "n9").unwrap();
        assert_eq!(to.swap(Some(1), &grown).await.unwrap(), Swap::Won);
        let migrated = moved(&world, &LakeStore::new(world.lake.clone())).await.unwrap();
        assert!(migrated.streams.iter().all(|stream| stream.already));
        assert_eq!(to.load(&stream).await.unwrap(), Some(grown));
        // Nor does an old record take the place of one that was lost.
        let gone =
            world.lake.paths().into_iter().filter(|path| path.starts_with("_landfall/checkpoints/2/c/orders/id/0/"));
        drop(world.lake.take(gone));
        let again = moved(&world, &LakeStore::new(world.lake.clone())).await;
        assert!(matches!(again, Err(OriginError::NeedsRebuild { .. })), "{again:?}");
    }
}
