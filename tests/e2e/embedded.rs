//! The engine inside a program: sinks of one's own that misbehave, and `for_each_batch` with little memory.

use std::future::pending;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt};
use landfall::Landfall;
use landfall::supervisor::{Mode, RunError};
use landfall_sink::arrow::array::RecordBatch;
use landfall_sink::{
    BatchWriter, Collected, CollectingWriter, Facts, Head, Isolation, Landed, Layout, Plan, SealedBatch, Sink,
    SinkError, Span, Stream, Weight,
};

use crate::rig::{Producer, Record, Scene};

async fn open(scene: &Scene, dir: &Path) -> Landfall {
    let builder = Landfall::builder().topic(&scene.topic).property("bootstrap.servers", &scene.bootstrap);
    let builder = builder.lake(&format!("file://{}", dir.join("lake").display())).state(dir.join("state"));
    let builder = builder.workers(1).memory(16 << 20).max_age(Duration::from_secs(600)).max_size(128 << 20);
    std::fs::create_dir_all(dir.join("lake")).expect("a lake");
    builder.open().await.expect("landfall")
}

fn in_a_runtime<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime").block_on(future)
}

fn layout(landfall: &Landfall, format: &str) -> Layout {
    Layout {
        lake: landfall.lake_id().to_owned(),
        format: format.into(),
        extension: "none".into(),
        path: "{topic}/{partition}".into(),
        isolation: Isolation::ReadCommitted,
    }
}

/// A sink that lets nothing land, in one of two ways.
struct Hopeless {
    layout: Arc<Layout>,
    fenced: Arc<Fenced>,
    /// Whether the stream's own task is lost, as by a bug: it asks for the layout when a batch is ready.
    panics: bool,
    begun: AtomicBool,
}

struct Fenced;

#[async_trait]
impl Collected for Fenced {
    async fn land_rows(&self, plan: &Plan, _: &[RecordBatch], _: &[Span]) -> Result<Landed, SinkError> {
        Err(SinkError::Fenced(format!("{} belongs to another owner now", plan.range())))
    }
}

#[async_trait]
impl Sink for Hopeless {
    fn layout(&self) -> Arc<Layout> {
        assert!(!self.panics || !self.begun.load(Ordering::Acquire), "this task is lost on purpose");
        self.layout.clone()
    }

    fn begin(&self, _: &Head) -> Result<Box<dyn BatchWriter>, SinkError> {
        self.begun.store(true, Ordering::Release);
        Ok(Box::new(CollectingWriter::new(self.fenced.clone())))
    }

    async fn standing(&self, _: &Plan) -> Result<Option<Landed>, SinkError> {
        Ok(None)
    }

    async fn landed<'a>(
        &'a self,
        _: &'a Layout,
        _: &'a Stream,
        _: i64,
    ) -> Result<BoxStream<'a, Result<Landed, SinkError>>, SinkError> {
        Ok(futures::stream::empty().boxed())
    }
}

fn ends_with(panics: bool, stem: &str) -> String {
    let scene = Scene::new(stem, 1);
    scene.fill(20);
    let error = in_a_runtime(async {
        let landfall = open(&scene, scene.dir().join("embedded").as_path()).await;
        let (layout, fenced) = (Arc::new(layout(&landfall, "hopeless")), Arc::new(Fenced));
        let sink = Arc::new(Hopeless { layout, fenced, panics, begun: AtomicBool::new(false) });
        landfall.run_sink(sink, Mode::Once, pending()).await.expect_err("nothing landed")
    });
    assert!(matches!(error, RunError::Fatal(_)), "{error:?}");
    error.to_string()
}

/// The last stream of `--once` says why nothing may go on, and ends: its reason is not lost.
#[test]
fn what_ends_the_process_is_told_also_by_the_last_stream() {
    assert!(ends_with(false, "fenced").contains("belongs to another owner now"));
}

#[test]
fn a_stream_whose_task_is_lost_is_no_success() {
    assert!(ends_with(true, "panics").contains("a stream's task failed"));
}

