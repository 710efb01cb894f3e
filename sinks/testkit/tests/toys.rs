//! The suite catches what it is for: a sink in memory passes it, and each way of breaking it is noticed.

// Clippy sees only functions with #[test] as tests.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow_array::RecordBatch;
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use landfall_sink::{
    BatchWriter, Collected, CollectingWriter, Facts, Head, Isolation, Landed, Layout, Plan, SealedBatch, Sink,
    SinkError, Span, Stream, Weight,
};
use landfall_sink_testkit::{Destination, Effect, check};

/// One rule of the contract that a toy does not keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    Nothing,
    VisibleBeforeLand,
    OverwritesOnExists,
    BelievesExists,
    GapsOfTheAttempt,
    NoRowsNoName,
    AppendsWhenLandedAgain,
    LostAnswerIsSuccess,
    IdentityUnchecked,
    ShowsInOrderOfLanding,
    ForgetsTheRangeAroundFrom,
    TakesAnyPlan,
    TakesAnyLayout,
    DropsRowsWhenRelieved,
    MixesPartitions,
}

#[derive(Clone)]
struct Shelf {
    stream: Stream,
    span: Span,
    rows: Vec<RecordBatch>,
    gaps: Vec<Span>,
    turn: usize,
}

#[derive(Default)]
struct Store {
    /// `None`: bytes of a stranger.
    shelves: BTreeMap<String, Option<Shelf>>,
    fault: Option<Effect>,
    turn: usize,
}

#[derive(Clone)]
struct Toy {
    broken: Broken,
    store: Arc<Mutex<Store>>,
}

fn landed(name: &str, shelf: &Shelf) -> Landed {
    Landed {
        stream: shelf.stream.clone(),
        span: shelf.span,
        rows: shelf.rows.iter().map(|batch| batch.num_rows() as u64).sum(),
        bytes: 1,
        gaps: shelf.gaps.clone(),
        name: name.into(),
    }
}

impl Toy {
    fn new(broken: Broken) -> Toy {
        Toy { broken, store: Arc::default() }
    }

    fn is(&self, broken: Broken) -> bool {
        self.broken == broken
    }

    fn name(&self, plan: &Plan) -> String {
        match self.broken {
            Broken::MixesPartitions => format!("{}/{:020}-{:020}", plan.stream.topic, plan.span.from, plan.span.until),
            _ => plan.file(),
        }
    }

    /// Creates the name only if nothing has it; the error is a lost answer.
    fn create(&self, name: &str, mut shelf: Shelf) -> Result<bool, SinkError> {
        let mut store = self.store.lock().unwrap();
        let fault = store.fault.take();
        store.turn += 1;
        shelf.turn = store.turn;
        let mut created = false;
        if fault != Some(Effect::DidNotHappen) {
            match store.shelves.get_mut(name) {
                Some(Some(there)) if self.is(Broken::AppendsWhenLandedAgain) => there.rows.extend(shelf.rows),
                Some(_) if !self.is(Broken::OverwritesOnExists) => {}
                _ => {
                    store.shelves.insert(name.into(), Some(shelf));
                    created = true;
                }
            }
        }
        match fault {
            Some(_) if self.is(Broken::LostAnswerIsSuccess) => Ok(true),
            Some(_) => Err(SinkError::Unknown("the answer was lost".into())),
            None => Ok(created),
        }
    }

    fn stands(&self, plan: &Plan) -> Result<Option<Landed>, SinkError> {
        let name = self.name(plan);
        match self.store.lock().unwrap().shelves.get(&name) {
            None => Ok(None),
            Some(Some(shelf)) if self.is(Broken::IdentityUnchecked) || shelf.stream == plan.stream => {
                Ok(Some(landed(&name, shelf)))
            }
            Some(None) if self.is(Broken::IdentityUnchecked) => Ok(None),
            Some(_) => Err(SinkError::Conflict(format!("{name} is of another plan"))),
        }
    }

