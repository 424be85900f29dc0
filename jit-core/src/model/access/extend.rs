//! Extensions: more time in an open window.

use chrono::TimeDelta;

use super::event::{Extend, Refusal, Step};
use super::handle::Handled;
use super::{Access, Extension, Phase};
use crate::audit_event::{AuditEvent, EventKind};
use crate::clock::{Time, after, to_std};
use crate::id::QuestionId;
use crate::model::approval::{Approval, ApprovalState, Fresh};
use crate::model::grant::{Active, Grant, OVERDUE_AFTER};
use crate::model::ruling::Ruling;

impl Access {
    pub(super) fn extend(&self, extend: Extend, now: Time) -> Handled {
        let tried = "extended";
        let Some(Grant::Active(active)) = self.grant() else { return Err(self.impossible(tried)) };
        if active.window.end() <= now {
            return Err(self.impossible(tried));
        }
        let refuse = |why| Err(self.refuse(why, EventKind::ExtensionRefused, tried));
        if self.extension.is_some() {
            return refuse(Refusal::ExtensionWaits);
        }
        if extend.longer <= TimeDelta::zero() {
            return refuse(Refusal::NoTime);
        }
        let most = extend.plan.limits.max_total.min(crate::model::grant::CEILING);
        if self.total_with(extend.longer).is_none_or(|total| total > most) {
            let had = self.total_with(TimeDelta::zero()).unwrap_or(most);
            let left = most.checked_sub(&had).unwrap_or_default().max(TimeDelta::zero());
            let most = humantime::format_duration(to_std(left)).to_string();
            return refuse(Refusal::TooLong { most });
        }
        let Extend { question, by, longer, reason, plan } = extend;
        let lapses_at = after(now, plan.limits.decide_by).min(active.window.end());
        let approval = Approval::new(self.id, self.request.parties.clone(), plan, now).asked_as(question);
        let escalated = std::collections::BTreeSet::new();
        let extension = Extension { by, longer, reason, lapses_at, escalated, approval };
        let mut step = self.unchanged();
        step.audit_events.push(
            AuditEvent::new(EventKind::ExtensionRequested)
                .with("longer", extension.longer)
                .with("question", extension.approval.question().to_string())
                .with("reason", extension.reason.as_str())
                .with("rule", extension.approval.plan().rule.as_str()),
        );
        if extension.approval.state() == ApprovalState::Satisfied {
            step.lengthen(active, &extension, now);
        } else {
            step.access.extension = Some(extension);
        }
        Ok(step)
    }

    /// Judges the extension by what policy and directory say when it is granted, not when it was
    /// asked for (law 8).
    pub(super) fn rule_extension_again(
        &self,
        ruling: Ruling,
        fresh: &[Fresh],
        question: QuestionId,
        now: Time,
    ) -> Step {
        let mut step = self.unchanged();
        let Some(extension) = &self.extension else { return step };
        match ruling {
            Ruling::Planned(plan) => {
                let ruled = extension.approval.ruled_again(plan, fresh, question);
                if ruled.question() != extension.approval.question() {
                    let plan = ruled.plan();
                    let audit_event = AuditEvent::new(EventKind::RuledAgain)
                        .with("rule", plan.rule.as_str())
                        .with("policy", plan.policy.as_str());
                    step.audit_events
                        .push(audit_event.with("extension", true).with("question", ruled.question().to_string()));
                }
                step.extension_stands(ruled, "somebody entitled said no", now);
            }
            Ruling::Denied { reason, .. } => {
                step.access.extension = None;
                step.audit_events.push(AuditEvent::new(EventKind::ExtensionRefused).with("why", reason));
            }
        }
        step
    }
}

impl Step {
    /// Moves the pending extension on, according to the state of its approval. `no` is the reason
    /// that is logged if it is refused.
    pub(super) fn extension_stands(&mut self, approval: Approval, no: &str, now: Time) {
        let Some(extension) = self.access.extension.take() else { return };
        let decided = Extension { approval, ..extension };
        match decided.approval.state() {
            ApprovalState::Waiting { .. } => self.access.extension = Some(decided),
            ApprovalState::Refused => {
                self.audit_events.push(AuditEvent::new(EventKind::ExtensionRefused).with("why", no))
            }
            ApprovalState::Satisfied => {
                if let Some(Grant::Active(active)) = self.access.grant().cloned() {
                    self.lengthen(&active, &decided, now);
                }
            }
        }
    }

    /// Lengthens the window as far as the plan of the extension allows.
    pub(super) fn lengthen(&mut self, active: &Active, extension: &Extension, now: Time) {
        let window = active.window.longer(extension.longer, extension.approval.plan().limits.max_total);
        let alert_at = after(window.end(), OVERDUE_AFTER);
        self.audit_events
            .push(AuditEvent::new(EventKind::Extended).with("longer", extension.longer).with("end", window.end()));
        let active = Active { window, warned: false, alert_at, ..active.clone() };
        self.access.phase = Phase::Approved(Grant::Active(active));
        self.access.extended.push(extension.clone());
        self.access.owe_review_again(now);
    }
}
