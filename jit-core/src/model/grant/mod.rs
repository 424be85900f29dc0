//! A membership that is held for a limited time on behalf of one access: its states, and what ends
//! it. Pure.

mod cause;
mod evidence;
mod window;

use serde::{Deserialize, Serialize};

pub use cause::Cause;
pub use evidence::{EndEvidence, StillHeldBy};
pub use window::{ALERT_AGAIN, CEILING, OVERDUE_AFTER, Window, warn_at};

use crate::catalog::Membership;
use crate::clock::Time;
use crate::handling::MembershipScope;

/// State of a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Grant {
    /// The request is approved, and nothing was sent yet.
    Scheduled(Scheduled),
    /// The statement may have been sent, and may still arrive.
    Granting(Granting),
    /// The role is usable.
    Active(Active),
    /// The role has to be taken away, or shown to be absent.
    Revoking(Revoking),
    /// The role was usable, and is revoked and verified.
    Revoked(Ended),
    /// The role never became usable, and it is verified that nothing is held on its behalf.
    Failed(Ended),
    /// The grant ended before anything was sent.
    Withdrawn(Ended),
    /// The operator retired the target for good. The end stays unverified for ever.
    Retired(Ended),
}

/// Data of a scheduled grant, see [`Grant::Scheduled`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scheduled {
    /// Time at which the role has to be usable, by the store's clock, UTC.
    pub start: Time,
    /// Time at which tries to grant end, UTC.
    pub give_up: Time,
    /// Time of the next try, UTC.
    pub retry_at: Time,
    /// Error of the last try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "trouble")]
    pub last_error: Option<String>,
}

/// Intent that is recorded before the statement is sent (law 3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// Label of the call, by which `settle` finds its connection.
    pub label: String,
    /// Time after which the server itself refuses the statement, by the server's clock, UTC.
    pub not_after: Time,
    /// Time at which it was recorded, by the store's clock, UTC.
    pub at: Time,
}

/// Data of a grant in progress, see [`Grant::Granting`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Granting {
    /// Intent that was recorded before the statement.
    pub intent: Intent,
    /// Membership, by the ids that were observed.
    #[serde(rename = "subject")]
    pub membership: Membership,
    /// Latest end of any window of this grant, UTC (law 2).
    pub latest_end: Time,
    /// Time at which tries to grant end, UTC.
    pub give_up: Time,
    /// Reason why the outcome is not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "trouble")]
    pub last_error: Option<String>,
}

/// Data of an active grant, see [`Grant::Active`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Active {
    /// Membership that is held.
    #[serde(rename = "subject")]
    pub membership: Membership,
    /// Window in which the role is usable.
    pub window: Window,
    /// True once people were told that it ends soon.
    pub warned: bool,
    /// Time to tell people that it is overdue, UTC.
    pub alert_at: Time,
}

/// Data of a grant that is ending, see [`Grant::Revoking`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoking {
    /// Membership that has to be revoked.
    #[serde(rename = "subject")]
    pub membership: Membership,
    /// Cause of the end.
    pub cause: Cause,
    /// Details of the cause, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Time at which the revoke was ordered, by the store's clock, UTC.
    pub since: Time,
    /// Window in which the role was usable; none if it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// Grant statement of ours that may still arrive and has to be settled first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsettled: Option<Intent>,
    /// True if it is known that nothing of ours was applied. Then the database is only read and
    /// nothing is revoked.
    pub untouched: bool,
    /// Number of failed tries.
    pub failures: u32,
    /// Time of the next try, UTC.
    pub retry_at: Time,
    /// Time to tell people (again) that it is overdue, UTC.
    pub alert_at: Time,
    /// Error of the last try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "trouble")]
    pub last_error: Option<String>,
}

/// Description of how a grant ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ended {
    /// Time of the end, by the store's clock, UTC.
    pub at: Time,
    /// Cause of the end.
    pub cause: Cause,
    /// Details of the cause, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Membership, if it was observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "subject")]
    pub membership: Option<Membership>,
    /// Window in which the role was usable; none if it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// EndEvidence from the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<EndEvidence>,
}

impl Grant {
    /// Checks whether the database may hold something for this grant.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Granting(_) | Self::Active(_) | Self::Revoking(_))
    }

    /// Checks whether the grant has reached its last state.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Revoked(_) | Self::Failed(_) | Self::Withdrawn(_) | Self::Retired(_))
    }

    /// Returns the membership, once it was observed.
    #[must_use]
    pub fn membership(&self) -> Option<&Membership> {
        match self {
            Self::Scheduled(_) => None,
            Self::Granting(Granting { membership, .. })
            | Self::Active(Active { membership, .. })
            | Self::Revoking(Revoking { membership, .. }) => Some(membership),
            Self::Revoked(ended) | Self::Failed(ended) | Self::Withdrawn(ended) | Self::Retired(ended) => {
                ended.membership.as_ref()
            }
        }
    }

    /// Returns the scope that the database has to hold for this grant now; none if it needs no
    /// membership.
    #[must_use]
    pub fn wants(&self, scope: MembershipScope) -> Option<MembershipScope> {
        matches!(self, Self::Granting(_) | Self::Active(_)).then_some(scope)
    }
}
