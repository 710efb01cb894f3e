//! What the write-ahead log promises, shown.

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