/// Batches that keep their rows: what all partitions hold together is bounded, not what one of them does. None of these
/// is large or old enough to end by itself.
#[test]
fn for_each_batch_ends_batches_where_memory_is_short() {
    let partitions = 40;
    let scene = Scene::new("collect", partitions);
    let producer = Producer::with(&scene.bootstrap, &scene.journal, &[("compression.type", "lz4")]);
    let value = "y".repeat(8_000);
    for partition in 0..partitions {
        (0..100).for_each(|_| producer.send(&scene.topic, partition, &Record::keyed("k", Some(&value))));
    }
    producer.flush();
    let (landed, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    in_a_runtime(async {
        let landfall = open(&scene, scene.dir().join("embedded").as_path()).await;
        let (rows, largest) = (landed.clone(), most.clone());
        let work = move |batch: landfall::Batch| {
            rows.fetch_add(batch.num_rows(), Ordering::AcqRel);
            largest.fetch_max(batch.num_rows(), Ordering::AcqRel);
            std::future::ready(Ok(()))
        };
        let enough = async {
            while landed.load(Ordering::Acquire) < 50 * partitions as usize {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let run = landfall.for_each_batch(Mode::Forever, work, enough);
        tokio::time::timeout(Duration::from_secs(60), run).await.expect("batches end").expect("and land");
    });
    assert!(most.load(Ordering::Acquire) <= 100, "no batch is of two partitions");
}

/// Partition 0 stops at its first batch, while the worker seals the second one, which is large and slow.
struct Heavy {
    layout: Arc<Layout>,
    /// Rows of partition 1 that have landed.
    landed: Arc<AtomicUsize>,
}

struct HeavyBatch {
    head: Head,
    rows: usize,
    landed: Arc<AtomicUsize>,
}

impl HeavyBatch {
    fn is_late(&self) -> bool {
        self.head.stream.partition == 0 && self.head.from > 0
    }
}

impl BatchWriter for HeavyBatch {
    fn write(&mut self, rows: &RecordBatch) -> Result<(), SinkError> {
        self.rows += rows.num_rows();
        Ok(())
    }

    fn weight(&self) -> Weight {
        Weight { memory: 0, size: 1, rows: self.rows as u64 }
    }

    fn relieve(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn seal(self: Box<Self>, _: &Facts) -> Result<Box<dyn SealedBatch>, SinkError> {
        if self.is_late() {
            std::thread::sleep(Duration::from_secs(3));
        }
        Ok(self)
    }
}

#[async_trait]
impl SealedBatch for HeavyBatch {
    fn memory(&self) -> usize {
        if self.is_late() { 16 << 20 } else { 0 }
    }

    async fn land(&mut self, plan: &Plan) -> Result<Landed, SinkError> {
        if plan.stream.partition == 0 {
            return Err(SinkError::Conflict("somebody else's file".into()));
        }
        self.landed.fetch_add(self.rows, Ordering::AcqRel);
        let (stream, span, rows) = (plan.stream.clone(), plan.span, self.rows as u64);
        Ok(Landed { stream, span, rows, bytes: 1, gaps: Vec::new(), name: plan.file() })
    }
}

#[async_trait]
impl Sink for Heavy {
    fn layout(&self) -> Arc<Layout> {
        self.layout.clone()
    }

    fn begin(&self, head: &Head) -> Result<Box<dyn BatchWriter>, SinkError> {
        Ok(Box::new(HeavyBatch { head: head.clone(), rows: 0, landed: self.landed.clone() }))
    }

    async fn standing(&self, _: &Plan) -> Result<Option<Landed>, SinkError> {
        Ok(None)
    }

    async fn landed<'a>(
        &'a self,
        _: &'a Layout,
        _: &'a Stream,
        _: i64,
    ) -> Result<BoxStream<'a, Result<Landed, SinkError>>, SinkError> {
        Ok(futures::stream::empty().boxed())
    }
}

/// The memory of a batch that nobody wants any more is free for the others.
#[test]
fn a_stream_that_stopped_keeps_no_memory() {
    let scene = Scene::new("stopped", 2);
    let producer = scene.producer();
    producer.fill(&scene.topic, 0, 0..20);
    let landed = Arc::new(AtomicUsize::new(0));
    in_a_runtime(async {
        let dir = scene.dir().join("embedded");
        let builder = Landfall::builder().topic(&scene.topic).property("bootstrap.servers", &scene.bootstrap);
        let builder = builder.lake(&format!("file://{}", dir.join("lake").display())).state(dir.join("state"));
        let builder = builder.workers(1).memory(16 << 20).max_age(Duration::from_millis(500)).max_records(10);
        std::fs::create_dir_all(dir.join("lake")).expect("a lake");
        let landfall = builder.open().await.expect("landfall");
        let layout = Arc::new(layout(&landfall, "heavy"));
        let enough = async {
            tokio::time::sleep(Duration::from_secs(4)).await;
            producer.fill(&scene.topic, 1, 0..20);
            while landed.load(Ordering::Acquire) < 20 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let sink = Arc::new(Heavy { layout, landed: landed.clone() });
        let run = landfall.run_sink(sink, Mode::Forever, enough);
        tokio::time::timeout(Duration::from_secs(40), run).await.expect("the other partition lands").expect("stopped");
    });
}
