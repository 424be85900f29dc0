//! What one account should hold in one realm, decided over all its live accesses. Pure.

mod dead_man;
mod judge;
mod left;
mod look;
#[cfg(test)]
mod tests;
mod verify;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use dead_man::{ArmedDeadMan, WantedDeadMan, mode, wanted_dead_men};
pub(crate) use judge::same;
pub use judge::{Clear, judge, settled, standing, width};
pub use left::{appeared, left_behind, lists_memberships, marks};
pub use look::{Look, Watch, look};
pub use verify::{Closing, Verified, closings, orphan_closing, verify};

use crate::access::Access;
use crate::clock::Time;
use crate::database::Subject;
use crate::id::{AccessId, Account, RealmId, TargetName, TenantId};
use crate::names::join;
use crate::store::{Lane, Schedule};

/// All that one account should hold in one realm on behalf of one tenant.
///
/// What is ours there follows from the live accesses: a membership that was observed absent before the intent of one of them is
/// ours as long as one of them lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holding {
    /// Whose.
    pub tenant: TenantId,
    /// Where.
    pub realm: RealmId,
    /// Which account.
    pub account: Account,
    /// The accesses that are scheduled or live.
    pub live: BTreeSet<AccessId>,
    /// What is gone and will be looked at again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watched: Vec<Watch>,
    /// Memberships that our broker granted, that no access accounts for, and that an operator ordered to be taken away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orphans: Vec<Orphan>,
    /// The dead-men that are in the database for it, or may be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub armed: Vec<ArmedDeadMan>,
    /// A revoke of ours whose outcome is not known may still arrive until then, UTC, and would take what is granted before (law 15).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_until: Option<Time>,
}

/// See [`Holding::orphans`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Orphan {
    /// By which target it is reached.
    pub target: TargetName,
    /// The membership.
    pub subject: Subject,
    /// When the next try is, the store's time, UTC.
    pub retry_at: Time,
}

impl Holding {
    /// One that holds nothing yet.
    #[must_use]
    pub fn new(tenant: TenantId, realm: RealmId, account: Account) -> Self {
        Self {
            tenant,
            realm,
            account,
            live: BTreeSet::new(),
            watched: Vec::new(),
            orphans: Vec::new(),
            armed: Vec::new(),
            quiet_until: None,
        }
    }

    /// The key of its record.
    #[must_use]
    pub fn key(realm: &RealmId, account: &Account) -> String {
        join([realm.as_str(), account.as_str()])
    }

    /// What is serial across nodes and tenants: database work on this account (law 14).
    #[must_use]
    pub fn serial(&self) -> String {
        format!("holding:{}", Self::key(&self.realm, &self.account))
    }

    /// Whether there is nothing to keep it for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.watched.is_empty() && self.orphans.is_empty() && self.armed.is_empty()
    }

    /// When the database must be looked after, given all its accesses.
    #[must_use]
    pub fn due<'a>(&self, accesses: impl IntoIterator<Item = &'a Access>) -> Option<Time> {
        let live = accesses.into_iter().filter(|access| self.live.contains(&access.id()));
        let effects = live.filter_map(Access::effect_due);
        let watched = self.watched.iter().map(|watch| watch.next);
        let armed = self.armed.iter().filter_map(|armed| armed.due);
        effects.chain(watched).chain(armed).chain(self.orphans.iter().map(|orphan| orphan.retry_at)).min()
    }

    /// Lets everything that is due by now and is about no access be due then. Whether there was something.
    pub fn postpone(&mut self, now: Time, until: Time) -> bool {
        let watched = self.watched.iter_mut().map(|watch| &mut watch.next);
        let armed = self.armed.iter_mut().filter_map(|armed| armed.due.as_mut());
        let orphans = self.orphans.iter_mut().map(|orphan| &mut orphan.retry_at);
        let mut any = false;
        for due in watched.chain(armed).chain(orphans).filter(|due| **due <= now) {
            *due = until;
            any = true;
        }
        any
    }

    /// When and where its record is claimed.
    #[must_use]
    pub fn schedule(&self, due: Time) -> Schedule {
        Schedule { lane: Lane::realm(&self.realm), due, serial: self.serial() }
    }
}
