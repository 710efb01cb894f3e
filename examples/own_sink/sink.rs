//! Batches as Arrow IPC files, created exclusively. Each file says in its schema whose it is, so that what stands can be
//! compared and not only be seen: identity, range, number of rows, gaps.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt};
use landfall_sink::arrow::array::RecordBatch;
use landfall_sink::{
    BatchWriter, Collected, CollectingWriter, Facts, Head, Landed, Layout, Plan, SealedBatch, Sink, SinkError, Span,
    Stream, Weight, envelope,
};
use serde::{Deserialize, Serialize};

/// What a file says of itself, in this entry of its schema.
const ABOUT: &str = "own_sink.about";

#[derive(Serialize, Deserialize)]
struct About {
    stream: Stream,
    span: Span,
    rows: u64,
    gaps: Vec<Span>,
}

pub struct ArrowSink {
    layout: Arc<Layout>,
    files: Arc<ArrowFiles>,
}

struct ArrowFiles {
    root: PathBuf,
}

impl ArrowSink {
    pub fn new(root: PathBuf, layout: Layout) -> ArrowSink {
        ArrowSink { layout: Arc::new(layout), files: Arc::new(ArrowFiles { root }) }
    }

    /// A plan of another release may have a layout that this one does not know.
    fn knows(&self, layout: &Layout) -> Result<(), SinkError> {
        if (layout.format.as_str(), layout.extension.as_str()) == ("arrow", "arrow") {
            return Ok(());
        }
        Err(SinkError::Refused(format!("this sink writes arrow files, not {}", layout.format)))
    }
}

/// Nothing can be seen yet.
fn not_done(error: impl ToString) -> SinkError {
    SinkError::NotDone(error.to_string())
}

/// What has become of it has to be read back.
fn unknown(error: impl ToString) -> SinkError {
    SinkError::Unknown(error.to_string())
}

impl ArrowFiles {
    /// What stands under a plan's name, durable, if it is of this plan.
    fn standing(&self, plan: &Plan) -> Result<Option<Landed>, SinkError> {
        let name = plan.file();
        let path = self.root.join(&name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unknown(error)),
        };
        let strange = |why: String| SinkError::Conflict(format!("{name} stands there, and {why}"));
        let bytes = file.metadata().map_err(unknown)?.len();
        // Another process may have made the name, and crashed before it was durable.
        file.sync_all().map_err(unknown)?;
        self.sync_directories(&path)?;
        let reader = StreamReader::try_new(BufReader::new(file), None).map_err(|error| strange(error.to_string()))?;
        let about = reader.schema().metadata().get(ABOUT).cloned().unwrap_or_default();
        let about: About = serde_json::from_str(&about).map_err(|_| strange("does not say what it is".into()))?;
        if about.stream != plan.stream || about.span != plan.span {
            return Err(strange(format!("is {} {}", about.stream, about.span)));
        }
        let About { stream, span, rows, gaps } = about;
        Ok(Some(Landed { stream, span, rows, bytes, gaps, name }))
    }

    /// The names from a file up to the root.
    fn sync_directories(&self, path: &Path) -> Result<(), SinkError> {
        for directory in path.ancestors().skip(1).take_while(|directory| directory.starts_with(&self.root)) {
            File::open(directory).and_then(|directory| directory.sync_all()).map_err(unknown)?;
        }
        Ok(())
    }

    /// A whole file under a temporary name.
    fn write(&self, temporary: &Path, about: &About, rows: &[RecordBatch]) -> anyhow::Result<()> {
        let schema = envelope::schema();
        let metadata = HashMap::from([(ABOUT.to_owned(), serde_json::to_string(about)?)]);
        let schema = schema.as_ref().clone().with_metadata(metadata);
        let mut writer = StreamWriter::try_new(BufWriter::new(File::create_new(temporary)?), &schema)?;
        for batch in rows {
            writer.write(batch)?;
        }
        let mut file = writer.into_inner()?;
        file.flush()?;
        file.get_ref().sync_all()?;
        Ok(())
    }
}

