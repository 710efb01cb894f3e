//! Rebuilds after random histories, with a stop at every call, and the refusals.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use landfall_sink::{Landed, merge_spans};
use proptest::prelude::*;

use super::*;
use crate::checkpoint::Planned;
use crate::origin::doubles::{MemorySink, MemoryStore, World, about, layout};
use crate::origin::{Genesis, birth};

struct Person {
    files: Arc<Mutex<std::collections::BTreeMap<String, Landed>>>,
    busy: AtomicBool,
    agrees: AtomicBool,
    asked: Mutex<Vec<OffsetRange>>,
}

impl Person {
    fn of(world: &World) -> Person {
        let (busy, agrees) = (AtomicBool::new(false), AtomicBool::new(true));
        Person { files: world.sink.files.clone(), busy, agrees, asked: Mutex::default() }
    }
}

#[async_trait]
impl Operator for Person {
    async fn nobody_else(&self, _: &str) -> Result<(), OriginError> {
        match self.busy.load(Relaxed) {
            true => Err(OriginError::Refused("the group has members".into())),
            false => Ok(()),
        }
    }

    async fn requests_have_ended(&self) {}

    fn sink(&self, origin: &Origin) -> Result<Arc<dyn Sink>, OriginError> {
        let layout = Arc::new(layout(origin.lake_id(), "{topic}/{partition}"));
        Ok(Arc::new(MemorySink { layout, files: self.files.clone() }))
    }

    async fn were_removed(&self, ranges: &[OffsetRange]) -> bool {
        *self.asked.lock().unwrap() = ranges.to_vec();
        self.agrees.load(Relaxed)
    }
}

async fn run(
    world: &World,
    store: &MemoryStore,
    person: &Person,
    holes: Holes,
    former: Option<&dyn Former>,
) -> Result<Rebuilt, OriginError> {
    let lake = world.lake.clone();
    let settings = Rebuild { lake, store, about: about("b"), take_over: true, holes, former, parallel: 2 };
    sent(rebuild(settings, person)).await
}

/// Whoever rebuilds may do so on a task of its own.
fn sent<T: Send>(future: T) -> T {
    future
}

async fn land_again(world: &World, store: &MemoryStore) -> Result<Rebuilt, OriginError> {
    run(world, store, &Person::of(world), Holes::Land, None).await
}

/// A stream that starts at 40, with its record.
async fn born(world: &World) -> (Genesis, Checkpoint) {
    let genesis = Genesis::new("c", "t", Some("id".into()), vec![40], "latest");
    let genesis = world.origin.freeze_genesis(genesis).await.unwrap();
    let record = birth(&world.origin, &world.store, &world.sink, &genesis.stream(0), &genesis, None).await.unwrap();
    (genesis, record)
}

/// What one step of a writer does: the length of its plan, whether its file was put, whether the plan was
/// committed too, and whether its first offset was a gap.
type Step = (i64, bool, bool, bool);

/// Plays the steps; returns the true record. A plan that is not committed stays open.
async fn play(world: &World, steps: &[Step]) -> Checkpoint {
    let (_, mut record) = born(world).await;
    for (length, put, commit, gap) in steps.iter().copied() {
        let span = Span::new(record.next, record.next + length);
        record = record.plan(Planned::new(span, world.sink.layout.digest()), "n").unwrap();
        let gaps: Vec<Span> = gap.then_some(Span::new(span.from, span.from + 1)).into_iter().collect();
        if put {
            world.sink.land(&record.stream, span.from, span.until, &gaps);
        }
        if put && commit {
            record = record.commit(span, &gaps, "n").unwrap();
        }
    }
    world.store.set(record.clone());
    record
}

