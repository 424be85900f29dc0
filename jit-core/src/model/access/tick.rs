//! Effects of time on an access: lapses, reminders, escalations, warnings, alerts.

use super::event::Step;
use super::{Access, Extension, Phase, escalation};
use crate::audit_event::{AuditEvent, EventKind};
use crate::clock::{Time, after};
use crate::model::approval::Approval;
use crate::model::grant::{ALERT_AGAIN, Active, Cause, Grant};
use crate::model::request::{Closed, Pending};

impl Access {
    /// Does everything that is due for people.
    pub(super) fn tick(&self, now: Time) -> Step {
        let mut step = self.tick_phase(now);
        let lapsed = |extension: &Extension| extension.lapses_at <= now;
        if step.access.extension.as_ref().is_some_and(lapsed) {
            step.access.extension = None;
            step.audit_events.push(AuditEvent::new(EventKind::ExtensionRefused).with("why", "nobody decided in time"));
        }
        if let Some(extension) = &mut step.access.extension
            && let Some((stage, at)) = escalation(&extension.approval, &extension.escalated)
            && at <= now
        {
            extension.escalated.insert(stage);
            step.audit_events
                .extend(tell_escalation(&extension.approval).map(|audit_event| audit_event.with("extension", true)));
        }
        Self::tick_review(step, now)
    }

    fn tick_phase(&self, now: Time) -> Step {
        match &self.phase {
            Phase::Pending(pending) if pending.lapses_at <= now => {
                let why = "nobody decided in time".to_owned();
                self.with_phase(Phase::Lapsed(Closed { at: now, why, by: None }), AuditEvent::new(EventKind::Lapsed))
            }
            Phase::Pending(pending) => self.tick_pending(pending, now),
            Phase::Approved(Grant::Scheduled(scheduled)) if scheduled.give_up <= now => {
                let why = scheduled.last_error.clone();
                self.end(Cause::GaveUp, None, why, now).unwrap_or_else(|_| self.unchanged())
            }
            Phase::Approved(Grant::Granting(granting)) if granting.give_up <= now => {
                let why = granting.last_error.clone();
                self.end(Cause::GaveUp, None, why, now).unwrap_or_else(|_| self.unchanged())
            }
            Phase::Approved(Grant::Active(active)) => self.tick_active(active, now),
            Phase::Approved(Grant::Revoking(revoking)) if revoking.alert_at <= now => {
                let audit_event = AuditEvent::new(EventKind::Overdue)
                    .with("cause", revoking.cause.as_str())
                    .with("since", revoking.since)
                    .with("failures", i64::from(revoking.failures))
                    .maybe("why", revoking.last_error.as_deref());
                let mut revoking = revoking.clone();
                revoking.alert_at = after(now, ALERT_AGAIN);
                self.with_grant(Grant::Revoking(revoking), audit_event)
            }
            _ => self.unchanged(),
        }
    }

    fn tick_pending(&self, pending: &Pending, now: Time) -> Step {
        let mut next = pending.clone();
        let mut audit_events = Vec::new();
        if pending.remind_at.is_some_and(|at| at <= now) {
            next.remind_at = None;
            audit_events.push(
                AuditEvent::new(EventKind::Reminder)
                    .with("awaits", self.pending_on())
                    .with("lapses_at", pending.lapses_at),
            );
        }
        if let Some((stage, _)) = escalation(&self.approval, &pending.escalated).filter(|(_, at)| *at <= now) {
            next.escalated.insert(stage);
            audit_events.extend(tell_escalation(&self.approval));
        }
        Step { access: Self { phase: Phase::Pending(next), ..self.clone() }, audit_events }
    }

    fn tick_active(&self, active: &Active, now: Time) -> Step {
        let mut next = active.clone();
        let mut audit_events = Vec::new();
        if !active.warned && crate::model::grant::warn_at(&active.window) <= now {
            next.warned = true;
            if now < active.window.end() {
                audit_events.push(AuditEvent::new(EventKind::EndingSoon).with("end", active.window.end()));
            }
        }
        if active.alert_at <= now {
            next.alert_at = after(now, ALERT_AGAIN);
            audit_events.push(AuditEvent::new(EventKind::Overdue).with("end", active.window.end()));
        }
        Step { access: Self { phase: Phase::Approved(Grant::Active(next)), ..self.clone() }, audit_events }
    }
}

/// Returns the audit event that others may decide too, because the stage waited too long.
fn tell_escalation(approval: &Approval) -> Option<AuditEvent> {
    let (stage, _, escalate) = approval.escalates()?;
    let stage = i64::try_from(stage).unwrap_or_default().saturating_add(1);
    let audit_event = AuditEvent::new(EventKind::Escalated).with("to", escalate.to.as_str()).with("stage", stage);
    Some(audit_event.with("awaits", approval.pending_on()))
}
