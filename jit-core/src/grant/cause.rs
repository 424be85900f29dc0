//! Why a grant ends.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a grant ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Cause {
    /// Its window closed.
    Expired,
    /// Its receiver or requester gave it back.
    Released,
    /// Somebody entitled took it away.
    Revoked,
    /// An emergency stop.
    Stopped,
    /// Policy or directory no longer allow it.
    NoLongerAllowed,
    /// The database did not hold it any more.
    Vanished,
    /// The account or the role is gone from the database.
    AccountDropped,
    /// The role was held already, and not by us (law 6).
    Standing,
    /// The database rejected the grant.
    Rejected,
    /// It could not be made in time.
    GaveUp,
    /// It was held again after it had been verified gone.
    Reappeared,
    /// The operator wrote the target off.
    Retired,
    /// What the store says of it was altered.
    Damaged,
}

impl Cause {
    /// As the log has it.
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
