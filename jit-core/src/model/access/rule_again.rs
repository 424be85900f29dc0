//! Handles a new ruling by policy and directory.

use super::event::Step;
use super::{Access, Phase};
use crate::audit_event::{AuditEvent, EventKind};
use crate::clock::Time;
use crate::id::QuestionId;
use crate::model::approval::{ApprovalState, Fresh};
use crate::model::grant::{Cause, Grant};
use crate::model::request::{Closed, Pending};
use crate::model::ruling::Ruling;

impl Access {
    pub(super) fn rule_again(&self, ruling: Ruling, fresh: &[Fresh], question: QuestionId, now: Time) -> Step {
        let waits = match &self.phase {
            // the time to decide is over: a new ruling does not change that
            Phase::Pending(pending) if pending.lapses_at <= now => return self.unchanged(),
            Phase::Pending(_) => true,
            Phase::Approved(Grant::Scheduled(_)) => false,
            Phase::Approved(Grant::Granting(_) | Grant::Active(_)) => return self.rule_live_again(ruling, now),
            _ => return self.unchanged(),
        };
        let plan = match ruling {
            Ruling::Planned(plan) => plan,
            Ruling::Denied { rule, reason, policy } => {
                let audit_event = AuditEvent::new(EventKind::Denied)
                    .with("why", reason.as_str())
                    .with("policy", policy)
                    .maybe("rule", rule.map(|rule| rule.as_str().to_owned()));
                return self.with_phase(Phase::Denied(Closed { at: now, why: reason, by: None }), audit_event);
            }
        };
        let audit_event = AuditEvent::new(EventKind::RuledAgain)
            .with("rule", plan.rule.as_str())
            .with("policy", plan.policy.as_str());
        let ruled = self.approval.ruled_again(plan, fresh, question);
        let begins = !waits && self.request.start.is_none_or(|start| start <= now);
        let approval = if begins { ruled.without_stale(now) } else { ruled.clone() };
        if approval == self.approval {
            return self.unchanged();
        }
        let mut access = Self { approval, ..self.clone() };
        match (access.approval.state(), waits) {
            // a scheduled grant that is still satisfied goes on as scheduled
            (ApprovalState::Satisfied, false) => {}
            (ApprovalState::Satisfied, true) => access.schedule_if_satisfied(now),
            (ApprovalState::Waiting { .. }, true) => {}
            (ApprovalState::Waiting { .. }, false) => {
                let mut pending = Pending::from(now, access.approval.plan().limits.decide_by);
                if let (ApprovalState::Satisfied, Some(Grant::Scheduled(scheduled))) = (ruled.state(), self.grant()) {
                    // nobody has to decide again, and asking an outside system once more gives no
                    // more time
                    pending.lapses_at = pending.lapses_at.min(scheduled.give_up);
                    pending.give_up = Some(scheduled.give_up);
                    pending.remind_at = None;
                }
                access.phase = Phase::Pending(pending);
            }
            (ApprovalState::Refused, _) => {
                let why = "somebody entitled said no".to_owned();
                access.phase = Phase::Denied(Closed { at: now, why, by: None });
            }
        }
        let moved = access.state() != self.state() || !access.approval.plan().same_terms(self.approval.plan());
        let audit_events = if moved { vec![audit_event.with("state", access.state())] } else { Vec::new() };
        Step { access, audit_events }
    }

    /// Ends a live access that policy no longer allows. The decisions of people stay valid.
    fn rule_live_again(&self, ruling: Ruling, now: Time) -> Step {
        match ruling {
            Ruling::Planned(_) => self.unchanged(),
            Ruling::Denied { reason, .. } => {
                self.end(Cause::NoLongerAllowed, None, Some(reason), now).unwrap_or_else(|_| self.unchanged())
            }
        }
    }
}
