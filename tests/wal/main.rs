//! What the write-ahead log promises, shown.

mod base;
mod flips;
mod golden;
mod judge;
mod memory;
mod rig;
mod rounds;
