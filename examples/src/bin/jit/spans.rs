//! Lengths and points of time, as people write and read them.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use jit_core::clock::{Time, span, to_std, whole_micros};

/// Parses a length of time above zero: `30m`, `1h30m`.
pub(crate) fn duration(text: &str) -> Result<TimeDelta, String> {
    let how = "write it like `30m`, `4h` or `1h30m`";
    let text = text.trim();
    if text.is_empty() {
        return Err(format!("no length of time is given: {how}"));
    }
    if text.starts_with('-') {
        return Err(format!("a length of time cannot be negative: {how}"));
    }
    let unit = !text.chars().all(|letter| letter.is_ascii_digit());
    if !unit && text.chars().any(|digit| digit != '0') {
        return Err(format!("`{text}` lacks a unit: {how}"));
    }
    let parsed = if unit { humantime::parse_duration(text).ok() } else { Some(std::time::Duration::ZERO) };
    let parsed = parsed.and_then(|parsed| TimeDelta::from_std(parsed).ok());
    match parsed {
        Some(parsed) if parsed < TimeDelta::microseconds(1) => {
            Err(format!("the length of time has to be longer than zero: {how}"))
        }
        Some(parsed) => Ok(parsed),
        None => Err(format!("`{}` is not a length of time: {how}", text.escape_debug())),
    }
}

/// Parses a point in time, RFC 3339.
pub(crate) fn point(text: &str) -> Result<Time, String> {
    DateTime::parse_from_rfc3339(text.trim())
        .map(|time| whole_micros(time.with_timezone(&Utc)))
        .map_err(|_| format!("`{}` is not a point in time: write it like `2027-01-31T22:00:00Z`", text.escape_debug()))
}

/// Formats a time for people: to the second, UTC.
pub(crate) fn shown(time: Time) -> String {
    time.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Formats a time for machines: RFC 3339, UTC.
pub(crate) fn stamped(time: Time) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Formats a length of time for people.
pub(crate) fn said(delta: TimeDelta) -> String {
    let seconds = u64::try_from(delta.num_seconds().max(0)).unwrap_or_default();
    let whole = std::time::Duration::from_secs(seconds);
    let short = if seconds == 0 { to_std(delta) } else { whole };
    humantime::format_duration(short).to_string()
}

/// Formats the distance of `time` from now: `in 29m 58s`, `12s ago`.
pub(crate) fn from_now(time: Time, now: Time) -> String {
    let left = span(now, time);
    let whole = |delta: TimeDelta| said(TimeDelta::seconds(delta.num_seconds()));
    match left.num_seconds() {
        0 => "now".to_owned(),
        seconds if seconds > 0 => format!("in {}", whole(left)),
        _ => format!("{} ago", whole(left.abs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_as_people_write_them() {
        assert_eq!(duration("30m"), Ok(TimeDelta::minutes(30)));
        assert_eq!(duration("1h30m"), Ok(TimeDelta::minutes(90)));
        assert_eq!(duration("500ms"), Ok(TimeDelta::milliseconds(500)));
    }

    #[test]
    fn what_is_no_length_is_refused_in_one_line() {
        for (wrong, says) in [
            ("", "no length"),
            ("0", "longer than zero"),
            ("0s", "longer than zero"),
            ("1ns", "longer than zero"),
            ("-5m", "negative"),
            ("5", "lacks a unit"),
            ("soon", "not a length"),
            ("--reason", "negative"),
            ("99999999999999999999y", "not a length"),
        ] {
            let error = duration(wrong).unwrap_err();
            assert!(error.contains(says) && !error.contains('\n'), "{wrong}: {error}");
        }
    }

    #[test]
    fn points_are_rfc_3339() {
        assert_eq!(point("2027-01-31T23:00:00+01:00"), point("2027-01-31T22:00:00Z"));
        assert!(point("tomorrow").unwrap_err().contains("2027-01-31"));
    }
}
