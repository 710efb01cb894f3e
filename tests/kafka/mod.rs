//! The door to Kafka against a real broker.
//!
//! `LANDFALL_TEST_KAFKA=host:port cargo test --test kafka -- --ignored`. The tests that stop the broker or
//! damage its files need more, and run one after another:
//! `LANDFALL_TEST_KAFKA_STOP` and `…_START` (shell commands; stop means `kill -9`), `…_DATA` (its log.dirs).

#![allow(clippy::unwrap_used)]

mod broker;
mod client;
mod reading;
mod speed;
