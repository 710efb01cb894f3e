//! The contract itself.

use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::{Facts, Landed, Layout, Plan, SinkError, Stream};

/// Where a batch begins; its end is chosen later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub stream: Stream,
    pub from: i64,
    pub layout: Arc<Layout>,
}

/// What a batch under way costs and has become.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weight {
    /// Bytes of memory that this writer holds now.
    pub memory: usize,
    /// What the destination would measure if the batch were sealed now, in bytes.
    pub size: u64,
    pub rows: u64,
}

/// A destination that can be written to exactly once.
#[async_trait]
pub trait Sink: Send + Sync + 'static {
    /// What a new plan freezes. Constant for the life of the sink.
    fn layout(&self) -> Arc<Layout>;

    /// Starts a batch. Rows follow in order of offset; nothing becomes visible. Cheap: called for every
    /// stream that has data.
    fn begin(&self, head: &Head) -> Result<Box<dyn BatchWriter>, SinkError>;

    /// What stands under the plan's name, if it is of this plan. Asked before a found plan is read
    /// again, and after every unclear answer. What stands is durable before this returns it.
    /// Another plan's content under the name is a [`SinkError::Conflict`].
    async fn standing(&self, plan: &Plan) -> Result<Option<Landed>, SinkError>;

    /// What the destination itself shows of a stream under `layout`: every range with `until > from`,
    /// in order of `from`. Ends after the first error.
    async fn landed<'a>(
        &'a self,
        layout: &'a Layout,
        stream: &'a Stream,
        from: i64,
    ) -> Result<BoxStream<'a, Result<Landed, SinkError>>, SinkError>;
}

/// A batch that takes rows. Used by one plain thread; its calls may spend CPU, and may write to a
/// staging place, but must not wait for a network.
pub trait BatchWriter: Send {
    fn write(&mut self, rows: &RecordBatch) -> Result<(), SinkError>;

    fn weight(&self) -> Weight;

    /// Gives memory back, as much as it can: asked of the heaviest writers when the budget is spent.
    fn relieve(&mut self) -> Result<(), SinkError>;

    /// No more rows: fixes the end. Nothing becomes visible yet.
    fn seal(self: Box<Self>, facts: &Facts) -> Result<Box<dyn SealedBatch>, SinkError>;
}

/// A batch whose rows are complete. Dropping it leaves nothing behind.
#[async_trait]
pub trait SealedBatch: Send {
    /// Bytes of memory that it holds until it has landed; none where the rows are staged elsewhere.
    fn memory(&self) -> usize {
        0
    }

    /// Lands it under the plan's name; the plan is durable by now, and has the stream, span and
    /// layout of this batch. May be called again after any error. If the plan already stands, what
    /// stands is returned: its gaps replace those of this attempt.
    async fn land(&mut self, plan: &Plan) -> Result<Landed, SinkError>;
}
