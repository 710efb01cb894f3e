//! Reads a whole file again and says what is wrong with it, in bounded memory: one row group's pages and
//! one batch of rows at a time.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use futures::stream::BoxStream;
use landfall_lake::Lake;
use landfall_sink::{SinkError, envelope, envelope::column};
use parquet::DecodeResult;
use parquet::arrow::push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;

use crate::checksum::{self, Checksum};
use crate::errors::{decoding, sorted};
use crate::footer::{self, Footer, FooterError};
use crate::metadata::FileMetadata;

/// Decoded rows in memory at a time, in bytes, where rows are of even size.
const BATCH_BYTES: i64 = 4 << 20;
const BATCH_ROWS: i64 = 8192;

/// What reading a file found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    pub path: String,
    pub bytes: u64,
    /// What the file says of itself, or `None` if it is not a file of landfall.
    pub file: Option<FileMetadata>,
    pub rows: u64,
    pub first_offset: Option<i64>,
    pub last_offset: Option<i64>,
    /// Sentences; empty if everything is as it must be.
    pub problems: Vec<String>,
}

/// Reads the file at `path` and checks its rows against its metadata.
pub async fn audit(lake: &dyn Lake, path: &str) -> Result<Audit, SinkError> {
    let mut audit = Audit {
        path: path.to_string(),
        bytes: size(lake, path).await?,
        file: None,
        rows: 0,
        first_offset: None,
        last_offset: None,
        problems: Vec::new(),
    };
    let footer = match footer::read(lake, path, audit.bytes).await {
        Ok(footer) => footer,
        Err(FooterError::Unread(error)) => return Err(sorted(error)),
        Err(FooterError::NotOurs(why)) => {
            audit.problems.push(why.to_string());
            return Ok(audit);
        }
    };
    let mut rows = Rows::new(footer.file.clone());
    if let Err(problem) = read(lake, path, audit.bytes, footer, &mut |batch| rows.take(batch)).await? {
        rows.problem("it cannot be read to its end", || format!("it cannot be read to its end: {problem}"));
    }
    rows.finish(&mut audit);
    audit.file = Some(rows.file);
    Ok(audit)
}

/// The rows of a file in its order, some at a time: of each its offset and the CRC-32C of its content (see
/// [`checksum::each_row`]), for comparing with another source of the same records.
pub async fn rows(
    lake: Arc<dyn Lake>,
    path: String,
) -> Result<BoxStream<'static, Result<Vec<(i64, u32)>, SinkError>>, SinkError> {
    let size = size(lake.as_ref(), &path).await?;
    let footer = match footer::read(lake.as_ref(), &path, size).await {
        Ok(footer) => footer,
        Err(FooterError::Unread(error)) => return Err(sorted(error)),
        Err(FooterError::NotOurs(why)) => return Err(damaged(&path, &why.to_string())),
    };
    let decoder = decoding(|| decoder(footer.parquet)).map_err(|problem| damaged(&path, &problem))?;
    let chunks = futures::stream::try_unfold((lake, path, decoder), move |(lake, path, mut decoder)| async move {
        match next(lake.as_ref(), &path, size, &mut decoder).await? {
            Ok(Some(batch)) => Ok(Some((checksum::each_row(&batch).collect(), (lake, path, decoder)))),
            Ok(None) => Ok(None),
            Err(problem) => Err(damaged(&path, &problem)),
        }
    });
    Ok(Box::pin(chunks))
}

fn damaged(path: &str, why: &str) -> SinkError {
    SinkError::Conflict(format!("{path}: {why}"))
}

async fn size(lake: &dyn Lake, path: &str) -> Result<u64, SinkError> {
    let size = lake.size(path).await.map_err(sorted)?;
    size.ok_or_else(|| SinkError::NotDone(format!("{path} is not there")))
}

/// Decodes a file. The outer error is the lake's, the inner one is damage of the file.
async fn read(
    lake: &dyn Lake,
    path: &str,
    size: u64,
    footer: Footer,
    take: &mut (dyn FnMut(&RecordBatch) + Send),
) -> Result<Result<(), String>, SinkError> {
    let mut decoder = match decoding(|| decoder(footer.parquet)) {
        Ok(decoder) => decoder,
        Err(problem) => return Ok(Err(problem)),
    };
    loop {
        match next(lake, path, size, &mut decoder).await? {
            Ok(Some(batch)) => take(&batch),
            Ok(None) => return Ok(Ok(())),
            Err(problem) => return Ok(Err(problem)),
        }
    }
}

