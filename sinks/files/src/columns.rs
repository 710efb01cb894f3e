//! How each column of the envelope is encoded: the writer's properties and the Parquet schema.

use std::sync::Arc;

use landfall_sink::{SinkError, envelope};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::ArrowRowGroupWriterFactory;
use parquet::basic::Encoding;
use parquet::column::page_store::PageStoreFactory;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnPath, SchemaDescriptor, TypePtr};

use crate::errors::encoding;
use crate::options::ParquetOptions;

/// Pages of values are small, so that what zstd looks at stays in the CPU's first caches: measured at
/// nearly twice the speed of megabyte pages, and smaller.
const VALUE_PAGE_BYTES: usize = 64 << 10;

/// Everything that is the same for all files of a sink, made once.
pub(crate) struct Columns {
    /// Never written to: the library makes column writers only for a file writer.
    pattern: SerializedFileWriter<std::io::Sink>,
}

impl Columns {
    pub fn new(options: &ParquetOptions) -> Result<Columns, SinkError> {
        let schema = ArrowSchemaConverter::new().convert(&envelope::schema()).map_err(encoding)?;
        let properties = Arc::new(properties(options)?);
        let pattern =
            SerializedFileWriter::new(std::io::sink(), schema.root_schema_ptr(), properties).map_err(encoding)?;
        Ok(Columns { pattern })
    }

    pub fn descriptor(&self) -> &SchemaDescriptor {
        self.pattern.schema_descr()
    }

    pub fn root(&self) -> TypePtr {
        self.pattern.schema_descr().root_schema_ptr()
    }

    pub fn properties(&self) -> WriterPropertiesPtr {
        self.pattern.properties().clone()
    }

    /// Makes the column writers of one slab, whose finished pages go to `pages`.
    pub fn factory(&self, pages: Arc<dyn PageStoreFactory>) -> ArrowRowGroupWriterFactory {
        ArrowRowGroupWriterFactory::new(&self.pattern, envelope::schema()).with_page_store_factory(pages)
    }
}

/// A path below the root, as Parquet spells it.
fn path(parts: &[&str]) -> ColumnPath {
    ColumnPath::new(parts.iter().map(|part| part.to_string()).collect())
}

fn properties(options: &ParquetOptions) -> Result<WriterProperties, SinkError> {
    let mut builder = WriterProperties::builder()
        .set_created_by(format!("landfall version {}", options.version))
        .set_compression(options.compression()?)
        .set_dictionary_enabled(false)
        .set_bloom_filter_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true)
        .set_data_page_size_limit(VALUE_PAGE_BYTES)
        .set_max_row_group_row_count(None);
    // One value in the whole file: a dictionary makes it a handful of bytes, for readers in memory too.
    for constant in ["topic", "partition"] {
        builder = builder.set_column_dictionary_enabled(path(&[constant]), true);
    }
    for counting in ["offset", "timestamp", "timestamp_type"] {
        builder = builder.set_column_encoding(path(&[counting]), Encoding::DELTA_BINARY_PACKED);
    }
    for asked_for in ["partition", "offset", "timestamp"] {
        builder = builder.set_column_statistics_enabled(path(&[asked_for]), EnabledStatistics::Chunk);
    }
    // Statistics of a key or a value would copy whole records into the footer.
    Ok(builder.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_what_other_readers_expect() {
        let columns = Columns::new(&ParquetOptions::default()).unwrap();
        let mut text = Vec::new();
        parquet::schema::printer::print_schema(&mut text, &columns.root());
        let text = String::from_utf8(text).unwrap();
        for line in [
            "REQUIRED BYTE_ARRAY topic (STRING);",
            "REQUIRED INT32 partition;",
            "REQUIRED INT64 offset;",
            "OPTIONAL INT64 timestamp (TIMESTAMP(MILLIS,true));",
            "REQUIRED INT32 timestamp_type;",
            "OPTIONAL BYTE_ARRAY key;",
            "OPTIONAL BYTE_ARRAY value;",
            "REQUIRED group headers (LIST) {",
            "REPEATED group list {",
            "REQUIRED group element {",
            "REQUIRED BYTE_ARRAY key (STRING);",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
