//! What is in a file, what stands under a name, and what an audit finds.

// Clippy sees only functions with #[test] as tests.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow_array::RecordBatch;
use futures::TryStreamExt;
use landfall_lake::Lake;
use landfall_sink::{BatchWriter, Facts, Head, Isolation, Landed, Layout, Plan, Sink, SinkError, Span, Stream};
use landfall_sink_files::checksum::{self, Checksum};
use landfall_sink_files::{Codec, ParquetOptions, ParquetSink, audit};
use landfall_sink_testkit::{Fault, MemoryLake, rows};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::KeyValue;
use proptest::prelude::*;

fn stream() -> Stream {
    Stream { cluster: "c1".into(), topic: "orders".into(), topic_id: Some("id".into()), partition: 3 }
}

fn layout() -> Arc<Layout> {
    Arc::new(Layout {
        lake: "lake-1".into(),
        format: "parquet".into(),
        extension: "parquet".into(),
        path: "{topic}/{partition}".into(),
        isolation: Isolation::ReadCommitted,
    })
}

fn sink(lake: &MemoryLake, options: ParquetOptions) -> ParquetSink {
    ParquetSink::new(Arc::new(lake.clone()), layout(), options).unwrap()
}

fn plan(from: i64, until: i64) -> Plan {
    Plan { stream: stream(), span: Span::new(from, until), layout: layout() }
}

fn begin(sink: &ParquetSink, from: i64) -> Box<dyn BatchWriter> {
    sink.begin(&Head { stream: stream(), from, layout: layout() }).unwrap()
}

async fn land(sink: &ParquetSink, plan: &Plan, batches: &[RecordBatch], gaps: &[Span]) -> Landed {
    let mut writer = begin(sink, plan.span.from);
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    let mut sealed = writer.seal(&Facts { span: plan.span, gaps: gaps.to_vec() }).unwrap();
    sealed.land(plan).await.unwrap()
}

fn read(lake: &MemoryLake, path: &str) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(lake.content(path).unwrap()).unwrap().build().unwrap();
    reader.map(|batch| batch.unwrap()).collect()
}

#[tokio::test]
async fn every_codec_brings_back_the_rows_in_many_row_groups() {
    for codec in [Codec::Zstd, Codec::Snappy, Codec::Lz4, Codec::None] {
        let lake = MemoryLake::new();
        let sizes = ParquetOptions { codec, raw_bytes: 20 << 10, row_group_bytes: 30 << 10, ..Default::default() };
        let sink = sink(&lake, sizes);
        let plan = plan(0, 5_000);
        let batch = rows::batch(&stream(), 5, 0..5_000);
        let landed = land(&sink, &plan, &rows::cut(&batch, &[700, 3]), &[]).await;
        let file = lake.content(&plan.file()).unwrap();
        assert_eq!(landed.bytes, file.len() as u64);
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        assert!(reader.metadata().num_row_groups() > 3);
        assert_eq!(reader.schema().fields(), landfall_sink::envelope::schema().fields());
        assert_eq!(rows::rows_of(&read(&lake, &plan.file())), rows::rows_of(&[batch]));
        let audit = audit(&lake, &plan.file()).await.unwrap();
        assert_eq!((audit.problems, audit.rows), (vec![], 5_000));
    }
}

#[tokio::test]
async fn statistics_are_kept_where_readers_skip_by_them_and_nowhere_else() {
    let lake = MemoryLake::new();
    let sink = sink(&lake, ParquetOptions { raw_bytes: 10 << 10, row_group_bytes: 50 << 10, ..Default::default() });
    let plan = plan(0, 3_000);
    land(&sink, &plan, &[rows::batch(&stream(), 5, 0..3_000)], &[]).await;
    let reader = ParquetRecordBatchReaderBuilder::try_new(lake.content(&plan.file()).unwrap()).unwrap();
    let mut next = 0;
    for group in reader.metadata().row_groups() {
        for column in group.columns() {
            let kept = ["partition", "offset", "timestamp"].contains(&column.column_path().string().as_str());
            assert_eq!(column.statistics().is_some(), kept, "{}", column.column_path());
        }
        let Some(parquet::file::statistics::Statistics::Int64(offsets)) = group.column(2).statistics() else {
            panic!("no statistics of offset")
        };
        assert_eq!(offsets.min_opt(), Some(&next));
        next += group.num_rows();
        assert_eq!(offsets.max_opt(), Some(&(next - 1)));
        let Some(parquet::file::statistics::Statistics::Int64(times)) = group.column(3).statistics() else {
            panic!("no statistics of timestamp")
        };
        assert!(times.null_count_opt().unwrap() > 0 && times.min_opt() < times.max_opt());
    }
    assert_eq!(next, 3_000);
}

