//! The report on a run of the tests, whose output was made up.
#![allow(clippy::unwrap_used, reason = "it is a test")]

use std::process::Command;

/// Prints the report on a log. Returns what was written to the output and to the errors.
fn report(log: &str, status: &str, skipped_servers: &str) -> (String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["report", log, status])
        .env("JIT_TEST_SKIP", skipped_servers)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

const LOG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/report/log.txt");

#[test]
fn a_report_has_a_table_and_ends_with_the_summary() {
    let (said, _) = report(LOG, "101", "postgres-18");
    assert_eq!(said, include_str!("expected.txt"));
}

#[test]
fn what_fails_outside_of_the_tests_counts_as_failed() {
    assert_eq!(report("/dev/null", "0", ""), ("0 passed, 0 failed, 0 skipped\n".to_owned(), String::new()));
    let (said, errors) = report("/dev/null", "101", "");
    assert_eq!(said, "0 passed, 1 failed, 0 skipped\n");
    assert!(errors.contains("status 101"), "{errors}");
}
