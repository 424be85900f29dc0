//! The approval machine: a plan, the answers to it, and the resulting state. The state is never
//! stored. It is computed from the plan and the answers each time, so a forged state cannot be
//! loaded.

mod progress;

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use self::progress::proves;
use super::decision::{Answer, Confirmation, Decision, Fresh, Verdict};
use super::people::Parties;
use super::plan::{Escalation, Mfa, MfaOf, Plan};
use crate::clock::{Time, after, span};
use crate::id::{AccessId, ApproverName, Principal, QuestionId};

/// Time for which an outside system's yes counts, if it is asked again right before the grant.
pub(crate) const AGAIN_AFTER: TimeDelta = TimeDelta::seconds(60);

/// Proof that the approval of one access is satisfied. Only [`Approval::witness`] makes one
/// (law 1). It can neither be stored nor loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    access: AccessId,
}

impl Witness {
    /// Returns the access whose approval it proves.
    #[must_use]
    pub fn access(&self) -> AccessId {
        self.access
    }
}

/// A plan and the answers to it. A combination that cannot have happened does not load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Approval {
    access: AccessId,
    /// Question that is pending now. Answers to any other question do not count.
    question: QuestionId,
    /// Earlier questions under other plans, as far as a person or system answered them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    earlier: BTreeSet<QuestionId>,
    parties: Parties,
    plan: Plan,
    /// Time since which people are asked, UTC.
    opened_at: Time,
    decisions: Vec<Decision>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    confirmations: Vec<Confirmation>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    answers: Vec<Heard>,
    /// Deciders whom the directory did not know when it was last asked. They do not count, even if
    /// the plan names them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    unknown: BTreeSet<Principal>,
}

/// Last answer of an outside system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Heard {
    answer: Answer,
    /// Time since which the system gives this answer, UTC. Asking again does not move the time at
    /// which its stage was met.
    since: Time,
    /// True if the answer is too old to grant on and the system is asked again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    stale: bool,
}

/// An approval as it was stored, before it is checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    access: AccessId,
    /// Id of the question. Older records have none.
    question: Option<QuestionId>,
    #[serde(default)]
    earlier: BTreeSet<QuestionId>,
    parties: Parties,
    plan: Plan,
    #[serde(default)]
    opened_at: Time,
    decisions: Vec<Decision>,
    #[serde(default)]
    confirmations: Vec<Confirmation>,
    #[serde(default)]
    answers: Vec<Heard>,
    #[serde(default)]
    unknown: BTreeSet<Principal>,
}

impl TryFrom<Stored> for Approval {
    type Error = Forged;

    fn try_from(stored: Stored) -> Result<Self, Forged> {
        let Stored { access, question, earlier, parties, plan, opened_at, decisions, confirmations, answers, unknown } =
            stored;
        let asked = question.unwrap_or_else(|| QuestionId::of(access));
        let mut deciders = BTreeSet::new();
        let party = |who: &Principal| *who == parties.requester || *who == parties.grantee;
        let possible = decisions.iter().all(|decision| {
            let away = decision.in_place_of.as_ref().map(|away| &away.who);
            !party(&decision.by) && !away.is_some_and(party) && deciders.insert(&decision.by)
        });
        let confirmed = confirmations.iter().all(|confirmation| confirmation.by == parties.requester);
        let approval = Self {
            access,
            question: asked,
            earlier,
            parties,
            plan,
            opened_at,
            decisions,
            confirmations,
            answers,
            unknown,
        };
        // an answer to another question is no answer to this one
        let answers =
            |said: QuestionId| approval.has_asked(said) || question.is_none() && said == QuestionId::default();
        if !possible || !confirmed || !approval.said_about().all(answers) {
            return Err(Forged);
        }
        Ok(approval)
    }
}

/// A stored approval with a decision that cannot have been made.
#[derive(Debug, thiserror::Error)]
#[error(
    "the stored approval has a decision by one of its parties, two by one person, or one about something else: it was altered"
)]
struct Forged;

/// State of an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApprovalState {
    /// One stage (from 0) is not met yet.
    Waiting {
        /// Number of the stage.
        stage: usize,
    },
    /// All stages are met.
    Satisfied,
    /// An approver who may decide said no.
    Refused,
}

