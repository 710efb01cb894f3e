//! A row group under way: finished, compressed pages in memory, and nothing else.
//!
//! The library's own writer keeps a codec context, level buffers and half a page for each of nine columns
//! as long as a row group is open: 1.2 MiB beside the encoded bytes, as `examples/encode.rs` measured with
//! records of 100 bytes. With a hundred busy partitions and one or two megabytes for each that is the budget. So rows are kept raw and encoded a slab
//! at a time: the contexts live only during the call, the slab is still in the CPU's caches, and what stays
//! are exactly sized pages, five times smaller than the rows. Pages of many slabs become one column chunk,
//! so that row groups are as large as memory allows and not as small as a slab.

use std::sync::{Arc, Mutex};

use arrow_array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use bytes::Bytes;
use landfall_sink::{SinkError, envelope, envelope::column};
use parquet::arrow::arrow_writer::{ArrowColumnChunk, compute_leaves};
use parquet::basic::EncodingMask;
use parquet::column::page_store::{PageKey, PageStore, PageStoreArgs, PageStoreFactory};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::file::writer::SerializedFileWriter;

use crate::columns::Columns;
use crate::errors::encoding;
use crate::output::Output;

/// `topic` and `partition`: the same in every row, so they are encoded only when the row group is closed.
const CONSTANT_LEAVES: usize = 2;
/// Rows of the constant columns that are encoded at a time.
const CONSTANT_ROWS: usize = 8192;
/// What one kept page costs beside its bytes.
const PAGE_OVERHEAD: usize = 64;

pub(crate) struct RowGroup {
    /// One for each leaf after the constant ones.
    chunks: Vec<Chunk>,
    rows: usize,
    encoded: usize,
    pages: usize,
}

impl RowGroup {
    /// Takes no memory before there are rows: thousands of streams have a batch that waits for some.
    pub fn new() -> RowGroup {
        RowGroup { chunks: Vec::new(), rows: 0, encoded: 0, pages: 0 }
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Bytes of its finished pages.
    pub fn encoded(&self) -> usize {
        self.encoded
    }

    pub fn memory(&self) -> usize {
        self.encoded + self.pages * PAGE_OVERHEAD
    }

    /// Encodes a slab of rows into further pages.
    pub fn encode(&mut self, columns: &Columns, slab: &[RecordBatch]) -> Result<(), SinkError> {
        let leaves = columns.descriptor().num_columns();
        self.chunks.resize_with(leaves - CONSTANT_LEAVES, Chunk::default);
        let captured = Arc::new(Captured::new(leaves));
        let factory = columns.factory(captured.clone());
        let writers = factory.create_column_writers(0).map_err(encoding)?;
        let mut writers = writers.into_iter().enumerate().skip(CONSTANT_LEAVES);
        for position in column::OFFSET..=column::HEADERS {
            let parts = if position == column::HEADERS { 2 } else { 1 };
            let mut mine: Vec<_> = writers.by_ref().take(parts).collect();
            let schema = envelope::schema();
            for batch in slab {
                let parts = compute_leaves(schema.field(position), batch.column(position)).map_err(encoding)?;
                for ((_, writer), part) in mine.iter_mut().zip(&parts) {
                    writer.write(part).map_err(encoding)?;
                }
            }
            for (leaf, writer) in mine {
                let chunk = writer.close().map_err(encoding)?;
                let pages = captured.take(leaf);
                self.encoded += pages.iter().map(Bytes::len).sum::<usize>();
                self.pages += pages.len();
                self.chunks[leaf - CONSTANT_LEAVES].append(pages, chunk.close()).map_err(encoding)?;
            }
        }
        self.rows += slab.iter().map(RecordBatch::num_rows).sum::<usize>();
        Ok(())
    }

    /// Writes the row group out; nothing of it stays in memory.
    pub fn close(
        self,
        columns: &Columns,
        file: &mut SerializedFileWriter<Output>,
        topic: &str,
        partition: i32,
    ) -> Result<(), SinkError> {
        let constants = constants(columns, topic, partition, self.rows).map_err(encoding)?;
        self.append(constants, file).map_err(|error| file.inner_mut().error(error))?;
        file.flush().map_err(|error| file.inner_mut().error(error))?;
        file.inner_mut().settle()
    }

    fn append(self, constants: Vec<ArrowColumnChunk>, file: &mut SerializedFileWriter<Output>) -> ParquetResult<()> {
        let descriptor = file.schema_descr().columns().to_vec();
        let mut group = file.next_row_group()?;
        for chunk in constants {
            chunk.append_to_row_group(&mut group)?;
        }
        for (chunk, descriptor) in self.chunks.into_iter().zip(descriptor.into_iter().skip(CONSTANT_LEAVES)) {
            let close = chunk.close_result(descriptor, self.rows)?;
            group.append_column(&Pages(chunk.pages), close)?;
        }
        group.close()?;
        Ok(())
    }
}

/// The columns that have one value in the whole file.
fn constants(columns: &Columns, topic: &str, partition: i32, rows: usize) -> ParquetResult<Vec<ArrowColumnChunk>> {
    let factory = columns.factory(Arc::new(parquet::column::page_store::InMemoryPageStoreFactory));
    let writers = factory.create_column_writers(0)?;
    let some = rows.min(CONSTANT_ROWS);
    let values: [ArrayRef; CONSTANT_LEAVES] = [
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(topic, some))),
        Arc::new(Int32Array::from_value(partition, some)),
    ];
    let schema = envelope::schema();
    let mut chunks = Vec::with_capacity(CONSTANT_LEAVES);
    for (position, (mut writer, values)) in writers.into_iter().zip(values).enumerate() {
        let mut left = rows;
        while left > 0 {
            let now = left.min(some);
            for leaf in compute_leaves(schema.field(position), &values.slice(0, now))? {
                writer.write(&leaf)?;
            }
            left -= now;
        }
        chunks.push(writer.close()?);
    }
    Ok(chunks)
}