#[tokio::test]
async fn the_weight_foretells_the_size_within_a_tenth() {
    let noise = |from: i64| -> RecordBatch {
        let rows: Vec<rows::Row> = (from..from + 100)
            .map(|offset| rows::Row {
                value: Some(
                    (0..1_000_u64)
                        .map(|n| ((n + 1).wrapping_mul(offset as u64 + 7).wrapping_mul(0x9E37_79B9_7F4A) >> 21) as u8)
                        .collect(),
                ),
                headers: Vec::new(),
                ..rows::row(1, offset)
            })
            .collect();
        rows::batch_of(&stream(), &rows)
    };
    let text = |from: i64| rows::events(&stream(), from, 500, 200, 3);
    type Maker<'a> = (&'a str, i64, &'a dyn Fn(i64) -> RecordBatch);
    let makers: [Maker; 2] = [("noise", 100, &noise), ("text", 500, &text)];
    for (name, step, make) in makers {
        for batches in [15, 60, 130] {
            let lake = MemoryLake::new();
            let sink = sink(&lake, ParquetOptions { row_group_bytes: 1 << 20, ..Default::default() });
            let mut writer = begin(&sink, 0);
            (0..batches).for_each(|turn| writer.write(&make(turn * step)).unwrap());
            let foretold = writer.weight().size as f64;
            let plan = plan(0, batches * step);
            let mut sealed = writer.seal(&Facts { span: plan.span, gaps: vec![] }).unwrap();
            let size = sealed.land(&plan).await.unwrap().bytes as f64;
            assert!((foretold / size - 1.0).abs() < 0.1, "{name} x {batches}: {foretold} foretold, {size} written");
        }
    }
}

#[tokio::test]
async fn memory_stays_bounded_and_relieve_frees_nearly_all_of_it() {
    let lake = MemoryLake::new();
    let options = ParquetOptions { raw_bytes: 128 << 10, row_group_bytes: 512 << 10, ..Default::default() };
    let sink = sink(&lake, options);
    let mut writer = begin(&sink, 0);
    for turn in 0..100 {
        writer.write(&rows::events(&stream(), turn * 500, 500, 200, 3)).unwrap();
        assert!(writer.weight().memory < 2 << 20, "{:?} after {turn}", writer.weight());
    }
    writer.relieve().unwrap();
    assert!(writer.weight().memory < 128 << 10, "{:?}", writer.weight());
    assert_eq!(writer.weight().rows, 50_000);
}

#[tokio::test]
async fn the_metadata_says_whose_rows_these_are() {
    let lake = MemoryLake::new();
    let plan = plan(10, 20);
    land(&sink(&lake, Default::default()), &plan, &[rows::batch(&stream(), 1, [10, 11, 15])], &[Span::new(12, 14)])
        .await;
    let reader = ParquetRecordBatchReaderBuilder::try_new(lake.content(&plan.file()).unwrap()).unwrap();
    let pairs = reader.metadata().file_metadata().key_value_metadata().unwrap().clone();
    let value = |key: &str| pairs.iter().find(|pair| pair.key == key).unwrap().value.clone().unwrap();
    for (key, expected) in [
        ("landfall.cluster", "c1"),
        ("landfall.topic", "orders"),
        ("landfall.topic_id", "id"),
        ("landfall.partition", "3"),
        ("landfall.from", "10"),
        ("landfall.until", "20"),
        ("landfall.rows", "3"),
        ("landfall.gaps", "[[12,14]]"),
        ("landfall.isolation", "read_committed"),
        ("landfall.lake", "lake-1"),
    ] {
        assert_eq!(value(key), expected, "{key}");
    }
    assert!(value("landfall.checksum").starts_with("crc32c:"));
    assert_eq!(plan.file(), "orders/3/00000000000000000010-00000000000000000020.parquet");
}

