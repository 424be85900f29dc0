//! View of an access as callers see it.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::audit_event::stamp;
use crate::clock::{Time, seconds};
use crate::id::{
    AccessId, Account, ApproverName, FactorName, Principal, QuestionId, RealmId, RoleName, RuleName, TargetName,
    TenantId,
};
use crate::model::access::{Access, AccessState, Phase, ReviewGiven};
use crate::model::approval::{Answer, Verdict};
use crate::model::grant::{Cause, EndEvidence, Grant};

/// View of an access as it stands. Times are the store's, UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AccessView {
    /// Id of the access.
    pub id: AccessId,
    /// Tenant that owns it.
    pub tenant: TenantId,
    /// State of the access.
    pub state: AccessState,
    /// Target of the request.
    pub target: TargetName,
    /// Role that is requested.
    pub role: RoleName,
    /// Grantee of the role.
    pub principal: Principal,
    /// Person who asked.
    pub requester: Principal,
    /// Account of the grantee on the target.
    pub account: Account,
    /// Reason that the requester gave.
    pub reason: String,
    /// Ticket of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// Rule that allows it.
    pub rule: RuleName,
    /// Duration of the access; in JSON, seconds.
    #[serde(rename = "duration_seconds", with = "seconds")]
    pub duration: TimeDelta,
    /// Time of the request.
    pub asked_at: Time,
    /// Requested start, if it is not at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<Time>,
    /// Time at which the role became usable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activated_at: Option<Time>,
    /// Time at which the role must end; while it is being granted, the latest such time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// Time at which the access was closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,
    /// Cause of its end, or of its ending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// True if the role should have ended and its end is not verified.
    pub overdue: bool,
    /// End of the time in which people can decide on the pending question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lapses_at: Option<Time>,
    /// True once that time is over, until a pump records that.
    pub lapsed: bool,
    /// Decisions and conditions that are still missing.
    pub pending_on: Vec<String>,
    /// Question asked now, or else the last one: the request or an extension. A decision names it.
    pub question: QuestionId,
    /// Nonce to which a signed second factor about the question is bound (the `nonce` of an ID
    /// token).
    pub nonce: String,
    /// Last error, while the step is retried. It also says if the target does not answer, and since
    /// when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Decisions that people made.
    pub decisions: Vec<DecisionView>,
    /// Length of the extension that waits for decisions; in JSON, seconds.
    #[serde(rename = "extension_seconds", with = "seconds::maybe")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<TimeDelta>,
    /// Answers of outside systems.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<AnswerView>,
    /// True if this answers a request whose key had been used before, by the same request. Then
    /// this is the first one's access.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
    /// True if it is an emergency access (break-glass).
    pub break_glass: bool,
    /// Review that is owed for an emergency, or was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<ReviewView>,
    /// Evidence seen in the database at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<EvidenceView>,
}

/// Observations of the database at the end of an access.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EvidenceView {
    /// Time at which the catalog was read, by the server's own clock, UTC.
    pub server_time: Time,
    /// Realm that answered; none for accesses of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub realm: Option<RealmId>,
    /// Incarnation of the server that answered.
    pub incarnation: String,
    /// True if the membership was gone before the revoke: another person or the dead man's switch
    /// removed it.
    pub gone_before: bool,
    /// True if the dead man's switch reports that it removed the membership.
    pub taken_by_dead_mans_switch: bool,
    /// Number of sessions that were ended.
    pub sessions_ended: u32,
    /// Number of sessions that were left alone, because the rule says so or because another access
    /// still holds the membership.
    pub sessions_kept: u32,
    /// Prepared transactions that were rolled back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rolled_back: Vec<String>,
    /// Remaining access to the role that is not ours (law 6).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub residual: Vec<String>,
    /// Other accesses that still hold the membership (law 7).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub still_held_by: Vec<AccessId>,
    /// Objects that are gone entirely (`account`, `role`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<String>,
    /// Reason why the role stays a default role of the account, if nobody could change that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_kept: Option<String>,
    /// Leftovers: what the account or the role came to own meanwhile, and what was passed on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leftovers: Vec<String>,
    /// Reason why the leftovers are unknown, if they should have been compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_compared: Option<String>,
    /// Description of another store that accounts for the membership, which was left to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub another_store: Option<String>,
}

impl EvidenceView {
    fn of(evidence: EndEvidence) -> Self {
        Self {
            server_time: evidence.server_time,
            realm: evidence.realm,
            incarnation: evidence.incarnation,
            gone_before: evidence.gone_before,
            taken_by_dead_mans_switch: evidence.taken_by_dead_mans_switch,
            sessions_ended: evidence.sessions_ended,
            sessions_kept: evidence.sessions_kept,
            rolled_back: evidence.rolled_back,
            residual: evidence.residual,
            still_held_by: evidence.still_held_by,
            gone: evidence.gone,
            default_kept: evidence.default_kept,
            leftovers: evidence.leftovers,
            not_compared: evidence.not_compared,
            another_store: evidence.another_store,
        }
    }
}

