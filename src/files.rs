//! The one place that names concrete sinks: what the configuration calls a format becomes a sink here.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use landfall_lake::{Lake, LocalLake};
use landfall_sink::arrow::array::RecordBatch;
use landfall_sink::{Landed, Layout, Sink, SinkError};
use landfall_sink_files::{self as files, ParquetOptions, ParquetSink};

use crate::config::{Codec, Config};
use crate::release;
use crate::verify::{Audited, Auditor, RowSum};

/// How the configuration names new files of the lake with this id.
pub fn layout(config: &Config, lake_id: &str) -> Layout {
    Layout {
        lake: lake_id.to_owned(),
        format: config.lake.format.as_str().into(),
        extension: release::default_of(config.lake.format.as_str().into(), |now: String| format!("snappy.{now}")),
        path: config.lake.path.clone(),
        isolation: config.isolation(),
    }
}

/// The sink that the configuration names, for new files of `layout`.
pub fn sink(config: &Config, lake: &Arc<dyn Lake>, layout: Layout) -> Result<Arc<dyn Sink>, SinkError> {
    Ok(Arc::new(ParquetSink::new(lake.clone(), Arc::new(layout), options(config))?))
}

/// A sink that only looks at what stands under a layout.
pub fn reader(lake: &Arc<dyn Lake>, layout: &Arc<Layout>) -> Result<Arc<dyn Sink>, SinkError> {
    Ok(Arc::new(ParquetSink::new(lake.clone(), layout.clone(), ParquetOptions::default())?))
}

/// The offsets of the rows of a file, in order.
pub async fn offsets(lake: &Path, name: &str) -> Result<Vec<i64>, SinkError> {
    let lake = LocalLake::open_to_read(lake, 1).map_err(|error| SinkError::Unknown(error.to_string()))?;
    let rows = files::rows(Arc::new(lake), name.to_owned()).await?;
    rows.try_fold(Vec::new(), async |mut offsets, chunk| {
        offsets.extend(chunk.into_iter().map(|(offset, _)| offset));
        Ok(offsets)
    })
    .await
}

/// What stands in the place of a row in a comparison: equal sums, equal content.
pub fn sums(rows: &RecordBatch) -> Vec<RowSum> {
    files::checksum::each_row(rows).map(|(offset, crc32c)| RowSum { offset, crc32c }).collect()
}

/// Reads the files of a lake again.
pub struct FileAuditor {
    lake: Arc<dyn Lake>,
}

impl FileAuditor {
    pub fn new(lake: Arc<dyn Lake>) -> FileAuditor {
        FileAuditor { lake }
    }
}

#[async_trait]
impl Auditor for FileAuditor {
    async fn audit(&self, landed: &Landed) -> Result<Audited, SinkError> {
        let audit = files::audit(self.lake.as_ref(), &landed.name).await?;
        let (bytes, name) = (audit.bytes, audit.path);
        let says = audit.file.map(|file| Landed {
            stream: file.stream,
            span: file.span,
            rows: file.rows,
            bytes,
            gaps: file.gaps,
            name,
        });
        Ok(Audited { landed: says, problems: audit.problems })
    }

    async fn rows(&self, landed: &Landed) -> Result<BoxStream<'static, Result<Vec<RowSum>, SinkError>>, SinkError> {
        let sums = |rows: Vec<(i64, u32)>| rows.into_iter().map(|(offset, crc32c)| RowSum { offset, crc32c }).collect();
        let chunks = files::rows(self.lake.clone(), landed.name.clone()).await?;
        Ok(chunks.map_ok(sums).boxed())
    }
}

fn options(config: &Config) -> ParquetOptions {
    let parquet = &config.lake.parquet;
    let codec = match parquet.codec {
        Codec::Zstd => files::Codec::Zstd,
        Codec::Snappy => files::Codec::Snappy,
        Codec::Lz4 => files::Codec::Lz4,
        Codec::None => files::Codec::None,
    };
    ParquetOptions {
        codec,
        level: parquet.level,
        row_group_bytes: usize::try_from(parquet.row_group_size).unwrap_or(usize::MAX),
        version: env!("CARGO_PKG_VERSION").into(),
        ..ParquetOptions::default()
    }
}
