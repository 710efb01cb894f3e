//! landfall lands Kafka topics in a data lake exactly once.
//!
//! The path of a batch, down the rooms of this crate:
//!
//! ```text
//! offsets ─► plan ─► checkpoint ─► kafka ─► (sink, lake) ─► pipeline ─► supervisor
//! ```
//!
//! `plan → read → create-only write → commit → announce`: see `docs/exactly-once.md`.

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
pub mod origin;
pub mod pipeline;
pub mod plan;
pub mod rebuild;
pub mod status;
pub mod supervisor;
pub mod verify;

pub use batch::Batch;
pub use landfall::{Builder, Landfall, LandfallError};

/// The contract that sinks are written against.
pub use landfall_sink as sink;
