//! A batch under way: raw rows, then pages, then row groups in the lake's staging place.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use landfall_lake::{Lake, fault};
use landfall_sink::{BatchWriter, Facts, Head, SealedBatch, SinkError, Weight, envelope, envelope::column};
use parquet::file::writer::SerializedFileWriter;

use crate::checksum::Checksum;
use crate::columns::Columns;
use crate::errors::{encoding, failpoint};
use crate::metadata::FileMetadata;
use crate::options::ParquetOptions;
use crate::output::Output;
use crate::row_group::RowGroup;
use crate::sealed::SealedFile;
use crate::sink::Learned;

/// What the footer of a closed row group takes in memory until the file is finished, and in the file.
const ROW_GROUP_IN_MEMORY: usize = 8 << 10;
const ROW_GROUP_IN_FOOTER: u64 = 700;
const FOOTER: u64 = 1200;
/// Parquet counts row groups with 15 bits. From here on, memory is given back only in larger pieces.
const MANY_ROW_GROUPS: usize = 8192;
const NOT_TOO_SMALL: usize = 1 << 20;

/// What all writers of a sink share.
pub(crate) struct Shared {
    pub lake: Arc<dyn Lake>,
    pub options: ParquetOptions,
    pub columns: Columns,
    pub learned: Learned,
}

pub(crate) struct ParquetWriter {
    shared: Arc<Shared>,
    head: Head,
    raw: Vec<RecordBatch>,
    /// Memory of the raw batches, and the bytes of content in them.
    raw_memory: usize,
    raw_content: usize,
    open: RowGroup,
    file: Option<SerializedFileWriter<Output>>,
    rows: u64,
    last: Option<i64>,
    checksum: Checksum,
    /// Content that has been encoded, and what it became: how well these rows compress.
    content: u64,
    encoded: u64,
    /// A write failed half way: this attempt can only be given up.
    broken: Option<String>,
}

impl ParquetWriter {
    pub fn new(shared: Arc<Shared>, head: Head) -> ParquetWriter {
        ParquetWriter {
            open: RowGroup::new(),
            shared,
            head,
            raw: Vec::new(),
            raw_memory: 0,
            raw_content: 0,
            file: None,
            rows: 0,
            last: None,
            checksum: Checksum::new(),
            content: 0,
            encoded: 0,
            broken: None,
        }
    }

    /// Encoded bytes for each byte of content: of this batch, or of the topic until this one has some.
    fn ratio(&self) -> f64 {
        if self.content == 0 {
            return self.shared.learned.ratio(&self.head.stream.topic);
        }
        self.encoded as f64 / self.content as f64
    }

    fn take(&mut self, rows: &RecordBatch) -> Result<(), SinkError> {
        let content = content(rows);
        let most = self.shared.options.raw_bytes.max(1);
        if content > most * 2 && rows.num_rows() > 1 {
            // One huge batch would otherwise be encoded into memory as a whole.
            let half = rows.num_rows() / 2;
            self.take(&rows.slice(0, half))?;
            return self.take(&rows.slice(half, rows.num_rows() - half));
        }
        self.raw_content += content;
        self.raw_memory += rows.get_array_memory_size();
        self.raw.push(rows.clone());
        // Many tiny batches take far more memory than they hold.
        if self.raw_content >= most || self.raw_memory >= most * 4 {
            self.encode()?;
            if self.open.encoded() >= self.shared.options.row_group_bytes {
                self.close_row_group()?;
            }
        }
        Ok(())
    }

    fn encode(&mut self) -> Result<(), SinkError> {
        if self.raw.is_empty() {
            return Ok(());
        }
        let before = self.open.encoded();
        self.open.encode(&self.shared.columns, &self.raw)?;
        self.content += self.raw_content as u64;
        self.encoded += (self.open.encoded() - before) as u64;
        self.shared.learned.learn(&self.head.stream.topic, self.encoded as f64 / self.content.max(1) as f64);
        self.raw = Vec::new();
        (self.raw_content, self.raw_memory) = (0, 0);
        Ok(())
    }

