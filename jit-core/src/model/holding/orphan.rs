//! Memberships that no access accounts for, and that an operator ordered to be revoked.

use serde::{Deserialize, Serialize};

use super::{Holding, RETRY_LONGEST};
use crate::catalog::Membership;
use crate::clock::{Time, after};
use crate::id::TargetName;
use crate::model::access::Access;
use crate::model::grant::Grant;

/// A membership without an access, see [`Holding::orphans`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Orphan {
    /// Target that reaches the account.
    pub target: TargetName,
    /// Membership that has to be revoked.
    #[serde(rename = "subject")]
    pub membership: Membership,
    /// Time of the next try, by the store's clock, UTC.
    pub retry_at: Time,
}

impl Holding {
    /// Orders a membership to be revoked now. Returns false if that was ordered before.
    pub fn order_away(&mut self, target: TargetName, membership: Membership, now: Time) -> bool {
        if self.orphans.iter().any(|orphan| orphan.membership == membership) {
            return false;
        }
        self.orphans.push(Orphan { target, membership, retry_at: now });
        true
    }

    /// Drops an orphan that was verified gone.
    pub fn orphan_gone(&mut self, membership: &Membership) {
        self.orphans.retain(|orphan| orphan.membership != *membership);
    }

    /// Schedules the next try of an orphan that could not be revoked.
    pub fn orphan_left(&mut self, membership: &Membership, now: Time) {
        for orphan in self.orphans.iter_mut().filter(|orphan| orphan.membership == *membership) {
            orphan.retry_at = after(now, RETRY_LONGEST);
        }
    }

    /// Drops orphans that a live access accounts for by now: they are revoked when that access
    /// ends. Returns true if there was any.
    pub fn drop_accounted(&mut self, live: &[&Access]) -> bool {
        let before = self.orphans.len();
        let held = |orphan: &Orphan| {
            let mut held = live.iter().filter_map(|access| access.grant().and_then(Grant::membership));
            held.any(|held| held.is_same(&orphan.membership))
        };
        self.orphans.retain(|orphan| !held(orphan));
        self.orphans.len() != before
    }
}
