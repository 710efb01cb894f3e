//! A writer for sinks that want the whole batch at once: it keeps the rows and hands them over when landing.

use arrow_array::RecordBatch;
use async_trait::async_trait;

use crate::{BatchWriter, Facts, Landed, Plan, SealedBatch, SinkError, Weight};

/// What a sink of whole batches implements to use [`CollectingWriter`].
#[async_trait]
pub trait Collected: Send + Sync + 'static {
    /// Lands the rows of `plan`, idempotently. See [`SealedBatch::land`].
    async fn land_rows(&self, plan: &Plan, rows: &[RecordBatch], gaps: &[crate::Span]) -> Result<Landed, SinkError>;
}

/// Collects rows in memory. The engine's byte budget bounds it: give `limits.memory` room for a batch.
pub struct CollectingWriter<C> {
    sink: std::sync::Arc<C>,
    rows: Vec<RecordBatch>,
    bytes: usize,
    count: u64,
}

impl<C: Collected> CollectingWriter<C> {
    pub fn new(sink: std::sync::Arc<C>) -> CollectingWriter<C> {
        CollectingWriter { sink, rows: Vec::new(), bytes: 0, count: 0 }
    }
}

impl<C: Collected> BatchWriter for CollectingWriter<C> {
    fn write(&mut self, rows: &RecordBatch) -> Result<(), SinkError> {
        self.bytes += rows.get_array_memory_size();
        self.count += rows.num_rows() as u64;
        self.rows.push(rows.clone());
        Ok(())
    }

    fn weight(&self) -> Weight {
        Weight { memory: self.bytes, size: self.bytes as u64, rows: self.count }
    }

    fn relieve(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn seal(self: Box<Self>, facts: &Facts) -> Result<Box<dyn SealedBatch>, SinkError> {
        Ok(Box::new(CollectedBatch { sink: self.sink, rows: self.rows, gaps: facts.gaps.clone() }))
    }
}

struct CollectedBatch<C> {
    sink: std::sync::Arc<C>,
    rows: Vec<RecordBatch>,
    gaps: Vec<crate::Span>,
}

#[async_trait]
impl<C: Collected> SealedBatch for CollectedBatch<C> {
    fn memory(&self) -> usize {
        self.rows.iter().map(RecordBatch::get_array_memory_size).sum()
    }

    async fn land(&mut self, plan: &Plan) -> Result<Landed, SinkError> {
        self.sink.land_rows(plan, &self.rows, &self.gaps).await
    }
}
