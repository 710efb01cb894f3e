//! The suite of the test kit, over Parquet files on a lake in memory that loses answers on order; and the switches that
//! break a rule on purpose, each of which the suite must notice.

// Clippy sees only functions with #[test] as tests.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use landfall_sink::{Isolation, Layout, Plan, Sink};
use landfall_sink_files::{ParquetOptions, ParquetSink};
use landfall_sink_testkit::{Destination, Effect, Fault, MemoryLake, conformance};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

struct Files {
    lake: MemoryLake,
    options: ParquetOptions,
}

#[async_trait]
impl Destination for Files {
    fn open(&self) -> Arc<dyn Sink> {
        let layout = Layout {
            lake: "lake-of-the-test".into(),
            format: "parquet".into(),
            extension: "parquet".into(),
            path: "raw/{topic}/p={partition}".into(),
            isolation: Isolation::ReadCommitted,
        };
        Arc::new(ParquetSink::new(Arc::new(self.lake.clone()), Arc::new(layout), self.options.clone()).unwrap())
    }

    async fn read(&self, plan: &Plan) -> Option<Vec<RecordBatch>> {
        let content = self.lake.content(&plan.file())?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(content).unwrap().build().unwrap();
        Some(reader.map(|batch| batch.unwrap()).collect())
    }

    async fn visible(&self) -> usize {
        self.lake.paths().len()
    }

    fn lose_next_answer(&self, effect: Effect) -> bool {
        self.lake.fail_next(match effect {
            Effect::Happened => Fault::LostAfter,
            Effect::DidNotHappen => Fault::LostBefore,
        });
        true
    }

    async fn squat(&self, plan: &Plan) -> bool {
        self.lake.overwrite(&plan.file(), "PAR1 of somebody else PAR1");
        true
    }
}

#[tokio::test]
async fn parquet_files_keep_the_contract() {
    conformance(|| Box::new(Files { lake: MemoryLake::new(), options: ParquetOptions::default() })).await;
}

#[tokio::test]
async fn with_small_slabs_and_row_groups_too() {
    let options = ParquetOptions { raw_bytes: 3 << 10, row_group_bytes: 8 << 10, ..ParquetOptions::default() };
    conformance(|| Box::new(Files { lake: MemoryLake::new(), options: options.clone() })).await;
}