/// One column of the row group: pages of several slabs, one after the other.
#[derive(Default)]
struct Chunk {
    pages: Vec<Bytes>,
    /// What the library recorded of the slabs so far, as if they had been one chunk.
    recorded: Option<ColumnChunkMetaData>,
}

impl Chunk {
    fn append(&mut self, pages: Vec<Bytes>, close: &ColumnCloseResult) -> ParquetResult<()> {
        self.pages.extend(pages);
        self.recorded = Some(match self.recorded.take() {
            None => close.metadata.clone(),
            Some(before) => joined(before, &close.metadata)?,
        });
        Ok(())
    }

    fn close_result(
        &self,
        descriptor: parquet::schema::types::ColumnDescPtr,
        rows: usize,
    ) -> ParquetResult<ColumnCloseResult> {
        let recorded =
            self.recorded.as_ref().ok_or_else(|| ParquetError::General("a row group without rows".into()))?;
        let mut builder = ColumnChunkMetaData::builder(descriptor)
            .set_compression_codec(recorded.compression_codec())
            .set_encodings_mask(*recorded.encodings_mask())
            .set_num_values(recorded.num_values())
            .set_total_compressed_size(recorded.compressed_size())
            .set_total_uncompressed_size(recorded.uncompressed_size())
            .set_unencoded_byte_array_data_bytes(recorded.unencoded_byte_array_data_bytes())
            // Pages are spliced from their own beginning; the library moves this to where they land.
            .set_data_page_offset(0);
        if let Some(statistics) = recorded.statistics() {
            builder = builder.set_statistics(statistics.clone());
        }
        Ok(ColumnCloseResult {
            bytes_written: recorded.compressed_size() as u64,
            rows_written: rows as u64,
            metadata: builder.build()?,
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        })
    }
}

