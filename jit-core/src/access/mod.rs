//! One case from request to end: a request which carries an approval and, once approved, a grant. Pure: changed only by
//! [`Access::handle`].

mod decide;
mod effect;
mod event;
mod extend;
mod handle;
mod remains;
mod review;
mod rule_again;
mod stored;
#[cfg(test)]
pub(crate) mod tests;
mod tick;

use std::collections::BTreeSet;

use chrono::TimeDelta;

pub use event::{Event, Extend, Found, Refusal, Refused, Step, Waits};
pub use remains::Ending;
pub use review::{OwedReview, ReviewGiven};
pub use stored::DamagedAccess;

use crate::approval::{Approval, ApprovalState, Plan, Witness};
use crate::clock::{Time, after, span};
use crate::database::Width;
use crate::fact::{Fact, What};
use crate::grant::{Cause, Grant, OVERDUE_AFTER, Window, warn_at};
use crate::holding::same;
use crate::id::{AccessId, ApproverName, Principal, QuestionId, RealmId, TenantId};
use crate::policy::Activation;
use crate::request::{Closed, Pending, Request};

/// One case from request to end.
///
/// It is stored as what happened (request, plan, decisions, observations), never as a conclusion: a stored access whose approval
/// does not lead to its grant does not load (law 1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    id: AccessId,
    tenant: TenantId,
    realm: Option<RealmId>,
    request: Request,
    approval: Approval,
    phase: Phase,
    extension: Option<Extension>,
    /// What was given of more time, with the approvals that gave it: a window longer than they make it does not load.
    extended: Vec<Extension>,
    /// The account's default role before the first of ours, where the engine has one only, as it was seen before the intent.
    default_before: Option<String>,
    /// Marks of what the account and the role owned before the grant, where that was looked at.
    before: Option<BTreeSet<String>>,
    /// The review that is owed, where it was had in an emergency.
    review: Option<OwedReview>,
}

/// Where the request stands.
// an access is moved a few times in its life: a box would cost more than it saves
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// It waits for people.
    Pending(Pending),
    /// It was refused.
    Denied(Closed),
    /// It was taken back.
    Cancelled(Closed),
    /// Nobody decided in time.
    Lapsed(Closed),
    /// It is approved, and carries a grant.
    Approved(Grant),
}

/// More time that was asked for and waits for people.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extension {
    /// By whom.
    pub by: Principal,
    /// How much more.
    #[serde(with = "crate::clock::micros")]
    pub longer: TimeDelta,
    /// Why.
    pub reason: String,
    /// When it lapses undecided, UTC.
    pub lapses_at: Time,
    /// The stages (from 0) of which it was told that others may decide too.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub escalated: BTreeSet<usize>,
    /// Its own approval, under policy as it is now.
    pub approval: Approval,
}

impl Access {
    /// A new case under the plan that policy demands. Without stages it is approved at once.
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

    /// One in this phase, of which nothing else is known.
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

    /// Which one.
    #[must_use]
    pub fn id(&self) -> AccessId {
        self.id
    }

    /// Whose.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Where its role lives, once its target was contacted.
    #[must_use]
    pub fn realm(&self) -> Option<&RealmId> {
        self.realm.as_ref()
    }

    /// What was asked.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// What is demanded, and who decided what.
    #[must_use]
    pub fn approval(&self) -> &Approval {
        &self.approval
    }

    /// Where it stands.
    #[must_use]
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// More time that was asked for and waits for people.
    #[must_use]
    pub fn extension(&self) -> Option<&Extension> {
        self.extension.as_ref()
    }

    /// Its grant, once approved.
    #[must_use]
    pub fn grant(&self) -> Option<&Grant> {
        match &self.phase {
            Phase::Approved(grant) => Some(grant),
            _ => None,
        }
    }

    /// The proof that a grant order needs, while it is approved.
    #[must_use]
    pub fn witness(&self) -> Option<Witness> {
        self.grant()?;
        self.approval.witness()
    }