/// Answer of an outside system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AnswerView {
    /// Name of the system.
    pub approver: ApproverName,
    /// Verdict: yes or no.
    pub verdict: Verdict,
    /// Time of the answer, UTC.
    pub at: Time,
    /// Note in the system's words.
    pub note: String,
}

/// Review of an emergency access.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReviewView {
    /// Deadline of the review, UTC.
    pub due: Time,
    /// People who can give it, in words.
    pub by: String,
    /// True if the deadline passed without a review.
    pub overdue: bool,
    /// Review that was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<ReviewGiven>,
}

/// Decision of one person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DecisionView {
    /// Person who decided.
    pub by: Principal,
    /// Verdict: yes or no.
    pub verdict: Verdict,
    /// Time of the decision, UTC.
    pub at: Time,
    /// Note in the decider's words.
    pub note: String,
    /// Person who is away and in whose place the decider decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_place_of: Option<Principal>,
    /// Second factor that proved the decider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<FactorName>,
}

impl AccessView {
    /// Creates the view of the access as it stands now.
    pub(crate) fn of(access: &Access, now: Time) -> Self {
        let request = access.request();
        let (ended_at, cause, evidence) = closing(access);
        let window = access.window();
        let expires_at = match access.grant() {
            Some(Grant::Granting(granting)) => Some(granting.latest_end),
            _ => window.map(crate::model::grant::Window::end),
        };
        let extension = access.extension();
        let decided = access.approval().decisions().iter();
        let decisions = decided.chain(extension.into_iter().flat_map(|extension| extension.approval.decisions()));
        let lapses_at = access.lapses_at();
        let over = lapses_at.filter(|at| *at <= now);
        Self {
            id: access.id(),
            tenant: access.tenant().clone(),
            state: access.state(),
            target: request.target.clone(),
            role: request.role.clone(),
            principal: request.parties.grantee.clone(),
            requester: request.parties.requester.clone(),
            account: request.account.clone(),
            reason: request.reason.clone(),
            ticket: request.ticket.clone(),
            rule: access.approval().plan().rule.clone(),
            duration: request.duration,
            asked_at: request.asked_at,
            starts_at: request.start,
            activated_at: window.map(crate::model::grant::Window::activated_at),
            expires_at,
            ended_at,
            cause,
            overdue: access.is_overdue(now),
            lapses_at,
            lapsed: over.is_some(),
            pending_on: over.map_or_else(|| access.pending_on(), |at| vec![undecided(at)]),
            question: access.decidable().question(),
            nonce: access.nonce(),
            last_error: access.last_error().map(str::to_owned),
            decisions: decisions
                .map(|decision| DecisionView {
                    by: decision.by.clone(),
                    verdict: decision.verdict,
                    at: decision.at,
                    note: decision.note.clone(),
                    in_place_of: decision.in_place_of.as_ref().map(|away| away.who.clone()),
                    factor: decision.proven.as_ref().map(|proven| proven.factor.clone()),
                })
                .collect(),
            answers: access.decidable().answers().map(AnswerView::of).collect(),
            break_glass: request.break_glass,
            review: access.review().map(|review| ReviewView {
                due: review.due,
                by: access
                    .approval()
                    .plan()
                    .break_glass
                    .as_ref()
                    .map_or_else(String::new, |owed| owed.review_by.describe()),
                overdue: review.is_overdue(now),
                given: review.given.clone(),
            }),
            extension: extension.map(|extension| extension.longer),
            repeated: false,
            evidence,
        }
    }

    /// Returns the access's id.
    #[must_use]
    pub fn id(&self) -> AccessId {
        self.id
    }

    /// Checks whether nothing more will happen to the access by itself.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !self.state.is_open()
    }
}

impl AnswerView {
    fn of(answer: &Answer) -> Self {
        let Answer { approver, verdict, at, note, .. } = answer.clone();
        Self { approver, verdict, at, note }
    }
}

/// Words for the pending list once the time to decide is over.
fn undecided(since: Time) -> String {
    format!("nobody any more: the time to decide ended at {}, and it lapses as soon as a pump runs", stamp(since))
}

fn closing(access: &Access) -> (Option<Time>, Option<String>, Option<EvidenceView>) {
    match access.phase() {
        Phase::Pending(_) => (None, None, None),
        Phase::Denied(closed) | Phase::Cancelled(closed) | Phase::Lapsed(closed) => {
            (Some(closed.at), Some(closed.why.clone()), None)
        }
        Phase::Approved(grant) => match grant {
            Grant::Scheduled(_) | Grant::Granting(_) | Grant::Active(_) => (None, None, None),
            Grant::Revoking(revoking) => (None, Some(said(revoking.cause, revoking.why.as_ref())), None),
            Grant::Revoked(ended) | Grant::Failed(ended) | Grant::Withdrawn(ended) | Grant::Retired(ended) => {
                let evidence = ended.evidence.clone().map(EvidenceView::of);
                (Some(ended.at), Some(said(ended.cause, ended.why.as_ref())), evidence)
            }
        },
    }
}

fn said(cause: Cause, why: Option<&String>) -> String {
    match why {
        Some(why) => format!("{cause}: {why}"),
        None => cause.to_string(),
    }
}
