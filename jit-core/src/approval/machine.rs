//! The approval machine: a plan, what was said about it, and what follows. What follows is never stored: it is computed from plan
//! and what was said each time, so a forged conclusion cannot be loaded.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::decision::{Answer, Confirmation, Decision, Fresh, Verdict};
use super::people::Parties;
use super::plan::{Escalation, Mfa, MfaOf, Need, Plan, Stage};
use super::quorum::{Matched, best, by_human, entitled, ways};
use crate::clock::{Time, after, span};
use crate::id::{AccessId, ApproverName, Principal};

/// How long the yes of an outside system counts that is asked again right before the grant.
pub(crate) const AGAIN_AFTER: TimeDelta = TimeDelta::seconds(60);

/// Proof that the approval of one access is satisfied. Only [`Approval::witness`] makes one (law 1); it can neither be stored nor
/// loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    access: AccessId,
}

impl Witness {
    /// Whose approval it proves.
    #[must_use]
    pub fn access(&self) -> AccessId {
        self.access
    }
}

/// A plan and what was said about it. One that nothing could have led to does not load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Approval {
    access: AccessId,
    parties: Parties,
    plan: Plan,
    /// Since when people are asked, UTC.
    opened_at: Time,
    decisions: Vec<Decision>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    confirmations: Vec<Confirmation>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    answers: Vec<Heard>,
    /// Deciders of whom the directory said nothing when it was last asked: a plan may name them, and still they do not count.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    unknown: BTreeSet<Principal>,
}

/// The last word of an outside system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Heard {
    answer: Answer,
    /// Since when it says so: a stage that was met by it is not reached later because it is asked again, UTC.
    since: Time,
    /// It is too old to be granted on, and is asked again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    stale: bool,
}

/// An approval as it was stored, before it is believed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    access: AccessId,
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
        let Stored { access, parties, plan, opened_at, decisions, confirmations, answers, unknown } = stored;
        let mut deciders = BTreeSet::new();
        let party = |who: &Principal| *who == parties.requester || *who == parties.receiver;
        let possible = decisions.iter().all(|decision| {
            let away = decision.in_place_of.as_ref().map(|away| &away.who);
            !party(&decision.by) && !away.is_some_and(party) && deciders.insert(&decision.by)
        });
        let confirmed = confirmations.iter().all(|confirmation| confirmation.by == parties.requester);
        if !possible || !confirmed {
            return Err(Forged);
        }
        Ok(Self { access, parties, plan, opened_at, decisions, confirmations, answers, unknown })
    }
}

/// A stored approval with a decision that cannot have been made.
#[derive(Debug, thiserror::Error)]
#[error("the stored approval has a decision by one of its parties, or two by one person: it was altered")]
struct Forged;

/// Where an approval stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApprovalState {
    /// This stage (from 0) is not met yet.
    Waiting {
        /// Which.
        stage: usize,
    },
    /// Every stage is met.
    Satisfied,
    /// Somebody entitled said no.
    Refused,
}

/// Why something that was said does not count. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecisionRefused {
    /// The decider is the requester or the receiver, under whatever name (law 8).
    #[error("nobody decides on his own request: somebody else has to")]
    OwnRequest,
    /// The human behind the decider has decided already (law 8), or somebody decided in his place.
    #[error("this person has decided already, under this name or another, or somebody has in his place")]
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
    /// Only the requester confirms, where the stage that waits or a later one demands a second factor of him.
    #[error("no second factor of the requester is awaited")]
    NotAwaited,
    /// There is nothing left to decide.
    #[error("there is nothing left to decide")]
    Closed,
}

impl Approval {
    /// An approval about which nothing was said yet. A plan without stages is satisfied at once.
    #[must_use]
    pub fn new(access: AccessId, parties: Parties, plan: Plan, now: Time) -> Self {
        let (decisions, confirmations, answers) = (Vec::new(), Vec::new(), Vec::new());
        Self { access, parties, plan, opened_at: now, decisions, confirmations, answers, unknown: BTreeSet::new() }
    }

    /// What is demanded.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Who decided what, in the order of their decisions.
    #[must_use]
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    /// The requester's second factors, in their order.
    #[must_use]
    pub fn confirmations(&self) -> &[Confirmation] {
        &self.confirmations
    }

    /// What outside systems said, the last word of each.
    pub fn answers(&self) -> impl Iterator<Item = &Answer> {
        self.answers.iter().map(|heard| &heard.answer)
    }

    /// Whose approval it is.
    #[must_use]
    pub fn parties(&self) -> &Parties {
        &self.parties
    }

    /// Which access it is about.
    #[must_use]
    pub fn access(&self) -> AccessId {
        self.access
    }

    /// Where it stands: computed from the plan and what was said.
    #[must_use]
    pub fn state(&self) -> ApprovalState {
        self.progress(None).0
    }

    /// The proof, once satisfied.
    #[must_use]
    pub fn witness(&self) -> Option<Witness> {
        (self.state() == ApprovalState::Satisfied).then_some(Witness { access: self.access })
    }

