//! What happened, as the machines report it and the log keeps it.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{SecondsFormat, TimeDelta};
use serde::{Deserialize, Serialize};

use crate::clock::Time;
use crate::text::{LONGEST_DETAIL, cut};

/// Something that happened, for the log: what, and its details. It carries no secret (law 12).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// What happened.
    pub what: What,
    /// More of it.
    pub details: BTreeMap<String, Detail>,
}

/// One detail of a fact: only what has one canonical JSON form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Detail {
    /// Yes or no.
    Bool(bool),
    /// A whole number, below 2^53 either way.
    Int(i64),
    /// A text, of [`LONGEST_DETAIL`] characters at most where it is made by `into()`.
    Text(String),
    /// Several.
    List(Vec<Detail>),
    /// Named ones.
    Map(BTreeMap<String, Detail>),
}

macro_rules! whats {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What can happen.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum What {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl What {
            /// As the log has it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

whats! {
    /// A role was asked for.
    Requested = "requested",
    /// A request was refused before it became an access.
    RequestRefused = "request-refused",
    /// Somebody said yes.
    Approved = "approved",
    /// The last yes that was needed.
    Satisfied = "satisfied",
    /// Somebody said no, or policy no longer allows it.
    Denied = "denied",
    /// A decision that does not count was tried.
    DecisionRefused = "decision-refused",
    /// Something else was tried that is not allowed or not possible.
    CommandRefused = "command-refused",
    /// The requester proved by a second factor that it is he.
    Confirmed = "confirmed",
    /// A second factor is being set up: it counts once a first response of it was right.
    EnrolmentBegun = "enrolment-begun",
    /// A second factor was set up.
    Enrolled = "enrolled",
    /// A second factor was taken away.
    EnrolmentEnded = "enrolment-ended",
    /// A second factor that was given is not right.
    FactorRefused = "factor-refused",
    /// After too many wrong ones a second factor is not taken for a while.
    FactorLocked = "factor-locked",
    /// Nobody decided for a while: people are told again.
    Reminder = "reminder",
    /// Nobody decided for so long that others may decide too.
    Escalated = "escalated",
    /// An outside system is asked.
    AskedOutside = "asked-outside",
    /// An outside system did not answer as it should.
    ApproverFailed = "approver-failed",
    /// Somebody decides in the place of another who is away.
    Delegated = "delegated",
    /// Somebody decides for himself again.
    DelegationEnded = "delegation-ended",
    /// A role is taken in an emergency.
    BreakGlass = "break-glass",
    /// What was done in an emergency was reviewed.
    Reviewed = "reviewed",
    /// What was done in an emergency should have been reviewed and was not.
    ReviewOverdue = "review-overdue",
    /// The requester took the request back.
    Cancelled = "cancelled",
    /// Nobody decided in time.
    Lapsed = "lapsed",
    /// Policy was asked again.
    RuledAgain = "ruled-again",
    /// A grant that had not begun will not be made.
    Withdrawn = "withdrawn",
    /// The statement is about to be sent.
    Granting = "granting",
    /// The role is usable.
    Active = "active",
    /// The grant could not be made yet.
    GrantDelayed = "grant-delayed",
    /// Nothing is held on its behalf, and that was verified.
    Failed = "failed",
    /// More time was asked for.
    ExtensionRequested = "extension-requested",
    /// The window was made longer.
    Extended = "extended",
    /// More time was not given.
    ExtensionRefused = "extension-refused",
    /// The window is about to close.
    EndingSoon = "ending-soon",
    /// The role is about to be taken away.
    Revoking = "revoking",
    /// A revoke failed; it is tried again.
    RevokeFailed = "revoke-failed",
    /// It should be gone and is not known to be.
    Overdue = "overdue",
    /// It was taken away while the store could not be used; it is recorded afterwards (law 3).
    EndedAhead = "ended-ahead",
    /// The database itself will take it away when nobody of ours does.
    DeadManArmed = "dead-man-armed",
    /// Its dead-man could not be armed, moved or disarmed; it is tried again.
    DeadManMissing = "dead-man-missing",
    /// The database's own switch fired: it took the membership away where that was still there.
    DeadManFired = "dead-man-fired",
    /// It is gone, verified.
    Revoked = "revoked",
    /// It was looked at again, and is still gone.
    StillGone = "still-gone",
    /// It is held again although it was revoked.
    Reappeared = "reappeared",
    /// The operator wrote the target off: unverified for ever.
    Retired = "retired",
    /// Something that people should look at.
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
    /// The directory says something else than it did.
    DirectoryChanged = "directory-changed",
    /// The operator accepted the clock.
    ClockAccepted = "clock-accepted",
    /// A part of the pump panicked; it is started again.
    PumpDied = "pump-died",
    /// A notice could not be delivered and is given up.
    NoticeDropped = "notice-dropped",
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Fact {
    /// A fact without details.
    #[must_use]
    pub fn new(what: What) -> Self {
        Self { what, details: BTreeMap::new() }
    }

    /// With one more detail.
    #[must_use]
    pub fn with(mut self, name: &str, detail: impl Into<Detail>) -> Self {
        self.details.insert(name.to_owned(), detail.into());
        self
    }

    /// With one more detail, where there is one.
    #[must_use]
    pub fn maybe(self, name: &str, detail: Option<impl Into<Detail>>) -> Self {
        match detail {
            Some(detail) => self.with(name, detail),
            None => self,
        }
    }

    /// The text of a detail.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.details.get(name) {
            Some(Detail::Text(text)) => Some(text),
            _ => None,
        }
    }
}

/// A time as the log writes it: RFC 3339, UTC, microseconds.
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
    /// Whole seconds.
    fn from(delta: TimeDelta) -> Self {
        Self::from(delta.num_seconds())
    }
}

impl<T: Into<Detail>> From<Vec<T>> for Detail {
    fn from(list: Vec<T>) -> Self {
        Self::List(list.into_iter().map(Into::into).collect())
    }
}
