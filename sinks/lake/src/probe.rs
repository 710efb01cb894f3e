//! stub
pub struct Probe;
pub fn probe() {}
