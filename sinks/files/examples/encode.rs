//! How much CPU and memory encoding takes: `cargo run --release -p landfall-sink-files --example encode`.
//!
//! For values of 100 bytes and 1 KB it prints CPU seconds per million records of the sink's writer for several sizes of a
//! slab, of the library's own incremental writer, and of the checksum alone; then what an open row group of that writer
//! holds in memory beside its encoded bytes.

use std::sync::Arc;

use arrow_array::RecordBatch;
use landfall_sink::{Facts, Head, Isolation, Layout, Sink, Span, Stream};
use landfall_sink_files::checksum::Checksum;
use landfall_sink_files::{ParquetOptions, ParquetSink};
use landfall_sink_testkit::{MemoryLake, rows};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let stream = Stream { cluster: "c".into(), topic: "orders".into(), topic_id: None, partition: 3 };
    for (length, per_batch) in [(100, 2_500), (1_000, 400)] {
        // A few megabytes, used again and again at other offsets.
        let batches: Vec<RecordBatch> = (0..400_000 / length / 4)
            .map(|n| rows::events(&stream, (n * per_batch) as i64, per_batch, length, 7))
            .collect();
        let records = (batches.len() * per_batch) as f64;
        println!("{length} B, {} batches of {per_batch} records", batches.len());
        let per_million = |seconds: f64| seconds / records * 1e6;
        for turn in 0..2 {
            for raw in [128, 256, 512, 1024, 2048, 8192] {
                let (seconds, bytes) = timed(|| sink(&stream, &batches, raw << 10));
                println!("  {turn} slab {raw:>5} KiB   {:.3} CPU s/M   {bytes} bytes", per_million(seconds));
            }
            let (seconds, bytes) = timed(|| incremental(&batches));
            println!("  {turn} incremental      {:.3} CPU s/M   {bytes} bytes", per_million(seconds));
            let (seconds, _) = timed(|| {
                let mut checksum = Checksum::new();
                batches.iter().for_each(|batch| checksum.update(batch));
                checksum.text().len() as u64
            });
            println!("  {turn} checksum alone   {:.4} CPU s/M", per_million(seconds));
        }
        let before = resident();
        let open: Vec<_> = (0..100).map(|_| half_open(&batches)).collect();
        let encoded: usize = open.iter().map(|writer| writer.in_progress_size()).sum();
        let beside = (resident() - before).saturating_sub(encoded) / 100;
        println!(
            "  an open row group of the incremental writer: {} KiB beside {} KiB encoded",
            beside >> 10,
            (encoded / 100) >> 10
        );
    }
    Ok(())
}

fn timed(run: impl FnOnce() -> u64) -> (f64, u64) {
    let start = processor_time();
    let result = run();
    (processor_time() - start, result)
}

/// CPU seconds of this thread: other programs on the machine do not count.
fn processor_time() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|nanoseconds| nanoseconds.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

fn sink(stream: &Stream, batches: &[RecordBatch], raw_bytes: usize) -> u64 {
    let layout = Arc::new(Layout {
        lake: "l".into(),
        format: "parquet".into(),
        extension: "parquet".into(),
        path: "{topic}/{partition}".into(),
        isolation: Isolation::ReadCommitted,
    });
    let options = ParquetOptions { raw_bytes, ..ParquetOptions::default() };
    let sink = ParquetSink::new(Arc::new(MemoryLake::new()), layout.clone(), options).expect("options are valid");
    let mut writer = sink.begin(&Head { stream: stream.clone(), from: 0, layout }).expect("a known layout");
    for batch in batches {
        writer.write(batch).expect("memory takes it");
    }
    let size = writer.weight().size;
    writer.seal(&Facts { span: Span::new(0, i64::MAX), gaps: Vec::new() }).expect("memory takes it");
    size
}

fn properties() -> WriterProperties {
    let path = |name: &str| ColumnPath::from(name);
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_dictionary_enabled(false)
        .set_column_dictionary_enabled(path("topic"), true)
        .set_column_dictionary_enabled(path("partition"), true)
        .set_column_encoding(path("offset"), Encoding::DELTA_BINARY_PACKED)
        .set_column_encoding(path("timestamp"), Encoding::DELTA_BINARY_PACKED)
        .set_column_encoding(path("timestamp_type"), Encoding::DELTA_BINARY_PACKED)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true)
        .set_data_page_size_limit(64 << 10)
        .set_max_row_group_row_count(None)
        .build()
}

fn incremental(batches: &[RecordBatch]) -> u64 {
    let mut writer = ArrowWriter::try_new(Vec::new(), batches[0].schema(), Some(properties())).expect("the envelope");
    for batch in batches {
        writer.write(batch).expect("memory takes it");
        if writer.in_progress_size() >= 16 << 20 {
            writer.flush().expect("memory takes it");
        }
    }
    writer.into_inner().expect("memory takes it").len() as u64
}

fn half_open(batches: &[RecordBatch]) -> ArrowWriter<Vec<u8>> {
    let mut writer = ArrowWriter::try_new(Vec::new(), batches[0].schema(), Some(properties())).expect("the envelope");
    for batch in &batches[..4] {
        writer.write(batch).expect("memory takes it");
    }
    writer
}
