//! A lambda architecture: the batch view is read from the files, up to where it ends without a hole; the
//! speed layer reads Kafka from there on. Nothing is counted twice, nothing is missed.
//!
//! `cargo run --example lambda`

use std::time::Duration;

use landfall::kafka::playground::Playground;
use landfall::kafka::{Kafka, ReaderLimits, Settings, Start, Turn};
use landfall::{Landfall, demo};
use landfall_sink::Isolation;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let broker = Playground::start()?;
    demo::fill(&broker, "orders", 1, 4_000)?;
    let dir = std::env::temp_dir().join(format!("landfall-lambda-{}", std::process::id()));
    let landfall = Landfall::builder()
        .topic("orders")
        .property("bootstrap.servers", &broker.bootstrap_servers())
        .lake(&format!("file://{}", dir.join("lake").display()))
        .state(dir.join("state"))
        .open()
        .await?;
    landfall.run_once(std::future::pending()).await?;
    // More events come in after the batch layer has run.
    demo::fill(&broker, "orders", 1, 1_000)?;

    // `landfall offsets` prints the same as JSON.
    let row = landfall.board().rows().remove(0);
    let batch_view: u64 = row.records;
    println!("batch view: {} to {}: {batch_view} records", row.genesis, row.committed);

    let speed_layer = tokio::task::spawn_blocking({
        let bootstrap = broker.bootstrap_servers();
        move || count_from(&bootstrap, row.committed)
    })
    .await??;
    println!("speed layer: from {}: {speed_layer} records", row.committed);
    anyhow::ensure!(batch_view + speed_layer == 5_000, "the two views must make the whole");
    println!("together: {}", batch_view + speed_layer);
    Ok(())
}

/// A speed layer of few lines: counts the records from an offset to the end of the partition.
fn count_from(bootstrap: &str, from: i64) -> anyhow::Result<u64> {
    let settings = Settings::new([("bootstrap.servers".to_owned(), bootstrap.to_owned())].into())?;
    let limits = ReaderLimits { fetch_bytes: 1 << 20, ..ReaderLimits::default() };
    let mut reader = Kafka::connect(&settings)?.reader(Isolation::ReadCommitted, limits)?;
    reader.assign(vec![Start { slot: 0, topic: "orders".into(), partition: 0, from, lineage: None, stop: None }])?;
    let mut turn = Turn::default();
    let mut records = 0;
    while !reader.position(0).at_end {
        records += reader.poll(Duration::from_millis(50), &mut turn) as u64;
        turn.events.clear();
        turn.touched.clear();
    }
    Ok(records)
}
