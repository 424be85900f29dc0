//! The time window in which a role is usable.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::clock::{Time, after, micros, span};

/// Longest time of an access from its activation, extensions included, whatever policy says (law
/// 2).
pub const CEILING: TimeDelta = TimeDelta::hours(24);

/// Time after the end from which a revoke is overdue (law 4).
pub const OVERDUE_AFTER: TimeDelta = TimeDelta::seconds(5);
/// Interval between alerts about an overdue revoke.
pub const ALERT_AGAIN: TimeDelta = TimeDelta::hours(1);
/// Time before the end at which people are warned. In a short window it is the last fifth.
const WARN_BEFORE: TimeDelta = TimeDelta::minutes(5);

/// Time window in which a role is usable. The end never lies beyond 24 h from the activation
/// (law 2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Window {
    activated_at: Time,
    end: Time,
    /// Server's own clock when the role became usable, UTC; none if its answer was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    server_time: Option<Time>,
    #[serde(with = "micros")]
    duration: TimeDelta,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    activated_at: Time,
    end: Time,
    #[serde(default)]
    server_time: Option<Time>,
    #[serde(with = "micros")]
    duration: TimeDelta,
}

impl TryFrom<Stored> for Window {
    type Error = &'static str;

    fn try_from(stored: Stored) -> Result<Self, Self::Error> {
        let Stored { activated_at, end, server_time, duration } = stored;
        if span(activated_at, end) > CEILING || end > after(activated_at, duration) {
            return Err("a stored window is longer than any can be: it was altered");
        }
        Ok(Self { activated_at, end, server_time, duration })
    }
}

impl Window {
    /// Creates a window that begins now and has this duration. It never reaches beyond `latest_end`
    /// or the ceiling.
    #[must_use]
    pub fn begin(activated_at: Time, duration: TimeDelta, latest_end: Time, server_time: Option<Time>) -> Self {
        let duration = duration.min(CEILING);
        Self { activated_at, end: after(activated_at, duration).min(latest_end), server_time, duration }
    }

    /// Returns the window lengthened by this time. With all extensions it never exceeds `max_total`
    /// or the ceiling.
    #[must_use]
    pub fn longer(&self, by: TimeDelta, max_total: TimeDelta) -> Self {
        let total = self.total_with(by).min(max_total).min(CEILING).max(self.duration);
        let end = after(self.activated_at, total).min(after(self.end, by)).max(self.end);
        Self { end, duration: total, ..self.clone() }
    }

    /// Returns the duration with this extension.
    #[must_use]
    pub fn total_with(&self, by: TimeDelta) -> TimeDelta {
        self.duration.checked_add(&by).unwrap_or(TimeDelta::MAX)
    }

    /// Returns the time at which the role became usable, by the store's clock, UTC.
    #[must_use]
    pub fn activated_at(&self) -> Time {
        self.activated_at
    }

    /// Returns the time at which the role has to be gone, by the store's clock, UTC.
    #[must_use]
    pub fn end(&self) -> Time {
        self.end
    }

    /// Returns the server's own clock at the activation, UTC; none if its answer was lost.
    #[must_use]
    pub fn server_time(&self) -> Option<Time> {
        self.server_time
    }
}

/// Returns the time to warn people that the window closes soon, UTC.
#[must_use]
pub fn warn_at(window: &Window) -> Time {
    let length = span(window.activated_at, window.end);
    let fifth = length.checked_div(5).unwrap_or_default();
    let before = WARN_BEFORE.min(fifth);
    window.end.checked_sub_signed(before).unwrap_or(window.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_02_no_window_is_longer_than_the_ceiling_whatever_is_added() {
        let start = Time::UNIX_EPOCH;
        let window = Window::begin(start, TimeDelta::hours(40), after(start, TimeDelta::hours(90)), None);
        assert_eq!(window.end(), after(start, CEILING));
        let longer = window.longer(TimeDelta::hours(9), TimeDelta::hours(99));
        assert_eq!(longer.end(), after(start, CEILING));
    }

    #[test]
    fn law_02_an_altered_window_does_not_load() {
        let start = Time::UNIX_EPOCH;
        let window = Window::begin(start, TimeDelta::hours(1), after(start, TimeDelta::hours(2)), None);
        let text = serde_json::to_string(&window).unwrap();
        assert!(serde_json::from_str::<Window>(&text).is_ok());
        let forged = text.replace("1970-01-01T01", "1970-01-01T03");
        assert!(serde_json::from_str::<Window>(&forged).is_err());
    }
}