/// Reason why an answer does not count. Nothing changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecisionRefused {
    /// The decider is the requester or the grantee, under whatever name (law 8).
    #[error("nobody decides on their own request: somebody else has to")]
    OwnRequest,
    /// The human behind the decider has decided already (law 8), or another person decided in their
    /// place.
    #[error("this person has decided already, under this name or another, or somebody decided in their place")]
    DecidedAlready,
    /// The plan does not ask the decider.
    #[error("this person is not among those who may decide here")]
    NotEntitled,
    /// The plan asks the decider in a later stage.
    #[error("this person is asked in a later stage: an earlier one is not met yet")]
    NotYet,
    /// The stage demands a second factor with the decision.
    #[error("the decision needs {} no older than `{}`", .0.describe(), humantime::format_duration(crate::clock::to_std(.0.within)))]
    FactorNeeded(Mfa),
    /// The person is not the requester, or no remaining stage needs a second factor of the
    /// requester.
    #[error("no second factor of the requester is pending")]
    NotAwaited,
    /// The answer is about another question than the pending one (law 19).
    #[error("the answer is about another question than the pending one")]
    AnotherQuestion,
    /// The approval is decided already.
    #[error("there is nothing left to decide")]
    Closed,
}

impl DecisionRefused {
    /// Returns a stable word for machines: `own-request`, `decided-already`, `not-entitled`,
    /// `not-yet`, `factor-needed`, `no-factor-pending`, `another-question` or `nothing-to-decide`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::OwnRequest => "own-request",
            Self::DecidedAlready => "decided-already",
            Self::NotEntitled => "not-entitled",
            Self::NotYet => "not-yet",
            Self::FactorNeeded(_) => "factor-needed",
            Self::NotAwaited => "no-factor-pending",
            Self::AnotherQuestion => "another-question",
            Self::Closed => "nothing-to-decide",
        }
    }
}

impl Approval {
    /// Creates an approval without any answers. A plan without stages is satisfied at once.
    #[must_use]
    pub fn new(access: AccessId, parties: Parties, plan: Plan, now: Time) -> Self {
        Self {
            access,
            question: QuestionId::of(access),
            earlier: BTreeSet::new(),
            parties,
            plan,
            opened_at: now,
            decisions: Vec::new(),
            confirmations: Vec::new(),
            answers: Vec::new(),
            unknown: BTreeSet::new(),
        }
    }

    /// Returns the same approval under another question than the access's own request. It must have
    /// no answers yet.
    #[must_use]
    pub fn asked_as(self, question: QuestionId) -> Self {
        Self { question, ..self }
    }

    /// Returns the question that is pending now.
    #[must_use]
    pub fn question(&self) -> QuestionId {
        self.question
    }

    /// Checks whether this is or was a question of the approval. A changed plan makes a new
    /// question.
    #[must_use]
    pub fn has_asked(&self, question: QuestionId) -> bool {
        self.question == question || self.earlier.contains(&question)
    }

    /// Returns the question of each answer that was given.
    fn said_about(&self) -> impl Iterator<Item = QuestionId> {
        let decided = self.decisions.iter().map(|one| one.question);
        let confirmed = self.confirmations.iter().map(|one| one.question);
        decided.chain(confirmed).chain(self.answers.iter().map(|heard| heard.answer.question))
    }

    /// Returns everybody who said yes and counts, in the order of their decisions.
    #[must_use]
    pub fn agreed(&self) -> Vec<Principal> {
        let yes = self.decisions.iter().filter(|one| one.verdict == Verdict::Approve);
        yes.map(|one| one.by.clone()).collect()
    }

    /// Returns the plan: what is demanded.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Returns all decisions, in their order.
    #[must_use]
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    /// Returns the requester's second factors, in their order.
    #[must_use]
    pub fn confirmations(&self) -> &[Confirmation] {
        &self.confirmations
    }

    /// Returns the last answer of each outside system.
    pub fn answers(&self) -> impl Iterator<Item = &Answer> {
        self.answers.iter().map(|heard| &heard.answer)
    }

