//! One suite, every backend: the local disk, the double that loses answers (behaving), a real S3 server, and Azurite with the feature
//! `azure`.

// Clippy sees only functions with #[test] as tests.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

#[path = "../../../../tests/rig/process.rs"]
mod process;
#[cfg(feature = "s3")]
#[path = "../../../../tests/rig/s3.rs"]
mod s3;

#[cfg(feature = "azure")]
mod azure;
#[cfg(feature = "s3")]
#[path = "../../../../tests/rig/forgetful.rs"]
mod forgetful;
#[cfg(feature = "s3")]
#[path = "../../../../tests/rig/liar.rs"]
mod liar;
#[cfg(feature = "s3")]
mod lies;
#[cfg(feature = "s3")]
mod object;

use std::sync::Arc;

use landfall_lake::{Faults, FaultyLake, LocalLake};
use landfall_sink_testkit::lake_conformance;

fn run(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future);
}

fn local() -> LocalLake {
    LocalLake::open(process::directory("lake"), 4).unwrap()
}

#[test]
fn the_local_disk() {
    run(lake_conformance("local disk", || Arc::new(local())));
}

#[test]
fn the_double_when_it_behaves() {
    run(lake_conformance("double over local disk", || Arc::new(FaultyLake::new(local(), Faults::none()))));
}