#[tokio::test]
async fn what_is_found_is_made_durable_before_it_is_believed() {
    let lake = MemoryLake::new();
    let sink = sink(&lake, Default::default());
    let plan = plan(0, 10);
    land(&sink, &plan, &[], &[]).await;
    assert!(lake.settled().is_empty());
    sink.standing(&plan).await.unwrap().unwrap();
    assert_eq!(lake.settled(), [plan.file()]);
}

#[tokio::test]
async fn a_read_back_that_fails_is_unknown_and_never_absent() {
    let lake = MemoryLake::new();
    let sink = sink(&lake, Default::default());
    let plan = plan(0, 10);
    let mut sealed = begin(&sink, 0).seal(&Facts { span: plan.span, gaps: vec![] }).unwrap();
    lake.fail_next(Fault::LostAfter);
    lake.fail_reads(1);
    assert!(matches!(sealed.land(&plan).await, Err(SinkError::Unknown(_))));
    lake.fail_reads(2);
    assert!(matches!(sink.standing(&plan).await, Err(SinkError::Unknown(_))));
    assert!(matches!(sink.standing(&plan).await, Err(SinkError::Unknown(_))));
    assert!(sink.standing(&plan).await.unwrap().is_some());
}

#[tokio::test]
async fn a_full_disk_did_not_happen() {
    let lake = MemoryLake::new();
    let plan = plan(0, 10);
    let mut sealed = begin(&sink(&lake, Default::default()), 0).seal(&Facts { span: plan.span, gaps: vec![] }).unwrap();
    lake.fail_next(Fault::NotDone);
    assert!(matches!(sealed.land(&plan).await, Err(SinkError::NotDone(_))));
    assert!(lake.paths().is_empty());
    sealed.land(&plan).await.unwrap();
}

#[tokio::test]
async fn names_of_others_are_left_alone_and_a_stranger_under_our_name_is_a_conflict() {
    let lake = MemoryLake::new();
    let sink = sink(&lake, Default::default());
    land(&sink, &plan(0, 10), &[rows::batch(&stream(), 1, 0..10)], &[]).await;
    for other in [
        "orders/3/notes.txt",
        "orders/3/part-0.parquet",
        "orders/3/sub/00000000000000000010-00000000000000000020.parquet",
    ] {
        lake.overwrite(other, "x");
    }
    let (layout, stream) = (layout(), stream());
    let shown: Vec<Landed> = sink.landed(&layout, &stream, 0).await.unwrap().try_collect().await.unwrap();
    assert_eq!(shown.len(), 1);
    // A file of landfall that somebody renamed says another range than its name.
    let copied = lake.content(&plan(0, 10).file()).unwrap();
    lake.overwrite(&plan(10, 20).file(), copied);
    let error = sink.landed(&layout, &stream, 0).await.unwrap().try_collect::<Vec<_>>().await.unwrap_err();
    assert!(
        matches!(&error, SinkError::Conflict(text) if text.contains("landfall.from") && text.contains("orders/3")),
        "{error}"
    );
}

#[tokio::test]
async fn rows_that_break_the_order_or_the_range_are_refused() {
    let lake = MemoryLake::new();
    let sink = sink(&lake, Default::default());
    let refused = |result: Result<(), SinkError>| assert!(matches!(result, Err(SinkError::Refused(_))), "{result:?}");
    let batch = |offsets: &[i64]| rows::batch(&stream(), 1, offsets.iter().copied());
    refused(begin(&sink, 10).write(&batch(&[9])));
    refused(begin(&sink, 10).write(&batch(&[10, 10])));
    let mut writer = begin(&sink, 10);
    writer.write(&batch(&[10, 12])).unwrap();
    refused(writer.write(&batch(&[12])));
    refused(writer.seal(&Facts { span: Span::new(10, 12), gaps: vec![] }).map(drop));
    let other = Stream { partition: 4, ..stream() };
    refused(begin(&sink, 0).write(&rows::batch(&other, 1, [0])));
    let other = Stream { topic: "orderz".into(), ..stream() };
    refused(begin(&sink, 0).write(&rows::batch(&other, 1, [0, 1])));
}

