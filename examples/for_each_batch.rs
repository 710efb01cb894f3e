//! A program's own work, exactly once: each batch comes with its offset range, and comes again with the
//! very same range if the program crashes before its work is committed.
//!
//! Here the work is a table of counts, kept by range, so that a repeated batch changes nothing.
//!
//! `cargo run --example for_each_batch`

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use landfall::kafka::playground::Playground;
use landfall::supervisor::Mode;
use landfall::{Landfall, demo};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let broker = Playground::start()?;
    demo::fill(&broker, "orders", 3, 9_000)?;
    let dir = std::env::temp_dir().join(format!("landfall-for-each-{}", std::process::id()));

    let landfall = Landfall::builder()
        .topic("orders")
        .property("bootstrap.servers", &broker.bootstrap_servers())
        .lake(&format!("file://{}", dir.join("lake").display()))
        .state(dir.join("state"))
        .max_records(1_000)
        .open()
        .await?;

    // Stands for a database whose transaction stores the range beside the result.
    let table = Arc::new(Mutex::new(BTreeMap::new()));
    let work = {
        let table = table.clone();
        move |batch: landfall::Batch| {
            let table = table.clone();
            async move {
                let rows = batch.num_rows();
                table.lock().map_err(|_| anyhow::anyhow!("the table is gone"))?.insert(batch.range, rows);
                Ok(())
            }
        }
    };
    landfall.for_each_batch(Mode::Once, work, std::future::pending()).await?;

    let table = table.lock().map_err(|_| anyhow::anyhow!("the table is gone"))?;
    for (range, rows) in table.iter() {
        println!("{range}: {rows} rows");
    }
    println!("{} rows in {} batches", table.values().sum::<usize>(), table.len());
    Ok(())
}