    /// Returns the requester and the grantee.
    #[must_use]
    pub fn parties(&self) -> &Parties {
        &self.parties
    }

    /// Returns the access that the approval is about.
    #[must_use]
    pub fn access(&self) -> AccessId {
        self.access
    }

    /// Returns the state, computed from the plan and the answers.
    #[must_use]
    pub fn state(&self) -> ApprovalState {
        self.progress(None).0
    }

    /// Returns the proof, once the approval is satisfied.
    #[must_use]
    pub fn witness(&self) -> Option<Witness> {
        (self.state() == ApprovalState::Satisfied).then_some(Witness { access: self.access })
    }

    /// Adds a decision to the approval.
    ///
    /// # Errors
    /// [`DecisionRefused`] gives the reason why it does not count. Nothing changed then.
    pub fn decide(&self, decision: Decision) -> Result<Self, DecisionRefused> {
        let (ApprovalState::Waiting { stage }, begun) = self.progress(None) else {
            return Err(DecisionRefused::Closed);
        };
        if decision.question != self.question {
            return Err(DecisionRefused::AnotherQuestion);
        }
        if self.is_party(&decision) {
            return Err(DecisionRefused::OwnRequest);
        }
        if self.decisions.iter().any(|earlier| earlier.shares_with(&decision)) {
            return Err(DecisionRefused::DecidedAlready);
        }
        let asked = |stages: std::ops::Range<usize>| self.asks(&decision, stages, &begun);
        let until_now = 0..stage.saturating_add(1);
        if !asked(0..self.plan.stages.len()) {
            return Err(DecisionRefused::NotEntitled);
        }
        if decision.verdict == Verdict::Approve {
            if !asked(until_now) {
                return Err(DecisionRefused::NotYet);
            }
            let here = self.plan.stages.get(stage);
            if let Some(mfa) = here.filter(|here| !proves(here, &decision)).and_then(|here| here.mfa.as_ref())
                && asked(stage..stage.saturating_add(1))
            {
                return Err(DecisionRefused::FactorNeeded(mfa.clone()));
            }
        }
        let mut next = self.clone();
        next.decisions.push(decision);
        Ok(next)
    }

    /// Adds the requester's second factor.
    ///
    /// # Errors
    /// [`DecisionRefused`] gives the reason why it does not count. Nothing changed then.
    pub fn confirm(&self, confirmation: Confirmation) -> Result<Self, DecisionRefused> {
        let mfa = self.confirms(&confirmation.by)?;
        if confirmation.question != self.question {
            return Err(DecisionRefused::AnotherQuestion);
        }
        if !mfa.accepts(&confirmation.proven, confirmation.at) {
            return Err(DecisionRefused::FactorNeeded(mfa));
        }
        let mut next = self.clone();
        next.confirmations.push(confirmation);
        Ok(next)
    }

    /// Returns the second factor that is still needed from this person as the requester.
    ///
    /// The stage that is pending may need it, or a later one. For a later stage it counts if it is
    /// still fresh when that stage is reached. So a code may come with the request although a
    /// tracker is asked first.
    ///
    /// # Errors
    /// [`DecisionRefused`] if none is needed from this person.
    pub fn confirms(&self, by: &Principal) -> Result<Mfa, DecisionRefused> {
        let (ApprovalState::Waiting { stage: waiting }, begun) = self.progress(None) else {
            return Err(DecisionRefused::Closed);
        };
        let left = self.plan.stages.iter().enumerate().skip(waiting);
        let awaited = left
            .filter(|(stage, _)| !self.is_confirmed(*stage, &begun, None))
            .find_map(|(_, here)| here.mfa_of(MfaOf::Requester));
        match awaited.filter(|_| *by == self.parties.requester) {
            Some(mfa) => Ok(mfa.clone()),
            None => Err(DecisionRefused::NotAwaited),
        }
    }