/// The record of two stretches of one column, taken together.
fn joined(before: ColumnChunkMetaData, after: &ColumnChunkMetaData) -> ParquetResult<ColumnChunkMetaData> {
    let encodings: Vec<_> = before.encodings().chain(after.encodings()).collect();
    let plain = before.unencoded_byte_array_data_bytes().zip(after.unencoded_byte_array_data_bytes());
    let values = before.num_values() + after.num_values();
    let compressed = before.compressed_size() + after.compressed_size();
    let uncompressed = before.uncompressed_size() + after.uncompressed_size();
    let statistics = before.statistics().zip(after.statistics()).and_then(|(one, two)| joined_statistics(one, two));
    let mut builder = before
        .into_builder()
        .set_encodings_mask(EncodingMask::new_from_encodings(encodings.iter()))
        .set_num_values(values)
        .set_total_compressed_size(compressed)
        .set_total_uncompressed_size(uncompressed)
        .set_unencoded_byte_array_data_bytes(plain.map(|(one, two)| one + two))
        .clear_statistics();
    if let Some(statistics) = statistics {
        builder = builder.set_statistics(statistics);
    }
    builder.build()
}

/// Statistics are kept for numbers only; see [`crate::columns`].
fn joined_statistics(before: &Statistics, after: &Statistics) -> Option<Statistics> {
    let (Statistics::Int64(before), Statistics::Int64(after)) = (before, after) else { return None };
    let nulls = before.null_count_opt()? + after.null_count_opt()?;
    let min = [before.min_opt(), after.min_opt()].into_iter().flatten().min().copied();
    let max = [before.max_opt(), after.max_opt()].into_iter().flatten().max().copied();
    Some(Statistics::Int64(ValueStatistics::new(min, max, None, Some(nulls), false)))
}

/// Where the library puts finished pages of a slab: one list for each leaf.
#[derive(Debug)]
struct Captured {
    leaves: Vec<Arc<Mutex<Vec<Bytes>>>>,
}

impl Captured {
    fn new(leaves: usize) -> Captured {
        Captured { leaves: (0..leaves).map(|_| Arc::default()).collect() }
    }

    fn take(&self, leaf: usize) -> Vec<Bytes> {
        let mut pages = self.leaves[leaf].lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        std::mem::take(&mut *pages)
    }
}

impl PageStoreFactory for Captured {
    fn create(&self, args: &PageStoreArgs<'_>) -> ParquetResult<Box<dyn PageStore>> {
        Ok(Box::new(Leaf(self.leaves[args.column_index()].clone())))
    }
}

struct Leaf(Arc<Mutex<Vec<Bytes>>>);

impl PageStore for Leaf {
    /// Copied, because what arrives has the capacity of the worst case of the codec: five times its bytes.
    fn put(&mut self, page: Bytes) -> ParquetResult<PageKey> {
        let mut pages = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        pages.push(Bytes::copy_from_slice(&page));
        Ok(PageKey::new(pages.len() as u64 - 1))
    }

    fn take(&mut self, _key: PageKey) -> ParquetResult<Bytes> {
        Err(ParquetError::General("these pages are spliced by the row group".into()))
    }
}

/// The pages of a chunk as the library wants to read them: from their beginning, once.
struct Pages(Vec<Bytes>);

impl parquet::file::reader::Length for Pages {
    fn len(&self) -> u64 {
        self.0.iter().map(|page| page.len() as u64).sum()
    }
}

impl parquet::file::reader::ChunkReader for Pages {
    type T = PageReader;

    fn get_read(&self, start: u64) -> ParquetResult<PageReader> {
        if start != 0 {
            return Err(ParquetError::General("pages are read from their beginning".into()));
        }
        Ok(PageReader { pages: self.0.clone().into_iter(), page: Bytes::new() })
    }

    fn get_bytes(&self, _start: u64, _length: usize) -> ParquetResult<Bytes> {
        Err(ParquetError::General("pages are read from their beginning".into()))
    }
}

struct PageReader {
    pages: std::vec::IntoIter<Bytes>,
    page: Bytes,
}

impl std::io::Read for PageReader {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        while self.page.is_empty() {
            match self.pages.next() {
                Some(page) => self.page = page,
                None => return Ok(0),
            }
        }
        let count = to.len().min(self.page.len());
        to[..count].copy_from_slice(&self.page.split_to(count));
        Ok(count)
    }
}
