//! Records for tests: Arrow batches of the envelope, made from a seed, and rows that can be compared.

use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, Int32Builder, Int64Builder, ListBuilder, StringBuilder, StructBuilder, TimestampMillisecondBuilder,
};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType};
use arrow_array::{Array, RecordBatch};
use landfall_sink::Stream;
use landfall_sink::envelope::{column, header_fields, header_item, schema, timestamp_type};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// One record, as plain values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub offset: i64,
    pub timestamp: Option<i64>,
    pub timestamp_type: i32,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// The record at an offset: a function of `seed` and `offset`, so that batch boundaries change nothing.
/// Nulls, empty values, tombstones, repeated headers, headers without value and all timestamp types occur.
pub fn row(seed: u64, offset: i64) -> Row {
    let mut random = StdRng::seed_from_u64(seed ^ (offset as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let timestamp_type = match random.random_range(0..8) {
        0 => timestamp_type::NONE,
        1 => timestamp_type::APPEND,
        _ => timestamp_type::CREATE,
    };
    let timestamp = (timestamp_type != timestamp_type::NONE).then(|| 1_700_000_000_000 + offset * 7);
    let key = bytes(&mut random, 24);
    let value = bytes(&mut random, 300);
    let count = random.random_range(0..8_usize).saturating_sub(4);
    let headers = (0..count)
        .map(|_| (["trace", "trace", "käse", ""][random.random_range(0..4)].to_string(), bytes(&mut random, 12)))
        .collect();
    Row { offset, timestamp, timestamp_type, key, value, headers }
}

/// Sometimes null, sometimes empty, otherwise words and noise.
fn bytes(random: &mut StdRng, longest: usize) -> Option<Vec<u8>> {
    match random.random_range(0..8) {
        0 => None,
        1 => Some(Vec::new()),
        2 => Some((0..random.random_range(1..=longest)).map(|_| random.random()).collect()),
        _ => {
            let number: u32 = random.random_range(0..100_000);
            let mut text =
                format!("{{\"customer\":{number},\"state\":\"shipped\",\"sum\":{}}}", number % 977).into_bytes();
            text.truncate(longest.max(1));
            Some(text)
        }
    }
}

/// A batch of the records at `offsets`, which must grow.
pub fn batch(stream: &Stream, seed: u64, offsets: impl IntoIterator<Item = i64>) -> RecordBatch {
    batch_of(stream, &offsets.into_iter().map(|offset| row(seed, offset)).collect::<Vec<_>>())
}

/// A batch of these records.
pub fn batch_of(stream: &Stream, rows: &[Row]) -> RecordBatch {
    let (mut topics, mut partitions) = (StringBuilder::new(), Int32Builder::new());
    let (mut offsets, mut types) = (Int64Builder::new(), Int32Builder::new());
    let mut times = TimestampMillisecondBuilder::new().with_timezone("UTC");
    let (mut keys, mut values) = (BinaryBuilder::new(), BinaryBuilder::new());
    let item = StructBuilder::from_fields(header_fields(), 0);
    let mut headers = ListBuilder::new(item).with_field(Arc::new(header_item()));
    for row in rows {
        topics.append_value(&stream.topic);
        partitions.append_value(stream.partition);
        offsets.append_value(row.offset);
        times.append_option(row.timestamp);
        types.append_value(row.timestamp_type);
        keys.append_option(row.key.as_deref());
        values.append_option(row.value.as_deref());
        for (key, value) in &row.headers {
            let item = headers.values();
            if let Some(keys) = item.field_builder::<StringBuilder>(0) {
                keys.append_value(key);
            }
            if let Some(values) = item.field_builder::<BinaryBuilder>(1) {
                values.append_option(value.as_deref());
            }
            item.append(true);
        }
        headers.append(true);
    }
    RecordBatch::try_new(
        schema(),
        vec![
            Arc::new(topics.finish()),
            Arc::new(partitions.finish()),
            Arc::new(offsets.finish()),
            Arc::new(times.finish()),
            Arc::new(types.finish()),
            Arc::new(keys.finish()),
            Arc::new(values.finish()),
            Arc::new(headers.finish()),
        ],
    )
    .unwrap_or_else(|error| panic!("the generator does not fit the envelope: {error}"))
}

/// `count` records from offset `from` on with values of `length` bytes that compress as JSON events do, a key and no
/// headers.
pub fn events(stream: &Stream, from: i64, count: usize, length: usize, seed: u64) -> RecordBatch {
    let mut random = StdRng::seed_from_u64(seed ^ from as u64);
    let rows: Vec<Row> = (from..from + count as i64)
        .map(|offset| {
            let mut value = Vec::with_capacity(length + 96);
            while value.len() < length {
                let (user, price): (u32, u32) = (random.random_range(0..50_000), random.random_range(0..9_999));
                let text = format!(
                    "{{\"user\":{user},\"event\":\"page_view\",\"price\":{price},\"at\":{}}}",
                    1_700_000_000 + offset
                );
                value.extend_from_slice(text.as_bytes());
            }
            value.truncate(length);
            Row {
                offset,
                timestamp: Some(1_700_000_000_000 + offset / 3),
                timestamp_type: timestamp_type::CREATE,
                key: Some(format!("user-{:08}", random.random_range(0..50_000)).into_bytes()),
                value: Some(value),
                headers: Vec::new(),
            }
        })
        .collect();
    batch_of(stream, &rows)
}

/// Cuts a batch into pieces of these sizes, in turn and again from the first, until it is used up.
pub fn cut(batch: &RecordBatch, sizes: &[usize]) -> Vec<RecordBatch> {
    let mut pieces = Vec::new();
    let (mut at, mut turn) = (0, 0);
    while at < batch.num_rows() {
        let length = sizes[turn % sizes.len()].max(1).min(batch.num_rows() - at);
        pieces.push(batch.slice(at, length));
        (at, turn) = (at + length, turn + 1);
    }
    pieces
}

/// The records of batches, to be compared with others.
pub fn rows_of(batches: &[RecordBatch]) -> Vec<Row> {
    batches.iter().flat_map(rows_of_one).collect()
}

fn rows_of_one(batch: &RecordBatch) -> Vec<Row> {
    let offsets = batch.column(column::OFFSET).as_primitive::<Int64Type>();
    let times = batch.column(column::TIMESTAMP).as_primitive::<TimestampMillisecondType>();
    let types = batch.column(column::TIMESTAMP_TYPE).as_primitive::<Int32Type>();
    let keys = batch.column(column::KEY).as_binary::<i32>();
    let values = batch.column(column::VALUE).as_binary::<i32>();
    let headers = batch.column(column::HEADERS).as_list::<i32>();
    let header = |row: usize| {
        let items = headers.value(row);
        let items = items.as_struct();
        let (keys, values) = (items.column(0).as_string::<i32>(), items.column(1).as_binary::<i32>());
        (0..items.len())
            .map(|at| (keys.value(at).to_string(), values.is_valid(at).then(|| values.value(at).to_vec())))
            .collect()
    };
    (0..batch.num_rows())
        .map(|row| Row {
            offset: offsets.value(row),
            timestamp: times.is_valid(row).then(|| times.value(row)),
            timestamp_type: types.value(row),
            key: keys.is_valid(row).then(|| keys.value(row).to_vec()),
            value: values.is_valid(row).then(|| values.value(row).to_vec()),
            headers: header(row),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutting_changes_no_row() {
        let stream = Stream { cluster: "c".into(), topic: "t".into(), topic_id: None, partition: 1 };
        let whole = batch(&stream, 7, (0..100).filter(|offset| offset % 3 != 0));
        let expected: Vec<Row> = (0..100).filter(|offset| offset % 3 != 0).map(|offset| row(7, offset)).collect();
        assert_eq!(rows_of(&cut(&whole, &[1, 9, 4])), expected);
    }

    #[test]
    fn every_shape_occurs() {
        let rows: Vec<Row> = (0..500).map(|offset| row(1, offset)).collect();
        assert!(rows.iter().any(|row| row.value.is_none() && row.key.is_some()), "a tombstone");
        assert!(rows.iter().any(|row| row.value.as_deref() == Some(b"")), "an empty value");
        assert!(rows.iter().any(|row| row.timestamp.is_none()), "no timestamp");
        assert!(rows.iter().any(|row| row.headers.len() > 1 && row.headers.iter().any(|(_, value)| value.is_none())));
    }
}