#[async_trait]
impl Collected for ArrowFiles {
    async fn land_rows(&self, plan: &Plan, rows: &[RecordBatch], gaps: &[Span]) -> Result<Landed, SinkError> {
        let path = self.root.join(plan.file());
        let directory = path.parent().ok_or_else(|| SinkError::Refused("no directory".into()))?;
        std::fs::create_dir_all(directory).map_err(not_done)?;
        // A temporary name first, so that the name of the plan is never half a file.
        let temporary = directory.join(format!(".{:032x}", rand::random::<u128>()));
        let count = rows.iter().map(|batch| batch.num_rows() as u64).sum();
        let about = About { stream: plan.stream.clone(), span: plan.span, rows: count, gaps: gaps.to_vec() };
        let linked = self.write(&temporary, &about, rows).map(|()| std::fs::hard_link(&temporary, &path));
        let removed = std::fs::remove_file(&temporary);
        match linked.map_err(not_done)? {
            Ok(()) => {}
            // Somebody was first. It counts only if it is of this plan; its gaps replace ours.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(unknown(error)),
        }
        removed.map_err(unknown)?;
        self.standing(plan)?.ok_or_else(|| not_done("it is not there"))
    }
}

/// Collects the rows, and remembers for which plan they were sealed.
struct Writer {
    head: Head,
    rows: Box<CollectingWriter<ArrowFiles>>,
}

impl BatchWriter for Writer {
    fn write(&mut self, rows: &RecordBatch) -> Result<(), SinkError> {
        self.rows.write(rows)
    }

    fn weight(&self) -> Weight {
        self.rows.weight()
    }

    fn relieve(&mut self) -> Result<(), SinkError> {
        self.rows.relieve()
    }

    fn seal(self: Box<Self>, facts: &Facts) -> Result<Box<dyn SealedBatch>, SinkError> {
        let plan = Plan { stream: self.head.stream, span: facts.span, layout: self.head.layout };
        Ok(Box::new(Sealed { plan, rows: self.rows.seal(facts)? }))
    }
}

struct Sealed {
    plan: Plan,
    rows: Box<dyn SealedBatch>,
}

#[async_trait]
impl SealedBatch for Sealed {
    fn memory(&self) -> usize {
        self.rows.memory()
    }

    async fn land(&mut self, plan: &Plan) -> Result<Landed, SinkError> {
        if *plan != self.plan {
            return Err(SinkError::Refused("these rows were sealed for another plan".into()));
        }
        self.rows.land(plan).await
    }
}

#[async_trait]
impl Sink for ArrowSink {
    fn layout(&self) -> Arc<Layout> {
        self.layout.clone()
    }

    fn begin(&self, head: &Head) -> Result<Box<dyn BatchWriter>, SinkError> {
        self.knows(&head.layout)?;
        let rows = Box::new(CollectingWriter::new(self.files.clone()));
        Ok(Box::new(Writer { head: head.clone(), rows }))
    }

    async fn standing(&self, plan: &Plan) -> Result<Option<Landed>, SinkError> {
        self.knows(&plan.layout)?;
        self.files.standing(plan)
    }

    /// What reconciliation and a rebuild of the checkpoint store go by.
    async fn landed<'a>(
        &'a self,
        layout: &'a Layout,
        stream: &'a Stream,
        from: i64,
    ) -> Result<BoxStream<'a, Result<Landed, SinkError>>, SinkError> {
        self.knows(layout)?;
        let entries = match std::fs::read_dir(self.files.root.join(layout.directory(stream))) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(futures::stream::empty().boxed()),
            Err(error) => return Err(unknown(error)),
        };
        let mut spans: Vec<Span> = Vec::new();
        for entry in entries {
            let name = entry.map_err(unknown)?.file_name();
            spans.extend(name.to_str().and_then(|name| layout.parse_file_name(name)).filter(|span| span.until > from));
        }
        spans.sort_unstable();
        let layout = Arc::new(layout.clone());
        let found = spans.into_iter().filter_map(move |span| {
            let plan = Plan { stream: stream.clone(), span, layout: layout.clone() };
            self.files.standing(&plan).transpose()
        });
        Ok(futures::stream::iter(found).boxed())
    }
}
