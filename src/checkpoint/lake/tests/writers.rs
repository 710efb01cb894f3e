//! Two writers over a lake that loses answers, delays requests past their writer's end, and fails: many seeds.
//!
//! Each writer is the engine in little: it loads, plans, puts a file under the plan's name, commits, and forgets
//! everything now and then, as a process that was killed. At the end the files must tile the stream.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use landfall_lake::{Faults, FaultyLake, LakeError, Placed, Rates, place};
use landfall_sink::Span;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{nonce, seat, stream};
use crate::checkpoint::{Checkpoint, CheckpointStore, LakeStore, Planned, StoreError, Swap};
use crate::origin::doubles::MemoryLake;

const OFFSETS: i64 = 60;

type Lake = FaultyLake<MemoryLake>;

/// What the writers were told: the version of each swap that added a plan and won.
#[derive(Default)]
struct Told {
    wins: Mutex<BTreeMap<u64, Vec<String>>>,
    steps: Mutex<u64>,
}

struct Writer {
    lake: Lake,
    store: LakeStore,
    random: StdRng,
    told: Arc<Told>,
}

fn fresh(lake: &Lake) -> LakeStore {
    LakeStore::seated(Arc::new(lake.clone()), &seat()).keeping(4)
}

fn file(span: Span) -> String {
    format!("data/{:020}-{:020}", span.from, span.until)
}

impl Writer {
    /// Until everything has landed and is committed.
    async fn run(mut self) {
        let mut at: Option<Checkpoint> = None;
        loop {
            let steps = {
                let mut steps = self.told.steps.lock().unwrap();
                *steps += 1;
                *steps
            };
            assert!(steps < 200_000, "no progress any more");
            // Now and then frozen, for longer than the versions live that it knows.
            let long = self.random.random_bool(0.02);
            for _ in 0..self.random.random_range(0..if long { 600 } else { 8 }) {
                tokio::task::yield_now().await;
            }
            if self.random.random_bool(0.02) {
                // Killed, and started again: nothing is remembered.
                (self.store, at) = (fresh(&self.lake), None);
            }
            let Some(record) = at.take() else {
                at = self.load().await;
                continue;
            };
            if record.next == OFFSETS && record.planned.is_empty() {
                return;
            }
            at = self.step(record).await;
        }
    }

    async fn load(&mut self) -> Option<Checkpoint> {
        match self.store.load(&stream()).await {
            Ok(Some(found)) => Some(found),
            Ok(None) => {
                let born = Checkpoint::birth(stream(), 0, nonce()).unwrap();
                drop(self.store.swap(None, &born).await);
                None
            }
            Err(StoreError::NotDone { .. } | StoreError::Unknown { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// The record to act on next; `None`: load.
    async fn step(&mut self, record: Checkpoint) -> Option<Checkpoint> {
        let open = record.planned.first().map(Planned::span).filter(|_| self.random.random_bool(0.8));
        if let Some(span) = open {
            if !self.put(span).await {
                return Some(record);
            }
            let new = record.commit(span, &[], nonce()).unwrap();
            return self.swap(&record, new, false).await;
        }
        if record.next == OFFSETS || record.planned.len() > 2 {
            return Some(record);
        }
        let until = (record.next + self.random.random_range(1..=4)).min(OFFSETS);
        let new = record.plan(Planned::new(Span::new(record.next, until), "layout"), nonce()).unwrap();
        self.swap(&record, new, true).await
    }

    async fn put(&self, span: Span) -> bool {
        let content = Bytes::from(format!("rows of {span}"));
        match place(&self.lake, &file(span), content).await {
            Ok(Placed::Created | Placed::Same) => true,
            Ok(Placed::Other(other)) => panic!("{span}: {other:?}"),
            Err(LakeError::NotDone { .. } | LakeError::Unknown { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }

    async fn swap(&self, record: &Checkpoint, new: Checkpoint, plans: bool) -> Option<Checkpoint> {
        match self.store.swap(Some(record.version), &new).await {
            Ok(Swap::Won) => {
                if plans {
                    self.told.wins.lock().unwrap().entry(new.version).or_default().push(new.nonce.clone());
                }
                Some(new)
            }
            Ok(Swap::Lost) | Err(StoreError::NotDone { .. } | StoreError::Unknown { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn land(seed: u64, rates: Rates) -> u64 {
    let faults = Faults::seeded(seed, rates);
    let inner = if seed.is_multiple_of(2) { MemoryLake::tagged() } else { MemoryLake::default() };
    let lake = FaultyLake::new(inner, faults.clone());
    let told = Arc::new(Told::default());
    let writer = |number: u64| {
        let random = StdRng::seed_from_u64(seed.wrapping_mul(31).wrapping_add(number));
        Writer { store: fresh(&lake), lake: lake.clone(), random, told: told.clone() }
    };
    let writers = [0, 1].map(|number| tokio::spawn(writer(number).run()));
    for writer in writers {
        writer.await.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
    faults.calm();
    lake.land_late().await;

    let wins = std::mem::take(&mut *told.wins.lock().unwrap());
    for (version, winners) in wins {
        assert_eq!(winners.len(), 1, "seed {seed}: version {version} was won more than once");
    }
    assert_eq!(faults.written_twice(), Vec::<String>::new(), "seed {seed}");
    let record = fresh(&lake).load(&stream()).await.unwrap().unwrap();
    assert_eq!((record.next, record.planned.len()), (OFFSETS, 0), "seed {seed}: {record:?}");
    let mut at = 0;
    for path in lake.inner().paths().iter().filter_map(|path| path.strip_prefix("data/")) {
        let (from, until) = path.split_once('-').unwrap();
        assert_eq!(from.parse::<i64>().unwrap(), at, "seed {seed}: the files overlap, or have a hole");
        at = until.parse().unwrap();
    }
    assert_eq!(at, OFFSETS, "seed {seed}");
    faults.injected()
}

#[tokio::test(start_paused = true)]
async fn two_writers_over_a_lake_that_loses_answers() {
    let seeds = if std::env::var_os("LANDFALL_TEST_ALL").is_some() { 3000 } else { 150 };
    let mut injected = 0;
    for seed in 0..seeds {
        // From a lake in which little goes wrong to one in which every fourth answer is no use.
        let rate = [0.0, 0.01, 0.04, 0.08][seed as usize % 4];
        injected += land(seed, Rates::all(rate)).await;
    }
    println!("{seeds} seeds, {injected} faults");
    assert!(injected > 1000, "{injected}");
}