    fn knows(&self, layout: &Layout) -> Result<(), SinkError> {
        if layout.format == "toy" || self.is(Broken::TakesAnyLayout) {
            return Ok(());
        }
        Err(SinkError::Refused("another format".into()))
    }
}

#[async_trait]
impl Collected for Toy {
    async fn land_rows(&self, plan: &Plan, rows: &[RecordBatch], gaps: &[Span]) -> Result<Landed, SinkError> {
        let name = self.name(plan);
        let shelf =
            Shelf { stream: plan.stream.clone(), span: plan.span, rows: rows.to_vec(), gaps: gaps.to_vec(), turn: 0 };
        let own = landed(&name, &shelf);
        if self.is(Broken::NoRowsNoName) && own.rows == 0 {
            return Ok(own);
        }
        tokio::task::yield_now().await;
        let answer = self.create(&name, shelf);
        tokio::task::yield_now().await;
        match answer {
            Ok(created) if created || self.is(Broken::BelievesExists) => return Ok(own),
            _ => {}
        }
        match self.stands(plan)? {
            Some(found) if self.is(Broken::GapsOfTheAttempt) => Ok(Landed { gaps: gaps.to_vec(), ..found }),
            Some(found) => Ok(found),
            None => Err(SinkError::NotDone("it is not there".into())),
        }
    }
}

/// Rows are collected; what it was sealed for is remembered.
struct Writer {
    toy: Toy,
    head: Head,
    inner: CollectingWriter<Toy>,
    dropped: bool,
}

impl BatchWriter for Writer {
    fn write(&mut self, rows: &RecordBatch) -> Result<(), SinkError> {
        if self.dropped {
            self.dropped = false;
            self.inner = CollectingWriter::new(Arc::new(self.toy.clone()));
        }
        self.inner.write(rows)
    }

    fn weight(&self) -> Weight {
        self.inner.weight()
    }

    fn relieve(&mut self) -> Result<(), SinkError> {
        self.dropped = self.toy.is(Broken::DropsRowsWhenRelieved);
        self.inner.relieve()
    }

    fn seal(self: Box<Self>, facts: &Facts) -> Result<Box<dyn SealedBatch>, SinkError> {
        let plan = Plan { stream: self.head.stream.clone(), span: facts.span, layout: self.head.layout.clone() };
        if self.toy.is(Broken::VisibleBeforeLand) {
            let (stream, span) = (plan.stream.clone(), plan.span);
            let shelf = Shelf { stream, span, rows: Vec::new(), gaps: Vec::new(), turn: 0 };
            self.toy.store.lock().unwrap().shelves.insert(format!("{}.tmp", plan.file()), Some(shelf));
        }
        let inner = Box::new(self.inner).seal(facts)?;
        Ok(Box::new(Sealed { toy: self.toy, plan, inner }))
    }
}

struct Sealed {
    toy: Toy,
    plan: Plan,
    inner: Box<dyn SealedBatch>,
}

#[async_trait]
impl SealedBatch for Sealed {
    async fn land(&mut self, plan: &Plan) -> Result<Landed, SinkError> {
        if *plan != self.plan && !self.toy.is(Broken::TakesAnyPlan) {
            return Err(SinkError::Refused("sealed for another plan".into()));
        }
        self.inner.land(plan).await
    }
}

#[async_trait]
impl Sink for Toy {
    fn layout(&self) -> Arc<Layout> {
        Arc::new(Layout {
            lake: "toys".into(),
            format: "toy".into(),
            extension: "toy".into(),
            path: "{topic}/{partition}".into(),
            isolation: Isolation::ReadCommitted,
        })
    }

    fn begin(&self, head: &Head) -> Result<Box<dyn BatchWriter>, SinkError> {
        self.knows(&head.layout)?;
        let inner = CollectingWriter::new(Arc::new(self.clone()));
        Ok(Box::new(Writer { toy: self.clone(), head: head.clone(), inner, dropped: false }))
    }

