//! The door to Kafka against a real broker: what librdkafka's in-process broker has not, or does otherwise.
//!
//! These use landfall's own reader, so they belong to its room; the rig gives them the broker. `speed`
//! measures, and runs with `LANDFALL_TEST_ALL=1` only.

// What a test asks for and does not get fails it, also in the functions that several tests share.
#![allow(clippy::unwrap_used)]

mod broker;
mod client;
mod reading;
mod speed;