    fn file(&mut self) -> Result<&mut SerializedFileWriter<Output>, SinkError> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let output = Output::new(&*self.shared.lake)?;
                let columns = &self.shared.columns;
                SerializedFileWriter::new(output, columns.root(), columns.properties()).map_err(encoding)?
            }
        };
        Ok(self.file.insert(file))
    }

    fn close_row_group(&mut self) -> Result<(), SinkError> {
        if self.open.is_empty() {
            return Ok(());
        }
        let shared = self.shared.clone();
        let stream = self.head.stream.clone();
        let open = std::mem::replace(&mut self.open, RowGroup::new());
        open.close(&shared.columns, self.file()?, &stream.topic, stream.partition)
    }

    /// Runs a step; after a failure of it the half-written file must not go on.
    fn step(&mut self, step: impl FnOnce(&mut Self) -> Result<(), SinkError>) -> Result<(), SinkError> {
        if let Some(reason) = &self.broken {
            let named = format!("{} from {}: this attempt failed before: {reason}", self.head.stream, self.head.from);
            return Err(SinkError::NotDone(named));
        }
        step(self).map_err(|error| {
            self.broken = Some(error.to_string());
            let named = |text| format!("{} from offset {}: {text}", self.head.stream, self.head.from);
            match error {
                SinkError::NotDone(text) => SinkError::NotDone(named(text)),
                // Nothing is visible before it is published, so an unclear write of staged bytes did not happen.
                SinkError::Unknown(text) => SinkError::NotDone(named(text)),
                SinkError::Refused(text) => SinkError::Refused(named(text)),
                other => other,
            }
        })
    }

    fn metadata(&self, facts: &Facts) -> FileMetadata {
        FileMetadata {
            version: self.shared.options.version.clone(),
            lake: self.head.layout.lake.clone(),
            stream: self.head.stream.clone(),
            span: facts.span,
            rows: self.rows,
            gaps: landfall_sink::merge_spans(facts.gaps.clone()),
            isolation: self.head.layout.isolation,
            checksum: self.checksum.text(),
        }
    }

    fn check_facts(&self, facts: &Facts) -> Result<(), SinkError> {
        let wrong = if facts.span.from != self.head.from || facts.span.is_empty() {
            Some("its range does not begin where the batch began".to_string())
        } else if self.last.is_some_and(|last| last >= facts.span.until) {
            Some(format!("it holds offset {}", self.last.unwrap_or_default()))
        } else {
            let outside = facts.gaps.iter().find(|gap| !facts.span.covers(**gap));
            outside.map(|gap| format!("the gap {gap} is outside"))
        };
        match wrong {
            None => Ok(()),
            Some(wrong) => Err(SinkError::Refused(format!(
                "{}: the batch from offset {} cannot be sealed: {wrong}",
                self.head.stream.range(facts.span),
                self.head.from,
            ))),
        }
    }
}

impl BatchWriter for ParquetWriter {
    fn write(&mut self, rows: &RecordBatch) -> Result<(), SinkError> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let last = check_rows(&self.head, self.last, rows)?;
        self.step(|writer| {
            writer.checksum.update(rows);
            writer.rows += rows.num_rows() as u64;
            writer.last = Some(last);
            writer.take(rows)
        })
    }

    fn weight(&self) -> Weight {
        let (groups, written) = match &self.file {
            Some(file) => (file.flushed_row_groups().len(), file.bytes_written()),
            None => (0, 4),
        };
        let raw = (self.raw_content as f64 * self.ratio()) as u64;
        let groups_in_footer = groups as u64 + u64::from(raw > 0 || !self.open.is_empty());
        let footer = FOOTER + ROW_GROUP_IN_FOOTER * groups_in_footer;
        Weight {
            memory: self.raw_memory + self.open.memory() + groups * ROW_GROUP_IN_MEMORY + size_of::<Self>(),
            size: written as u64 + self.open.encoded() as u64 + raw + footer,
            rows: self.rows,
        }
    }

    /// Encodes what is raw and writes the row group out, however small it is.
    fn relieve(&mut self) -> Result<(), SinkError> {
        self.step(|writer| {
            writer.encode()?;
            let groups = writer.file.as_ref().map_or(0, |file| file.flushed_row_groups().len());
            let worth = if groups < MANY_ROW_GROUPS { ROW_GROUP_IN_MEMORY } else { NOT_TOO_SMALL };
            if writer.open.memory() <= worth { Ok(()) } else { writer.close_row_group() }
        })
    }

    fn seal(mut self: Box<Self>, facts: &Facts) -> Result<Box<dyn SealedBatch>, SinkError> {
        self.check_facts(facts)?;
        let metadata = self.metadata(facts);
        self.step(|writer| {
            writer.encode()?;
            writer.close_row_group()?;
            let file = writer.file()?;
            for pair in metadata.pairs() {
                file.append_key_value_metadata(pair);
            }
            file.finish().map_err(|error| file.inner_mut().error(error))?;
            file.flush().map_err(|error| file.inner_mut().error(error))?;
            file.inner_mut().settle()?;
            fault::point("sink.sealed").map_err(failpoint)
        })?;
        let finished =
            self.file.as_mut().and_then(|file| Some((file.bytes_written() as u64, file.inner_mut().take()?)));
        let Some((bytes, staged)) = finished else {
            return Err(SinkError::Refused(format!("{}: sealed without a file", self.head.stream)));
        };
        Ok(Box::new(SealedFile::new(self.shared.clone(), self.head.layout.clone(), metadata, bytes, staged)))
    }
}

