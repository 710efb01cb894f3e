//! Parquet files onto a lake: one file for a plan, named by the plan, created once and never changed.
//!
//! A batch goes through these rooms, in this order:
//!
//! ```text
//! writer ─► row_group ─► output ─► sealed ─► (lake)
//!              │                      │
//!           columns                 sink: what stands under a name
//! ```
//!
//! [`ParquetSink`] is the sink; [`audit`](fn@audit) reads a file again and says what is wrong with it. What is
//! in a file, column by column and key by key, is described in `docs/file-format.md`.

mod audit;
pub mod checksum;
mod columns;
mod errors;
mod footer;
mod metadata;
mod options;
mod output;
mod row_group;
mod sealed;
mod sink;
mod writer;

pub use audit::{Audit, audit, rows};
pub use metadata::{FileMetadata, NotOurs};
pub use options::{Codec, ParquetOptions};
pub use sink::{FORMAT, ParquetSink};
