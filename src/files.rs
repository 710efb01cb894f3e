//! The one place that names concrete sinks: what the configuration calls a format becomes a sink here.

use std::path::Path;
use std::sync::Arc;

use landfall_lake::{Lake, LocalLake};
use landfall_sink::{Layout, Sink, SinkError};
use landfall_sink_files::{self as files, ParquetOptions, ParquetSink};

use crate::config::{Codec, Config};

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
    let mut offsets = Vec::new();
    files::each_row(&lake, name, &mut |offset, _crc32c| offsets.push(offset)).await?;
    Ok(offsets)
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
