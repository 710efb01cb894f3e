//! Object lakes on real servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use landfall_lake::{Created, Lake, LakeError, ObjectLake, ObjectLimits};
use landfall_sink_testkit::lake_conformance;

use crate::process::directory;
use crate::s3::{BUCKET, Kind, S3Server};

/// A lake below a prefix that no other has.
pub fn lake(endpoint: &str) -> ObjectLake {
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
fn who_only_looks_changes_nothing() {
    let server = S3Server::shared();
    crate::run(async {
        let options = S3Server::options(&server.endpoint());
        let options = || options.iter().map(|(name, value)| (*name, value.as_str()));
        let writer = lake(&server.endpoint());
        writer.create("t/x", "1".into()).await.unwrap();
        let reader = ObjectLake::open_to_read(writer.url(), options()).unwrap();
        assert_eq!(reader.read("t/x").await.unwrap().unwrap(), "1");
        let refused = |error: LakeError| matches!(error, LakeError::Refused { .. });
        assert!(refused(reader.create("t/y", "1".into()).await.unwrap_err()));
        assert!(refused(reader.stage().err().unwrap()));
        assert!(refused(reader.delete("_landfall/x").await.unwrap_err()));
        assert!(refused(reader.sweep().await.unwrap_err()));
    });
}

#[test]
fn in_a_bucket_that_is_not_there_nothing_is_known_to_be_absent() {
    let server = S3Server::shared();
    crate::run(async {
        let options = S3Server::options(&server.endpoint());
        let options = options.iter().map(|(name, value)| (*name, value.as_str()));
        let lake = ObjectLake::open("s3://no-such-bucket/x", options, ObjectLimits::new(directory("spool"))).unwrap();
        let not_done = |error: LakeError| matches!(error, LakeError::NotDone { .. });
        assert!(not_done(lake.read("t/x").await.unwrap_err()));
        assert!(not_done(lake.size("t/x").await.unwrap_err()));
        assert!(not_done(lake.list("t", None).await.err().unwrap()));
        let error = lake.create("t/x", "1".into()).await.unwrap_err();
        assert!(error.to_string().contains("create the bucket"), "{error}");
    });
}

#[test]
fn a_file_that_is_too_large_for_one_put_is_refused_while_it_is_written() {
    let server = S3Server::shared();
    let options = S3Server::options(&server.endpoint());
    let options = options.iter().map(|(name, value)| (*name, value.as_str()));
    let limits = ObjectLimits { largest: 1 << 20, ..ObjectLimits::new(directory("spool")) };
    let lake = ObjectLake::open(&format!("s3://{BUCKET}/large"), options, limits).unwrap();
    let mut file = lake.stage().unwrap();
    file.write(&[0; 1 << 20]).unwrap();
    let error = file.write(&[0]).unwrap_err();
    assert!(matches!(error, LakeError::Refused { .. }) && error.to_string().contains("max_put"), "{error}");
    assert!(file.spent());
}

#[test]
fn many_files_at_once_wait_for_memory_and_all_arrive() {
    let server = S3Server::shared();
    crate::run(async {
        let options = S3Server::options(&server.endpoint());
        let options = options.iter().map(|(name, value)| (*name, value.as_str()));
        // Room for two of them; one is larger than all of the room.
        let limits = ObjectLimits { memory: 1 << 20, requests: 3, ..ObjectLimits::new(directory("spool")) };
        let lake = ObjectLake::open(&format!("s3://{BUCKET}/narrow"), options, limits).unwrap();
        let one = |n: usize| {
            let lake = lake.clone();
            async move {
                let content = vec![n as u8; if n == 7 { 3 << 20 } else { 500_000 }];
                let mut file = lake.stage().unwrap();
                content.chunks(100_000).for_each(|chunk| file.write(chunk).unwrap());
                assert_eq!(file.publish(&format!("t/{n}")).await.unwrap(), Created::Created);
                assert!(lake.read(&format!("t/{n}")).await.unwrap().unwrap() == content);
            }
        };
        futures::future::join_all((0..20).map(one)).await;
    });
}

#[test]
fn minio() {
    if std::env::var("LANDFALL_TEST_ALL").is_ok_and(|value| value == "1") {
        let server = S3Server::start(Kind::Minio);
        crate::run(lake_conformance("S3 (MinIO)", || Arc::new(lake(&server.endpoint()))));
    }
}
