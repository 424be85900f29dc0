//! The memberships of one account in one realm, decided over all its live accesses. Pure.

mod carry;
mod dead_mans_switch;
mod follow;
mod judge;
mod left;
mod look;
mod merge;
mod orphan;
mod retry;
#[cfg(test)]
mod tests;
mod verify;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use carry::by_name;
pub use dead_mans_switch::{ArmedSwitch, WantedSwitch, mode, wanted_dead_mans_switches};
pub use follow::concerns_holding;
pub use judge::{judge, scope, settled, standing};
pub use left::{appeared, leftovers, lists_memberships, marks};
pub use look::{Look, Watch, look};
pub use orphan::Orphan;
pub use retry::{RETRY_FIRST, RETRY_LONGEST, retry_wait};
pub use verify::{Closing, closings, orphan_closing, verify};

use crate::clock::Time;
use crate::id::{AccessId, Account, RealmId, TenantId};
use crate::model::access::Access;
use crate::names::join;

/// All that one account should hold in one realm on behalf of one tenant.
///
/// The live accesses decide what is ours. A membership that was absent before the intent of one of
/// them is ours as long as one of them lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holding {
    /// Tenant that owns the accesses.
    pub tenant: TenantId,
    /// Realm of the account.
    pub realm: RealmId,
    /// Account that holds the memberships.
    pub account: Account,
    /// Accesses that are scheduled or live.
    pub live: BTreeSet<AccessId>,
    /// Memberships that are gone and will be looked at again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watched: Vec<Watch>,
    /// Memberships that our broker granted, that no access accounts for, and that an operator
    /// ordered to be revoked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orphans: Vec<Orphan>,
    /// Dead man's switches that are in the database for the account, or may be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub armed: Vec<ArmedSwitch>,
    /// Time until which a revoke of unknown outcome may still arrive, UTC. It would take away what
    /// is granted before (law 15).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_until: Option<Time>,
}

impl Holding {
    /// Creates a holding with nothing in it.
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

    /// Returns the key of its record.
    #[must_use]
    pub fn key(realm: &RealmId, account: &Account) -> String {
        join([realm.as_str(), account.as_str()])
    }

    /// Returns the key under which database work on this account is serial across nodes and tenants
    /// (law 14).
    #[must_use]
    pub fn serial(&self) -> String {
        format!("holding:{}", Self::key(&self.realm, &self.account))
    }

    /// Checks whether there is no reason to keep the record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.watched.is_empty() && self.orphans.is_empty() && self.armed.is_empty()
    }

    /// Returns the time of the next database work, given all its accesses.
    #[must_use]
    pub fn due<'a>(&self, accesses: impl IntoIterator<Item = &'a Access>) -> Option<Time> {
        let live = accesses.into_iter().filter(|access| self.live.contains(&access.id()));
        let effects = live.filter_map(Access::effect_due);
        let watched = self.watched.iter().map(|watch| watch.next);
        let armed = self.armed.iter().filter_map(|armed| armed.due);
        effects.chain(watched).chain(armed).chain(self.orphans.iter().map(|orphan| orphan.retry_at)).min()
    }

    /// Postpones all due work that belongs to no access until the given time. Returns true if there
    /// was any.
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
}
