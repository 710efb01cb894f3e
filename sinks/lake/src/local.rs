//! stub
pub struct LocalLake;
