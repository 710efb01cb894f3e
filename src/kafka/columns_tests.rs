//! Columns against a plain model of the rows.

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType};
use arrow_array::{Array, RecordBatch};
use landfall_sink::envelope::{column, schema, timestamp_type};
use proptest::prelude::*;

use super::{Columns, Constants, Record};

type Header = (String, Option<Vec<u8>>);

#[derive(Debug, Clone, PartialEq)]
struct Row {
    offset: i64,
    kind: i32,
    timestamp: Option<i64>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<Header>,
}

fn constants() -> Constants {
    Constants { topic: "orders".into(), partition: 3 }
}

fn push(columns: &mut Columns, row: &Row, epoch: i32) {
    let record = Record {
        offset: row.offset,
        timestamp_type: row.kind,
        timestamp: row.timestamp.unwrap_or(-1),
        key: row.key.as_deref(),
        value: row.value.as_deref(),
    };
    columns.push(&record, epoch).unwrap();
    for (key, value) in &row.headers {
        columns.push_header(key.as_bytes(), value.as_deref()).unwrap();
    }
    columns.end_row();
}

fn read(batch: &RecordBatch) -> Vec<Row> {
    assert_eq!(batch.schema(), schema());
    let topics = batch.column(column::TOPIC).as_string::<i32>();
    assert!(topics.iter().all(|topic| topic == Some("orders")));
    let partitions = batch.column(column::PARTITION).as_primitive::<Int32Type>();
    assert!(partitions.values().iter().all(|partition| *partition == 3));
    let timestamps = batch.column(column::TIMESTAMP).as_primitive::<TimestampMillisecondType>();
    let binary = |at: usize, row: usize| {
        let column = batch.column(at).as_binary::<i32>();
        column.is_valid(row).then(|| column.value(row).to_vec())
    };
    let headers = |row: usize| {
        let items = batch.column(column::HEADERS).as_list::<i32>().value(row);
        let items = items.as_struct();
        let (keys, values) = (items.column(0).as_string::<i32>(), items.column(1).as_binary::<i32>());
        let header = |at| (keys.value(at).to_owned(), values.is_valid(at).then(|| values.value(at).to_vec()));
        (0..items.len()).map(header).collect()
    };
    (0..batch.num_rows())
        .map(|row| Row {
            offset: batch.column(column::OFFSET).as_primitive::<Int64Type>().value(row),
            kind: batch.column(column::TIMESTAMP_TYPE).as_primitive::<Int32Type>().value(row),
            timestamp: timestamps.is_valid(row).then(|| timestamps.value(row)),
            key: binary(column::KEY, row),
            value: binary(column::VALUE, row),
            headers: headers(row),
        })
        .collect()
}

fn bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop::option::of(prop::collection::vec(any::<u8>(), 0..6))
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let headers = prop::collection::vec(("[a-c]{0,2}", bytes()), 0..3);
    let row = (1i64..4, -1i32..2, 0i64..1000, bytes(), bytes(), headers);
    prop::collection::vec(row, 0..30).prop_map(|rows| {
        let mut offset = 0;
        let build = |(step, kind, timestamp, key, value, headers)| {
            offset += step;
            let timestamp = (kind != timestamp_type::NONE).then_some(timestamp);
            Row { offset, kind, timestamp, key, value, headers }
        };
        rows.into_iter().map(build).collect()
    })
}

proptest! {
    #[test]
    fn what_was_pushed_is_taken_wherever_it_is_cut(rows in rows(), cuts in prop::collection::vec(0i64..100, 0..4)) {
        let mut columns = Columns::default();
        let (first, second) = rows.split_at(rows.len() / 2);
        for row in first {
            push(&mut columns, row, 0);
        }
        let mut taken = Vec::new();
        let mut cuts = cuts;
        cuts.sort_unstable();
        for cut in cuts {
            let batch = read(&columns.take_until(cut, &constants()));
            prop_assert!(batch.iter().all(|row| row.offset < cut));
            prop_assert!(columns.offset_at(0).is_none_or(|offset| offset >= cut));
            taken.extend(batch);
        }
        for row in second {
            push(&mut columns, row, 0);
        }
        prop_assert_eq!(columns.rows(), rows.len() - taken.len());
        taken.extend(read(&columns.take(&constants())));
        prop_assert_eq!(taken, rows);
        prop_assert!(columns.is_empty());
        prop_assert_eq!(columns.bytes(), 0);
    }

    #[test]
    fn an_epoch_is_known_for_every_cut(epochs in prop::collection::vec(0i32..3, 1..20), cut in 0i64..22) {
        let mut epochs = epochs;
        epochs.sort_unstable();
        let mut columns = Columns::default();
        for (offset, epoch) in epochs.iter().enumerate() {
            let row = Row { offset: offset as i64, kind: 0, timestamp: Some(0), key: None, value: None, headers: vec![] };
            push(&mut columns, &row, *epoch);
        }
        let before = |offset: i64| {
            let last = usize::try_from(offset - 1).ok()?.min(epochs.len() - 1);
            Some((last as i64 + 1, epochs[last]))
        };
        prop_assert_eq!(columns.lineage_before(cut), before(cut));
        columns.take_until(cut, &constants());
        for later in cut..22 {
            prop_assert_eq!(columns.lineage_before(later), before(later), "cut {} later {}", cut, later);
        }
        columns.take(&constants());
        prop_assert_eq!(columns.lineage_before(100), before(100));
    }
}

#[test]
fn a_batch_without_rows_has_the_schema() {
    let batch = Columns::default().take(&constants());
    assert_eq!(batch.num_rows(), 0);
    assert_eq!(batch.schema(), schema());
}

#[test]
fn no_copy_is_made_of_the_values() {
    let mut columns = Columns::default();
    let row = Row { offset: 0, kind: 0, timestamp: Some(1), key: None, value: Some(vec![7; 64]), headers: vec![] };
    push(&mut columns, &row, 0);
    let address = columns.values.data.as_ptr();
    let batch = columns.take(&constants());
    assert_eq!(batch.column(column::VALUE).as_binary::<i32>().value_data().as_ptr(), address);
}

#[test]
fn header_keys_that_are_no_text_become_text() {
    let mut columns = Columns::default();
    let record = Record { offset: 0, timestamp_type: 0, timestamp: 0, key: None, value: None };
    columns.push(&record, -1).unwrap();
    columns.push_header(b"\xff\xfe", None).unwrap();
    columns.end_row();
    let rows = read(&columns.take(&constants()));
    assert_eq!(rows[0].headers, [("\u{fffd}\u{fffd}".to_owned(), None)]);
}

#[test]
fn the_memory_is_what_is_held_and_goes_with_the_rows() {
    let mut columns = Columns::default();
    assert_eq!(columns.memory(), 0);
    let row =
        |offset| Row { offset, kind: 0, timestamp: Some(1), key: None, value: Some(vec![7; 500]), headers: vec![] };
    (0..100).for_each(|offset| push(&mut columns, &row(offset), 0));
    assert!(columns.memory() >= columns.bytes() && columns.memory() < 4 * columns.bytes(), "{}", columns.memory());
    drop(columns.take(&constants()));
    assert_eq!(columns.memory(), 0);
    // The next rows find room for as many as were taken: that counts from the first row on.
    push(&mut columns, &row(100), 0);
    assert!(columns.memory() >= 50_000, "{}", columns.memory());
}
