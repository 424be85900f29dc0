//! From when to when a role is usable.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::clock::{Time, after, micros, span};
use crate::policy::CEILING;

/// A revoke is overdue so long after the end (law 4).
pub const OVERDUE_AFTER: TimeDelta = TimeDelta::seconds(5);
/// People are told again of an overdue revoke after so long.
pub const ALERT_AGAIN: TimeDelta = TimeDelta::hours(1);
/// People are warned so long before the end, or for the last fifth of a short window.
const WARN_BEFORE: TimeDelta = TimeDelta::minutes(5);

/// From when to when a role is usable. The end never lies beyond 24 h from the activation (law 2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Window {
    activated_at: Time,
    end: Time,
    /// What the server's own clock said when the role became usable, UTC; none where its answer was lost.
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
    /// Begins now, for so long, but never beyond `latest_end` nor the ceiling.
    #[must_use]
    pub fn begin(activated_at: Time, duration: TimeDelta, latest_end: Time, server_time: Option<Time>) -> Self {
        let duration = duration.min(CEILING);
        Self { activated_at, end: after(activated_at, duration).min(latest_end), server_time, duration }
    }

    /// The same, longer by so much, but with all extensions never beyond `max_total` nor the ceiling.
    #[must_use]
    pub fn longer(&self, by: TimeDelta, max_total: TimeDelta) -> Self {
        let total = self.total_with(by).min(max_total).min(CEILING).max(self.duration);
        let end = after(self.activated_at, total).min(after(self.end, by)).max(self.end);
        Self { end, duration: total, ..self.clone() }
    }

    /// How long it would be with so much more.
    #[must_use]
    pub fn total_with(&self, by: TimeDelta) -> TimeDelta {
        self.duration.checked_add(&by).unwrap_or(TimeDelta::MAX)
    }

    /// When the role became usable, the store's time, UTC.
    #[must_use]
    pub fn activated_at(&self) -> Time {
        self.activated_at
    }

    /// When it is to be gone, the store's time, UTC.
    #[must_use]
    pub fn end(&self) -> Time {
        self.end
    }

    /// What the server's own clock said at the activation, UTC; none where its answer was lost.
    #[must_use]
    pub fn server_time(&self) -> Option<Time> {
        self.server_time
    }
}

/// When people are warned that the window closes soon, UTC.
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