fn same_coverage(world: &World, truth: &Checkpoint, rebuilt: &Checkpoint) {
    rebuilt.check().unwrap();
    let files: Vec<Landed> = world.sink.files.lock().unwrap().values().cloned().collect();
    let largest = files.iter().map(|file| file.span.until).max().unwrap_or(truth.genesis);
    assert_eq!((rebuilt.genesis, rebuilt.next), (truth.genesis, largest));
    for offset in truth.genesis..truth.next {
        let one = Span::new(offset, offset + 1);
        let named = files.iter().any(|file| file.span.contains(offset));
        assert_eq!(rebuilt.is_committed(one), named && offset < largest, "{offset}");
        assert!(!truth.is_committed(one) || rebuilt.is_committed(one), "{offset} was committed");
    }
    let gaps = merge_spans(files.iter().flat_map(|file| file.gaps.clone()).collect());
    assert_eq!(rebuilt.gaps, gaps);
    for gap in &truth.gaps {
        assert!(rebuilt.gaps.iter().any(|known| known.covers(*gap)));
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((1i64..5, any::<bool>(), any::<bool>(), any::<bool>()), 0..10)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_rebuild_covers_what_was_covered(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let world = World::new().await;
            let truth = play(&world, &steps).await;
            let store = MemoryStore::new("s2", world.lake.trip.clone());
            let rebuilt = land_again(&world, &store).await.unwrap();
            assert_eq!((rebuilt.owner, rebuilt.streams.len()), (2, 1));
            same_coverage(&world, &truth, &store.record(&truth.stream).unwrap());
        });
    }

    #[test]
    fn a_store_that_lost_its_newest_versions_gets_them_back(steps in steps(), kept in 0usize..10) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            // Every plan up to `kept` is known to the old copy of the record.
            let world = World::new().await;
            let old = play(&world, &steps[..kept.min(steps.len())]).await;
            let truth = { let world = World::new().await; play(&world, &steps).await };
            let files = { let world = World::new().await; play(&world, &steps).await; world.sink.files.lock().unwrap().clone() };
            *world.sink.files.lock().unwrap() = files;
            land_again(&world, &world.store).await.unwrap();
            let record = world.store.record(&old.stream).unwrap();
            record.check().unwrap();
            assert!(old.planned.iter().all(|plan| record.open_plan(plan.span()).is_some()));
            for offset in truth.genesis..record.next {
                let one = Span::new(offset, offset + 1);
                let named = world.sink.files.lock().unwrap().values().any(|file| file.span.contains(offset));
                assert!(named || !record.is_committed(one), "{offset} has no file");
            }
        });
    }
}

const HISTORY: [Step; 6] = [
    (5, false, false, false),
    (3, true, true, true),
    (4, true, false, false),
    (2, false, false, false),
    (6, true, true, false),
    (1, false, false, false),
];

#[tokio::test]
async fn a_rebuild_stopped_anywhere_gives_the_same_when_it_is_run_again() {
    let expected = {
        let world = World::new().await;
        play(&world, &HISTORY).await;
        let store = MemoryStore::new("s2", world.lake.trip.clone());
        land_again(&world, &store).await.unwrap();
        store.record(&born(&world).await.1.stream).unwrap()
    };
    let (mut stopped, mut whole) = (0, 0);
    for at in 0..200 {
        for after in [false, true] {
            let world = World::new().await;
            let truth = play(&world, &HISTORY).await;
            let store = MemoryStore::new("s2", world.lake.trip.clone());
            world.lake.trip.arm(at, after);
            let first = land_again(&world, &store).await;
            world.lake.trip.disarm();
            match first {
                Err(_) => stopped += 1,
                Ok(_) => whole += 1,
            }
            let rebuilt = land_again(&world, &store).await.unwrap();
            assert_eq!(rebuilt.streams.len(), 1);
            let record = store.record(&truth.stream).unwrap();
            let content = |record: &Checkpoint| {
                let Checkpoint { genesis, next, planned, gaps, .. } = record.clone();
                (genesis, next, planned.iter().map(Planned::span).collect::<Vec<_>>(), gaps)
            };
            assert_eq!(content(&record), content(&expected), "stopped at call {at}");
            assert!(world.origin.is_born(&truth.stream).await.unwrap());
        }
    }
    assert!(stopped > 20 && whole > 0, "{stopped} stops, {whole} whole runs");
}

#[tokio::test]
async fn a_former_record_gives_its_plans_and_bounds() {
    struct Copy(MemoryStore);
    #[async_trait]
    impl Former for Copy {
        async fn load(&self, stream: &Stream) -> Result<Option<Checkpoint>, StoreError> {
            self.0.load(stream).await
        }
    }
    let world = World::new().await;
    let truth = play(&world, &HISTORY).await;
    let former = Copy(MemoryStore::new("s1", Arc::default()));
    former.0.set(truth.clone());
    world.sink.land(&truth.stream, truth.next + 2, truth.next + 4, &[]);
    let store = MemoryStore::new("s2", world.lake.trip.clone());
    let rebuilt = run(&world, &store, &Person::of(&world), Holes::Land, Some(&former)).await.unwrap();
    assert_eq!(rebuilt.streams[0].source, Source::Former);
    let record = store.record(&truth.stream).unwrap();
    assert_eq!((record.version, record.next), (1, truth.next + 4));
    let mut planned = truth.planned.clone();
    planned.push(Planned::new(Span::new(truth.next, truth.next + 2), world.sink.layout.digest()));
    assert_eq!(record.planned, planned);
}

