//! What a landfall sink is: the words (streams, spans, plans, layouts), the envelope of rows, and the
//! contract by which a sink lands the rows of a plan exactly once.
//!
//! A batch takes five steps: plan → read → create-only write → commit → announce. The engine owns the
//! plan and the commit; a sink owns the write. Its rows arrive ahead of the plan ([`Sink::begin`],
//! [`BatchWriter::write`]), are closed when the end of the batch is chosen ([`BatchWriter::seal`]) and
//! become visible only after the plan is durable ([`SealedBatch::land`]).
//!
//! The obligations of an implementation, each proven by `landfall-sink-testkit`:
//!
//! 1. Nothing that a reader can see happens before [`SealedBatch::land`].
//! 2. `land` is idempotent: called again, by anyone, with an equal plan, the destination is as if called once.
//! 3. A plan always takes its name, also when it has no row.
//! 4. What stands under a plan's name is never overwritten; if it is of another plan, that is a [`SinkError::Conflict`].
//! 5. Every answer but a clear success is read back before it is believed.

mod collect;
pub mod envelope;
mod error;
mod layout;
mod plan;
mod sink;
mod stream;

pub use collect::{Collected, CollectingWriter};
pub use error::SinkError;
pub use layout::{Isolation, Layout, LayoutError};
pub use plan::{Facts, Landed, Plan, Resolution};
pub use sink::{BatchWriter, Head, SealedBatch, Sink, Weight};
pub use stream::{OffsetRange, Span, Stream, merge_spans};

/// The Arrow crates whose types cross the contract, so that a sink author cannot pick another version.
pub mod arrow {
    pub use arrow_array as array;
    pub use arrow_schema as schema;
}
