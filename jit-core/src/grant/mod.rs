//! The time-boxed holding of a membership on behalf of one access: its states, and what ends it. Pure.

mod cause;
mod evidence;
mod window;

use serde::{Deserialize, Serialize};

pub use cause::Cause;
pub use evidence::{Evidence, StillHeldBy};
pub use window::{ALERT_AGAIN, OVERDUE_AFTER, Window, warn_at};

use crate::clock::Time;
use crate::database::{Gone, Subject, Width};

/// Where a grant stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Grant {
    /// Approved, and nothing was sent yet.
    Scheduled(Scheduled),
    /// The statement may have been sent, and may still arrive.
    Granting(Granting),
    /// The role is usable.
    Active(Active),
    /// The role is to be taken away, or to be shown absent.
    Revoking(Revoking),
    /// It was usable and is gone, verified.
    Revoked(Ended),
    /// It never became usable, and it is verified that nothing is held on its behalf.
    Failed(Ended),
    /// It was ended before anything was sent.
    Withdrawn(Ended),
    /// The operator wrote the target off: unverified for ever.
    Retired(Ended),
}

/// See [`Grant::Scheduled`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scheduled {
    /// When the role is to be usable, the store's time, UTC.
    pub start: Time,
    /// When it is given up if it could not be made, UTC.
    pub give_up: Time,
    /// When the next try is, UTC.
    pub retry_at: Time,
    /// Why the last try failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// What was recorded before the statement was sent (law 3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// The label of the call, by which `settle` finds its connection.
    pub label: String,
    /// When the server itself refuses the statement, by the server's clock, UTC.
    pub not_after: Time,
    /// When it was recorded, the store's time, UTC.
    pub at: Time,
}

/// See [`Grant::Granting`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Granting {
    /// What was recorded before the statement.
    pub intent: Intent,
    /// The membership, by the ids that were observed.
    pub subject: Subject,
    /// No window of this grant reaches beyond, UTC (law 2).
    pub latest_end: Time,
    /// When it is given up if it could not be made, UTC.
    pub give_up: Time,
    /// Why its outcome is not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// See [`Grant::Active`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Active {
    /// The membership.
    pub subject: Subject,
    /// When it began and ends.
    pub window: Window,
    /// Whether people were told that it ends soon.
    pub warned: bool,
    /// When people are told that it is overdue, UTC.
    pub alert_at: Time,
}

/// See [`Grant::Revoking`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoking {
    /// The membership.
    pub subject: Subject,
    /// Why it ends.
    pub cause: Cause,
    /// More of it, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// When the revoke was ordered, the store's time, UTC.
    pub since: Time,
    /// When it became usable; none where it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// A grant statement of ours that may still arrive: it has to be settled first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsettled: Option<Intent>,
    /// Whether it is known that nothing of ours was applied: then there is nothing to take away, only to look.
    pub untouched: bool,
    /// How often it failed.
    pub failures: u32,
    /// When the next try is, UTC.
    pub retry_at: Time,
    /// When people are told (again) that it is overdue, UTC.
    pub alert_at: Time,
    /// Why the last try failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Servers that showed it gone already, where others do not yet: a server and its replicas.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<Gone>,
}

/// How a grant ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ended {
    /// When, the store's time, UTC.
    pub at: Time,
    /// Why.
    pub cause: Cause,
    /// More of it, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The membership, where it came so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// When it was usable, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// What was seen in the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

impl Grant {
    /// Whether the database may hold something on its behalf.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Granting(_) | Self::Active(_) | Self::Revoking(_))
    }

    /// Whether it will not change any more by itself.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Revoked(_) | Self::Failed(_) | Self::Withdrawn(_) | Self::Retired(_))
    }

    /// The membership, once it was observed.
    #[must_use]
    pub fn subject(&self) -> Option<&Subject> {
        match self {
            Self::Scheduled(_) => None,
            Self::Granting(Granting { subject, .. })
            | Self::Active(Active { subject, .. })
            | Self::Revoking(Revoking { subject, .. }) => Some(subject),
            Self::Revoked(ended) | Self::Failed(ended) | Self::Withdrawn(ended) | Self::Retired(ended) => {
                ended.subject.as_ref()
            }
        }
    }

    /// How wide the database has to hold the membership for it now; none where it does not.
    #[must_use]
    pub fn wants(&self, width: Width) -> Option<Width> {
        matches!(self, Self::Granting(_) | Self::Active(_)).then_some(width)
    }
}
