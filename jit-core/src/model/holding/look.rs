//! Second looks after the end: a membership that is gone has to stay gone (law 5).

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::Holding;
use super::judge::is_lost;
use crate::catalog::{Grantor, Membership, Seen, anothers};
use crate::clock::{Time, after};
use crate::id::{AccessId, TargetName};
use crate::model::access::Access;
use crate::model::grant::{Cause, Grant};

/// Times of the looks after the end. The last one, a day later, still finds a failover that lost
/// the revoke when nobody remembers it.
const LOOKS: [TimeDelta; 3] = [TimeDelta::minutes(1), TimeDelta::hours(1), TimeDelta::hours(24)];

/// A membership that is gone and will be looked at again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// Access that held the membership.
    pub access: AccessId,
    /// Target that reaches the account.
    pub target: TargetName,
    /// Membership that is watched.
    #[serde(rename = "subject")]
    pub membership: Membership,
    /// Time at which it was verified gone, by the store's clock, UTC.
    pub gone_at: Time,
    /// Incarnation of the server that showed it.
    pub incarnation: String,
    /// Number of looks that are done.
    pub looks: u8,
    /// Time of the next look, UTC.
    pub next: Time,
}

/// Result of a second look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// The membership is still gone, or a live access holds it now.
    Gone,
    /// The membership is held again, and it is ours to take away.
    Reappeared(String),
    /// The membership is held again, and it may belong to somebody else: people decide.
    Finding(String),
}

impl Watch {
    /// Creates the watch over a membership that was just verified gone.
    #[must_use]
    pub fn new(access: AccessId, target: TargetName, membership: Membership, now: Time, incarnation: String) -> Self {
        let next = after(now, LOOKS.first().copied().unwrap_or_default());
        Self { access, target, membership, gone_at: now, incarnation, looks: 0, next }
    }

    /// Returns the watch after one more look; none after the last.
    ///
    /// A look that the server's restart caused counts as none of the three. A look that did not
    /// find the account or the role by name does not show that the membership is gone in that
    /// incarnation.
    #[must_use]
    pub fn looked(&self, now: Time, seen: &Seen, incarnation: &str) -> Option<Self> {
        let mut next = self.clone();
        if !is_lost(seen, &self.membership) {
            incarnation.clone_into(&mut next.incarnation);
        }
        let planned = |looks: u8| LOOKS.get(usize::from(looks)).map(|wait| after(self.gone_at, *wait));
        while planned(next.looks)? <= now {
            next.looks = next.looks.saturating_add(1);
        }
        next.next = planned(next.looks)?;
        Some(next)
    }
}

/// Judges a second look. Without a recorded grantor, a membership that reappeared is ours only if
/// the server's incarnation changed since.
#[must_use]
pub fn look(watch: &Watch, live: &[&Access], seen: &Seen, incarnation: &str) -> Look {
    // a grant in progress does not account for it yet, and may never do so
    let held_now = |access: &&Access| {
        let grant = access.grant().filter(|grant| grant.is_live() && !matches!(grant, Grant::Granting(_)));
        grant.and_then(Grant::membership).is_some_and(|held| held.is_same(&watch.membership))
    };
    if live.iter().any(|access| held_now(access) && access.id() != watch.access) {
        return Look::Gone;
    }
    if let Some(store) = &seen.marked_by {
        return Look::Finding(anothers(&watch.membership.account, &watch.membership.role, store));
    }
    let restarted = incarnation != watch.incarnation;
    let role = &watch.membership.role;
    for grant in &seen.direct {
        match (&grant.grantor, restarted) {
            (Grantor::Broker, _) => {
                return Look::Reappeared(format!("`{role}` is held again by a grant of the broker"));
            }
            (Grantor::Unknown, true) => {
                return Look::Reappeared(format!("`{role}` is held again since the server came back in another state"));
            }
            (Grantor::Unknown, false) => {
                return Look::Finding(format!("`{role}` is held again, and the server does not say by whose grant"));
            }
            (Grantor::Other(_), _) => {}
        }
    }
    Look::Gone
}

impl Holding {
    /// Moves a watch on after a look at its membership; it goes after the last look.
    pub fn looked(&mut self, watch: &Watch, seen: &Seen, incarnation: &str, now: Time) {
        self.watched.retain(|other| other.access != watch.access);
        self.watched.extend(watch.looked(now, seen, incarnation));
    }

    /// Makes every watch and every dead man's switch due now, because the server runs anew.
    pub fn look_now(&mut self, now: Time) {
        for watch in &mut self.watched {
            watch.next = now;
        }
        for armed in &mut self.armed {
            armed.due = Some(now);
        }
    }
}

impl Access {
    /// Returns the watch over an access that ended and was verified; none if nothing of ours was
    /// ever there to come back.
    #[must_use]
    pub fn watch(&self) -> Option<Watch> {
        let (Grant::Revoked(ended) | Grant::Failed(ended)) = self.grant()? else { return None };
        if ended.cause == Cause::Rejected {
            return None;
        }
        let membership = ended.membership.clone()?;
        let incarnation = ended.evidence.as_ref()?.incarnation.clone();
        Some(Watch::new(self.id(), self.request().target.clone(), membership, ended.at, incarnation))
    }
}
