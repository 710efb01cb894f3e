//! The examples do what they say: each brings its own Kafka and ends by itself.

use std::path::Path;
use std::process::Command;

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