#[tokio::test]
async fn an_audit_outlives_a_footer_that_lies() {
    let lake = MemoryLake::new();
    let plan = plan(0, 3_000);
    land(&sink(&lake, Default::default()), &plan, &[rows::batch(&stream(), 1, 0..3_000)], &[]).await;
    let whole = lake.content(&plan.file()).unwrap();
    // The file was cut in its middle: the footer is whole, and points beyond the end.
    let footer = u32::from_le_bytes(whole[whole.len() - 8..whole.len() - 4].try_into().unwrap()) as usize;
    let cut = [&whole[..whole.len() / 4], &whole[whole.len() - 8 - footer..]].concat();
    lake.overwrite("cut", cut);
    let problems = audit(&lake, "cut").await.unwrap().problems;
    assert!(problems.iter().any(|problem| problem.contains("cannot be read to its end")), "{problems:?}");
}

/// A file as a careless or malicious writer would make it: any rows under any metadata.
fn forged(batch: &RecordBatch, pairs: &[KeyValue]) -> Vec<u8> {
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    pairs.iter().for_each(|pair| writer.append_key_value_metadata(pair.clone()));
    writer.into_inner().unwrap()
}

#[tokio::test]
async fn an_audit_finds_what_is_wrong() {
    let lake = MemoryLake::new();
    let good = rows::batch(&stream(), 1, [0, 1, 5]);
    let plan = plan(0, 10);
    land(&sink(&lake, Default::default()), &plan, std::slice::from_ref(&good), &[Span::new(2, 4)]).await;
    let reader = ParquetRecordBatchReaderBuilder::try_new(lake.content(&plan.file()).unwrap()).unwrap();
    let pairs = reader.metadata().file_metadata().key_value_metadata().unwrap().clone();
    lake.overwrite("same", forged(&good, &pairs));
    assert_eq!(audit(&lake, "same").await.unwrap().problems, Vec::<String>::new());
    let other = Stream { topic: "other".into(), partition: 9, ..stream() };
    let unordered = rows::batch_of(&stream(), &[rows::row(1, 5), rows::row(1, 1), rows::row(1, 0)]);
    let mut changed = rows::rows_of(&[good]);
    changed[1].value = Some(b"another value".to_vec());
    for (batch, words) in [
        (rows::batch(&stream(), 1, [0, 1]), vec!["landfall.rows is 3", "checksum"]),
        (rows::batch(&stream(), 1, [0, 1, 11]), vec!["offset 11 is outside", "checksum"]),
        (rows::batch(&stream(), 1, [0, 1, 3]), vec!["inside the recorded gap [2, 4)"]),
        (unordered, vec!["offset 1 comes after 5", "the first of 2"]),
        (rows::batch(&other, 1, [0, 1, 5]), vec!["topic \"other\"", "partition 9"]),
        (rows::batch_of(&stream(), &changed), vec!["checksum"]),
    ] {
        lake.overwrite("forged", forged(&batch, &pairs));
        let problems = audit(&lake, "forged").await.unwrap().problems.join("\n");
        for word in words {
            assert!(problems.contains(word), "{word:?} in {problems:?}");
        }
    }
    lake.overwrite("text", "no Parquet at all");
    assert!(audit(&lake, "text").await.unwrap().problems[0].contains("not a file of landfall"));
}

#[tokio::test]
async fn a_flipped_byte_is_found_wherever_it_is() {
    let lake = MemoryLake::new();
    let plan = plan(0, 400);
    let batch = rows::batch(&stream(), 1, 0..400);
    land(&sink(&lake, Default::default()), &plan, &[batch], &[]).await;
    let whole = lake.content(&plan.file()).unwrap();
    let footer = u32::from_le_bytes(whole[whole.len() - 8..whole.len() - 4].try_into().unwrap()) as usize;
    let (mut found, mut flipped) = (0, 0);
    for at in (4..whole.len() - 8 - footer).step_by(97) {
        let mut damaged = whole.to_vec();
        damaged[at] ^= 0x20;
        lake.overwrite("damaged", damaged);
        flipped += 1;
        let audit = audit(&lake, "damaged").await.unwrap();
        // A byte of a page header may mean nothing; then the rows are whole, and the checksum proves it.
        found += usize::from(!audit.problems.is_empty());
    }
    assert!(found * 100 > flipped * 95, "{found} of {flipped}");
}

