//! The test rig: a real Kafka on loopback, producers that write down what was acknowledged, the binary
//! under test, and a checker that reads the lake with eyes of its own.
//!
//! Nothing in here uses landfall's code: a mistake must not be able to hide itself.
#![allow(dead_code, unused_imports)]

pub mod admin;
pub mod broker;
pub mod checker;
pub mod cluster;
pub mod damage;
pub mod driver;
pub mod failpoints;
pub mod forgetful;
pub mod journal;
pub mod liar;
pub mod mirror;
pub mod parquet_rows;
pub mod process;
pub mod producer;
pub mod s3;
pub mod scene;
pub mod segment;

pub use admin::Admin;
pub use broker::Broker;
pub use checker::{Check, Findings};
pub use cluster::Cluster;
pub use driver::{Bucket, Ended, Landfall, Settings};
pub use journal::Journal;
pub use liar::Liar;
pub use mirror::Mirror;
pub use producer::{Producer, Record};
pub use s3::S3Server;
pub use scene::Scene;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The one broker that most tests share: started when the first test asks, gone with this process.
pub fn shared() -> &'static Broker {
    static SHARED: OnceLock<Broker> = OnceLock::new();
    SHARED.get_or_init(Broker::start)
}

/// A name that no other test of this run uses.
pub fn fresh(stem: &str) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("{stem}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Whether the long version of the tests was asked for (`make test-all`).
pub fn all() -> bool {
    std::env::var("LANDFALL_TEST_ALL").is_ok_and(|value| value == "1")
}

/// Asks again and again until it is so; says what was waited for when it never is.
pub fn wait_until(what: &str, within: Duration, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < within, "waited {within:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Runs a future to its end on this thread.
pub fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}
