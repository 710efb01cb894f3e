//! The suite that every landfall sink must pass, and what is needed to run it.
//!
//! A sink shows the suite its destination through [`Destination`]; [`conformance`] makes a fresh one for
//! each case and tries what an engine, a crash and a second process would do to it:
//!
//! ```no_run
//! # use landfall_sink_testkit::{Destination, conformance};
//! # fn fresh() -> Box<dyn Destination> { unimplemented!() }
//! # async fn test() {
//! conformance(fresh).await;
//! # }
//! ```
//!
//! [`rows`] makes records whose content is a function of seed and offset, so that two attempts with other
//! batch boundaries still hold the same rows. [`MemoryLake`] is a lake for tests, with faults.
//!
//! Below the sinks, [`lake_conformance`] tries what every lake must do.

mod cases;
mod destination;
mod faults;
mod lake;
mod lake_suite;
pub mod rows;
mod run;

pub use destination::{Destination, Effect, Failure, check, conformance};
pub use lake::{Fault, MemoryLake};
pub use lake_suite::lake_conformance;
