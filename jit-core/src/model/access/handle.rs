//! The single entry point through which an access changes.

use super::decide::Contribution;
use super::event::{Event, Refusal, Refused, Step};
use super::{Access, Phase, asked_outside};
use crate::audit_event::{AuditEvent, EventKind, stamp};
use crate::clock::Time;
use crate::id::{Principal, RealmId};
use crate::model::approval::Parties;
use crate::model::grant::{Active, Cause, Ended, Grant, Granting, Revoking};
use crate::model::request::Closed;

pub(super) type Handled = Result<Step, Refused>;

impl Access {
    /// Handles an event. Every event has an answer in every state. A spurious or repeated event
    /// changes nothing and returns no audit events.
    ///
    /// # Errors
    /// [`Refused`] if the event is not allowed or not possible. Nothing changed then, and its audit
    /// events belong in the log.
    pub fn handle(&self, event: Event, now: Time) -> Handled {
        let (asked, question) = (self.asks_outside(), self.decidable().question());
        let mut step = self.react(event, now)?;
        // outside systems that are asked now and were not asked this question before
        let turn = step.access.asks_outside();
        let same = step.access.decidable().question() == question;
        step.audit_events.extend(turn.iter().filter(|approver| !(same && asked.contains(approver))).map(asked_outside));
        Ok(step)
    }

    fn react(&self, event: Event, now: Time) -> Handled {
        match event {
            Event::Tick => Ok(self.tick(now)),
            Event::Decide(decision) => self.hear(Contribution::Decision(decision), now),
            Event::Confirm(confirmation) => self.hear(Contribution::Confirmation(confirmation), now),
            // an answer that nobody asked for, or no longer needs, is ignored
            Event::Answer(answer) => {
                Ok(self.hear(Contribution::Answer(answer), now).unwrap_or_else(|_| self.unchanged()))
            }
            Event::Review { by, snapshot, note } => self.reviewed(&by, &snapshot, note, now),
            Event::RuleAgain { ruling, fresh, question } => Ok(self.rule_again(ruling, &fresh, question, now)),
            Event::RuleExtensionAgain { ruling, fresh, question } => {
                Ok(self.rule_extension_again(ruling, &fresh, question, now))
            }
            Event::Cancel { by, why } => self.cancel(&by, &why, now),
            Event::Placed(realm) => {
                let realm = if self.is_final() { None } else { Some(realm) };
                let realm = self.realm.clone().or(realm);
                Ok(Step { access: Self { realm, ..self.clone() }, audit_events: Vec::new() })
            }
            Event::BeginGrant(clear) => Ok(self.begin_grant(&clear, now)),
            Event::Standing(how) => Ok(self.standing(&how, now)),
            Event::Granted(granted) => Ok(self.granted(&granted, now)),
            Event::NotGranted { why, retry_at } => Ok(self.not_granted(why, retry_at)),
            Event::GrantUnknown { why } => Ok(self.grant_unknown(why)),
            Event::GrantRejected { rejection, why } => Ok(self.grant_rejected(rejection, &why, now)),
            Event::Settled(found) => Ok(self.settled(found, now)),
            Event::End { cause, by, why } => self.end(cause, by.as_ref(), why, now),
            Event::Ended(verified) => Ok(self.ended(&verified, now)),
            Event::EndFailed { why, retry_at } => Ok(self.end_failed(&why, retry_at, now)),
            Event::SwitchArmed(armed) => Ok(self.tell(
                AuditEvent::new(EventKind::SwitchArmed)
                    .with("by", armed.kind.as_str())
                    .with("fires_at", stamp(armed.fires_at)),
            )),
            Event::SwitchMissing { why } => Ok(self.tell(AuditEvent::new(EventKind::SwitchMissing).with("why", why))),
            Event::SwitchFired { fired_at } => {
                Ok(self.tell(AuditEvent::new(EventKind::SwitchFired).with("fired_at", stamp(fired_at))))
            }
            Event::Reappeared(how) => Ok(self.reappeared(&how, now)),
            Event::Extend(extend) => self.extend(extend, now),
            Event::Moved(realm) => Ok(self.moved(realm)),
            Event::Retire { by } => self.retire(&by, now),
        }
    }

    pub(super) fn unchanged(&self) -> Step {
        Step { access: self.clone(), audit_events: Vec::new() }
    }

    /// Returns a step that changes nothing but adds an audit event.
    fn tell(&self, audit_event: AuditEvent) -> Step {
        Step { audit_events: vec![audit_event], ..self.unchanged() }
    }

    pub(super) fn with_grant(&self, grant: Grant, audit_event: AuditEvent) -> Step {
        self.with_phase(Phase::Approved(grant), audit_event)
    }

    pub(super) fn with_phase(&self, phase: Phase, audit_event: AuditEvent) -> Step {
        Step { access: Self { phase, ..self.clone() }, audit_events: vec![audit_event] }
    }

    pub(super) fn refuse(&self, why: Refusal, what: EventKind, tried: &str) -> Refused {
        let audit_event =
            AuditEvent::new(what).with("tried", tried).with("why", why.to_string()).with("state", self.state());
        Refused { why, audit_events: vec![audit_event] }
    }

    /// Returns the refusal of an action that is impossible in this state.
    pub(super) fn impossible(&self, what: &'static str) -> Refused {
        self.refuse(Refusal::State { state: self.state(), what }, EventKind::CommandRefused, what)
    }

