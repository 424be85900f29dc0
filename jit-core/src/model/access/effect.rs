//! Applies what happened in the database to an access.

use super::event::{Found, Step};
use super::{Access, Phase};
use crate::audit_event::{AuditEvent, EventKind};
use crate::catalog::{Granted, Rejection};
use crate::clock::{Time, after};
use crate::model::grant::{
    ALERT_AGAIN, Active, Cause, Ended, Grant, Granting, OVERDUE_AFTER, Revoking, Scheduled, Window,
};
use crate::model::proof::{Clear, VerifiedEnd};

/// Reason to stop granting when the outcome of the statement cannot be found out.
const LOST: &str =
    "the account or the role no longer exists under its name, and it is not known whether the role was granted";

impl Access {
    pub(super) fn begin_grant(&self, clear: &Clear, now: Time) -> Step {
        let Some(Grant::Scheduled(scheduled)) = self.grant() else { return self.unchanged() };
        let may_begin = scheduled.start <= now && now < scheduled.give_up && clear.access() == self.id;
        if !may_begin || self.approval.witness().is_none() {
            return self.unchanged();
        }
        let intent = clear.intent(now);
        let audit_event = AuditEvent::new(EventKind::Granting)
            .with("observed", clear.observed())
            .with("label", intent.label.as_str())
            .with("not_after", intent.not_after);
        let granting = Granting {
            intent,
            membership: clear.membership().clone(),
            latest_end: self.latest_end(now),
            give_up: scheduled.give_up,
            last_error: None,
        };
        let audit_event =
            audit_event.with("latest_end", granting.latest_end).maybe("default_role_before", clear.default_before());
        let audit_event = audit_event.maybe("not_compared", clear.not_compared());
        let mut step = self.with_grant(Grant::Granting(granting), audit_event);
        step.access.default_before = clear.default_before().map(str::to_owned);
        step.access.before = clear.owned_before().cloned();
        step
    }

    pub(super) fn standing(&self, how: &str, now: Time) -> Step {
        let Some(Grant::Scheduled(_)) = self.grant() else { return self.unchanged() };
        let why = Some(how.to_owned());
        let ended = Ended { at: now, cause: Cause::Standing, why, membership: None, window: None, evidence: None };
        let mut step = self.with_grant(Grant::Failed(ended), AuditEvent::new(EventKind::Finding).with("why", how));
        step.audit_events.push(AuditEvent::new(EventKind::Failed).with("cause", Cause::Standing.as_str()));
        step
    }

    pub(super) fn granted(&self, granted: &Granted, now: Time) -> Step {
        let Some(Grant::Granting(granting)) = self.grant() else { return self.unchanged() };
        self.activate(granting, now, Some(granted))
    }

    fn activate(&self, granting: &Granting, activated_at: Time, granted: Option<&Granted>) -> Step {
        let server_time = granted.map(|granted| granted.server_time);
        let window = Window::begin(activated_at, self.request.duration, granting.latest_end, server_time);
        let audit_event = AuditEvent::new(EventKind::Active)
            .with("activated_at", activated_at)
            .with("end", window.end())
            .maybe("server_time", server_time)
            .maybe("incarnation", granted.map(|granted| granted.identity.incarnation.as_str()));
        let alert_at = after(window.end(), OVERDUE_AFTER);
        let active = Active { membership: granting.membership.clone(), window, warned: false, alert_at };
        let mut step = self.with_grant(Grant::Active(active), audit_event);
        step.access.owe_review(activated_at);
        step
    }

    pub(super) fn not_granted(&self, why: String, retry_at: Time) -> Step {
        let (start, give_up, known) = match self.grant() {
            Some(Grant::Granting(granting)) if granting.last_error.is_none() => {
                (granting.intent.at, granting.give_up, false)
            }
            Some(Grant::Scheduled(scheduled)) => {
                (scheduled.start, scheduled.give_up, scheduled.last_error.as_ref() == Some(&why))
            }
            // the outcome was unknown before: only what is seen after settling counts (law 15)
            _ => return self.unchanged(),
        };
        let audit_event = AuditEvent::new(EventKind::GrantDelayed).with("why", why.as_str());
        let scheduled = Scheduled { start, give_up, retry_at, last_error: Some(why) };
        let mut step = self.with_grant(Grant::Scheduled(scheduled), audit_event);
        if known {
            // the log has an entry for this reason: repeated tries add none
            step.audit_events.clear();
        }
        step
    }

