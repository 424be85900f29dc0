//! What people and policy do to an access.

use chrono::TimeDelta;

use super::event::{Extend, Refusal, Step};
use super::handle::Answer;
use super::{Access, Extension, Phase};
use crate::approval::{Approval, ApprovalState, Decision, Snapshot, Verdict};
use crate::clock::{Time, after, to_std};
use crate::fact::{Fact, What};
use crate::grant::{ALERT_AGAIN, Active, Cause, Grant, OVERDUE_AFTER};
use crate::id::Principal;
use crate::policy::Ruling;
use crate::request::{Closed, Pending};

impl Access {
    /// What is due for people is done.
    pub(super) fn tick(&self, now: Time) -> Step {
        let mut step = self.tick_phase(now);
        let lapsed = |extension: &Extension| extension.lapses_at <= now;
        if step.access.extension.as_ref().is_some_and(lapsed) {
            step.access.extension = None;
            step.facts.push(Fact::new(What::ExtensionRefused).with("why", "nobody decided in time"));
        }
        step
    }

    fn tick_phase(&self, now: Time) -> Step {
        match &self.phase {
            Phase::Pending(pending) if pending.lapses_at <= now => {
                let why = "nobody decided in time".to_owned();
                self.with_phase(Phase::Lapsed(Closed { at: now, why, by: None }), Fact::new(What::Lapsed))
            }
            Phase::Approved(Grant::Scheduled(scheduled)) if scheduled.give_up <= now => {
                let why = scheduled.trouble.clone();
                self.end(Cause::GaveUp, None, why, now).unwrap_or_else(|_| self.unchanged())
            }
            Phase::Approved(Grant::Granting(granting)) if granting.give_up <= now => {
                let why = granting.trouble.clone();
                self.end(Cause::GaveUp, None, why, now).unwrap_or_else(|_| self.unchanged())
            }
            Phase::Approved(Grant::Active(active)) => self.tick_active(active, now),
            Phase::Approved(Grant::Revoking(revoking)) if revoking.alert_at <= now => {
                let fact = Fact::new(What::Overdue)
                    .with("cause", revoking.cause.as_str())
                    .with("since", revoking.since)
                    .with("failures", i64::from(revoking.failures))
                    .maybe("why", revoking.trouble.as_deref());
                let mut revoking = revoking.clone();
                revoking.alert_at = after(now, ALERT_AGAIN);
                self.with_grant(Grant::Revoking(revoking), fact)
            }
            _ => self.unchanged(),
        }
    }

    fn tick_active(&self, active: &Active, now: Time) -> Step {
        let mut next = active.clone();
        let mut facts = Vec::new();
        if !active.warned && crate::grant::warn_at(&active.window) <= now {
            next.warned = true;
            if now < active.window.end() {
                facts.push(Fact::new(What::EndingSoon).with("end", active.window.end()));
            }
        }
        if active.alert_at <= now {
            next.alert_at = after(now, ALERT_AGAIN);
            facts.push(Fact::new(What::Overdue).with("end", active.window.end()));
        }
        Step { access: Self { phase: Phase::Approved(Grant::Active(next)), ..self.clone() }, facts }
    }

    pub(super) fn decide(&self, decision: Decision, now: Time) -> Answer {
        match (&self.phase, &self.extension) {
            (Phase::Pending(pending), _) if now < pending.lapses_at => self.decide_request(decision, now),
            (Phase::Approved(Grant::Active(active)), Some(extension)) if now < extension.lapses_at => {
                self.decide_extension(active, extension, decision)
            }
            _ => {
                let closed = Refusal::Decision(crate::approval::DecisionRefused::Closed);
                let mut refused = self.refuse(closed, What::DecisionRefused, verdict(&decision));
                refused.why = Refusal::State { state: self.state(), what: "decided on" };
                Err(refused)
            }
        }
    }

    fn decide_request(&self, decision: Decision, now: Time) -> Answer {
        let told = tell(&decision);
        let approval = self
            .approval
            .decide(decision.clone())
            .map_err(|why| self.refuse(Refusal::Decision(why), What::DecisionRefused, verdict(&decision)))?;
        let mut access = Self { approval, ..self.clone() };
        let mut facts = vec![told];
        match access.approval.state() {
            ApprovalState::Waiting { .. } => {}
            ApprovalState::Refused => {
                let by = Some(decision.by.clone());
                access.phase = Phase::Denied(Closed { at: now, why: decision.note, by });
            }
            ApprovalState::Satisfied => {
                access.schedule_if_satisfied(now);
                facts.push(Fact::new(What::Satisfied));
            }
        }
        Ok(Step { access, facts })
    }

    fn decide_extension(&self, active: &Active, extension: &Extension, decision: Decision) -> Answer {
        let told = tell(&decision).with("extension", true);
        let approval = extension
            .approval
            .decide(decision.clone())
            .map_err(|why| self.refuse(Refusal::Decision(why), What::DecisionRefused, verdict(&decision)))?;
        let decided = Extension { approval, ..extension.clone() };
        let mut step = self.unchanged();
        step.facts.push(told);
        match decided.approval.state() {
            ApprovalState::Waiting { .. } => step.access.extension = Some(decided),
            ApprovalState::Refused => {
                step.access.extension = None;
                step.facts.push(Fact::new(What::ExtensionRefused).with("why", decision.note));
            }
            ApprovalState::Satisfied => {
                step.access.extension = None;
                step.lengthen(active, &decided);
            }
        }
        Ok(step)
    }

