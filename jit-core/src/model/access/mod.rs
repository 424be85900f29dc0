//! An access from its request to its end. It carries an approval and, once approved, a grant. Pure:
//! only [`Access::handle`] changes it.

mod decide;
mod effect;
mod event;
mod extend;
mod handle;
mod remains;
mod review;
mod rule_again;
mod state;
mod stored;
#[cfg(test)]
pub(crate) mod tests;
mod tick;

use std::collections::BTreeSet;

use chrono::TimeDelta;

pub use event::{Event, Extend, Found, PendingQuestion, Refusal, Refused, Step};
pub use remains::Ending;
pub use review::{OwedReview, ReviewGiven};
pub use state::{AccessState, UnknownState};
pub use stored::DamagedAccess;

use crate::audit_event::{AuditEvent, EventKind};
use crate::clock::{Time, after, span};
use crate::handling::Activation;
use crate::handling::MembershipScope;
use crate::id::{AccessId, ApproverName, Principal, QuestionId, RealmId, TenantId};
use crate::model::approval::{Approval, ApprovalState, Plan, Witness};
use crate::model::grant::{Cause, Grant, OVERDUE_AFTER, Window, warn_at};
use crate::model::request::{Closed, Pending, Request};

/// An access from its request to its end.
///
/// The record holds what happened (request, plan, decisions, observations), never a conclusion. A
/// stored access whose approval does not lead to its grant does not load (law 1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    id: AccessId,
    tenant: TenantId,
    realm: Option<RealmId>,
    request: Request,
    approval: Approval,
    phase: Phase,
    extension: Option<Extension>,
    /// Extensions that were granted, with their approvals. A window longer than they allow does not
    /// load.
    extended: Vec<Extension>,
    /// Default role of the account before our first grant, observed before the intent. It is used
    /// only on engines that have a single default role.
    default_before: Option<String>,
    /// Marks of what the account and the role owned before the grant, if that was read.
    before: Option<BTreeSet<String>>,
    /// Review that is owed if this was an emergency.
    review: Option<OwedReview>,
}

/// Stage of the request.
// an access moves a few times in its life: a box would cost more than it saves
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// The request is pending on people.
    Pending(Pending),
    /// An approver or policy refused the request.
    Denied(Closed),
    /// The requester withdrew the request.
    Cancelled(Closed),
    /// The time to decide is over.
    Lapsed(Closed),
    /// The request is approved and carries a grant.
    Approved(Grant),
}

/// A request for more time that is pending on people.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extension {
    /// Person who asked for it.
    pub by: Principal,
    /// Additional time that is asked for.
    #[serde(with = "crate::clock::micros")]
    pub longer: TimeDelta,
    /// Reason for the request.
    pub reason: String,
    /// Time at which it lapses undecided, UTC.
    pub lapses_at: Time,
    /// Stages (from 0) whose escalation was announced.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub escalated: BTreeSet<usize>,
    /// Approval of the extension, under the present policy.
    pub approval: Approval,
}

impl Access {
    /// Creates an access under the plan that policy demands. A plan without stages approves it at
    /// once.
    #[must_use]
    pub fn new(
        id: AccessId,
        tenant: TenantId,
        realm: Option<RealmId>,
        request: Request,
        plan: Plan,
        now: Time,
    ) -> Self {
        let approval = Approval::new(id, request.parties.clone(), plan, now);
        let phase = Phase::Pending(Pending::from(now, approval.plan().limits.decide_by));
        let mut access = Self::begun(id, tenant, realm, request, approval, phase);
        access.schedule_if_satisfied(now);
        access
    }

    /// Creates an access in this phase, without any history.
    fn begun(
        id: AccessId,
        tenant: TenantId,
        realm: Option<RealmId>,
        request: Request,
        approval: Approval,
        phase: Phase,
    ) -> Self {
        let (extension, extended, default_before, before, review) = (None, Vec::new(), None, None, None);
        Self { id, tenant, realm, request, approval, phase, extension, extended, default_before, before, review }
    }

