//! What the write-ahead log promises, shown.

// A test's helper fails as a test does.
#![allow(clippy::unwrap_used)]

mod allocations;
mod base;
mod flips;
mod fuzz;
mod golden;
mod judge;
mod memory;
mod mend;
mod rig;
mod rounds;
