//! A sink of one's own on the contract: batches become Arrow IPC files, created exclusively. The engine gives it
//! the exactly-once part: durable plans, recovery and commits. The sink itself is in `sink.rs`; the test kit runs over
//! it in `tests/e2e/examples.rs`.
//!
//! `cargo run --example own_sink`

mod sink;

use std::sync::Arc;

use landfall::kafka::playground::Playground;
use landfall::supervisor::Mode;
use landfall::{Landfall, demo};
use landfall_sink::{Isolation, Layout};

use sink::ArrowSink;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let broker = Playground::start()?;
    demo::fill(&broker, "orders", 2, 2_000)?;
    let dir = std::env::temp_dir().join(format!("landfall-own-sink-{}", std::process::id()));
    let landfall = Landfall::builder()
        .topic("orders")
        .property("bootstrap.servers", &broker.bootstrap_servers())
        .lake(&format!("file://{}", dir.join("lake").display()))
        .state(dir.join("state"))
        .open()
        .await?;
    let layout = Layout {
        lake: landfall.lake_id().to_owned(),
        format: "arrow".into(),
        extension: "arrow".into(),
        path: "{topic}/{partition}".into(),
        isolation: Isolation::ReadCommitted,
    };
    let sink = ArrowSink::new(dir.join("lake"), layout);
    landfall.run_sink(Arc::new(sink), Mode::Once, std::future::pending()).await?;
    for row in landfall.board().rows() {
        println!("{}: {} records, newest file {}", row.stream, row.records, row.last_file.unwrap_or_default());
    }
    Ok(())
}
