//! landfall inside a program: land a topic into a directory, up to its end, and say where the files are.
//!
//! `cargo run --example embed`

use std::time::Duration;

use landfall::kafka::playground::Playground;
use landfall::{Landfall, demo};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // A Kafka to try it with; a real one is `property("bootstrap.servers", "broker:9092")`.
    let broker = Playground::start()?;
    demo::fill(&broker, "orders", 2, 5_000)?;
    let dir = std::env::temp_dir().join(format!("landfall-embed-{}", std::process::id()));

    let landfall = Landfall::builder()
        .topic("orders")
        .property("bootstrap.servers", &broker.bootstrap_servers())
        .lake(&format!("file://{}", dir.join("lake").display()))
        .state(dir.join("state"))
        .max_age(Duration::from_secs(5))
        .open()
        .await?;
    landfall.run_once(std::future::pending()).await?;

    for row in landfall.board().rows() {
        println!("{}: offsets {} to {} in {} file(s)", row.stream, row.genesis, row.committed, row.files);
    }
    println!("the files are below {}", dir.join("lake").display());
    Ok(())
}
