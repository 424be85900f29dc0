//! The form in which outside systems see a request, and limits for their answers.

use std::collections::BTreeMap;

use chrono::SecondsFormat;
use serde_json::{Map, Value, json};

use super::{ApproverError, Explanation, Review};
use crate::clock::Time;
use crate::http::HttpError;
use crate::text::is_seen;

/// Longest text of an outside system that is kept, in characters.
const LONGEST: usize = 400;

/// Returns the request as JSON.
pub(super) fn shown(review: &Review) -> Value {
    let stamp = |time: Time| time.to_rfc3339_opts(SecondsFormat::Secs, true);
    json!({
        "review": review.id,
        "tenant": review.tenant,
        "access": review.access,
        "approver": review.approver,
        "target": review.target,
        "role": review.role,
        "requester": review.requester,
        "grantee": review.grantee,
        // the former name, for systems that were set up before
        "receiver": review.grantee,
        "account": review.account,
        "duration_seconds": review.duration.num_seconds(),
        "start": review.start.map(stamp),
        "reason": review.reason,
        "ticket": review.ticket,
        "rule": review.rule,
        "policy": review.policy,
        "extension": review.extension,
        "until": stamp(review.until),
    })
}

/// Returns the words and grounds of an answer, cut to the limit.
pub(super) fn said(note: &str, details: Option<&Map<String, Value>>) -> Explanation {
    let text = |value: &Value| match value {
        Value::String(text) => short(text),
        other => short(&other.to_string()),
    };
    let named = details.into_iter().flatten().take(16).map(|(name, value)| (short(name), text(value)));
    Explanation { note: short(note), details: named.collect::<BTreeMap<_, _>>() }
}

/// Removes invisible characters from the text and cuts it to the limit.
pub(super) fn short(text: &str) -> String {
    text.chars().filter(|sign| is_seen(*sign)).take(LONGEST).collect()
}

impl From<HttpError> for ApproverError {
    fn from(error: HttpError) -> Self {
        Self { why: error.to_string(), retry_after: None, source: Some(Box::new(error)) }
    }
}
