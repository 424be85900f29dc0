//! The stored form of an access, and the checks that it has to pass.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::remains::{Ending, Remains};
use super::{Access, Extension, OwedReview, Phase};
use crate::clock::{Time, after};
use crate::id::{AccessId, RealmId, TenantId};
use crate::model::approval::{Approval, ApprovalState};
use crate::model::grant::{Cause, Grant, Window};
use crate::model::request::{Closed, Pending, Request};

/// Tolerance for times in the future. A reader may have read the clock a little before another node
/// wrote the record.
const READ_LATER: TimeDelta = TimeDelta::minutes(10);

/// An access as it is stored, before it is checked.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    id: AccessId,
    tenant: TenantId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    realm: Option<RealmId>,
    request: Request,
    approval: Approval,
    phase: StoredPhase,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    extension: Option<Extension>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    extended: Vec<Extension>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    default_before: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<BTreeSet<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    review: Option<OwedReview>,
}

#[allow(clippy::large_enum_variant)]
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum StoredPhase {
    Pending(Pending),
    Denied(Closed),
    Cancelled(Closed),
    Lapsed(Closed),
    Approved(Grant),
}

/// A stored access that failed its checks.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct DamagedAccess {
    /// Description of the damage.
    pub why: String,
    /// Access that revokes the role that the record may have given, if the record says enough.
    pub ending: Option<Box<Ending>>,
}

impl Access {
    /// Returns the bytes that a store keeps.
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
            approval: self.approval.clone(),
            phase,
            extension: self.extension.clone(),
            extended: self.extended.clone(),
            default_before: self.default_before.clone(),
            before: self.before.clone(),
            review: self.review.clone(),
        })
    }

    /// Reads what a store kept and replays the decisions. A state that they do not lead to is not
    /// believed. `now` is the store's time.
    ///
    /// # Errors
    /// [`DamagedAccess`] where the record cannot be what this system wrote.
    pub fn from_bytes(bytes: &[u8], now: Time) -> Result<Self, DamagedAccess> {
        let why = match serde_json::from_slice::<Stored>(bytes).map(Self::from) {
            Ok(access) => match access.doubt(now) {
                None => return Ok(access),
                Some(why) => why.to_owned(),
            },
            Err(error) => error.to_string(),
        };
        let ending = serde_json::from_slice::<Remains>(bytes).ok().and_then(|remains| remains.ending(&why, now));
        Err(DamagedAccess { why, ending: ending.map(Box::new) })
    }

    /// Returns why the record is not believed.
    fn doubt(&self, now: Time) -> Option<&'static str> {
        let mine = |approval: &Approval| approval.access() == self.id && *approval.parties() == self.request.parties;
        let extensions = || self.extension.iter().chain(&self.extended);
        if !mine(&self.approval) || !extensions().all(|extension| mine(&extension.approval)) {
            return Some("its approval belongs to another access: it was altered");
        }
        let state = self.approval.state();
        let doubt = match &self.phase {
            Phase::Pending(_) => (!matches!(state, ApprovalState::Waiting { .. }))
                .then_some("it waits although its approval does not: it was altered"),
            // a damaged record that is ending already: nothing more is asked of it
            Phase::Approved(grant) if ends_as_damaged(grant) => return without_evidence(grant),
            Phase::Approved(_) if state != ApprovalState::Satisfied => {
                Some("its decisions do not satisfy its plan: it was altered")
            }
            Phase::Approved(grant) => self.doubt_of_intent(grant, now).or_else(|| without_evidence(grant)),
            Phase::Denied(_) | Phase::Cancelled(_) | Phase::Lapsed(_) => None,
        };
        doubt.or_else(|| self.doubt_of_window(now))
    }

    fn doubt_of_intent(&self, grant: &Grant, now: Time) -> Option<&'static str> {
        match grant {
            Grant::Granting(granting) if granting.latest_end > self.latest_end(granting.intent.at) => {
                Some("its latest end is later than it can be: it was altered")
            }
            Grant::Granting(granting) if granting.intent.at > after(now, READ_LATER) => {
                Some("its intent lies in the future: it was altered")
            }
            _ => None,
        }
    }

    /// Returns the doubt if the window is longer than the request and the approved extensions make
    /// it (law 2).
    fn doubt_of_window(&self, now: Time) -> Option<&'static str> {
        let waits = |extension: &Extension| matches!(extension.approval.state(), ApprovalState::Waiting { .. });
        let satisfied = |extension: &Extension| extension.approval.state() == ApprovalState::Satisfied;
        if !self.extension.iter().all(waits) || !self.extended.iter().all(satisfied) {
            return Some("its extensions are not what people decided: it was altered");
        }
        let window = self.window()?;
        if window.activated_at() > after(now, READ_LATER) {
            return Some("its window lies in the future: it was altered");
        }
        let begun = Window::begin(window.activated_at(), self.request.duration, Time::MAX_UTC, None);
        let longest = self.extended.iter().fold(begun, |window, extension| {
            window.longer(extension.longer, extension.approval.plan().limits.max_total)
        });
        (window.end() > longest.end()).then_some("its window is longer than was decided: it was altered")
    }
}

/// Returns the doubt if a role ended without evidence (law 5). Only a grant that was never sent
/// needs none.
fn without_evidence(grant: &Grant) -> Option<&'static str> {
    let (Grant::Revoked(ended) | Grant::Failed(ended)) = grant else { return None };
    let never_sent = ended.cause == Cause::Standing && ended.window.is_none();
    (ended.evidence.is_none() && !never_sent).then_some("it ended without evidence: it was altered")
}

fn ends_as_damaged(grant: &Grant) -> bool {
    let damaged = |cause| matches!(cause, Cause::Damaged | Cause::Reappeared);
    match grant {
        Grant::Revoking(revoking) => damaged(revoking.cause),
        Grant::Revoked(ended) | Grant::Failed(ended) => damaged(ended.cause),
        Grant::Retired(_) => true,
        Grant::Scheduled(_) | Grant::Granting(_) | Grant::Active(_) | Grant::Withdrawn(_) => false,
    }
}

impl From<Stored> for Access {
    fn from(stored: Stored) -> Self {
        let phase = match stored.phase {
            StoredPhase::Pending(pending) => Phase::Pending(pending),
            StoredPhase::Denied(closed) => Phase::Denied(closed),
            StoredPhase::Cancelled(closed) => Phase::Cancelled(closed),
            StoredPhase::Lapsed(closed) => Phase::Lapsed(closed),
            StoredPhase::Approved(grant) => Phase::Approved(grant),
        };
        Self {
            id: stored.id,
            tenant: stored.tenant,
            realm: stored.realm,
            request: stored.request,
            approval: stored.approval,
            phase,
            extension: stored.extension,
            extended: stored.extended,
            default_before: stored.default_before,
            before: stored.before,
            review: stored.review,
        }
    }
}
