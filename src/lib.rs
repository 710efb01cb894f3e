//! landfall lands Kafka topics in a data lake exactly once.
//!
//! A batch is read, planned, written create-only and committed, then announced: see `docs/exactly-once.md`. Its
//! path through the rooms of this crate, of which `supervisor` starts one `pipeline` for each partition:
//!
//! ```text
//! pipeline:  kafka ─► plan ─► checkpoint ─► (sink, lake) ─► checkpoint ─► kafka
//!            read     how     planned       written         committed     announced
//!                     much
//! ```

pub mod ambient;
mod batch;
pub mod checkpoint;
#[doc(hidden)]
pub mod cli;
pub mod config;
pub mod demo;
mod files;
pub mod kafka;
mod lakes;
mod landfall;
pub mod migrate;
pub mod origin;
pub mod pipeline;
pub mod plan;
pub mod rebuild;
mod release;
pub mod status;
pub mod supervisor;
pub mod verify;
pub mod wal;

pub use batch::Batch;
pub use landfall::{Builder, Landfall, LandfallError};

/// The contract that sinks are written against.
pub use landfall_sink as sink;