    /// Adds an outside system's answer, which replaces its earlier one. If the plan does not ask
    /// the system, nothing changes.
    ///
    /// # Errors
    /// [`DecisionRefused::Closed`] once the approval is satisfied or refused,
    /// [`DecisionRefused::NotEntitled`] for a system that is not asked.
    pub fn answer(&self, answer: Answer) -> Result<Self, DecisionRefused> {
        let ApprovalState::Waiting { .. } = self.state() else {
            return Err(DecisionRefused::Closed);
        };
        if answer.question != self.question {
            return Err(DecisionRefused::AnotherQuestion);
        }
        if !self.plan.stages.iter().flat_map(|stage| &stage.outside).any(|asked| asked.approver == answer.approver) {
            return Err(DecisionRefused::NotEntitled);
        }
        let mut next = self.clone();
        let earlier = next.answers.iter().position(|heard| heard.answer.approver == answer.approver);
        let earlier = earlier.map(|place| next.answers.remove(place));
        let same = earlier.filter(|earlier| earlier.answer.verdict == answer.verdict);
        next.answers.push(Heard { since: same.map_or(answer.at, |earlier| earlier.since), answer, stale: false });
        Ok(next)
    }

    /// Returns the outside systems that have to be asked now.
    #[must_use]
    pub fn asks_outside(&self) -> Vec<ApproverName> {
        let ApprovalState::Waiting { stage } = self.state() else { return Vec::new() };
        let asked = self.plan.stages.get(stage).into_iter().flat_map(|stage| &stage.outside);
        asked.map(|asked| &asked.approver).filter(|approver| !self.has_yes(approver, None)).cloned().collect()
    }

    /// Returns the same decisions under a new ruling, with the directory's present answer about
    /// each decider. A decision stays on record, but no longer counts if its decider is no longer
    /// entitled (law 8). A decider without a fresh snapshot does not count.
    ///
    /// A plan with other terms makes a new question, which takes this id. Later answers to the old
    /// question do not count, and outside systems are asked again. People's decisions stay valid,
    /// because who gets what for how long is the same.
    #[must_use]
    pub fn ruled_again(&self, plan: Plan, fresh: &[Fresh], question: QuestionId) -> Self {
        let mut unknown = BTreeSet::new();
        let mut decisions = self.decisions.clone();
        for decision in &mut decisions {
            let now = fresh.iter().find(|now| now.by == decision.by);
            let away = now.map(|now| &now.in_place_of);
            match (now, &mut decision.in_place_of, away) {
                (Some(now), None, _) => decision.snapshot = now.snapshot.clone(),
                (Some(now), Some(away), Some(Some(snapshot))) => {
                    decision.snapshot = now.snapshot.clone();
                    away.snapshot = snapshot.clone();
                }
                _ => {
                    unknown.insert(decision.by.clone());
                }
            }
        }
        let mut next = Self { plan, decisions, unknown, ..self.clone() };
        if !next.plan.same_terms(&self.plan) {
            next.earlier.insert(self.question);
            next.question = question;
            next.answers.iter_mut().for_each(|heard| heard.stale = true);
            let answered: BTreeSet<QuestionId> = next.said_about().collect();
            next.earlier.retain(|earlier| answered.contains(earlier));
        }
        next
    }

    /// Returns the approval without the outside answers that are too old to grant on. They count
    /// again once the systems repeat them.
    #[must_use]
    pub fn without_stale(&self, now: Time) -> Self {
        let again = |answer: &Answer| {
            let mut asked = self.plan.stages.iter().flat_map(|stage| &stage.outside);
            asked.any(|asked| asked.again && asked.approver == answer.approver)
        };
        let mut next = self.clone();
        for heard in next.answers.iter_mut().filter(|heard| again(&heard.answer)) {
            heard.stale |= span(heard.answer.at, now) > AGAIN_AFTER;
        }
        next
    }

    /// Returns the stage that is pending, the time of its escalation, and how it is escalated. None
    /// if it has no escalation.
    #[must_use]
    pub fn escalates(&self) -> Option<(usize, Time, &Escalation)> {
        if !self.has_escalation() {
            return None;
        }
        let (ApprovalState::Waiting { stage }, begun) = self.progress(None) else { return None };
        let escalate = self.plan.stages.get(stage)?.escalate.as_ref()?;
        let unmet = self.matched(stage, &begun, None).is_none_or(|matched| !matched.is_met());
        unmet.then(|| (stage, after(begun.last().copied().unwrap_or(self.opened_at), escalate.after), escalate))
    }
}