    pub(super) fn extend(&self, extend: Extend, now: Time) -> Answer {
        let tried = "extended";
        let Some(Grant::Active(active)) = self.grant() else { return Err(self.impossible(tried)) };
        if active.window.end() <= now {
            return Err(self.impossible(tried));
        }
        let refuse = |why| Err(self.refuse(why, What::ExtensionRefused, tried));
        if self.extension.is_some() {
            return refuse(Refusal::ExtensionWaits);
        }
        if extend.longer <= TimeDelta::zero() {
            return refuse(Refusal::NoTime);
        }
        let most = extend.plan.limits.max_total.min(crate::policy::CEILING);
        if self.total_with(extend.longer).is_none_or(|total| total > most) {
            let had = self.total_with(TimeDelta::zero()).unwrap_or(most);
            let left = most.checked_sub(&had).unwrap_or_default().max(TimeDelta::zero());
            let most = humantime::format_duration(to_std(left)).to_string();
            return refuse(Refusal::TooLong { most });
        }
        let Extend { by, longer, reason, plan } = extend;
        let lapses_at = after(now, plan.limits.decide_by).min(active.window.end());
        let approval = Approval::new(self.id, self.request.parties.clone(), plan);
        let extension = Extension { by, longer, reason, lapses_at, approval };
        let mut step = self.unchanged();
        step.facts.push(
            Fact::new(What::ExtensionRequested)
                .with("longer", extension.longer)
                .with("reason", extension.reason.as_str())
                .with("rule", extension.approval.plan().rule.as_str()),
        );
        if extension.approval.state() == ApprovalState::Satisfied {
            step.lengthen(active, &extension);
        } else {
            step.access.extension = Some(extension);
        }
        Ok(step)
    }

    pub(super) fn rule_again(&self, ruling: Ruling, fresh: &[(Principal, Snapshot)], now: Time) -> Step {
        let waits = match &self.phase {
            // nobody decided in time: nothing that policy says now makes up for it
            Phase::Pending(pending) if pending.lapses_at <= now => return self.unchanged(),
            Phase::Pending(_) => true,
            Phase::Approved(Grant::Scheduled(_)) => false,
            Phase::Approved(Grant::Granting(_) | Grant::Active(_)) => return self.rule_live_again(ruling, now),
            _ => return self.unchanged(),
        };
        let plan = match ruling {
            Ruling::Planned(plan) => plan,
            Ruling::Denied { rule, reason, policy } => {
                let fact = Fact::new(What::Denied)
                    .with("why", reason.as_str())
                    .with("policy", policy)
                    .maybe("rule", rule.map(|rule| rule.as_str().to_owned()));
                return self.with_phase(Phase::Denied(Closed { at: now, why: reason, by: None }), fact);
            }
        };
        let fact = Fact::new(What::RuledAgain).with("rule", plan.rule.as_str()).with("policy", plan.policy.as_str());
        let approval = self.approval.ruled_again(plan, fresh);
        if approval == self.approval {
            return self.unchanged();
        }
        let mut access = Self { approval, ..self.clone() };
        match (access.approval.state(), waits) {
            // what was granted on before and still is satisfied goes on as scheduled
            (ApprovalState::Satisfied, false) => {}
            (ApprovalState::Satisfied, true) => access.schedule_if_satisfied(now),
            (ApprovalState::Waiting { .. }, true) => {}
            (ApprovalState::Waiting { .. }, false) => {
                let lapses_at = after(now, access.approval.plan().limits.decide_by);
                access.phase = Phase::Pending(Pending { lapses_at });
            }
            (ApprovalState::Refused, _) => {
                let why = "somebody entitled said no".to_owned();
                access.phase = Phase::Denied(Closed { at: now, why, by: None });
            }
        }
        let moved = access.state() != self.state() || !access.approval.plan().same_terms(self.approval.plan());
        let facts = if moved { vec![fact.with("state", access.state())] } else { Vec::new() };
        Step { access, facts }
    }

    /// A live access ends when policy no longer allows it; what people decided about it stands.
    fn rule_live_again(&self, ruling: Ruling, now: Time) -> Step {
        match ruling {
            Ruling::Planned(_) => self.unchanged(),
            Ruling::Denied { reason, .. } => {
                self.end(Cause::NoLongerAllowed, None, Some(reason), now).unwrap_or_else(|_| self.unchanged())
            }
        }
    }
}

impl Step {
    /// The window becomes longer, as the plan of the extension allows.
    fn lengthen(&mut self, active: &Active, extension: &Extension) {
        let window = active.window.longer(extension.longer, extension.approval.plan().limits.max_total);
        let alert_at = after(window.end(), OVERDUE_AFTER);
        self.facts.push(Fact::new(What::Extended).with("longer", extension.longer).with("end", window.end()));
        let active = Active { window, warned: false, alert_at, ..active.clone() };
        self.access.phase = Phase::Approved(Grant::Active(active));
        self.access.extended.push(extension.clone());
    }
}

fn verdict(decision: &Decision) -> &'static str {
    match decision.verdict {
        Verdict::Approve => "approve",
        Verdict::Deny => "deny",
    }
}

fn tell(decision: &Decision) -> Fact {
    let what = match decision.verdict {
        Verdict::Approve => What::Approved,
        Verdict::Deny => What::Denied,
    };
    let fact = Fact::new(what).with("human", decision.snapshot.human.as_str());
    match decision.note.as_str() {
        "" => fact,
        note => fact.with("note", note),
    }
}
