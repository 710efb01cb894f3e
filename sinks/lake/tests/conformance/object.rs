//! Object lakes on real servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use landfall_lake::{ObjectLake, ObjectLimits};
use landfall_sink_testkit::lake_conformance;

use crate::process::directory;
use crate::s3::{BUCKET, Kind, S3Server};

/// A lake below a prefix that no other has.
fn lake(endpoint: &str) -> ObjectLake {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let url = format!("s3://{BUCKET}/lake-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let options = S3Server::options(endpoint);
    let options = options.iter().map(|(name, value)| (*name, value.as_str()));
    ObjectLake::open(&url, options, ObjectLimits::new(directory("spool"))).unwrap()
}

#[test]
fn versitygw() {
    let server = S3Server::shared();
    crate::run(lake_conformance("S3 (versitygw)", || Arc::new(lake(&server.endpoint()))));
}

#[test]
fn minio() {
    if std::env::var("LANDFALL_TEST_ALL").is_ok_and(|value| value == "1") {
        let server = S3Server::start(Kind::Minio);
        crate::run(lake_conformance("S3 (MinIO)", || Arc::new(lake(&server.endpoint()))));
    }
}
