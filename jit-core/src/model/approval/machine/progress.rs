//! State of an approval, computed each time from the plan and the answers until then.

use std::collections::BTreeSet;

use super::{Approval, ApprovalState, Heard};
use crate::clock::{Time, after};
use crate::id::ApproverName;
use crate::model::approval::decision::{Confirmation, Decision, Verdict};
use crate::model::approval::plan::{MfaOf, Need, Stage};
use crate::model::approval::quorum::{Matched, best, by_human, entitled, ways};

impl Approval {
    /// Returns the state at that time. Also returns the time at which each stage was reached, up to
    /// the one that is pending.
    pub(in crate::model::approval) fn progress(&self, until: Option<Time>) -> (ApprovalState, Vec<Time>) {
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

    /// Returns the time at which a stage was first met. The stage is known to be met.
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
        // an approver by escalation can say no once it is their turn, which follows from the time
        // of their no
        self.decisions.iter().any(|decision| by_people(decision) || no(decision) && self.was_asked(decision))
            || self.answers().any(|answer| {
                let asked = self.plan.stages.iter().flat_map(|stage| &stage.outside);
                answer.verdict == Verdict::Deny
                    && in_time(answer.at, until)
                    && asked.into_iter().any(|asked| asked.approver == answer.approver)
            })
    }

    /// Checks whether an escalation asked the decider at the time of the decision.
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

    pub(super) fn has_escalation(&self) -> bool {
        self.plan.stages.iter().any(|stage| stage.escalate.is_some())
    }

    fn is_met(&self, stage: usize, begun: &[Time], until: Option<Time>) -> bool {
        let Some(here) = self.plan.stages.get(stage) else { return true };
        let outside = here.outside.iter().all(|asked| self.has_yes(&asked.approver, until));
        let confirmed = here.mfa_of(MfaOf::Requester).is_none() || self.is_confirmed(stage, begun, until);
        outside && confirmed && self.matched(stage, begun, until).is_some_and(Matched::is_met)
    }

    pub(super) fn has_yes(&self, approver: &ApproverName, until: Option<Time>) -> bool {
        let yes =
            |heard: &Heard| heard.answer.verdict == Verdict::Approve && !heard.stale && in_time(heard.since, until);
        self.answers.iter().any(|heard| heard.answer.approver == *approver && yes(heard))
    }

    /// Checks whether the requester gave a second factor that is fresh for this stage.
    pub(in crate::model::approval) fn is_confirmed(&self, stage: usize, begun: &[Time], until: Option<Time>) -> bool {
        let Some(mfa) = self.plan.stages.get(stage).and_then(|here| here.mfa_of(MfaOf::Requester)) else {
            return false;
        };
        let reached = begun.get(stage).copied().unwrap_or(self.opened_at);
        // one given before the stage was reached has to be fresh at that time
        let fresh = |one: &Confirmation| mfa.accepts(&one.proven, one.at.max(reached));
        self.confirmations.iter().any(|one| in_time(one.at, until) && fresh(one))
    }

    /// Returns the match of people for all stages up to this one; none if that cannot be judged.
    pub(super) fn matched(&self, stage: usize, begun: &[Time], until: Option<Time>) -> Option<Matched> {
        let reached = self.plan.stages.get(..=stage)?;
        self.matched_in(reached, begun, until)
    }

    pub(in crate::model::approval) fn matched_in(
        &self,
        reached: &[Stage],
        begun: &[Time],
        until: Option<Time>,
    ) -> Option<Matched> {
        let yes = |decision: &&Decision| {
            decision.verdict == Verdict::Approve && in_time(decision.at, until) && self.counts(decision)
        };
        let people = by_human(self.decisions.iter().filter(yes));
        let fits = |need: &Need, person: usize| {
            people.get(person).is_some_and(|theirs| theirs.iter().any(|one| self.fits(need, one, begun)))
        };
        Some(best(&ways(reached).ok()?, people.len(), &fits))
    }

    /// Checks whether the need asks for this decision, and the decision has the second factor of
    /// its stage.
    fn fits(&self, need: &Need, decision: &Decision, begun: &[Time]) -> bool {
        let stage = self.plan.stages.get(need.stage);
        self.is_asked(need, decision, begun) && stage.is_none_or(|stage| proves(stage, decision))
    }

    /// Checks whether the need asks the decider, directly or by escalation.
    fn is_asked(&self, need: &Need, decision: &Decision, begun: &[Time]) -> bool {
        let (name, snapshot) = decision.standing();
        if entitled(&need.who, name, snapshot) {
            return true;
        }
        let escalate = self.plan.stages.get(need.stage).and_then(|stage| stage.escalate.as_ref());
        let (Some(escalate), Some(reached)) = (escalate, begun.get(need.stage)) else { return false };
        snapshot.groups.contains(&escalate.to) && !snapshot.is_party() && decision.at >= after(*reached, escalate.after)
    }

    /// Checks whether the decider, or the absent person they act for, is the requester or the
    /// grantee. It compares names and humans.
    pub(super) fn is_party(&self, decision: &Decision) -> bool {
        let names = [&self.parties.requester, &self.parties.grantee];
        let (standing, away) = decision.standing();
        decision.snapshot.is_party() || away.is_party() || names.contains(&&decision.by) || names.contains(&standing)
    }

    /// Checks whether the directory still knows the decider, who is neither requester nor grantee.
    fn counts(&self, decision: &Decision) -> bool {
        !self.is_party(decision) && !self.unknown.contains(&decision.by)
    }

    /// Checks whether one of these stages asks the decider.
    pub(super) fn asks(&self, decision: &Decision, stages: std::ops::Range<usize>, begun: &[Time]) -> bool {
        let asked = self.plan.stages.iter().enumerate().skip(stages.start).take(stages.len());
        let all = asked.flat_map(|(stage, here)| here.people.iter().map(move |requirement| (stage, requirement)));
        all.filter_map(|(stage, requirement)| Some((stage, requirement.ways().ok()?)))
            .flat_map(|(stage, ways)| ways.into_iter().flatten().map(move |who| Need { stage, who }))
            .any(|need| self.is_asked(&need, decision, begun))
    }
}

/// Checks whether the decision has the second factor that the stage demands of its approvers.
pub(super) fn proves(stage: &Stage, decision: &Decision) -> bool {
    let demanded = stage.mfa_of(MfaOf::Approver);
    demanded.is_none_or(|mfa| decision.proven.as_ref().is_some_and(|proven| mfa.accepts(proven, decision.at)))
}

fn in_time(at: Time, until: Option<Time>) -> bool {
    until.is_none_or(|until| at <= until)
}
