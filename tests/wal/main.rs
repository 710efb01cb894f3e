//! What the write-ahead log promises, shown.

mod crash;
mod disks;
mod image;
mod power;
mod rig;
mod rounds;
mod tool;