    pub(super) fn grant_unknown(&self, why: String) -> Step {
        let Some(Grant::Granting(granting)) = self.grant() else { return self.unchanged() };
        if granting.last_error.as_ref() == Some(&why) {
            return self.unchanged();
        }
        let audit_event = AuditEvent::new(EventKind::GrantDelayed).with("why", why.as_str()).with("outcome", "unknown");
        let granting = Granting { last_error: Some(why), ..granting.clone() };
        self.with_grant(Grant::Granting(granting), audit_event)
    }

    /// Starts the ending of a rejected grant. It has failed only once the database shows that
    /// nothing is held on its behalf.
    pub(super) fn grant_rejected(&self, rejection: Rejection, why: &str, now: Time) -> Step {
        let Some(Grant::Granting(granting)) = self.grant() else { return self.unchanged() };
        if granting.last_error.is_some() {
            // the outcome was unknown before: only what is seen after settling counts (law 15)
            return self.unchanged();
        }
        self.give_up(granting, rejection, why, true, now)
    }

    /// Gives the grant up. `untouched` is true if no statement of it can have been applied.
    fn give_up(&self, granting: &Granting, rejection: Rejection, why: &str, untouched: bool, now: Time) -> Step {
        let audit_event = AuditEvent::new(EventKind::Revoking)
            .with("cause", Cause::Rejected.as_str())
            .with("rejection", rejection.as_str())
            .with("why", why);
        let revoking = Revoking {
            membership: granting.membership.clone(),
            cause: Cause::Rejected,
            why: Some(why.to_owned()),
            since: now,
            window: None,
            unsettled: None,
            untouched,
            failures: 0,
            retry_at: now,
            alert_at: after(now, OVERDUE_AFTER),
            last_error: None,
        };
        self.with_grant(Grant::Revoking(revoking), audit_event)
    }

    pub(super) fn settled(&self, found: Found, now: Time) -> Step {
        match self.grant() {
            Some(Grant::Granting(granting)) => match found {
                // the answer was lost: the window began at the latest when the statement was about
                // to be sent
                Found::Held => self.activate(granting, granting.intent.at, None),
                Found::Absent => {
                    let Granting { give_up, .. } = *granting;
                    let why = granting.last_error.clone();
                    let scheduled = Scheduled { start: granting.intent.at, give_up, retry_at: now, last_error: why };
                    let audit_event =
                        AuditEvent::new(EventKind::GrantDelayed).with("why", "the statement did not arrive");
                    self.with_grant(Grant::Scheduled(scheduled), audit_event)
                }
                Found::Lost => self.give_up(granting, Rejection::Other, LOST, false, now),
            },
            Some(Grant::Revoking(revoking)) if revoking.unsettled.is_some() => {
                // no statement arrived: what is held later is not ours to take away (law 6)
                let untouched = found == Found::Absent;
                let revoking = Revoking { unsettled: None, untouched, ..revoking.clone() };
                Step {
                    access: Self { phase: Phase::Approved(Grant::Revoking(revoking)), ..self.clone() },
                    audit_events: Vec::new(),
                }
            }
            _ => self.unchanged(),
        }
    }

