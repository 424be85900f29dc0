//! Second looks after the end: what is gone has to stay gone (law 5).

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::judge::{is_lost, same};
use crate::access::Access;
use crate::clock::{Time, after};
use crate::database::{Grantor, Seen, Subject, anothers};
use crate::grant::{Cause, Grant};
use crate::id::{AccessId, TargetName};

/// When it is looked at again, after the end; the last look, a day later, is where a failover that lost the revoke is still found
/// after everybody forgot it.
const LOOKS: [TimeDelta; 3] = [TimeDelta::minutes(1), TimeDelta::hours(1), TimeDelta::hours(24)];

/// A membership that is gone and will be looked at again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// Of which access.
    pub access: AccessId,
    /// By which target it is reached.
    pub target: TargetName,
    /// The membership.
    pub subject: Subject,
    /// When it was verified gone, the store's time, UTC.
    pub gone_at: Time,
    /// Which incarnation of the server showed that.
    pub incarnation: String,
    /// How many looks are done.
    pub looks: u8,
    /// When the next one is, UTC.
    pub next: Time,
}

/// What a second look showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// It is still gone, or a live access holds it now.
    Gone,
    /// It is held again, and it is ours to take away.
    Reappeared(String),
    /// It is held again, and it may be somebody else's: people decide.
    Finding(String),
}

impl Watch {
    /// A membership that was just verified gone.
    #[must_use]
    pub fn new(access: AccessId, target: TargetName, subject: Subject, now: Time, incarnation: String) -> Self {
        let next = after(now, LOOKS.first().copied().unwrap_or_default());
        Self { access, target, subject, gone_at: now, incarnation, looks: 0, next }
    }

    /// With one look more done; none after the last. A look that the server's restart caused counts as none of the three, and one that did not find
    /// the account or the role by its name does not show that it is gone in that incarnation.
    #[must_use]
    pub fn looked(&self, now: Time, seen: &Seen, incarnation: &str) -> Option<Self> {
        let mut next = self.clone();
        if !is_lost(seen, &self.subject) {
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

/// Judges a second look. Without a recorded grantor, what reappeared is ours only if the server's incarnation changed since.
#[must_use]
pub fn look(watch: &Watch, live: &[&Access], seen: &Seen, incarnation: &str) -> Look {
    // one that is being granted does not account for it yet, and may never
    let held_now = |access: &&Access| {
        let grant = access.grant().filter(|grant| grant.is_live() && !matches!(grant, Grant::Granting(_)));
        grant.and_then(Grant::subject).is_some_and(|held| same(held, &watch.subject))
    };
    if live.iter().any(|access| held_now(access) && access.id() != watch.access) {
        return Look::Gone;
    }
    if let Some(store) = &seen.marked_by {
        return Look::Finding(anothers(&watch.subject.account, &watch.subject.role, store));
    }
    let restarted = incarnation != watch.incarnation;
    let role = &watch.subject.role;
    for edge in &seen.direct {
        match (&edge.grantor, restarted) {
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

impl Access {
    /// The watch over it, once it ended and was verified; none where nothing of ours was ever there to come back.
    #[must_use]
    pub fn watch(&self) -> Option<Watch> {
        let (Grant::Revoked(ended) | Grant::Failed(ended)) = self.grant()? else { return None };
        if ended.cause == Cause::Rejected {
            return None;
        }
        let subject = ended.subject.clone()?;
        let incarnation = ended.evidence.as_ref()?.incarnation.clone();
        Some(Watch::new(self.id(), self.request().target.clone(), subject, ended.at, incarnation))
    }
}
