//! Mutation tests: with each of the log's rules broken on purpose, a named test fails, and with none it passes.

use std::collections::BTreeSet;
use std::process::Command;

use landfall::wal::SABOTAGES;

/// The switch, and the test that fails.
const CAUGHT: [(&str, &str); 14] = [
    ("wal_ack_before_sync", "rules::an_acknowledged_run_survives_a_power_cut"),
    ("wal_skip_dir_fsync", "rules::the_name_of_a_segment_is_durable_before_anything_in_it_is_acknowledged"),
    ("wal_retry_sync", "rules::a_sync_that_failed_is_not_tried_again"),
    ("wal_cut_at_first_bad", "rules::what_was_proven_durable_is_not_cut_away"),
    ("wal_refuse_on_later_group", "rules::a_later_group_proves_only_what_it_says_was_synced"),
    ("wal_go_on_after_error", "rules::nothing_is_acknowledged_after_a_write_that_failed"),
    ("wal_rotate_without_seal", "rules::a_segment_ends_with_its_seal_before_the_next_one_begins"),
    ("wal_no_lsn_check", "rules::a_recycled_file_does_not_bring_back_what_it_held"),
    ("wal_reuse_segment", "rules::nobody_writes_the_file_of_an_earlier_opening"),
    ("wal_unlink_before_floor", "rules::the_floor_is_durable_before_a_segment_goes"),
    ("wal_leave_waiters", "rules::who_waits_is_woken_when_the_log_stops"),
    ("wal_forget_topic_id", "rules::a_topic_that_was_made_again_is_another_stream"),
    ("wal_read_unsynced", "rules::readers_see_nothing_that_is_not_durable"),
    ("wal_unlink_newest_first", "rules::the_oldest_segment_goes_first"),
];

#[test]
fn every_rule_that_can_be_broken_is_watched_by_a_test() {
    let listed: BTreeSet<&str> = CAUGHT.iter().map(|(mutant, _)| *mutant).collect();
    assert_eq!(listed, SABOTAGES.iter().copied().collect::<BTreeSet<&str>>());
    let mut missed = Vec::new();
    for (mutant, test) in CAUGHT {
        let (whole, broken) = (run(test, ""), run(test, mutant));
        println!("{mutant:28} {test:84} {}", if broken == Ran::Failed { "caught" } else { "MISSED" });
        if (whole, broken) != (Ran::Passed, Ran::Failed) {
            missed.push((mutant, whole, broken));
        }
    }
    println!("{} mutants, {} caught", CAUGHT.len(), CAUGHT.len() - missed.len());
    assert!(missed.is_empty(), "{missed:?}");
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ran {
    Passed,
    Failed,
    /// No such test, or it never came to an answer.
    Not,
}

/// Runs one test of this binary in a process of its own.
fn run(test: &str, mutant: &str) -> Ran {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--test-threads=1"]).env("RUST_BACKTRACE", "0");
    match mutant {
        "" => command.env_remove("LANDFALL_SABOTAGE"),
        mutant => command.env("LANDFALL_SABOTAGE", mutant),
    };
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    match output.status.success() {
        true if said.contains("test result: ok. 1 passed") => Ran::Passed,
        false if said.contains("test result: FAILED. 0 passed; 1 failed") => Ran::Failed,
        _ => Ran::Not,
    }
}
