//! stub
pub struct Faults;
pub struct FaultyLake;
