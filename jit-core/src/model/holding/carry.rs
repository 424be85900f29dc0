//! Move of a holding to another realm that has the same data. Ids of the old server mean nothing
//! there, but names do.

use super::{ArmedSwitch, Holding, Orphan, Watch};
use crate::catalog::Membership;
use crate::clock::Time;
use crate::id::TargetName;
use crate::model::access::Access;
use crate::model::grant::Grant;

/// Returns the membership without the ids of its server.
#[must_use]
pub fn by_name(membership: &Membership) -> Membership {
    Membership { account_id: None, role_id: None, ..membership.clone() }
}

impl Holding {
    /// Moves one access, and the dead man's switch that the target armed for its role, to the
    /// account's holding in the other realm. The switch is armed anew there.
    pub fn carry(&mut self, to: &mut Self, access: &Access, target: &TargetName, now: Time) {
        if self.live.remove(&access.id()) {
            to.live.insert(access.id());
        }
        let Some(membership) = access.grant().and_then(Grant::membership) else { return };
        let named = |armed: &mut ArmedSwitch| armed.target == *target && armed.membership.role == membership.role;
        for armed in self.armed.extract_if(.., named) {
            let known = to.armed.iter().any(|other| other.membership.role == armed.membership.role);
            if !known {
                let membership = by_name(&armed.membership);
                to.armed.push(ArmedSwitch { membership, end: None, due: Some(now), ..armed });
            }
        }
    }

    /// Moves second looks, and memberships to be revoked, that this target reaches. All of them are
    /// due at once. Returns false if there are none.
    pub fn carry_looks(&mut self, to: &mut Self, target: &TargetName, now: Time) -> bool {
        let watched: Vec<Watch> = self.watched.extract_if(.., |watch| watch.target == *target).collect();
        let orphans: Vec<Orphan> = self.orphans.extract_if(.., |orphan| orphan.target == *target).collect();
        let any = !watched.is_empty() || !orphans.is_empty();
        let looks =
            watched.into_iter().map(|watch| Watch { membership: by_name(&watch.membership), next: now, ..watch });
        to.watched.extend(looks);
        let orphans =
            orphans.into_iter().map(|one| Orphan { membership: by_name(&one.membership), retry_at: now, ..one });
        to.orphans.extend(orphans);
        any
    }
}