/// The next rows, or `None` after the last. The outer error is the lake's, the inner one is damage of the file.
async fn next(
    lake: &dyn Lake,
    path: &str,
    size: u64,
    decoder: &mut ParquetPushDecoder,
) -> Result<Result<Option<RecordBatch>, String>, SinkError> {
    loop {
        match decoding(|| decoder.try_decode()) {
            Ok(DecodeResult::Finished) => return Ok(Ok(None)),
            Ok(DecodeResult::Data(batch)) => return Ok(conform(&batch).map(Some)),
            Ok(DecodeResult::NeedsData(ranges)) => {
                if let Some(beyond) = ranges.iter().find(|range| range.start > range.end || range.end > size) {
                    return Ok(Err(format!("its footer points to bytes {beyond:?}, and it has {size}")));
                }
                let mut data = Vec::with_capacity(ranges.len());
                for range in &ranges {
                    data.push(lake.read_range(path, range.clone()).await.map_err(sorted)?);
                }
                if let Err(problem) = decoding(|| decoder.push_ranges(ranges, data)) {
                    return Ok(Err(problem));
                }
            }
            Err(problem) => return Ok(Err(problem)),
        }
    }
}

fn decoder(parquet: ParquetMetaData) -> Result<ParquetPushDecoder, ParquetError> {
    let groups = parquet.row_groups().iter().filter(|group| group.num_rows() > 0);
    let widest = groups.map(|group| group.total_byte_size().max(0) / group.num_rows()).max().unwrap_or(1).max(1);
    let rows = (BATCH_BYTES / widest).clamp(1, BATCH_ROWS);
    ParquetPushDecoderBuilder::try_new_decoder(Arc::new(parquet))?.with_batch_size(rows as usize).build()
}

/// The batch with the envelope's schema: other columns are damage, not something to work around.
fn conform(batch: &RecordBatch) -> Result<RecordBatch, String> {
    let schema = envelope::schema();
    RecordBatch::try_new(schema, batch.columns().to_vec())
        .map_err(|error| format!("its columns are not the envelope's: {error}"))
}

/// The rows of a file, as far as they have been read.
struct Rows {
    file: FileMetadata,
    checksum: Checksum,
    rows: u64,
    first: Option<i64>,
    last: Option<i64>,
    /// Each kind of problem once, with how often it came up.
    problems: Vec<(&'static str, String, u64)>,
}

impl Rows {
    fn new(file: FileMetadata) -> Rows {
        Rows { file, checksum: Checksum::new(), rows: 0, first: None, last: None, problems: Vec::new() }
    }

    fn problem(&mut self, kind: &'static str, sentence: impl FnOnce() -> String) {
        match self.problems.iter_mut().find(|(known, _, _)| *known == kind) {
            Some((_, _, count)) => *count += 1,
            None => self.problems.push((kind, sentence(), 1)),
        }
    }

    fn take(&mut self, batch: &RecordBatch) {
        self.checksum.update(batch);
        self.rows += batch.num_rows() as u64;
        let stream = self.file.stream.clone();
        let topics = batch.column(column::TOPIC).as_string::<i32>();
        if let Some(other) = (0..topics.len()).map(|row| topics.value(row)).find(|topic| *topic != stream.topic) {
            self.problem("topic", || format!("it holds a row of topic {other:?}, and is of {:?}", stream.topic));
        }
        let partitions = batch.column(column::PARTITION).as_primitive::<Int32Type>();
        if let Some(other) = partitions.values().iter().find(|partition| **partition != stream.partition) {
            self.problem("partition", || {
                format!("it holds a row of partition {other}, and is of {}", stream.partition)
            });
        }
        for offset in batch.column(column::OFFSET).as_primitive::<Int64Type>().values().iter().copied() {
            self.offset(offset);
        }
    }

    fn offset(&mut self, offset: i64) {
        let span = self.file.span;
        if let Some(last) = self.last.filter(|last| *last >= offset) {
            self.problem("order", || format!("offset {offset} comes after {last}"));
        }
        if !span.contains(offset) {
            self.problem("range", || format!("offset {offset} is outside its range {span}"));
        }
        if let Some(gap) = self.file.gaps.iter().copied().find(|gap| gap.contains(offset)) {
            self.problem("gap", || format!("offset {offset} is there, and inside the recorded gap {gap}"));
        }
        self.first = Some(self.first.map_or(offset, |first| first.min(offset)));
        self.last = Some(offset);
    }

    fn finish(&mut self, audit: &mut Audit) {
        let (rows, claimed) = (self.rows, self.file.rows);
        if rows != claimed {
            self.problem("rows", || format!("it has {rows} rows, and landfall.rows is {claimed}"));
        }
        let (found, claimed) = (self.checksum.text(), self.file.checksum.clone());
        if found != claimed {
            self.problem("checksum", || {
                format!("the checksum of its rows is {found}, and landfall.checksum is {claimed}")
            });
        }
        (audit.rows, audit.first_offset, audit.last_offset) = (self.rows, self.first, self.last);
        audit.problems = std::mem::take(&mut self.problems)
            .into_iter()
            .map(|(_, sentence, count)| match count {
                1 => sentence,
                _ => format!("{sentence} (the first of {count} such rows or places)"),
            })
            .collect();
    }
}
