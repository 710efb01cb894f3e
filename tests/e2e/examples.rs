//! The examples do what they say: each brings its own Kafka and ends by itself.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use arrow_ipc::reader::StreamReader;
use async_trait::async_trait;
use landfall_sink::arrow::array::RecordBatch;
use landfall_sink::{Isolation, Layout, Plan, Sink, envelope};
use landfall_sink_testkit::{Destination, conformance};

#[path = "../../examples/own_sink/sink.rs"]
mod own_sink;

fn run(example: &str) -> String {
    let landfall = Path::new(env!("CARGO_BIN_EXE_landfall"));
    let program = landfall.with_file_name("examples").join(example);
    let output = Command::new(&program).output().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{example}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[test]
fn embed_lands_every_record() {
    let said = run("embed");
    assert!(said.contains("orders/0: offsets 0 to 2500") && said.contains("orders/1: offsets 0 to 2500"), "{said}");
}

#[test]
fn for_each_batch_gives_every_row_once() {
    let said = run("for_each_batch");
    assert!(said.ends_with("9000 rows in 9 batches\n"), "{said}");
}

#[test]
fn the_two_views_of_lambda_make_the_whole() {
    let said = run("lambda");
    assert!(said.ends_with("together: 5000\n"), "{said}");
}

#[test]
fn a_sink_of_ones_own_lands_every_record() {
    let said = run("own_sink");
    assert_eq!(said.matches("1000 records").count(), 2, "{said}");
}

struct Folder(tempfile::TempDir);

impl Folder {
    /// Every file, hidden ones too.
    fn files(&self) -> usize {
        let (mut open, mut files) = (vec![self.0.path().to_owned()], 0);
        while let Some(place) = open.pop() {
            for entry in std::fs::read_dir(place).expect("a folder").flatten() {
                if entry.path().is_dir() { open.push(entry.path()) } else { files += 1 }
            }
        }
        files
    }
}

#[async_trait]
impl Destination for Folder {
    fn open(&self) -> Arc<dyn Sink> {
        let layout = Layout {
            lake: "lake-of-the-test".into(),
            format: "arrow".into(),
            extension: "arrow".into(),
            path: "{topic}/{partition}".into(),
            isolation: Isolation::ReadCommitted,
        };
        Arc::new(own_sink::ArrowSink::new(self.0.path().to_owned(), layout))
    }

    async fn read(&self, plan: &Plan) -> Option<Vec<RecordBatch>> {
        let file = std::fs::File::open(self.0.path().join(plan.file())).ok()?;
        let batches = StreamReader::try_new(file, None).expect("an Arrow file");
        let plain = |batch: RecordBatch| RecordBatch::try_new(envelope::schema(), batch.columns().to_vec());
        Some(batches.map(|batch| plain(batch.expect("a batch")).expect("the envelope")).collect())
    }

    async fn visible(&self) -> usize {
        self.files()
    }

    async fn squat(&self, plan: &Plan) -> bool {
        let path = self.0.path().join(plan.file());
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, "of somebody else").expect("a file");
        true
    }
}

/// What the example teaches is what the test kit asks for.
#[tokio::test]
async fn a_sink_of_ones_own_keeps_the_contract() {
    conformance(|| Box::new(Folder(tempfile::tempdir().expect("a folder")))).await;
}
