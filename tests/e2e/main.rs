//! End-to-end tests: the binary, a real Kafka, and a checker that trusts neither.
//!
//! One test binary, so that all of them share one broker. `make test` runs a slice of the crash matrix,
//! `make test-all` (`LANDFALL_TEST_ALL=1`) all of it.

#[path = "../kafka/mod.rs"]
mod kafka;
#[path = "../rig/mod.rs"]
mod rig;

mod brokers;
mod checker_itself;
mod churn;
mod commands;
mod crash;
mod disks;
mod embedded;
mod examples;
mod gaps;
mod lost;
mod memory;
mod object_store;
mod processes;
mod rebuild;
mod restart;
mod rig_itself;
mod sabotage;
mod sharing;
mod style;
mod together;
mod topics;
mod transactions;
mod truncation;
mod upgrade;
mod zombies;
