//! What the write-ahead log promises, shown.

mod rig;
mod rounds;
