//! The stored form of an access, and what of it is believed.

use serde::{Deserialize, Serialize};

use super::{Access, Extension, Phase};
use crate::approval::{Approval, ApprovalState};
use crate::clock::{Time, after};
use crate::fact::{Fact, What};
use crate::grant::{Cause, Grant, OVERDUE_AFTER, Revoking};
use crate::id::{AccessId, RealmId, TenantId};
use crate::request::{Closed, Pending, Request};

/// An access as it is stored, before it is believed.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    id: AccessId,
    tenant: TenantId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    realm: Option<RealmId>,
    request: Request,
    /// As it came: whether it is believed is asked apart, so that a damaged one can still end.
    approval: serde_json::Value,
    phase: StoredPhase,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    extension: Option<Extension>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum StoredPhase {
    Pending(Pending),
    Denied(Closed),
    Cancelled(Closed),
    Lapsed(Closed),
    Approved(Grant),
}

/// A stored access that is not believed.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct DamagedAccess {
    /// What is wrong with it.
    pub why: String,
    /// What can still be done about it, where the record says enough: the role that it may have given is taken away.
    pub ending: Option<Box<Ending>>,
}

/// An access that is not believed and whose role may be held: it can only end (laws 1 and 4).
#[derive(Debug, Clone)]
pub struct Ending {
    /// It, on its way out.
    pub access: Access,
    /// For the log.
    pub fact: Fact,
}

impl Access {
    /// The bytes that a store keeps.
    ///
    /// # Errors
    /// When a value has no stored form (a span longer than an `i64` of microseconds).
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let phase = match self.phase.clone() {
            Phase::Pending(pending) => StoredPhase::Pending(pending),
            Phase::Denied(closed) => StoredPhase::Denied(closed),
            Phase::Cancelled(closed) => StoredPhase::Cancelled(closed),
            Phase::Lapsed(closed) => StoredPhase::Lapsed(closed),
            Phase::Approved(grant) => StoredPhase::Approved(grant),
        };
        serde_json::to_vec(&Stored {
            id: self.id,
            tenant: self.tenant.clone(),
            realm: self.realm.clone(),
            request: self.request.clone(),
            approval: serde_json::to_value(&self.approval)?,
            phase,
            extension: self.extension.clone(),
        })
    }

    /// Reads what a store kept, replaying the decisions: what they do not lead to is not believed.
    ///
    /// # Errors
    /// [`DamagedAccess`] where the record cannot be what this system wrote.
    pub fn from_bytes(bytes: &[u8], now: Time) -> Result<Self, DamagedAccess> {
        let unreadable = |error: serde_json::Error| DamagedAccess { why: error.to_string(), ending: None };
        let stored: Stored = serde_json::from_slice(bytes).map_err(unreadable)?;
        match serde_json::from_value::<Approval>(stored.approval.clone()) {
            Ok(approval) => {
                let access = stored.clone().believed(approval);
                match access.doubt() {
                    None => Ok(access),
                    Some(why) => Err(DamagedAccess { why: why.to_owned(), ending: access.only_end(why, now) }),
                }
            }
            // the plan says how sessions are to end: without it there is nothing to go by but the membership
            Err(error) => Err(unreadable(error)),
        }
    }

    /// Why the whole is not believed.
    fn doubt(&self) -> Option<&'static str> {
        let mine = |approval: &Approval| approval.access() == self.id && *approval.parties() == self.request.parties;
        if !mine(&self.approval) || self.extension.as_ref().is_some_and(|extension| !mine(&extension.approval)) {
            return Some("its approval belongs to another access: it was altered");
        }
        let satisfied = self.approval.state() == ApprovalState::Satisfied;
        match &self.phase {
            Phase::Pending(_) if satisfied => Some("it waits although its approval is satisfied: it was altered"),
            Phase::Approved(grant) if !satisfied && !ends_as_damaged(grant) => {
                Some("its decisions do not satisfy its plan: it was altered")
            }
            _ => None,
        }
    }

    fn only_end(mut self, why: &str, now: Time) -> Option<Box<Ending>> {
        let window = self.window().cloned();
        let grant = self.grant()?;
        let subject = grant.subject()?.clone();
        let unsettled = match grant {
            Grant::Granting(granting) => Some(granting.intent.clone()),
            Grant::Active(_) => None,
            Grant::Revoking(revoking) => revoking.unsettled.clone(),
            _ => return None,
        };
        let fact = Fact::new(What::Revoking).with("cause", Cause::Damaged.as_str()).with("why", why);
        self.extension = None;
        self.phase = Phase::Approved(Grant::Revoking(Revoking {
            subject,
            cause: Cause::Damaged,
            since: now,
            window,
            unsettled,
            untouched: false,
            failures: 0,
            retry_at: now,
            alert_at: after(now, OVERDUE_AFTER),
            trouble: Some(why.to_owned()),
        }));
        Some(Box::new(Ending { access: self, fact }))
    }
}

fn ends_as_damaged(grant: &Grant) -> bool {
    match grant {
        Grant::Revoking(revoking) => revoking.cause == Cause::Damaged,
        Grant::Revoked(ended) | Grant::Failed(ended) => ended.cause == Cause::Damaged,
        Grant::Retired(_) => true,
        Grant::Scheduled(_) | Grant::Granting(_) | Grant::Active(_) | Grant::Withdrawn(_) => false,
    }
}

impl Stored {
    fn believed(self, approval: Approval) -> Access {
        let phase = match self.phase {
            StoredPhase::Pending(pending) => Phase::Pending(pending),
            StoredPhase::Denied(closed) => Phase::Denied(closed),
            StoredPhase::Cancelled(closed) => Phase::Cancelled(closed),
            StoredPhase::Lapsed(closed) => Phase::Lapsed(closed),
            StoredPhase::Approved(grant) => Phase::Approved(grant),
        };
        Access {
            id: self.id,
            tenant: self.tenant,
            realm: self.realm,
            request: self.request,
            approval,
            phase,
            extension: self.extension,
        }
    }
}
