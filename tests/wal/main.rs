//! What the write-ahead log promises, shown.

mod commands;
mod crash;
mod disks;
mod image;
mod power;
mod rig;
mod rounds;
mod tool;