    pub(super) fn ended(&self, verified: &VerifiedEnd, now: Time) -> Step {
        let Some(Grant::Revoking(revoking)) = self.grant() else { return self.unchanged() };
        if verified.access() != self.id || verified.since() != revoking.since || revoking.unsettled.is_some() {
            return self.unchanged();
        }
        let mut evidence = verified.evidence().clone();
        // an earlier try of ours may have removed the membership: then nobody else did
        evidence.gone_before &= revoking.failures == 0 && revoking.window.is_some();
        if revoking.untouched {
            // the role was never granted: objects that the account owns now are no leftovers of it
            (evidence.leftovers, evidence.not_compared) = (Vec::new(), None);
        }
        let what = if revoking.window.is_some() { EventKind::Revoked } else { EventKind::Failed };
        let audit_event = AuditEvent::new(what)
            .with("cause", revoking.cause.as_str())
            .with("failures", i64::from(revoking.failures))
            .maybe("why", revoking.why.as_deref())
            .maybe("trouble", revoking.last_error.as_deref());
        let audit_event = evidence.tell(audit_event);
        let left = (!evidence.leftovers.is_empty()).then(|| {
            let why = format!("leftovers: {}", evidence.leftovers.join("; "));
            AuditEvent::new(EventKind::Finding).with("why", why)
        });
        let kept =
            evidence.default_kept.as_ref().map(|why| AuditEvent::new(EventKind::Finding).with("why", why.as_str()));
        let theirs = evidence.another_store.as_ref().map(|why| format!("the membership was kept: {why}"));
        let why = match (&revoking.why, &theirs) {
            // a grant that was refused for this reason states it already
            (Some(why), _) if revoking.window.is_none() => Some(why.clone()),
            (Some(why), Some(theirs)) => Some(format!("{why}; {theirs}")),
            (why, theirs) => why.clone().or(theirs.clone()),
        };
        let theirs = theirs.map(|why| AuditEvent::new(EventKind::Finding).with("why", why));
        let ended = Ended {
            at: now,
            cause: revoking.cause,
            why,
            membership: Some(revoking.membership.clone()),
            window: revoking.window.clone(),
            evidence: Some(evidence),
        };
        let grant = if revoking.window.is_some() { Grant::Revoked(ended) } else { Grant::Failed(ended) };
        let mut step = self.with_grant(grant, audit_event);
        step.access.before = None;
        step.audit_events.extend(left);
        step.audit_events.extend(kept);
        step.audit_events.extend(theirs);
        step
    }

    pub(super) fn end_failed(&self, why: &str, retry_at: Time, now: Time) -> Step {
        let Some(Grant::Revoking(revoking)) = self.grant() else { return self.unchanged() };
        let first = revoking.failures == 0;
        let known = revoking.last_error.as_deref() == Some(why);
        let mut next = Revoking {
            failures: revoking.failures.saturating_add(1),
            retry_at,
            last_error: Some(why.to_owned()),
            ..revoking.clone()
        };
        let mut audit_events = Vec::new();
        if !known || first {
            audit_events.push(
                AuditEvent::new(EventKind::RevokeFailed).with("why", why).with("failures", i64::from(next.failures)),
            );
        }
        if first && revoking.alert_at <= after(now, OVERDUE_AFTER) {
            // one failed revoke is overdue (law 4); if people were told within the last hour, they
            // know
            next.alert_at = after(now, ALERT_AGAIN);
            audit_events.push(AuditEvent::new(EventKind::Overdue).with("cause", next.cause.as_str()).with("why", why));
        }
        Step { access: Self { phase: Phase::Approved(Grant::Revoking(next)), ..self.clone() }, audit_events }
    }

    pub(super) fn reappeared(&self, how: &str, now: Time) -> Step {
        let (Some(Grant::Revoked(ended)) | Some(Grant::Failed(ended))) = self.grant() else { return self.unchanged() };
        let Some(membership) = ended.membership.clone() else { return self.unchanged() };
        let audit_event = AuditEvent::new(EventKind::Reappeared).with("why", how);
        let revoking = Revoking {
            membership,
            cause: Cause::Reappeared,
            why: Some(how.to_owned()),
            since: now,
            window: ended.window.clone(),
            unsettled: None,
            untouched: false,
            failures: 0,
            retry_at: now,
            alert_at: after(now, OVERDUE_AFTER),
            last_error: None,
        };
        self.with_grant(Grant::Revoking(revoking), audit_event)
    }
}