#[tokio::test]
async fn holes_count_as_removed_only_when_a_person_agrees() {
    let world = World::new().await;
    let truth = play(&world, &HISTORY).await;
    let person = Person::of(&world);
    person.agrees.store(false, Relaxed);
    let store = MemoryStore::new("s2", world.lake.trip.clone());
    let refused = run(&world, &store, &person, Holes::Removed, None).await;
    let Err(OriginError::Refused(told)) = refused else { panic!("{refused:?}") };
    assert!(told.contains("no checkpoint was made") && told.contains("belongs to this store already"), "{told}");
    assert_eq!(store.record(&truth.stream), None);
    let ranges: Vec<Span> =
        person.asked.lock().unwrap().iter().map(|range| Span::new(range.from_offset, range.until_offset)).collect();
    assert_eq!(ranges, [Span::new(40, 45), Span::new(52, 54)]);
    person.agrees.store(true, Relaxed);
    let rebuilt = run(&world, &store, &person, Holes::Removed, None).await.unwrap();
    assert_eq!(rebuilt.streams[0].removed, ranges);
    let record = store.record(&truth.stream).unwrap();
    assert!(record.planned.is_empty() && record.next == 60);
}

#[tokio::test]
async fn streams_come_from_marks_genesis_and_names() {
    let world = World::new().await;
    let genesis = Genesis::new("c", "t", None, vec![0, 0, 0], "earliest");
    let genesis = world.origin.freeze_genesis(genesis).await.unwrap();
    world.origin.mark_born(&genesis.stream(1)).await.unwrap();
    world.sink.land(&genesis.stream(2), 3, 5, &[]);
    world.sink.land(&genesis.stream(3), 0, 5, &[]);
    let store = MemoryStore::new("s2", world.lake.trip.clone());
    let rebuilt = land_again(&world, &store).await.unwrap();
    let bounds: Vec<_> = rebuilt.streams.iter().map(|s| (s.stream.partition, s.next, s.planned.clone())).collect();
    assert_eq!(bounds, [(1, 0, vec![]), (2, 5, vec![Span::new(0, 3)]), (3, 5, vec![])]);
    assert_eq!(world.origin.streams().await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_rebuild_is_refused_where_it_could_do_harm() {
    let world = World::new().await;
    let truth = play(&world, &HISTORY).await;
    let store = MemoryStore::new("s2", world.lake.trip.clone());
    let person = Person::of(&world);
    let holes = Holes::Land;

    let lake = world.lake.clone();
    let timid = Rebuild { lake, store: &store, about: about("b"), take_over: false, holes, former: None, parallel: 1 };
    assert!(matches!(rebuild(timid, &person).await, Err(OriginError::OtherOwner { .. })));
    person.busy.store(true, Relaxed);
    assert!(matches!(run(&world, &store, &person, holes, None).await, Err(OriginError::Refused(_))));
    person.busy.store(false, Relaxed);
    assert_eq!(Origin::open(world.lake.clone()).await.unwrap().owner().number, 1);

    // A name before the genesis, and two names for one offset.
    world.sink.land(&truth.stream, 30, 35, &[]);
    assert!(matches!(run(&world, &store, &person, holes, None).await, Err(OriginError::Overlap { .. })));
    world.sink.remove(&truth.stream, 30, 35);
    world.sink.land(&truth.stream, 46, 50, &[]);
    assert!(matches!(run(&world, &store, &person, holes, None).await, Err(OriginError::Overlap { .. })));
    assert_eq!(store.record(&truth.stream), None);
    world.sink.remove(&truth.stream, 46, 50);
    run(&world, &store, &person, holes, None).await.unwrap();

    // The first store comes back: its plans are of another time.
    let back = run(&world, &world.store, &person, holes, None).await;
    assert!(matches!(back, Err(OriginError::Refused(_))), "{back:?}");
    let claim = Origin::claim(world.lake.clone(), &world.store, about("a")).await;
    assert!(matches!(claim, Err(OriginError::OtherOwner { .. })));
}
