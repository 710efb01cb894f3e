//! A writer that is killed, or fails, at every step: run as a child, because failpoints are armed by the
//! environment.
