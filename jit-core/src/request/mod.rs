//! What is asked, and how its case stands before there is a grant. Pure.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::approval::Parties;
use crate::clock::{Time, after, micros};
use crate::id::{Account, Principal, RoleName, TargetName};

/// What somebody asked for. It never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// On which target.
    pub target: TargetName,
    /// Which role.
    pub role: RoleName,
    /// Who asked, and who gets it.
    #[serde(flatten)]
    pub parties: Parties,
    /// The receiver's account there.
    pub account: Account,
    /// For how long, from when the role is usable.
    #[serde(with = "micros")]
    pub duration: TimeDelta,
    /// From when, where not at once, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Time>,
    /// Why.
    pub reason: String,
    /// Under which ticket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// When, the store's time, UTC.
    pub asked_at: Time,
    /// Whether it is an emergency, in which the role is had first and reviewed afterwards.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub break_glass: bool,
}

impl Request {
    /// The same as a request for so much more time, asked now.
    pub(crate) fn for_more(&self, longer: TimeDelta, reason: &str, now: Time) -> Self {
        Self { duration: longer, start: None, reason: reason.to_owned(), asked_at: now, ..self.clone() }
    }
}

/// Why a request ended before there was a grant, and when (UTC).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Closed {
    /// The store's time, UTC.
    pub at: Time,
    /// Who or what closed it, in words.
    pub why: String,
    /// Who did it; nobody where the system did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Principal>,
}

/// A request that waits for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pending {
    /// When it lapses undecided, UTC.
    pub lapses_at: Time,
    /// When people are reminded, UTC; none once they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remind_at: Option<Time>,
    /// The stages (from 0) of which it was told that others may decide too.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub escalated: BTreeSet<usize>,
    /// It was approved and asks an outside system once more: by then the grant has to be made, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub give_up: Option<Time>,
}

impl Pending {
    /// One that waits from now on, for so long.
    pub(crate) fn from(now: Time, decide_by: TimeDelta) -> Self {
        let half = decide_by.checked_div(2).unwrap_or(decide_by);
        let (lapses_at, remind_at) = (after(now, decide_by), Some(after(now, half)));
        Self { lapses_at, remind_at, escalated: BTreeSet::new(), give_up: None }
    }
}
