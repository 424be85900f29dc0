//! An access as callers see it.

use chrono::TimeDelta;
use serde::Serialize;

use crate::access::{Access, Phase, ReviewGiven};
use crate::approval::{Answer, Verdict};
use crate::clock::{Time, micros};
use crate::fact::stamp;
use crate::grant::{Cause, Evidence, Grant};
use crate::id::{
    AccessId, Account, ApproverName, FactorName, Principal, QuestionId, RoleName, RuleName, TargetName, TenantId,
};

/// An access as it stands. Times are the store's, UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AccessView {
    /// Which.
    pub id: AccessId,
    /// Whose.
    pub tenant: TenantId,
    /// `pending`, `denied`, `cancelled`, `lapsed`, `scheduled`, `withdrawn`, `granting`, `active`, `revoking`, `revoked`, `failed`,
    /// `retired`.
    pub state: &'static str,
    /// On which target.
    pub target: TargetName,
    /// Which role.
    pub role: RoleName,
    /// Who gets it.
    pub principal: Principal,
    /// Who asked.
    pub requester: Principal,
    /// The receiver's account there.
    pub account: Account,
    /// Why.
    pub reason: String,
    /// Under which ticket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// The rule that allows it.
    pub rule: RuleName,
    /// For how long, microseconds.
    #[serde(rename = "duration_micros", with = "micros")]
    pub duration: TimeDelta,
    /// When it was asked.
    pub asked_at: Time,
    /// From when, where not at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<Time>,
    /// When the role became usable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activated_at: Option<Time>,
    /// When the role is to be gone; while it is granted, at the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// When the case was closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,
    /// Why it ended, or ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Whether the role should be gone and is not known to be.
    pub overdue: bool,
    /// End of the time in which people can decide on what waits for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lapses_at: Option<Time>,
    /// True once that time is over, until a pump records that.
    pub lapsed: bool,
    /// What is still missing.
    pub awaits: Vec<String>,
    /// What is asked now, or was asked last: the request, or an extension. A decision names it.
    pub question: QuestionId,
    /// What a signed second factor about that has to be bound to (the `nonce` of an ID token).
    pub nonce: String,
    /// What went wrong last, while it is tried again; or that its target does not answer, and
    /// since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// What was decided.
    pub decisions: Vec<DecisionView>,
    /// More time that waits for decisions, microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extension_micros: Option<i64>,
    /// What outside systems said.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<AnswerView>,
    /// Whether it is had in an emergency.
    pub break_glass: bool,
    /// The review that is owed for that, or was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub review: Option<ReviewView>,
    /// What was seen in the database at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// What an outside system said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AnswerView {
    /// Which.
    pub approver: ApproverName,
    /// Yes or no.
    pub verdict: Verdict,
    /// When, UTC.
    pub at: Time,
    /// In its words.
    pub note: String,
}

/// The review of an emergency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ReviewView {
    /// Until when, UTC.
    pub due: Time,
    /// Who can give it, in words.
    pub by: String,
    /// Whether it should have been given and was not.
    pub overdue: bool,
    /// What came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given: Option<ReviewGiven>,
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DecisionView {
    /// By whom.
    pub by: Principal,
    /// Yes or no.
    pub verdict: Verdict,
    /// When, UTC.
    pub at: Time,
    /// In his words.
    pub note: String,
    /// In whose place, where that one is away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_place_of: Option<Principal>,
    /// With which second factor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factor: Option<FactorName>,
}

impl AccessView {
    /// The access as it stands now.
    pub(crate) fn of(access: &Access, now: Time) -> Self {
        let request = access.request();
        let (ended_at, cause, evidence) = closing(access);
        let window = access.window();
        let expires_at = match access.grant() {
            Some(Grant::Granting(granting)) => Some(granting.latest_end),
            _ => window.map(crate::grant::Window::end),
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
            principal: request.parties.receiver.clone(),
            requester: request.parties.requester.clone(),
            account: request.account.clone(),
            reason: request.reason.clone(),
            ticket: request.ticket.clone(),
            rule: access.approval().plan().rule.clone(),
            duration: request.duration,
            asked_at: request.asked_at,
            starts_at: request.start,
            activated_at: window.map(crate::grant::Window::activated_at),
            expires_at,
            ended_at,
            cause,
            overdue: access.is_overdue(now),
            lapses_at,
            lapsed: over.is_some(),
            awaits: over.map_or_else(|| access.awaits(), |at| vec![undecided(at)]),
            question: access.decidable().question(),
            nonce: access.nonce(),
            trouble: access.trouble().map(str::to_owned),
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
            extension_micros: extension.and_then(|extension| extension.longer.num_microseconds()),
            evidence,
        }
    }

    /// Which one.
    #[must_use]
    pub fn id(&self) -> AccessId {
        self.id
    }

    /// Whether nothing will happen to it any more by itself.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(self.state, "pending" | "scheduled" | "granting" | "active" | "revoking")
    }
}

impl AnswerView {
    fn of(answer: &Answer) -> Self {
        let Answer { approver, verdict, at, note, .. } = answer.clone();
        Self { approver, verdict, at, note }
    }
}

/// Says what is awaited once the time to decide is over.
fn undecided(since: Time) -> String {
    format!("nobody any more: the time to decide ended at {}, and it lapses as soon as a pump runs", stamp(since))
}

fn closing(access: &Access) -> (Option<Time>, Option<String>, Option<Evidence>) {
    match access.phase() {
        Phase::Pending(_) => (None, None, None),
        Phase::Denied(closed) | Phase::Cancelled(closed) | Phase::Lapsed(closed) => {
            (Some(closed.at), Some(closed.why.clone()), None)
        }
        Phase::Approved(grant) => match grant {
            Grant::Scheduled(_) | Grant::Granting(_) | Grant::Active(_) => (None, None, None),
            Grant::Revoking(revoking) => (None, Some(said(revoking.cause, revoking.why.as_ref())), None),
            Grant::Revoked(ended) | Grant::Failed(ended) | Grant::Withdrawn(ended) | Grant::Retired(ended) => {
                (Some(ended.at), Some(said(ended.cause, ended.why.as_ref())), ended.evidence.clone())
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