    fn cancel(&self, by: &Principal, why: &str, now: Time) -> Handled {
        let Parties { requester, grantee } = &self.request.parties;
        match &self.phase {
            Phase::Pending(_) => {
                let closed = Closed { at: now, why: why.to_owned(), by: Some(by.clone()) };
                Ok(self.with_phase(Phase::Cancelled(closed), AuditEvent::new(EventKind::Cancelled).with("why", why)))
            }
            Phase::Approved(Grant::Scheduled(_)) => self.end(Cause::Released, Some(by), Some(why.to_owned()), now),
            Phase::Cancelled(_) if by == requester || by == grantee => Ok(self.unchanged()),
            _ => Err(self.impossible("cancelled")),
        }
    }

    /// Ends the request or the grant for any cause but [`Cause::Reappeared`]: what reappears has
    /// ended before, and has an event of its own.
    pub(super) fn end(&self, cause: Cause, by: Option<&Principal>, why: Option<String>, now: Time) -> Handled {
        if cause == Cause::Reappeared {
            return Ok(self.unchanged());
        }
        let audit_event = |what| {
            AuditEvent::new(what)
                .with("cause", cause.as_str())
                .maybe("why", why.as_deref())
                .maybe("by", by.map(Principal::as_str))
        };
        let words = why.clone().unwrap_or_else(|| cause.to_string());
        match &self.phase {
            Phase::Pending(_) => {
                let closed = Closed { at: now, why: words, by: by.cloned() };
                Ok(match cause {
                    Cause::NoLongerAllowed => self.with_phase(Phase::Denied(closed), audit_event(EventKind::Denied)),
                    _ => self.with_phase(Phase::Cancelled(closed), audit_event(EventKind::Cancelled)),
                })
            }
            Phase::Approved(Grant::Scheduled(_)) => {
                let ended = Ended { at: now, cause, why: why.clone(), membership: None, window: None, evidence: None };
                Ok(self.with_grant(Grant::Withdrawn(ended), audit_event(EventKind::Withdrawn)))
            }
            Phase::Approved(Grant::Granting(granting)) => {
                let revoking = Revoking {
                    membership: granting.membership.clone(),
                    cause,
                    why: why.clone(),
                    since: now,
                    window: None,
                    unsettled: Some(granting.intent.clone()),
                    untouched: false,
                    failures: 0,
                    retry_at: now,
                    alert_at: crate::clock::after(now, crate::model::grant::OVERDUE_AFTER),
                    last_error: None,
                };
                Ok(self.with_grant(Grant::Revoking(revoking), audit_event(EventKind::Revoking)).closing_extension())
            }
            Phase::Approved(Grant::Active(active)) => {
                let revoking = Revoking {
                    membership: active.membership.clone(),
                    cause,
                    why: why.clone(),
                    since: now,
                    window: Some(active.window.clone()),
                    unsettled: None,
                    untouched: false,
                    failures: 0,
                    retry_at: now,
                    // an alert that was given after the window ended counts: the next one follows
                    // an hour after it
                    alert_at: if active.window.end() <= now {
                        active.alert_at
                    } else {
                        crate::clock::after(now, crate::model::grant::OVERDUE_AFTER)
                    },
                    last_error: None,
                };
                Ok(self.with_grant(Grant::Revoking(revoking), audit_event(EventKind::Revoking)).closing_extension())
            }
            // it is ending already: another cause changes nothing
            Phase::Approved(Grant::Revoking(_)) => Ok(self.unchanged()),
            _ if by.is_some() => Err(self.impossible("ended")),
            _ => Ok(self.unchanged()),
        }
    }

    /// Moves the access to another realm. The ids of account and role on the old server mean
    /// nothing on the new one.
    fn moved(&self, realm: RealmId) -> Step {
        let Some(was) = self.realm.clone().filter(|was| *was != realm && !self.is_final()) else {
            return self.unchanged();
        };
        let audit_event =
            AuditEvent::new(EventKind::TargetConfirmed).with("was", was.as_str()).with("realm", realm.as_str());
        let mut access = Self { realm: Some(realm), ..self.clone() };
        if let Phase::Approved(
            Grant::Granting(Granting { membership, .. })
            | Grant::Active(Active { membership, .. })
            | Grant::Revoking(Revoking { membership, .. }),
        ) = &mut access.phase
        {
            (membership.account_id, membership.role_id) = (None, None);
        }
        Step { access, audit_events: vec![audit_event] }
    }

    fn retire(&self, by: &Principal, now: Time) -> Handled {
        let audit_event = AuditEvent::new(EventKind::Retired).with("verified", false).with("by", by.as_str());
        match &self.phase {
            Phase::Approved(grant) if grant.is_live() => {
                let ended = Ended {
                    at: now,
                    cause: Cause::Retired,
                    why: Some("unverified for ever: the role may still be held".to_owned()),
                    membership: grant.membership().cloned(),
                    window: self.window().cloned(),
                    evidence: None,
                };
                let mut step = self.with_grant(Grant::Retired(ended), audit_event).closing_extension();
                if matches!(grant, Grant::Granting(_)) {
                    // the role may be held: an emergency with an unknown end is reviewed like any
                    // other
                    step.access.owe_review(now);
                }
                Ok(step)
            }
            Phase::Pending(_) | Phase::Approved(Grant::Scheduled(_)) => self.end(Cause::Retired, Some(by), None, now),
            _ => Ok(self.unchanged()),
        }
    }
}

impl Step {
    /// Closes the pending extension, because its grant is ending.
    fn closing_extension(mut self) -> Self {
        if self.access.extension.take().is_some() {
            self.audit_events.push(
                AuditEvent::new(EventKind::ExtensionRefused).with("why", "the access ended before it was decided"),
            );
        }
        self
    }
}
