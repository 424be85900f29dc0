//! Times of further tries for a notice that was not delivered, and the end of those tries.

use chrono::TimeDelta;

use crate::clock::{Entropy, Time, after, span};

/// Time after which an undelivered notice is given up, if it was tried at least [`GIVE_UP_TRIES`]
/// times.
pub const GIVE_UP_AFTER: TimeDelta = TimeDelta::days(3);

/// Least number of tries before a notice is given up, even if nobody was there to try for a long
/// time.
pub const GIVE_UP_TRIES: u32 = 12;

const FIRST: i64 = 2;
const LONGEST: i64 = 3600;

/// Returns the time of the next try after `tries` failed ones. The wait begins with 2 s and doubles
/// each time up to an hour. Half of it is random, so that notices that failed together do not come
/// together.
pub(super) fn retry_at(now: Time, tries: u32, retry_after: Option<TimeDelta>, entropy: &dyn Entropy) -> Time {
    let doubled = 1_i64.checked_shl(tries.saturating_sub(1).min(20)).unwrap_or(i64::MAX);
    let full = FIRST.saturating_mul(doubled).min(LONGEST).saturating_mul(1000);
    let mut random = [0_u8; 4];
    entropy.fill(&mut random);
    let half = full.checked_div(2).unwrap_or_default();
    let jitter = i64::from(u32::from_le_bytes(random)).checked_rem(half.max(1)).unwrap_or_default();
    let wait = TimeDelta::milliseconds(half.saturating_add(jitter));
    // even if the other side asks for a year, the next try comes within an hour
    let asked = retry_after.unwrap_or_default().min(TimeDelta::seconds(LONGEST));
    after(now, wait.max(asked))
}

/// Checks whether the notice is not tried any more.
pub(super) fn is_given_up(first_due: Time, tries: u32, now: Time) -> bool {
    tries >= GIVE_UP_TRIES && span(first_due, now) >= GIVE_UP_AFTER
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemEntropy;

    #[test]
    fn the_wait_doubles_up_to_an_hour_and_never_overflows() {
        let now = Time::UNIX_EPOCH;
        for (tries, longest) in [(1, 2), (2, 4), (5, 32), (12, 3600), (u32::MAX, 3600)] {
            let wait = span(now, retry_at(now, tries, None, &SystemEntropy)).num_milliseconds();
            assert!((longest * 500..=longest * 1000).contains(&wait), "{tries}: {wait}");
        }
        let asked = retry_at(now, 1, Some(TimeDelta::seconds(90)), &SystemEntropy);
        assert_eq!(span(now, asked), TimeDelta::seconds(90));
        assert!(span(now, retry_at(now, 1, Some(TimeDelta::MAX), &SystemEntropy)) <= TimeDelta::hours(1));
    }
}
