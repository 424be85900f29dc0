//! Changes in the form that [`super::sql::COMMIT`] takes.

use std::collections::BTreeMap;

use jit_core::clock::Time;
use jit_core::store::{Change, Expect, Kind, StoreError, Writing};
use serde::{Deserialize, Serialize};

use super::rows::kept;

#[derive(Debug, Serialize)]
struct Sent<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    claims: Vec<SentClaim<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    writes: Vec<SentWrite<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    entries: Vec<SentEntry<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    numbering: Option<SentNumbering<'a>>,
}

#[derive(Debug, Serialize)]
struct SentClaim<'a> {
    serial: &'a str,
    fencing: i64,
    release: bool,
}

#[derive(Debug, Serialize)]
struct SentWrite<'a> {
    #[serde(rename = "do")]
    what: &'static str,
    tenant: &'a str,
    kind: &'static str,
    key: &'a str,
    version: Option<i64>,
    #[serde(flatten)]
    body: Option<Span>,
    lane: Option<&'a str>,
    due: Option<Time>,
    serial: Option<&'a str>,
    labels: Option<&'a BTreeMap<String, String>>,
}

#[derive(Debug, Serialize)]
struct SentEntry<'a> {
    id: String,
    tenant: &'a str,
    subject: Option<&'a str>,
    #[serde(flatten)]
    body: Span,
}

#[derive(Debug, Serialize)]
struct SentNumbering<'a> {
    tenant: &'a str,
    first: i64,
    ids: Vec<String>,
}

/// Range of bytes; the first byte is 1.
#[derive(Debug, Clone, Copy, Serialize)]
struct Span {
    from: usize,
    size: usize,
}

/// Reason why a change was not done.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Refused {
    Fenced { fenced: String },
    Conflict { kind: String, key: String },
}

impl Refused {
    pub(super) fn into_error(self) -> StoreError {
        match self {
            Self::Fenced { fenced } => StoreError::Fenced { serial: fenced },
            Self::Conflict { kind, key } => {
                StoreError::Conflict { kind: Kind::parse(&kind).map_or("entry", Kind::as_str), key }
            }
        }
    }
}

/// Returns the changes as JSON, and the bytes that the JSON refers to.
pub(super) fn sent<'c>(changes: impl Iterator<Item = &'c Change>) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut put = |body: &[u8]| {
        let span = Span { from: bytes.len().saturating_add(1), size: body.len() };
        bytes.extend_from_slice(body);
        span
    };
    let all: Vec<Sent<'_>> = changes.map(|change| one(change, &mut put)).collect();
    // Texts, numbers and times: nothing that JSON could not say.
    (serde_json::to_string(&all).unwrap_or_default(), bytes)
}

fn one<'c>(change: &'c Change, put: &mut impl FnMut(&[u8]) -> Span) -> Sent<'c> {
    let claims = [(&change.fences, false), (&change.release, true)].into_iter().flat_map(|(claims, release)| {
        claims.iter().map(move |claim| SentClaim {
            serial: &claim.serial,
            fencing: claim.fencing.cast_signed(),
            release,
        })
    });
    let mut writes: Vec<SentWrite<'_>> = change
        .writes
        .iter()
        .map(|write| {
            let (what, body, schedule, labels) = match &write.what {
                Writing::Put { body, schedule, labels } => ("put", Some(put(body)), schedule.as_ref(), Some(labels)),
                Writing::Delete => ("delete", None, None, None),
                Writing::Guard => ("guard", None, None, None),
            };
            SentWrite {
                what,
                tenant: write.at.tenant.as_str(),
                kind: write.at.kind.as_str(),
                key: &write.at.key,
                version: match write.expect {
                    Expect::Absent => None,
                    Expect::Version(version) => Some(version.cast_signed()),
                },
                body,
                lane: schedule.map(|schedule| schedule.lane.as_str()),
                due: schedule.map(|schedule| kept(schedule.due)),
                serial: schedule.map(|schedule| schedule.serial.as_str()),
                labels: labels.filter(|labels| !labels.is_empty()),
            }
        })
        .collect();
    // Sorted in one order everywhere, so that two stores seldom wait for each other in a circle.
    writes.sort_by_key(|write| (write.tenant, write.kind, write.key));
    let entries = change.entries.iter().map(|entry| SentEntry {
        id: entry.id.to_string(),
        tenant: entry.tenant.as_str(),
        subject: entry.subject.as_deref(),
        body: put(&entry.body),
    });
    Sent {
        claims: claims.collect(),
        writes,
        entries: entries.collect(),
        numbering: change.numbering.as_ref().map(|numbering| SentNumbering {
            tenant: numbering.tenant.as_str(),
            first: numbering.first.cast_signed(),
            ids: numbering.entries.iter().map(ToString::to_string).collect(),
        }),
    }
}