    async fn standing(&self, plan: &Plan) -> Result<Option<Landed>, SinkError> {
        self.knows(&plan.layout)?;
        self.stands(plan)
    }

    async fn landed<'a>(
        &'a self,
        _layout: &'a Layout,
        stream: &'a Stream,
        from: i64,
    ) -> Result<BoxStream<'a, Result<Landed, SinkError>>, SinkError> {
        let store = self.store.lock().unwrap();
        let mut shelves: Vec<(&String, &Shelf)> =
            store.shelves.iter().filter_map(|(name, shelf)| Some((name, shelf.as_ref()?))).collect();
        shelves.retain(|(_, shelf)| shelf.stream == *stream || self.is(Broken::MixesPartitions));
        match self.broken {
            Broken::ForgetsTheRangeAroundFrom => shelves.retain(|(_, shelf)| shelf.span.from >= from),
            _ => shelves.retain(|(_, shelf)| shelf.span.until > from),
        }
        shelves.sort_by_key(|(_, shelf)| shelf.span);
        if self.is(Broken::ShowsInOrderOfLanding) {
            shelves.sort_by_key(|(_, shelf)| shelf.turn);
        }
        let all: Vec<_> = shelves.into_iter().map(|(name, shelf)| Ok(landed(name, shelf))).collect();
        Ok(stream::iter(all).boxed())
    }
}

#[async_trait]
impl Destination for Toy {
    fn open(&self) -> Arc<dyn Sink> {
        Arc::new(self.clone())
    }

    async fn read(&self, plan: &Plan) -> Option<Vec<RecordBatch>> {
        let store = self.store.lock().unwrap();
        Some(store.shelves.get(&self.name(plan))?.as_ref()?.rows.clone())
    }

    async fn visible(&self) -> usize {
        let store = self.store.lock().unwrap();
        let rows = |shelf: &Option<Shelf>| shelf.as_ref().map_or(0, |shelf| landed("", shelf).rows as usize);
        store.shelves.values().map(|shelf| 1 + rows(shelf)).sum()
    }

    fn lose_next_answer(&self, effect: Effect) -> bool {
        self.store.lock().unwrap().fault = Some(effect);
        true
    }

    async fn squat(&self, plan: &Plan) -> bool {
        self.store.lock().unwrap().shelves.insert(self.name(plan), None);
        true
    }
}

async fn failing(broken: Broken) -> Vec<&'static str> {
    check(|| Box::new(Toy::new(broken))).await.into_iter().map(|failure| failure.case).collect()
}

#[tokio::test]
async fn a_sound_toy_passes() {
    assert_eq!(check(|| Box::new(Toy::new(Broken::Nothing))).await, []);
}

/// Each broken toy fails the case that is made for it (and maybe others).
#[tokio::test]
async fn every_broken_toy_is_caught() {
    for (broken, case) in [
        (Broken::VisibleBeforeLand, "nothing is visible before land"),
        (Broken::OverwritesOnExists, "other bytes under the name"),
        (Broken::BelievesExists, "the gaps of what stands count"),
        (Broken::GapsOfTheAttempt, "the gaps of what stands count"),
        (Broken::NoRowsNoName, "a batch without rows takes its name"),
        (Broken::AppendsWhenLandedAgain, "landing again changes nothing"),
        (Broken::LostAnswerIsSuccess, "a lost answer"),
        (Broken::IdentityUnchecked, "a topic created again"),
        (Broken::ShowsInOrderOfLanding, "two plans tile, in order and from an offset on"),
        (Broken::ForgetsTheRangeAroundFrom, "two plans tile, in order and from an offset on"),
        (Broken::TakesAnyPlan, "another plan than the one sealed for"),
        (Broken::TakesAnyLayout, "an unknown layout"),
        (Broken::DropsRowsWhenRelieved, "weight and relieve"),
        (Broken::MixesPartitions, "partitions are kept apart"),
    ] {
        let failed = failing(broken).await;
        assert!(failed.contains(&case), "{broken:?} should fail {case:?}, and failed {failed:?}");
    }
}