    /// Returns the id of the access.
    #[must_use]
    pub fn id(&self) -> AccessId {
        self.id
    }

    /// Returns the tenant that owns the access.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Returns the realm of the role, once its target was contacted.
    #[must_use]
    pub fn realm(&self) -> Option<&RealmId> {
        self.realm.as_ref()
    }

    /// Returns the request that was made.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Returns the approval: what is demanded, and who decided what.
    #[must_use]
    pub fn approval(&self) -> &Approval {
        &self.approval
    }

    /// Returns the phase of the request.
    #[must_use]
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Returns the extension that is pending on people.
    #[must_use]
    pub fn extension(&self) -> Option<&Extension> {
        self.extension.as_ref()
    }

    /// Returns the grant, once the request is approved.
    #[must_use]
    pub fn grant(&self) -> Option<&Grant> {
        match &self.phase {
            Phase::Approved(grant) => Some(grant),
            _ => None,
        }
    }

    /// Returns the proof that a grant order needs, while the access is approved.
    #[must_use]
    pub fn witness(&self) -> Option<Witness> {
        self.grant()?;
        self.approval.witness()
    }

    /// Returns the account's default role before our first grant, once the membership was observed.
    #[must_use]
    pub fn default_before(&self) -> Option<&str> {
        self.default_before.as_deref()
    }

    /// Returns marks of what the account and the role owned before the grant, if that was read.
    #[must_use]
    pub fn owned_before(&self) -> Option<&BTreeSet<String>> {
        self.before.as_ref()
    }

    /// Checks whether the role has to be a default role now, on engines that have default roles.
    #[must_use]
    pub fn wants_default(&self) -> bool {
        self.wants().is_some() && self.is_activated()
    }

    /// Checks whether the plan makes the role a default role.
    #[must_use]
    pub fn is_activated(&self) -> bool {
        self.approval.plan().handling.activation == Activation::Default
    }

    /// Returns the scope of the membership that the plan asks for.
    #[must_use]
    pub fn scope(&self) -> MembershipScope {
        self.approval.plan().handling.set_role
    }

    /// Returns the scope that the database has to hold for this access now; none if it needs no
    /// membership.
    #[must_use]
    pub fn wants(&self) -> Option<MembershipScope> {
        self.grant().and_then(|grant| grant.wants(self.scope()))
    }

    /// Returns the time in which the role is or was usable; none if it never was.
    #[must_use]
    pub fn window(&self) -> Option<&Window> {
        match self.grant()? {
            Grant::Active(active) => Some(&active.window),
            Grant::Revoking(revoking) => revoking.window.as_ref(),
            Grant::Revoked(ended) | Grant::Failed(ended) | Grant::Retired(ended) => ended.window.as_ref(),
            Grant::Scheduled(_) | Grant::Granting(_) | Grant::Withdrawn(_) => None,
        }
    }

    /// Returns the state, which follows from the request, the grant and its end.
    #[must_use]
    pub fn state(&self) -> AccessState {
        match &self.phase {
            Phase::Pending(_) => AccessState::Pending,
            Phase::Denied(_) => AccessState::Denied,
            Phase::Cancelled(_) => AccessState::Cancelled,
            Phase::Lapsed(_) => AccessState::Lapsed,
            Phase::Approved(grant) => match grant {
                Grant::Scheduled(_) => AccessState::Scheduled,
                Grant::Granting(_) => AccessState::Granting,
                Grant::Active(_) => AccessState::Active,
                Grant::Revoking(_) => AccessState::Revoking,
                Grant::Revoked(_) => AccessState::Revoked,
                Grant::Failed(_) => AccessState::Failed,
                Grant::Withdrawn(_) => AccessState::Withdrawn,
                Grant::Retired(_) => AccessState::Retired,
            },
        }
    }

