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
pub mod checkpoint;
pub mod config;
pub mod kafka;
pub mod origin;
pub mod plan;
pub mod rebuild;
pub mod verify;

/// The contract that sinks are written against.
pub use landfall_sink as sink;