    /// The account's default role before the first of ours, once its membership was observed.
    #[must_use]
    pub fn default_before(&self) -> Option<&str> {
        self.default_before.as_deref()
    }

    /// Marks of what the account and the role owned before the grant, where that was looked at.
    #[must_use]
    pub fn owned_before(&self) -> Option<&BTreeSet<String>> {
        self.before.as_ref()
    }

    /// Whether its role is to be a default role now, where the engine has such.
    #[must_use]
    pub fn wants_default(&self) -> bool {
        self.wants().is_some() && self.is_activated()
    }

    /// Whether its role was to be a default role.
    #[must_use]
    pub fn is_activated(&self) -> bool {
        self.approval.plan().handling.activation == Activation::Default
    }

    /// How wide a membership it asks for.
    #[must_use]
    pub fn width(&self) -> Width {
        self.approval.plan().handling.set_role
    }

    /// How wide the database has to hold its membership now; none where it does not.
    #[must_use]
    pub fn wants(&self) -> Option<Width> {
        self.grant().and_then(|grant| grant.wants(self.width()))
    }

    /// When it was usable, where it was.
    #[must_use]
    pub fn window(&self) -> Option<&Window> {
        match self.grant()? {
            Grant::Active(active) => Some(&active.window),
            Grant::Revoking(revoking) => revoking.window.as_ref(),
            Grant::Revoked(ended) | Grant::Failed(ended) | Grant::Retired(ended) => ended.window.as_ref(),
            Grant::Scheduled(_) | Grant::Granting(_) | Grant::Withdrawn(_) => None,
        }
    }