#[tokio::test]
async fn rows_can_be_compared_one_by_one_with_their_source() {
    let lake = MemoryLake::new();
    let plan = plan(0, 300);
    let batch = rows::batch(&stream(), 1, 0..300);
    land(&sink(&lake, Default::default()), &plan, &rows::cut(&batch, &[77]), &[]).await;
    let chunks = landfall_sink_files::rows(Arc::new(lake), plan.file()).await.unwrap();
    let seen = chunks.try_concat().await.unwrap();
    assert_eq!(seen, checksum::each_row(&batch).collect::<Vec<_>>());
    assert_ne!(seen[0].1, checksum::each_row(&rows::batch(&stream(), 2, 0..1)).next().unwrap().1);
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

proptest! {
    #[test]
    fn the_checksum_does_not_depend_on_how_rows_are_cut(seed: u64, sizes in prop::collection::vec(1usize..40, 1..6)) {
        let batch = rows::batch(&stream(), seed, 0..120);
        let (mut whole, mut cut) = (Checksum::new(), Checksum::new());
        whole.update(&batch);
        rows::cut(&batch, &sizes).iter().for_each(|piece| cut.update(piece));
        prop_assert_eq!(whole.text(), cut.text());
        let mut short = Checksum::new();
        short.update(&batch.slice(0, 119));
        prop_assert_ne!(whole.text(), short.text());
    }

    #[test]
    fn no_bytes_of_others_bring_the_reader_down(
        bytes in prop::collection::vec(any::<u8>(), 0..300), length in any::<u32>(), honest: bool
    ) {
        let length = if honest { bytes.len() as u32 } else { length };
        let file = [b"PAR1", bytes.as_slice(), &length.to_le_bytes(), b"PAR1"].concat();
        let lake = MemoryLake::new();
        lake.overwrite("orders/3/00000000000000000000-00000000000000000010.parquet", file);
        let sink = sink(&lake, Default::default());
        let answer = block_on(sink.standing(&plan(0, 10)));
        prop_assert!(matches!(answer, Err(SinkError::Conflict(_))), "{:?}", answer);
    }

    #[test]
    fn a_damaged_footer_never_brings_the_reader_down(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let lake = MemoryLake::new();
        let plan = plan(0, 10);
        let sink = sink(&lake, Default::default());
        let mut file = block_on(async {
            land(&sink, &plan, &[rows::batch(&stream(), 1, 0..10)], &[]).await;
            lake.read(&plan.file()).await.unwrap().unwrap().to_vec()
        });
        let footer = u32::from_le_bytes(file[file.len() - 8..file.len() - 4].try_into().unwrap()) as usize;
        let start = file.len() - 8 - footer;
        for (at, with) in flips {
            file[start + at.index(footer)] ^= with;
        }
        lake.overwrite(&plan.file(), file);
        // Whatever the answer is, it is an answer.
        let _ = block_on(sink.standing(&plan));
        let _ = block_on(audit(&lake, &plan.file()));
    }
}

/// The example of `docs/file-format.md`, which was computed by another program.
#[test]
fn the_documented_checksum() {
    let with_header = rows::Row {
        offset: 42,
        timestamp: Some(1_700_000_000_000),
        timestamp_type: 0,
        key: Some(b"k".to_vec()),
        value: Some(b"hello".to_vec()),
        headers: vec![("h".into(), None)],
    };
    let plain = rows::Row {
        offset: 44,
        timestamp: None,
        timestamp_type: -1,
        key: None,
        value: Some(Vec::new()),
        headers: Vec::new(),
    };
    let mut checksum = Checksum::new();
    checksum.update(&rows::batch_of(&stream(), &[with_header, plain]));
    assert_eq!(checksum.text(), "crc32c:8106db1a");
    let document = include_str!("../../../docs/file-format.md");
    assert!(document.contains("the checksum is `crc32c:8106db1a`"));
}
