//! `for_each_batch`: a program gets each batch as Arrow record batches with its offset range, and the
//! engine commits when the program's own work is done.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt};
use landfall_sink::{
    BatchWriter, Collected, CollectingWriter, Head, Isolation, Landed, Layout, OffsetRange, Plan, Sink, SinkError,
    Span, Stream,
};

/// One planned range and its rows.
///
/// The plan is durable before a program sees the batch, so after a crash the same range comes again,
/// with the same bounds: work that is idempotent by [`Batch::range`] is done exactly once.
#[derive(Debug, Clone)]
pub struct Batch {
    pub range: OffsetRange,
    /// The stream's full identity, with cluster and topic id.
    pub stream: Stream,
    /// The raw envelope ([`landfall_sink::envelope`]), in order of offset. May be empty.
    pub rows: Vec<RecordBatch>,
    /// Offsets that Kafka had dropped before they were read.
    pub gaps: Vec<Span>,
}

impl Batch {
    pub fn num_rows(&self) -> usize {
        self.rows.iter().map(RecordBatch::num_rows).sum()
    }
}

type Work = Pin<Box<dyn Future<Output = Result<(), anyhow::Error>> + Send>>;
type Handler = Box<dyn Fn(Batch) -> Work + Send + Sync>;

/// A sink that hands every batch to a function.
pub(crate) struct ForEach {
    layout: Arc<Layout>,
    work: Arc<Calls>,
}

struct Calls(Handler);

impl ForEach {
    pub fn new<F, W>(lake: &str, isolation: Isolation, handler: F) -> ForEach
    where
        F: Fn(Batch) -> W + Send + Sync + 'static,
        W: Future<Output = Result<(), anyhow::Error>> + Send + 'static,
    {
        let layout = Layout {
            lake: lake.to_owned(),
            format: "for_each_batch".into(),
            extension: "batch".into(),
            path: "{topic}/{partition}".into(),
            isolation,
        };
        let handler: Handler = Box::new(move |batch| Box::pin(handler(batch)));
        ForEach { layout: Arc::new(layout), work: Arc::new(Calls(handler)) }
    }
}

#[async_trait]
impl Collected for Calls {
    async fn land_rows(&self, plan: &Plan, rows: &[RecordBatch], gaps: &[Span]) -> Result<Landed, SinkError> {
        let batch =
            Batch { range: plan.range(), stream: plan.stream.clone(), rows: rows.to_vec(), gaps: gaps.to_vec() };
        let (count, bytes) = (batch.num_rows(), rows.iter().map(RecordBatch::get_array_memory_size).sum::<usize>());
        (self.0)(batch).await.map_err(|error| SinkError::NotDone(format!("for_each_batch: {error:#}")))?;
        Ok(Landed {
            stream: plan.stream.clone(),
            span: plan.span,
            rows: count as u64,
            bytes: bytes as u64,
            gaps: gaps.to_vec(),
            name: format!("for_each_batch {}", plan.range()),
        })
    }
}

#[async_trait]
impl Sink for ForEach {
    fn layout(&self) -> Arc<Layout> {
        self.layout.clone()
    }

    fn begin(&self, head: &Head) -> Result<Box<dyn BatchWriter>, SinkError> {
        if head.layout.format != self.layout.format {
            return Err(SinkError::Refused(format!(
                "a plan of {} from offset {} is of format {}, which for_each_batch cannot finish: run what planned it once more",
                head.stream, head.from, head.layout.format
            )));
        }
        Ok(Box::new(CollectingWriter::new(self.work.clone())))
    }

    /// What the program did is known to the program alone: a found plan is handed to it again.
    async fn standing(&self, _plan: &Plan) -> Result<Option<Landed>, SinkError> {
        Ok(None)
    }

    async fn landed<'a>(
        &'a self,
        _layout: &'a Layout,
        _stream: &'a Stream,
        _from: i64,
    ) -> Result<BoxStream<'a, Result<Landed, SinkError>>, SinkError> {
        Ok(futures::stream::empty().boxed())
    }
}
