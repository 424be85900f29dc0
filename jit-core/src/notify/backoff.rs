//! When a notice that was not delivered is tried again, and when it is given up.

use chrono::TimeDelta;

use crate::clock::{Entropy, Time, after, span};

/// A notice is given up when it could not be delivered for so long, and was tried [`GIVE_UP_TRIES`] times at least.
pub const GIVE_UP_AFTER: TimeDelta = TimeDelta::days(3);

/// So often a notice is tried at least, however long nobody was there to try.
pub const GIVE_UP_TRIES: u32 = 12;

const FIRST: i64 = 2;
const LONGEST: i64 = 3600;

/// When to try again after `tries` failed ones: after 2 s, then twice as long each time up to an hour, of which half is left to
/// chance so that what failed together does not come together.
pub(super) fn retry_at(now: Time, tries: u32, retry_after: Option<TimeDelta>, entropy: &dyn Entropy) -> Time {
    let doubled = 1_i64.checked_shl(tries.saturating_sub(1).min(20)).unwrap_or(i64::MAX);
    let full = FIRST.saturating_mul(doubled).min(LONGEST).saturating_mul(1000);
    let mut random = [0_u8; 4];
    entropy.fill(&mut random);
    let half = full.checked_div(2).unwrap_or_default();
    let jitter = i64::from(u32::from_le_bytes(random)).checked_rem(half.max(1)).unwrap_or_default();
    let wait = TimeDelta::milliseconds(half.saturating_add(jitter));
    // a receiver that asks for a year is asked again in an hour all the same
    let asked = retry_after.unwrap_or_default().min(TimeDelta::seconds(LONGEST));
    after(now, wait.max(asked))
}

/// Whether it is tried no more.
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