    /// Checks whether the access has reached its last state.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !self.state().is_open()
    }

    /// Checks whether the role is past its end and not known to be gone. The limit is 5 s past the
    /// end, or one failed revoke (law 4).
    #[must_use]
    pub fn is_overdue(&self, now: Time) -> bool {
        match self.grant() {
            Some(Grant::Active(active)) => now > after(active.window.end(), OVERDUE_AFTER),
            Some(Grant::Granting(granting)) => now > after(granting.latest_end, OVERDUE_AFTER),
            Some(Grant::Revoking(revoking)) => {
                // if it reappeared after a verified end, the time counts from when that became
                // known
                let window = revoking.window.as_ref().filter(|_| revoking.cause != Cause::Reappeared);
                let end = window.map_or(revoking.since, |window| window.end().min(revoking.since));
                revoking.failures > 0 || now > after(end, OVERDUE_AFTER)
            }
            _ => false,
        }
    }

    /// Returns the time of the next database work for this access, UTC.
    #[must_use]
    pub fn effect_due(&self) -> Option<Time> {
        match self.grant()? {
            Grant::Scheduled(scheduled) => Some(scheduled.start.max(scheduled.retry_at)),
            Grant::Granting(granting) => Some(granting.intent.at),
            Grant::Active(active) => Some(active.window.end()),
            Grant::Revoking(revoking) => Some(revoking.retry_at),
            Grant::Revoked(_) | Grant::Failed(_) | Grant::Withdrawn(_) | Grant::Retired(_) => None,
        }
    }

    /// Returns the time of the next work for people, UTC. It is separate from database work, so
    /// that a dead target silences no alert.
    #[must_use]
    pub fn desk_due(&self) -> Option<Time> {
        let grant = match &self.phase {
            Phase::Pending(pending) => return self.pending_due(pending),
            Phase::Denied(_) | Phase::Cancelled(_) | Phase::Lapsed(_) => return None,
            Phase::Approved(grant) => grant,
        };
        let due = match grant {
            Grant::Scheduled(scheduled) => Some(scheduled.give_up),
            Grant::Granting(granting) => Some(granting.give_up),
            Grant::Active(active) if active.warned => Some(active.alert_at),
            Grant::Active(active) => Some(warn_at(&active.window).min(active.alert_at)),
            Grant::Revoking(revoking) => Some(revoking.alert_at),
            Grant::Revoked(_) | Grant::Failed(_) | Grant::Withdrawn(_) | Grant::Retired(_) => None,
        };
        let extension = self.extension.as_ref();
        let lapse = extension.map(|extension| extension.lapses_at);
        let escalation = extension.and_then(|extension| escalation(&extension.approval, &extension.escalated));
        [due, lapse, escalation.map(|(_, at)| at), self.review_due()].into_iter().flatten().min()
    }

    /// Returns the nonce that signed answers are bound to: the access and the question that is
    /// pending.
    #[must_use]
    pub fn nonce(&self) -> String {
        self.nonce_of(self.decidable().question())
    }

    /// Returns the nonce of this question. The nonce of the original request is the access's own
    /// id.
    #[must_use]
    pub fn nonce_of(&self, question: QuestionId) -> String {
        if question == QuestionId::of(self.id) { self.id.to_string() } else { format!("{}.{question}", self.id) }
    }

    /// Returns the approval that people can decide on now: that of the request, or of the pending
    /// extension.
    #[must_use]
    pub fn decidable(&self) -> &Approval {
        self.extension.as_ref().map_or(&self.approval, |extension| &extension.approval)
    }

    /// Returns the end of the time in which people can decide, UTC; none if nothing is pending.
    #[must_use]
    pub fn lapses_at(&self) -> Option<Time> {
        match (&self.phase, &self.extension) {
            (Phase::Pending(pending), _) => Some(pending.lapses_at),
            (Phase::Approved(Grant::Active(_)), Some(extension)) => Some(extension.lapses_at),
            _ => None,
        }
    }

    /// Returns the outside systems that have to be asked now.
    fn asks_outside(&self) -> Vec<ApproverName> {
        let waits = matches!(self.phase, Phase::Pending(_)) || self.extension.is_some();
        if waits { self.decidable().asks_outside() } else { Vec::new() }
    }

    /// Returns the audit events about the outside systems that a new access asks. Later ones come
    /// from [`Access::handle`].
    #[must_use]
    pub fn asked_at_once(&self) -> Vec<AuditEvent> {
        self.asks_outside().iter().map(asked_outside).collect()
    }

    fn pending_due(&self, pending: &Pending) -> Option<Time> {
        let escalation = escalation(&self.approval, &pending.escalated).map(|(_, at)| at);
        [Some(pending.lapses_at), pending.remind_at, escalation].into_iter().flatten().min()
    }

    /// Returns what is still missing, for people to read.
    #[must_use]
    pub fn pending_on(&self) -> Vec<String> {
        match (&self.phase, &self.extension) {
            (Phase::Pending(_), _) => self.approval.pending_on(),
            (Phase::Approved(_), Some(extension)) => extension.approval.pending_on(),
            (Phase::Approved(Grant::Scheduled(_)), None) if self.realm.is_none() => {
                vec![format!("the first contact with target `{}`", self.request.target)]
            }
            _ => Vec::new(),
        }
    }

    /// Returns the last error while the work is tried again.
    #[must_use]
    pub fn last_error(&self) -> Option<&str> {
        match self.grant()? {
            Grant::Scheduled(scheduled) => scheduled.last_error.as_deref(),
            Grant::Granting(granting) => granting.last_error.as_deref(),
            Grant::Revoking(revoking) => revoking.last_error.as_deref(),
            _ => None,
        }
    }

    /// Checks whether both mean the same membership of one account. Observed ids are compared if
    /// there are any, else names.
    #[must_use]
    pub fn same_membership(&self, other: &Self) -> bool {
        let membership = |access: &Self| access.grant().and_then(Grant::membership).cloned();
        match (membership(self), membership(other)) {
            (Some(one), Some(two)) => one.is_same(&two),
            _ => self.request.role == other.request.role,
        }
    }

    /// Schedules the grant once the approval is satisfied. If it starts now, answers of outside
    /// systems that are too old do not count.
    fn schedule_if_satisfied(&mut self, now: Time) {
        let start = self.request.start.map_or(now, |start| start.max(now));
        if start <= now {
            self.approval = self.approval.without_stale(now);
        }
        if self.approval.state() != ApprovalState::Satisfied {
            return;
        }
        let asked_again = match &self.phase {
            Phase::Pending(pending) => pending.give_up,
            _ => None,
        };
        let give_up = asked_again.unwrap_or_else(|| after(start, self.approval.plan().limits.grant_within));
        let scheduled = crate::model::grant::Scheduled { start, give_up, retry_at: start, last_error: None };
        self.phase = Phase::Approved(Grant::Scheduled(scheduled));
    }

    /// Returns the latest end of any window that begins with this intent, UTC (law 2).
    fn latest_end(&self, intent_at: Time) -> Time {
        after(after(intent_at, self.approval.plan().limits.grant_within), self.request.duration)
    }

    /// Returns the length of the whole window with this extension.
    fn total_with(&self, longer: TimeDelta) -> Option<TimeDelta> {
        let window = self.window()?;
        Some(window.total_with(longer).max(span(window.activated_at(), window.end())))
    }
}

/// Returns the audit event that an outside system is asked.
fn asked_outside(approver: &ApproverName) -> AuditEvent {
    AuditEvent::new(EventKind::AskedOutside).with("approver", approver.as_str())
}

/// Returns the stage and time of the escalation that has not been announced yet.
fn escalation(approval: &Approval, told: &BTreeSet<usize>) -> Option<(usize, Time)> {
    let (stage, at, _) = approval.escalates()?;
    (!told.contains(&stage)).then_some((stage, at))
}