/// Bytes of content: what the values hold, not what Arrow's buffers reserve.
fn content(rows: &RecordBatch) -> usize {
    let span = |ends: &[i32]| (ends.last().copied().unwrap_or(0) - ends.first().copied().unwrap_or(0)) as usize;
    let headers = rows.column(column::HEADERS).as_list::<i32>();
    let ends = headers.value_offsets();
    let items = headers.values().as_struct();
    let (first, last) = (ends.first().copied().unwrap_or(0) as usize, ends.last().copied().unwrap_or(0) as usize);
    let header_bytes = if first == last {
        0
    } else {
        let keys = items.column(0).as_string::<i32>().value_offsets();
        let values = items.column(1).as_binary::<i32>().value_offsets();
        span(&keys[first..=last]) + span(&values[first..=last]) + 8 * (last - first)
    };
    let key = span(rows.column(column::KEY).as_binary::<i32>().value_offsets());
    let value = span(rows.column(column::VALUE).as_binary::<i32>().value_offsets());
    // Offset, timestamp and the lengths.
    key + value + header_bytes + 24 * rows.num_rows()
}

/// Rows must be this stream's, in order of offset, and follow the last one (I4). Returns their last offset.
fn check_rows(head: &Head, last: Option<i64>, rows: &RecordBatch) -> Result<i64, SinkError> {
    let refuse = |what: String| Err(SinkError::Refused(format!("{} from offset {}: {what}", head.stream, head.from)));
    if rows.schema().fields() != envelope::schema().fields() {
        return refuse(format!("these columns are not the envelope's: {}", rows.schema()));
    }
    let partitions = rows.column(column::PARTITION).as_primitive::<Int32Type>();
    if partitions.values().iter().any(|partition| *partition != head.stream.partition) {
        return refuse("a row of another partition was given".into());
    }
    if !all_equal(rows.column(column::TOPIC).as_string::<i32>(), &head.stream.topic) {
        return refuse("a row of another topic was given".into());
    }
    let offsets = rows.column(column::OFFSET).as_primitive::<Int64Type>().values();
    let floor = last.map_or(head.from, |last| last + 1);
    if offsets[0] < floor || offsets.windows(2).any(|pair| pair[0] >= pair[1]) {
        return refuse(format!("offsets must grow: {} after {}", offsets[0], floor - 1));
    }
    Ok(offsets[offsets.len() - 1])
}

/// Whether every string is `value`, told by comparing the column's bytes with themselves, shifted.
fn all_equal(column: &arrow_array::StringArray, value: &str) -> bool {
    let length = value.len();
    let ends = column.value_offsets();
    let bytes = &column.value_data()[ends[0] as usize..ends[ends.len() - 1] as usize];
    let even = ends.windows(2).all(|pair| (pair[1] - pair[0]) as usize == length);
    let shifted = bytes.len() < length || bytes[length..] == bytes[..bytes.len() - length];
    even && shifted && column.value(0) == value && column.null_count() == 0
}
