//! Causes that end a grant.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Cause that ends a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Cause {
    /// The window of the grant closed.
    Expired,
    /// The grantee or the requester gave it back.
    Released,
    /// A person entitled to do so took it away.
    Revoked,
    /// An emergency stop ended it.
    Stopped,
    /// Policy or directory no longer allow it.
    NoLongerAllowed,
    /// The database no longer held the membership.
    Vanished,
    /// The account or the role is gone from the database.
    AccountDropped,
    /// The account held the role already, and not by our grant (law 6).
    Standing,
    /// The database rejected the grant.
    Rejected,
    /// The grant could not be made in time.
    GaveUp,
    /// The membership was held again after it was revoked and verified.
    Reappeared,
    /// The operator retired the target for good.
    Retired,
    /// The record in the store was altered.
    Damaged,
}

impl Cause {
    /// Returns the cause as the log writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Released => "released",
            Self::Revoked => "revoked",
            Self::Stopped => "stopped",
            Self::NoLongerAllowed => "no longer allowed",
            Self::Vanished => "vanished",
            Self::AccountDropped => "account dropped",
            Self::Standing => "standing membership",
            Self::Rejected => "rejected by the database",
            Self::GaveUp => "given up",
            Self::Reappeared => "reappeared",
            Self::Retired => "target retired",
            Self::Damaged => "damaged record",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