    /// The state in the words of the command line.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match &self.phase {
            Phase::Pending(_) => "pending",
            Phase::Denied(_) => "denied",
            Phase::Cancelled(_) => "cancelled",
            Phase::Lapsed(_) => "lapsed",
            Phase::Approved(grant) => match grant {
                Grant::Scheduled(_) => "scheduled",
                Grant::Granting(_) => "granting",
                Grant::Active(_) => "active",
                Grant::Revoking(_) => "revoking",
                Grant::Revoked(_) => "revoked",
                Grant::Failed(_) => "failed",
                Grant::Withdrawn(_) => "withdrawn",
                Grant::Retired(_) => "retired",
            },
        }
    }

    /// Whether nothing will happen to it any more by itself.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match &self.phase {
            Phase::Pending(_) => false,
            Phase::Denied(_) | Phase::Cancelled(_) | Phase::Lapsed(_) => true,
            Phase::Approved(grant) => grant.is_final(),
        }
    }

    /// Whether the role should be gone and is not known to be: 5 s past the end, or one failed revoke (law 4).
    #[must_use]
    pub fn is_overdue(&self, now: Time) -> bool {
        match self.grant() {
            Some(Grant::Active(active)) => now > after(active.window.end(), OVERDUE_AFTER),
            Some(Grant::Granting(granting)) => now > after(granting.latest_end, OVERDUE_AFTER),
            Some(Grant::Revoking(revoking)) => {
                // where it came back after its end was verified, what counts is since when that is known
                let window = revoking.window.as_ref().filter(|_| revoking.cause != Cause::Reappeared);
                let end = window.map_or(revoking.since, |window| window.end().min(revoking.since));
                revoking.failures > 0 || now > after(end, OVERDUE_AFTER)
            }
            _ => false,
        }
    }

    /// When the database must be looked after for it, UTC.
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

    /// When people must be looked after for it, UTC: apart from the database, so that a dead target silences no alert.
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

    /// What signed words about it have to be bound to: the access, and which question about it is asked now.
    #[must_use]
    pub fn nonce(&self) -> String {
        self.nonce_of(self.decidable().question())
    }

    /// The same for this question: of the request as it was asked it is the access's own id.
    #[must_use]
    pub fn nonce_of(&self, question: QuestionId) -> String {
        if question == QuestionId::of(self.id) { self.id.to_string() } else { format!("{}.{question}", self.id) }
    }

    /// The approval that people can decide on now: the request's own, or that of the extension that waits.
    #[must_use]
    pub fn decidable(&self) -> &Approval {
        self.extension.as_ref().map_or(&self.approval, |extension| &extension.approval)
    }

    /// Returns the end of the time in which people can decide, UTC; none where nothing waits for them.
    #[must_use]
    pub fn lapses_at(&self) -> Option<Time> {
        match (&self.phase, &self.extension) {
            (Phase::Pending(pending), _) => Some(pending.lapses_at),
            (Phase::Approved(Grant::Active(_)), Some(extension)) => Some(extension.lapses_at),
            _ => None,
        }
    }

    /// The outside systems whose turn it is.
    fn asks_outside(&self) -> Vec<ApproverName> {
        let waits = matches!(self.phase, Phase::Pending(_)) || self.extension.is_some();
        if waits { self.decidable().asks_outside() } else { Vec::new() }
    }

    /// What a new case asks of outside systems, for the log; from then on [`Access::handle`] says whose turn comes.
    #[must_use]
    pub fn asked_at_once(&self) -> Vec<Fact> {
        self.asks_outside().iter().map(asked_outside).collect()
    }

    fn pending_due(&self, pending: &Pending) -> Option<Time> {
        let escalation = escalation(&self.approval, &pending.escalated).map(|(_, at)| at);
        [Some(pending.lapses_at), pending.remind_at, escalation].into_iter().flatten().min()
    }

    /// What is still missing, for people to read.
    #[must_use]
    pub fn awaits(&self) -> Vec<String> {
        match (&self.phase, &self.extension) {
            (Phase::Pending(_), _) => self.approval.awaits(),
            (Phase::Approved(_), Some(extension)) => extension.approval.awaits(),
            (Phase::Approved(Grant::Scheduled(_)), None) if self.realm.is_none() => {
                vec![format!("the first contact with target `{}`", self.request.target)]
            }
            _ => Vec::new(),
        }
    }

    /// What went wrong last, while it is tried again.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        match self.grant()? {
            Grant::Scheduled(scheduled) => scheduled.trouble.as_deref(),
            Grant::Granting(granting) => granting.trouble.as_deref(),
            Grant::Revoking(revoking) => revoking.trouble.as_deref(),
            _ => None,
        }
    }

    /// Whether both mean the same membership of one account: by the ids that were observed, else by name.
    #[must_use]
    pub fn same_membership(&self, other: &Self) -> bool {
        let subject = |access: &Self| access.grant().and_then(Grant::subject).cloned();
        match (subject(self), subject(other)) {
            (Some(one), Some(two)) => same(&one, &two),
            _ => self.request.role == other.request.role,
        }
    }

    /// Moves on to the grant once the approval is satisfied, by words that are not too old where it is to be made now.
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
        let scheduled = crate::grant::Scheduled { start, give_up, retry_at: start, trouble: None };
        self.phase = Phase::Approved(Grant::Scheduled(scheduled));
    }

    /// Beyond which no window that begins with this intent reaches, UTC (law 2).
    fn latest_end(&self, intent_at: Time) -> Time {
        after(after(intent_at, self.approval.plan().limits.grant_within), self.request.duration)
    }

    /// How long the whole window would be if it were so much longer.
    fn total_with(&self, longer: TimeDelta) -> Option<TimeDelta> {
        let window = self.window()?;
        Some(window.total_with(longer).max(span(window.activated_at(), window.end())))
    }
}

/// That an outside system is asked.
fn asked_outside(approver: &ApproverName) -> Fact {
    Fact::new(What::AskedOutside).with("approver", approver.as_str())
}

/// The escalation that has not been told of yet, with its stage and when it is to be.
fn escalation(approval: &Approval, told: &BTreeSet<usize>) -> Option<(usize, Time)> {
    let (stage, at, _) = approval.escalates()?;
    (!told.contains(&stage)).then_some((stage, at))
}
