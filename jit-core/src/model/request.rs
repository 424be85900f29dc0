//! The request of a person, and its state before there is a grant. Pure.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::clock::{Time, after, micros};
use crate::id::{Account, Principal, RoleName, TargetName};
use crate::model::approval::Parties;

/// A request for a role. It never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Target of the role.
    pub target: TargetName,
    /// Role that is requested.
    pub role: RoleName,
    /// Requester and grantee of the role.
    #[serde(flatten)]
    pub parties: Parties,
    /// Account of the grantee on the target.
    pub account: Account,
    /// Duration of the window, from when the role is usable.
    #[serde(with = "micros")]
    pub duration: TimeDelta,
    /// Start of the window, UTC; none if it begins at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Time>,
    /// Reason for the request.
    pub reason: String,
    /// Ticket of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// Time of the request, by the store's clock, UTC.
    pub asked_at: Time,
    /// True for an emergency: the role is granted first and reviewed afterwards.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub break_glass: bool,
}

impl Request {
    /// Returns the same as a request for this much more time, made now.
    pub(crate) fn for_more(&self, longer: TimeDelta, reason: &str, now: Time) -> Self {
        Self { duration: longer, start: None, reason: reason.to_owned(), asked_at: now, ..self.clone() }
    }
}

/// Reason why a request ended before there was a grant, and its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Closed {
    /// Time of the end, by the store's clock, UTC.
    pub at: Time,
    /// Reason in words: who or what closed it.
    pub why: String,
    /// Person who ended it; none if the system did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Principal>,
}

/// A request that is pending on people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pending {
    /// Time at which it lapses undecided, UTC.
    pub lapses_at: Time,
    /// Time to remind people, UTC; none after the reminder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remind_at: Option<Time>,
    /// Stages (from 0) whose escalation was announced.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub escalated: BTreeSet<usize>,
    /// Deadline of the grant, UTC, if the request was approved and asks an outside system once
    /// more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub give_up: Option<Time>,
}

impl Pending {
    /// Creates the state of a request that is pending from now on, for this time.
    pub(crate) fn from(now: Time, decide_by: TimeDelta) -> Self {
        let half = decide_by.checked_div(2).unwrap_or(decide_by);
        let (lapses_at, remind_at) = (after(now, decide_by), Some(after(now, half)));
        Self { lapses_at, remind_at, escalated: BTreeSet::new(), give_up: None }
    }
}
