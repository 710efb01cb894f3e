//! A file of the lake as any reader of Parquet sees it: its metadata and its rows, read with the
//! `parquet` crate and the column names of the documents.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::journal::{content, key_crc};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// `None` where the broker gave none.
    pub timestamp: Option<i64>,
    pub timestamp_type: i32,
    pub content: u32,
    pub key: Option<u32>,
}

#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// The file's own key-value metadata.
    pub metadata: BTreeMap<String, String>,
    pub rows: Vec<Row>,
}

/// The whole file; an error where any part of it cannot be read.
pub fn read(path: &Path) -> Result<Contents, String> {
    // A damaged file may make the reader panic: that is a finding as well, not the end of the checker.
    std::panic::catch_unwind(|| read_whole(path)).unwrap_or_else(|_| Err("the Parquet reader panicked".into()))
}

fn read_whole(path: &Path) -> Result<Contents, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| error.to_string())?;
    let pairs = builder.metadata().file_metadata().key_value_metadata().cloned().unwrap_or_default();
    let metadata = pairs.into_iter().map(|pair| (pair.key, pair.value.unwrap_or_default())).collect();
    let mut rows = Vec::new();
    for batch in builder.build().map_err(|error| error.to_string())? {
        append(&batch.map_err(|error| error.to_string())?, &mut rows)?;
    }
    Ok(Contents { metadata, rows })
}

const NAMES: [&str; 8] = ["topic", "partition", "offset", "timestamp", "timestamp_type", "key", "value", "headers"];

fn append(batch: &RecordBatch, rows: &mut Vec<Row>) -> Result<(), String> {
    let schema = batch.schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    if names != NAMES {
        return Err(format!("the columns are {names:?}"));
    }
    let timestamp = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    for (at, expected) in [(1, DataType::Int32), (2, DataType::Int64), (3, timestamp), (4, DataType::Int32)] {
        let found = schema.field(at).data_type();
        if *found != expected {
            return Err(format!("the column {} is {found}, not {expected}", names[at]));
        }
    }
    let wrong = |name: &str| format!("the column {name} has another type");
    let topics = batch.column(0).as_string_opt::<i32>().ok_or_else(|| wrong("topic"))?;
    let partitions = batch.column(1).as_primitive::<Int32Type>();
    let offsets = batch.column(2).as_primitive::<Int64Type>();
    let timestamps = batch.column(3).as_primitive::<TimestampMillisecondType>();
    let types = batch.column(4).as_primitive::<Int32Type>();
    let keys = batch.column(5).as_binary_opt::<i32>().ok_or_else(|| wrong("key"))?;
    let values = batch.column(6).as_binary_opt::<i32>().ok_or_else(|| wrong("value"))?;
    let lists = batch.column(7).as_list_opt::<i32>().ok_or_else(|| wrong("headers"))?;
    for required in [0, 1, 2, 4, 7] {
        if batch.column(required).null_count() > 0 {
            return Err(format!("a null in the column {}", names[required]));
        }
    }
    for at in 0..batch.num_rows() {
        let key = keys.is_valid(at).then(|| keys.value(at));
        let value = values.is_valid(at).then(|| values.value(at));
        let list = lists.value(at);
        let headers = header_pairs(&list)?;
        rows.push(Row {
            topic: topics.value(at).into(),
            partition: partitions.value(at),
            offset: offsets.value(at),
            timestamp: timestamps.is_valid(at).then(|| timestamps.value(at)),
            timestamp_type: types.value(at),
            content: content(key, value, headers),
            key: key_crc(key),
        });
    }
    Ok(())
}

/// A header as it stands in a row.
type Pair<'a> = (&'a str, Option<&'a [u8]>);

fn header_pairs(list: &dyn Array) -> Result<Vec<Pair<'_>>, String> {
    let wrong = || "the column headers has another type".to_owned();
    let pairs = list.as_struct_opt().ok_or_else(wrong)?;
    if pairs.column_names() != ["key", "value"] {
        return Err(wrong());
    }
    let keys = pairs.column(0).as_string_opt::<i32>().ok_or_else(wrong)?;
    let values = pairs.column(1).as_binary_opt::<i32>().ok_or_else(wrong)?;
    let value = |at: usize| values.is_valid(at).then(|| values.value(at));
    Ok((0..pairs.len()).map(|at| (keys.value(at), value(at))).collect())
}
