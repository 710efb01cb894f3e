//! The audit of a lake.