    /// Adds a decision.
    ///
    /// # Errors
    /// [`DecisionRefused`] says why it does not count; nothing was changed.
    pub fn decide(&self, decision: Decision) -> Result<Self, DecisionRefused> {
        let (ApprovalState::Waiting { stage }, begun) = self.progress(None) else {
            return Err(DecisionRefused::Closed);
        };
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
    /// [`DecisionRefused`] says why it does not count; nothing was changed.
    pub fn confirm(&self, confirmation: Confirmation) -> Result<Self, DecisionRefused> {
        let mfa = self.confirms(&confirmation.by)?;
        if !mfa.accepts(&confirmation.proven, confirmation.at) {
            return Err(DecisionRefused::FactorNeeded(mfa));
        }
        let mut next = self.clone();
        next.confirmations.push(confirmation);
        Ok(next)
    }

    /// The second factor that is awaited of this person as the requester: by the stage that waits, or by a later one, for which it counts
    /// if it is fresh still when that stage is reached. So a code may come with the request although a tracker is asked first.
    ///
    /// # Errors
    /// [`DecisionRefused`] where none is.
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

    /// Adds what an outside system said, instead of what it said before. Where the plan does not ask it nothing changes.
    ///
    /// # Errors
    /// [`DecisionRefused::Closed`] once it is satisfied or refused, [`DecisionRefused::NotEntitled`] for a system that is not asked.
    pub fn answer(&self, answer: Answer) -> Result<Self, DecisionRefused> {
        let ApprovalState::Waiting { .. } = self.state() else {
            return Err(DecisionRefused::Closed);
        };
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

    /// The outside systems that have to be asked now.
    #[must_use]
    pub fn asks_outside(&self) -> Vec<ApproverName> {
        let ApprovalState::Waiting { stage } = self.state() else { return Vec::new() };
        let asked = self.plan.stages.get(stage).into_iter().flat_map(|stage| &stage.outside);
        asked.map(|asked| &asked.approver).filter(|approver| !self.has_yes(approver, None)).cloned().collect()
    }

    /// The same decisions under a plan ruled anew, each decider with what the directory says of him now. Who is no longer entitled
    /// no longer counts (law 8); his decision stays on record. A person without a fresh snapshot does not count.
    #[must_use]
    pub fn ruled_again(&self, plan: Plan, fresh: &[Fresh]) -> Self {
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
        Self { plan, decisions, unknown, ..self.clone() }
    }

    /// The same where the words of outside systems that are too old to be granted on do not count until they are said again.
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

    /// When the stage that waits is escalated, and how; none where it is not.
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

    /// Where it stands, by what was said until then, and when each stage up to the one that waits was reached.
    pub(super) fn progress(&self, until: Option<Time>) -> (ApprovalState, Vec<Time>) {
        let mut begun = vec![self.opened_at];
        if self.is_refused(until) {
            return (ApprovalState::Refused, begun);
        }
        for stage in 0..self.plan.stages.len() {
            if !self.is_met(stage, &begun, until) {
                return (ApprovalState::Waiting { stage }, begun);
            }
            begun.push(self.met_at(stage, &begun));
        }
        (ApprovalState::Satisfied, begun)
    }

    /// When a stage was met first, of which it is known that it is.
    fn met_at(&self, stage: usize, begun: &[Time]) -> Time {
        let reached = begun.last().copied().unwrap_or(self.opened_at);
        let decided = self.decisions.iter().map(|decision| decision.at);
        let said = decided
            .chain(self.confirmations.iter().map(|one| one.at))
            .chain(self.answers.iter().map(|heard| heard.since));
        let times: BTreeSet<Time> = said.filter(|at| *at > reached).collect();
        let met = std::iter::once(reached).chain(times).find(|until| self.is_met(stage, begun, Some(*until)));
        met.unwrap_or(reached)
    }

    fn is_refused(&self, until: Option<Time>) -> bool {
        let no = |decision: &Decision| decision.verdict == Verdict::Deny && in_time(decision.at, until);
        let all = 0..self.plan.stages.len();
        let by_people =
            |decision: &Decision| no(decision) && self.counts(decision) && self.asks(decision, all.clone(), &[]);
        // who was escalated to says no once it is his turn: whose turn it was is known from the time of his no
        self.decisions.iter().any(|decision| by_people(decision) || no(decision) && self.was_asked(decision))
            || self.answers().any(|answer| {
                let asked = self.plan.stages.iter().flat_map(|stage| &stage.outside);
                answer.verdict == Verdict::Deny
                    && in_time(answer.at, until)
                    && asked.into_iter().any(|asked| asked.approver == answer.approver)
            })
    }

    /// Whether the decider was asked by an escalation when he decided.
    fn was_asked(&self, decision: &Decision) -> bool {
        if !self.counts(decision) || !self.has_escalation() {
            return false;
        }
        let mut begun = vec![self.opened_at];
        for stage in 0..self.plan.stages.len() {
            if self.asks(decision, stage..stage.saturating_add(1), &begun) {
                return true;
            }
            if !self.is_met(stage, &begun, Some(decision.at)) {
                return false;
            }
            begun.push(self.met_at(stage, &begun));
        }
        false
    }

    fn has_escalation(&self) -> bool {
        self.plan.stages.iter().any(|stage| stage.escalate.is_some())
    }

    fn is_met(&self, stage: usize, begun: &[Time], until: Option<Time>) -> bool {
        let Some(here) = self.plan.stages.get(stage) else { return true };
        let outside = here.outside.iter().all(|asked| self.has_yes(&asked.approver, until));
        let confirmed = here.mfa_of(MfaOf::Requester).is_none() || self.is_confirmed(stage, begun, until);
        outside && confirmed && self.matched(stage, begun, until).is_some_and(Matched::is_met)
    }

    fn has_yes(&self, approver: &ApproverName, until: Option<Time>) -> bool {
        let yes =
            |heard: &Heard| heard.answer.verdict == Verdict::Approve && !heard.stale && in_time(heard.since, until);
        self.answers.iter().any(|heard| heard.answer.approver == *approver && yes(heard))
    }

    /// Whether the requester gave a second factor that is fresh for this stage.
    pub(super) fn is_confirmed(&self, stage: usize, begun: &[Time], until: Option<Time>) -> bool {
        let Some(mfa) = self.plan.stages.get(stage).and_then(|here| here.mfa_of(MfaOf::Requester)) else {
            return false;
        };
        let reached = begun.get(stage).copied().unwrap_or(self.opened_at);
        // one given before the stage was reached has to be fresh then
        let fresh = |one: &Confirmation| mfa.accepts(&one.proven, one.at.max(reached));
        self.confirmations.iter().any(|one| in_time(one.at, until) && fresh(one))
    }

    /// How far the people of all stages up to this one are there; none where that cannot be judged.
    fn matched(&self, stage: usize, begun: &[Time], until: Option<Time>) -> Option<Matched> {
        let reached = self.plan.stages.get(..=stage)?;
        self.matched_in(reached, begun, until)
    }

    pub(super) fn matched_in(&self, reached: &[Stage], begun: &[Time], until: Option<Time>) -> Option<Matched> {
        let yes = |decision: &&Decision| {
            decision.verdict == Verdict::Approve && in_time(decision.at, until) && self.counts(decision)
        };
        let people = by_human(self.decisions.iter().filter(yes));
        let fits = |need: &Need, person: usize| {
            people.get(person).is_some_and(|theirs| theirs.iter().any(|one| self.fits(need, one, begun)))
        };
        Some(best(&ways(reached).ok()?, people.len(), &fits))
    }

    /// Whether the decision is one that the need asks for, with what its stage demands of it.
    fn fits(&self, need: &Need, decision: &Decision, begun: &[Time]) -> bool {
        let stage = self.plan.stages.get(need.stage);
        self.is_asked(need, decision, begun) && stage.is_none_or(|stage| proves(stage, decision))
    }

    /// Whether the need asks the decider, by himself or because its stage waited for long.
    fn is_asked(&self, need: &Need, decision: &Decision, begun: &[Time]) -> bool {
        let (name, snapshot) = decision.standing();
        if entitled(&need.who, name, snapshot) {
            return true;
        }
        let escalate = self.plan.stages.get(need.stage).and_then(|stage| stage.escalate.as_ref());
        let (Some(escalate), Some(reached)) = (escalate, begun.get(need.stage)) else { return false };
        snapshot.groups.contains(&escalate.to) && !snapshot.is_party() && decision.at >= after(*reached, escalate.after)
    }

    /// Whether the decider or the one in whose place he decides is the requester or the receiver, by name or by human.
    fn is_party(&self, decision: &Decision) -> bool {
        let names = [&self.parties.requester, &self.parties.receiver];
        let (standing, away) = decision.standing();
        decision.snapshot.is_party() || away.is_party() || names.contains(&&decision.by) || names.contains(&standing)
    }

    /// Whether the directory knows the decider still, and he is no party.
    fn counts(&self, decision: &Decision) -> bool {
        !self.is_party(decision) && !self.unknown.contains(&decision.by)
    }

    /// Whether one of these stages asks the decider.
    fn asks(&self, decision: &Decision, stages: std::ops::Range<usize>, begun: &[Time]) -> bool {
        let asked = self.plan.stages.iter().enumerate().skip(stages.start).take(stages.len());
        let all = asked.flat_map(|(stage, here)| here.people.iter().map(move |requirement| (stage, requirement)));
        all.filter_map(|(stage, requirement)| Some((stage, requirement.ways().ok()?)))
            .flat_map(|(stage, ways)| ways.into_iter().flatten().map(move |who| Need { stage, who }))
            .any(|need| self.is_asked(&need, decision, begun))
    }
}

/// Whether the decision came with the second factor that the stage demands of its approvers.
fn proves(stage: &Stage, decision: &Decision) -> bool {
    let demanded = stage.mfa_of(MfaOf::Approver);
    demanded.is_none_or(|mfa| decision.proven.as_ref().is_some_and(|proven| mfa.accepts(proven, decision.at)))
}

fn in_time(at: Time, until: Option<Time>) -> bool {
    until.is_none_or(|until| at <= until)
}
