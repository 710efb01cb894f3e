//! The sink: begins batches, and says what stands in the lake for a plan or a stream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use landfall_lake::{Lake, fault};
use landfall_sink::{BatchWriter, Head, Landed, Layout, Plan, Sink, SinkError, Span, Stream};

use crate::columns::Columns;
use crate::errors::{failpoint, sorted, unread};
use crate::footer::{self, FooterError};
use crate::metadata::FileMetadata;
use crate::options::ParquetOptions;
use crate::writer::{ParquetWriter, Shared};

/// What a layout calls this sink's files.
pub const FORMAT: &str = "parquet";

/// Lands batches as Parquet files, one for a plan.
pub struct ParquetSink {
    layout: Arc<Layout>,
    shared: Arc<Shared>,
}

impl ParquetSink {
    /// `layout` is what new plans freeze; plans of older layouts are executed as well.
    pub fn new(lake: Arc<dyn Lake>, layout: Arc<Layout>, options: ParquetOptions) -> Result<ParquetSink, SinkError> {
        let columns = Columns::new(&options)?;
        let sink = ParquetSink {
            shared: Arc::new(Shared { lake, options, columns, learned: Learned::default() }),
            layout: layout.clone(),
        };
        sink.knows(&layout)?;
        Ok(sink)
    }

    /// A name given under a layout that is only half understood would be another plan's name.
    fn knows(&self, layout: &Layout) -> Result<(), SinkError> {
        if layout.format != FORMAT {
            return Err(SinkError::Refused(format!(
                "this release does not know the format {:?} of layout {}: finish its plans with the release that made them",
                layout.format,
                layout.digest(),
            )));
        }
        if layout.lake != self.layout.lake {
            return Err(SinkError::Refused(format!(
                "layout {} belongs to lake {}, and this is lake {}: give the configuration the right lake.url",
                layout.digest(),
                layout.lake,
                self.layout.lake,
            )));
        }
        Ok(())
    }
}

#[async_trait]
impl Sink for ParquetSink {
    fn layout(&self) -> Arc<Layout> {
        self.layout.clone()
    }

    fn begin(&self, head: &Head) -> Result<Box<dyn BatchWriter>, SinkError> {
        self.knows(&head.layout)?;
        Ok(Box::new(ParquetWriter::new(self.shared.clone(), head.clone())))
    }

    async fn standing(&self, plan: &Plan) -> Result<Option<Landed>, SinkError> {
        self.knows(&plan.layout)?;
        standing(&*self.shared.lake, plan).await
    }

    async fn landed<'a>(
        &'a self,
        layout: &'a Layout,
        stream: &'a Stream,
        from: i64,
    ) -> Result<BoxStream<'a, Result<Landed, SinkError>>, SinkError> {
        self.knows(layout)?;
        let names = names(&*self.shared.lake, layout, stream, from).await?.into_iter();
        let shown = stream::try_unfold(names, move |mut names| async move {
            for (span, size) in names.by_ref() {
                let plan = Plan { stream: stream.clone(), span, layout: Arc::new(layout.clone()) };
                if let Some(landed) = shown(&*self.shared.lake, &plan, size).await? {
                    return Ok(Some((landed, names)));
                }
            }
            Ok(None)
        });
        Ok(shown.boxed())
    }
}

/// The ranges that names of the stream's directory claim, in order. The listing is finished before
/// anything is acted on. A range that holds `from` may begin long before it, so the listing cannot
/// start at `from`; but only footers of what is asked for are read.
async fn names(lake: &dyn Lake, layout: &Layout, stream: &Stream, from: i64) -> Result<Vec<(Span, u64)>, SinkError> {
    let directory = layout.directory(stream);
    let mut listing = lake.list(&directory, None).await.map_err(sorted)?;
    let mut names = Vec::new();
    while let Some(entry) = listing.next().await {
        let entry = entry.map_err(sorted)?;
        let name = entry.path.strip_prefix(directory.as_str()).and_then(|rest| rest.strip_prefix('/'));
        // Whatever is not a name of this layout is not ours to judge.
        if let Some(span) = name.and_then(|name| layout.parse_file_name(name))
            && span.until > from
        {
            names.push((span, entry.size));
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// A listed file, or `None` if it has been moved away since.
async fn shown(lake: &dyn Lake, plan: &Plan, size: u64) -> Result<Option<Landed>, SinkError> {
    let path = plan.file();
    match footer::read(lake, &path, size).await {
        Ok(footer) => match footer.file.is_no_file_of(plan) {
            Some(differs) => Err(conflict(plan, &differs)),
            None => Ok(Some(landed(footer.file, plan, size))),
        },
        Err(FooterError::NotOurs(why)) => Err(conflict(plan, &why.to_string())),
        Err(FooterError::Unread(error)) => match lake.size(&path).await {
            Ok(None) => Ok(None),
            _ => Err(sorted(error)),
        },
    }
}

/// What stands under the plan's name, read back and durable.
pub(crate) async fn standing(lake: &dyn Lake, plan: &Plan) -> Result<Option<Landed>, SinkError> {
    fault::point("sink.before_read_back").map_err(|error| SinkError::Unknown(failpoint(error).to_string()))?;
    let path = plan.file();
    let Some(size) = lake.size(&path).await.map_err(unread)? else { return Ok(None) };
    let landed = match footer::read(lake, &path, size).await {
        Ok(footer) => ours(footer.file, plan, size)?,
        Err(FooterError::NotOurs(why)) => return Err(conflict(plan, &why.to_string())),
        Err(FooterError::Unread(error)) => return Err(unread(error)),
    };
    // A crash of its writer may have left the name in memory only; what is committed must outlive us.
    lake.settle(&path).await.map_err(|error| match sorted(error) {
        SinkError::Refused(text) => SinkError::Refused(text),
        other => SinkError::Unknown(format!("{}: {other}", plan.range())),
    })?;
    Ok(Some(landed))
}

fn ours(file: FileMetadata, plan: &Plan, bytes: u64) -> Result<Landed, SinkError> {
    if let Some(differs) = file.differs_from(plan) {
        return Err(conflict(plan, &differs));
    }
    Ok(landed(file, plan, bytes))
}

fn landed(file: FileMetadata, plan: &Plan, bytes: u64) -> Landed {
    let name = plan.file();
    Landed { stream: file.stream, span: file.span, rows: file.rows, bytes, gaps: file.gaps, name }
}

fn conflict(plan: &Plan, why: &str) -> SinkError {
    SinkError::Conflict(format!(
        "{}: something else stands under {}: {why}. It is not touched; find out who wrote it, move it out of the lake, and start again",
        plan.range(),
        plan.file(),
    ))
}

/// How well the rows of each topic compress, so that the size of a young batch is not a guess.
#[derive(Default)]
pub(crate) struct Learned(Mutex<HashMap<String, f64>>);

impl Learned {
    /// Before anything is known: between text, which shrinks to a fifth, and what is compressed already.
    const UNKNOWN: f64 = 0.4;

    pub fn ratio(&self, topic: &str) -> f64 {
        self.ratios().get(topic).copied().unwrap_or(Learned::UNKNOWN)
    }

    pub fn learn(&self, topic: &str, ratio: f64) {
        let mut ratios = self.ratios();
        match ratios.get_mut(topic) {
            Some(known) => *known = ratio,
            None => drop(ratios.insert(topic.to_string(), ratio)),
        }
    }

    fn ratios(&self) -> std::sync::MutexGuard<'_, HashMap<String, f64>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
