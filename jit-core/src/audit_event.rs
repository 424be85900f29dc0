//! Audit events: what the state machines report and the log keeps.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{SecondsFormat, TimeDelta};
use serde::{Deserialize, Serialize};

use crate::clock::Time;
use crate::text::{LONGEST_DETAIL, cut};

/// An audit event: its kind and its details. It carries no secret (law 12).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AuditEvent {
    /// Kind of the event.
    pub what: EventKind,
    /// Details of the event, by name.
    pub details: BTreeMap<String, Detail>,
}

/// One detail of an audit event. It holds only values that have one canonical JSON form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Detail {
    /// Yes or no.
    Bool(bool),
    /// Whole number, below 2^53 either way.
    Int(i64),
    /// Text, of at most [`LONGEST_DETAIL`] characters if it is made by `into()`.
    Text(String),
    /// List of details.
    List(Vec<Detail>),
    /// Details by name.
    Map(BTreeMap<String, Detail>),
}

macro_rules! whats {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Kind of an audit event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum EventKind {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl EventKind {
            /// Returns the name that the log uses.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

whats! {
    /// A role was requested.
    Requested = "requested",
    /// A request was refused before it became an access.
    RequestRefused = "request-refused",
    /// An approver said yes.
    Approved = "approved",
    /// The last approval that was needed arrived.
    Satisfied = "satisfied",
    /// An approver said no, or policy no longer allows the request.
    Denied = "denied",
    /// A decision that does not count was tried.
    DecisionRefused = "decision-refused",
    /// Another command was tried that is not allowed or not possible.
    CommandRefused = "command-refused",
    /// The requester proved their identity by a second factor.
    Confirmed = "confirmed",
    /// A second factor is being set up. It counts once a first response of it was right.
    EnrollmentBegun = "enrollment-begun",
    /// A second factor was set up.
    Enrolled = "enrolled",
    /// A second factor was taken away.
    EnrollmentEnded = "enrollment-ended",
    /// A second factor that was given is not right.
    FactorRefused = "factor-refused",
    /// A second factor is locked for a while after too many wrong responses.
    FactorLocked = "factor-locked",
    /// Nobody decided for a while, so the approvers are told again.
    Reminder = "reminder",
    /// Nobody decided for so long that others may decide too.
    Escalated = "escalated",
    /// An outside system is asked.
    AskedOutside = "asked-outside",
    /// An outside system did not answer as it should.
    ApproverFailed = "approver-failed",
    /// An approver was delegated: they decide in the place of another who is away.
    Delegated = "delegated",
    /// A delegation ended: the approver decides for themselves again.
    DelegationEnded = "delegation-ended",
    /// A role is taken in an emergency.
    BreakGlass = "break-glass",
    /// A break-glass access was reviewed.
    Reviewed = "reviewed",
    /// The review of a break-glass access is overdue.
    ReviewOverdue = "review-overdue",
    /// The requester took the request back.
    Cancelled = "cancelled",
    /// The request lapsed: nobody decided in time.
    Lapsed = "lapsed",
    /// Policy was asked again.
    RuledAgain = "ruled-again",
    /// A grant that had not begun will not be made.
    Withdrawn = "withdrawn",
    /// The grant statement is about to be sent.
    Granting = "granting",
    /// The role can be used now.
    Active = "active",
    /// The grant could not be made yet.
    GrantDelayed = "grant-delayed",
    /// The grant failed: the account holds nothing on the access's behalf, and that was verified.
    Failed = "failed",
    /// The requester asked for more time.
    ExtensionRequested = "extension-requested",
    /// The window was made longer.
    Extended = "extended",
    /// The extension was refused.
    ExtensionRefused = "extension-refused",
    /// The window is about to close.
    EndingSoon = "ending-soon",
    /// The role is about to be taken away.
    Revoking = "revoking",
    /// A revoke failed; it is tried again.
    RevokeFailed = "revoke-failed",
    /// The role should be gone and is not known to be.
    Overdue = "overdue",
    /// The role was taken away while the store could not be used. It is recorded afterwards (law
    /// 3).
    EndedAhead = "ended-ahead",
    /// The dead man's switch was armed: the database itself takes the role away if no process of
    /// ours does.
    SwitchArmed = "dead-man-armed",
    /// The dead man's switch could not be armed, moved or disarmed; it is tried again.
    SwitchMissing = "dead-man-missing",
    /// The dead man's switch fired: the database took the membership away if it was still there.
    SwitchFired = "dead-man-fired",
    /// The role was revoked and verified.
    Revoked = "revoked",
    /// The role was looked at again, and is still gone.
    StillGone = "still-gone",
    /// The role is held again although it was revoked.
    Reappeared = "reappeared",
    /// The operator wrote the target off: the role stays unverified for ever.
    Retired = "retired",
    /// A finding that people should look at.
    Finding = "finding",
    /// An emergency stop was ordered.
    Stopped = "stopped",
    /// An emergency stop was lifted.
    Resumed = "resumed",
    /// A target was contacted for the first time.
    TargetContacted = "target-contacted",
    /// A target is not the realm it was.
    TargetRefused = "target-refused",
    /// The operator confirmed a target's new realm.
    TargetConfirmed = "target-confirmed",
    /// A server was restarted, failed over or restored.
    IncarnationChanged = "incarnation-changed",
    /// A target stopped answering.
    TargetLost = "target-lost",
    /// A target answers again.
    TargetBack = "target-back",
    /// A target was compared with the store.
    Reconciled = "reconciled",
    /// The policy in force changed.
    PolicyChanged = "policy-changed",
    /// The directory's answers changed.
    DirectoryChanged = "directory-changed",
    /// The operator accepted the clock.
    ClockAccepted = "clock-accepted",
    /// A part of the pump panicked; it is started again.
    PumpDied = "pump-died",
    /// A notice could not be delivered and is given up.
    NoticeDropped = "notice-dropped",
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl AuditEvent {
    /// Makes an audit event without details.
    #[must_use]
    pub fn new(what: EventKind) -> Self {
        Self { what, details: BTreeMap::new() }
    }

    /// Returns the event with one more detail.
    #[must_use]
    pub fn with(mut self, name: &str, detail: impl Into<Detail>) -> Self {
        self.details.insert(name.to_owned(), detail.into());
        self
    }

    /// Returns the event with one more detail, if there is one.
    #[must_use]
    pub fn maybe(self, name: &str, detail: Option<impl Into<Detail>>) -> Self {
        match detail {
            Some(detail) => self.with(name, detail),
            None => self,
        }
    }

    /// Returns the text of a detail, if it is a text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.details.get(name) {
            Some(Detail::Text(text)) => Some(text),
            _ => None,
        }
    }
}

/// Writes a time as the log does: RFC 3339, UTC, microseconds.
#[must_use]
pub fn stamp(time: Time) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

impl From<&str> for Detail {
    fn from(text: &str) -> Self {
        Self::Text(cut(text, LONGEST_DETAIL).into_owned())
    }
}

impl From<String> for Detail {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<bool> for Detail {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Detail {
    fn from(value: i64) -> Self {
        const EDGE: i64 = (1 << 53) - 1;
        Self::Int(value.clamp(-EDGE, EDGE))
    }
}

impl From<Time> for Detail {
    fn from(time: Time) -> Self {
        Self::Text(stamp(time))
    }
}

impl From<TimeDelta> for Detail {
    /// Counts whole seconds only.
    fn from(delta: TimeDelta) -> Self {
        Self::from(delta.num_seconds())
    }
}

impl<T: Into<Detail>> From<Vec<T>> for Detail {
    fn from(list: Vec<T>) -> Self {
        Self::List(list.into_iter().map(Into::into).collect())
    }
}
