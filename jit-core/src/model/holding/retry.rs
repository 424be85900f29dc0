//! Waits of orders that failed while their server answers.

use chrono::TimeDelta;

/// First wait of one order that failed; it doubles with each failure.
pub const RETRY_FIRST: TimeDelta = TimeDelta::seconds(1);
/// Longest wait of one order that failed.
pub const RETRY_LONGEST: TimeDelta = TimeDelta::seconds(15);

/// Returns the wait after a failure, given the number of failures before it.
#[must_use]
pub fn retry_wait(failures: u32) -> TimeDelta {
    let factor = 1_i32.checked_shl(failures.min(8)).unwrap_or(1);
    RETRY_FIRST.checked_mul(factor).unwrap_or(RETRY_LONGEST).min(RETRY_LONGEST)
}
