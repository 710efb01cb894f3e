//! A sink of one's own on the contract: batches become text files, created exclusively. The engine gives it
//! the exactly-once part: durable plans, recovery and commits.
//!
//! `cargo run --example own_sink`

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt};
use landfall::kafka::playground::Playground;
use landfall::supervisor::Mode;
use landfall::{Landfall, demo};
use landfall_sink::arrow::array::{Array, BinaryArray, Int64Array, RecordBatch};
use landfall_sink::envelope::column;
use landfall_sink::{
    BatchWriter, Collected, CollectingWriter, Head, Isolation, Landed, Layout, Plan, Sink, SinkError, Span, Stream,
};

struct TextSink {
    layout: Arc<Layout>,
    files: Arc<TextFiles>,
}

struct TextFiles {
    root: PathBuf,
}

impl TextFiles {
    fn path(&self, plan: &Plan) -> PathBuf {
        self.root.join(plan.file())
    }

    fn landed(&self, plan: &Plan) -> Result<Landed, SinkError> {
        let path = self.path(plan);
        let text = std::fs::read_to_string(&path).map_err(|error| SinkError::Unknown(error.to_string()))?;
        Ok(Landed {
            stream: plan.stream.clone(),
            span: plan.span,
            rows: text.lines().count() as u64,
            bytes: text.len() as u64,
            gaps: Vec::new(),
            name: path.display().to_string(),
        })
    }
}

#[async_trait]
impl Collected for TextFiles {
    async fn land_rows(&self, plan: &Plan, rows: &[RecordBatch], _gaps: &[Span]) -> Result<Landed, SinkError> {
        let not_done = |error: std::io::Error| SinkError::NotDone(error.to_string());
        let path = self.path(plan);
        let directory = path.parent().ok_or_else(|| SinkError::Refused("no directory".into()))?;
        std::fs::create_dir_all(directory).map_err(not_done)?;
        // A temporary name first, so that the name of the plan is never half a file.
        let temporary = directory.join(format!(".{:032x}", rand::random::<u128>()));
        let mut file = File::create_new(&temporary).map_err(not_done)?;
        for batch in rows {
            write_rows(&mut file, batch).map_err(not_done)?;
        }
        file.sync_all().map_err(not_done)?;
        let linked = std::fs::hard_link(&temporary, &path);
        std::fs::remove_file(&temporary).map_err(not_done)?;
        match linked {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(not_done(error)),
            _ => File::open(directory).and_then(|directory| directory.sync_all()).map_err(not_done)?,
        }
        self.landed(plan)
    }
}

fn write_rows(file: &mut File, batch: &RecordBatch) -> std::io::Result<()> {
    let offsets = batch.column(column::OFFSET).as_any().downcast_ref::<Int64Array>();
    let values = batch.column(column::VALUE).as_any().downcast_ref::<BinaryArray>();
    let (Some(offsets), Some(values)) = (offsets, values) else {
        return Err(std::io::Error::other("not the raw envelope"));
    };
    for row in 0..batch.num_rows() {
        let value = if values.is_null(row) { b"(tombstone)" } else { values.value(row) };
        writeln!(file, "{} {}", offsets.value(row), String::from_utf8_lossy(value))?;
    }
    Ok(())
}

#[async_trait]
impl Sink for TextSink {
    fn layout(&self) -> Arc<Layout> {
        self.layout.clone()
    }

    fn begin(&self, _head: &Head) -> Result<Box<dyn BatchWriter>, SinkError> {
        Ok(Box::new(CollectingWriter::new(self.files.clone())))
    }

    async fn standing(&self, plan: &Plan) -> Result<Option<Landed>, SinkError> {
        if self.files.path(plan).exists() { self.files.landed(plan).map(Some) } else { Ok(None) }
    }

    /// Only needed to rebuild a lost checkpoint store from this destination.
    async fn landed<'a>(
        &'a self,
        _layout: &'a Layout,
        _stream: &'a Stream,
        _from: i64,
    ) -> Result<BoxStream<'a, Result<Landed, SinkError>>, SinkError> {
        Ok(futures::stream::empty().boxed())
    }
}

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
        format: "text".into(),
        extension: "txt".into(),
        path: "{topic}/{partition}".into(),
        isolation: Isolation::ReadCommitted,
    };
    let files = Arc::new(TextFiles { root: dir.join("lake") });
    let sink = TextSink { layout: Arc::new(layout), files };
    landfall.run_sink(Arc::new(sink), Mode::Once, std::future::pending()).await?;
    for row in landfall.board().rows() {
        println!("{}: {} records, newest file {}", row.stream, row.records, row.last_file.unwrap_or_default());
    }
    Ok(())
}
