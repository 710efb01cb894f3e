//! What the write-ahead log promises, shown.

// A test's helper fails as a test does.
#![allow(clippy::unwrap_used)]

mod allocations;
mod base;
mod beside;
mod commands;
mod crash;
mod crashes;
mod dice;
mod disks;
mod failures;
mod flips;
mod fuzz;
mod golden;
mod image;
mod judge;
mod ledger;
mod memory;
mod mend;
mod mutants;
mod power;
mod repairs;
mod rig;
mod room;
mod rounds;
mod rules;
mod sim;
mod sizes;
mod small_model;
mod tool;
