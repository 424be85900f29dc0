//! Handles what people and outside systems say to an access.

use super::event::{PendingQuestion, Refusal, Step};
use super::handle::Handled;
use super::{Access, Phase};
use crate::audit_event::{AuditEvent, EventKind};
use crate::clock::Time;
use crate::id::{Principal, QuestionId};
use crate::model::approval::{self, Approval, ApprovalState, Confirmation, Decision, DecisionRefused, Mfa, Verdict};
use crate::model::grant::Grant;
use crate::model::request::Closed;

/// Something that a person or an outside system said.
// it lives for one call only: a box would cost more than it saves
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone)]
pub(super) enum Contribution {
    Decision(Decision),
    Confirmation(Confirmation),
    Answer(approval::Answer),
}

impl Access {
    /// Applies what was said to the request, or to the extension that is pending.
    pub(super) fn hear(&self, said: Contribution, now: Time) -> Handled {
        let refuse = |why| self.refuse(why, EventKind::DecisionRefused, said.tried());
        let waiting = match (&self.phase, &self.extension) {
            (Phase::Pending(pending), _) if now < pending.lapses_at => &self.approval,
            (Phase::Approved(Grant::Active(_)), Some(extension)) if now < extension.lapses_at => &extension.approval,
            // the deadline passed, but the lapse is not recorded yet
            _ if self.lapses_at().is_some() && self.decidable().question() == said.question() => {
                return Err(refuse(Refusal::Lapsed));
            }
            _ => return Err(refuse(self.closed(said.question()))),
        };
        let heard = said.to(waiting).map_err(|why| match why {
            DecisionRefused::AnotherQuestion => refuse(self.closed(said.question())),
            other => refuse(Refusal::Decision(other)),
        })?;
        let mut step = self.unchanged();
        if matches!(self.phase, Phase::Pending(_)) {
            step.audit_events.push(said.audit_event());
            step.decided(heard, &said, now);
        } else {
            step.audit_events.push(said.audit_event().with("extension", true));
            step.decided_extension(heard, &said, now);
        }
        Ok(step)
    }
}

impl Access {
    /// Returns the question that a person answers when they name none.
    ///
    /// A no answers the question that is pending now, because a no gives nothing to anybody. A yes
    /// answers the oldest question that this person has not answered, because they may have read no
    /// other notice. The request comes first, then each extension that was granted since. A refused
    /// extension is skipped. So a plain yes extends the time only if the same person said yes to
    /// everything before.
    ///
    /// # Errors
    /// [`Refusal::Question`] if the question that is meant is closed. It names the question that is
    /// pending now.
    pub fn question_meant(&self, by: &Principal, human: &Principal, verdict: Verdict) -> Result<QuestionId, Refusal> {
        let given = std::iter::once(&self.approval).chain(self.extended.iter().map(|extension| &extension.approval));
        let answered = |approval: &&Approval| approval.decisions().iter().any(|one| one.is_of(by, human));
        match given.into_iter().find(|approval| !answered(approval)).filter(|_| self.extension.is_some()) {
            Some(meant) if verdict == Verdict::Approve => Err(self.closed(meant.question())),
            _ => Ok(self.decidable().question()),
        }
    }

    /// Returns the question that the requester confirms when they name none. It is the request, or
    /// the extension that they asked for themselves.
    ///
    /// # Errors
    /// [`Refusal::Question`] if another person asked for the extension that is pending.
    pub fn question_confirmed(&self, by: &Principal) -> Result<QuestionId, Refusal> {
        match &self.extension {
            Some(extension) if extension.by != *by => Err(self.closed(self.approval.question())),
            _ => Ok(self.decidable().question()),
        }
    }

    /// Returns the second factor that this question still needs from the requester.
    ///
    /// # Errors
    /// [`Refusal`] if no second factor is needed, or another question is pending.
    pub fn confirms(&self, question: QuestionId, by: &Principal) -> Result<Mfa, Refusal> {
        if self.decidable().question() != question {
            return Err(self.closed(question));
        }
        Ok(self.decidable().confirms(by)?)
    }

    /// Returns why this question takes no more answers.
    fn closed(&self, question: QuestionId) -> Refusal {
        let given = std::iter::once(&self.approval).chain(self.extended.iter().map(|extension| &extension.approval));
        let meant = given.into_iter().find(|approval| approval.has_asked(question));
        let agreed = meant.filter(|_| self.grant().is_some()).map(Approval::agreed).unwrap_or_default();
        let waits = match (&self.phase, &self.extension) {
            (Phase::Pending(_), _) => Some((self.approval.question(), "the request".to_owned())),
            (Phase::Approved(_), Some(extension)) => {
                let longer = humantime::format_duration(crate::clock::to_std(extension.longer));
                Some((extension.approval.question(), format!("{longer} more time")))
            }
            _ => None,
        };
        // the deadline passed, but the access is not closed yet
        let waits = waits.filter(|(waits, _)| *waits != question);
        match (agreed.is_empty(), waits) {
            (true, None) => Refusal::State { state: self.state(), what: "decided on" },
            (_, waits) => {
                let waits = waits.map(|(question, what)| PendingQuestion { question, what });
                Refusal::Question { agreed, waits, state: self.state() }
            }
        }
    }
}

impl Step {
    fn decided(&mut self, approval: Approval, said: &Contribution, now: Time) {
        let access = &mut self.access;
        access.approval = approval;
        match access.approval.state() {
            ApprovalState::Waiting { .. } => {}
            ApprovalState::Refused => {
                access.phase = Phase::Denied(Closed { at: now, why: said.note(), by: said.by().cloned() });
            }
            ApprovalState::Satisfied => {
                access.schedule_if_satisfied(now);
                if access.grant().is_some() {
                    self.audit_events.push(AuditEvent::new(EventKind::Satisfied));
                }
            }
        }
    }

    fn decided_extension(&mut self, approval: Approval, said: &Contribution, now: Time) {
        self.extension_stands(approval.without_stale(now), &said.note(), now);
    }
}

impl Contribution {
    fn to(&self, approval: &Approval) -> Result<Approval, DecisionRefused> {
        match self {
            Self::Decision(decision) => approval.decide(decision.clone()),
            Self::Confirmation(confirmation) => approval.confirm(confirmation.clone()),
            Self::Answer(answer) => approval.answer(answer.clone()),
        }
    }

    fn question(&self) -> QuestionId {
        match self {
            Self::Decision(Decision { question, .. })
            | Self::Confirmation(Confirmation { question, .. })
            | Self::Answer(approval::Answer { question, .. }) => *question,
        }
    }

    fn tried(&self) -> &'static str {
        match self {
            Self::Confirmation(_) => "confirm",
            Self::Decision(Decision { verdict, .. }) | Self::Answer(approval::Answer { verdict, .. }) => {
                match verdict {
                    Verdict::Approve => "approve",
                    Verdict::Deny => "deny",
                }
            }
        }
    }

    fn by(&self) -> Option<&Principal> {
        match self {
            Self::Decision(decision) => Some(&decision.by),
            Self::Confirmation(confirmation) => Some(&confirmation.by),
            Self::Answer(_) => None,
        }
    }

    /// Returns the reason in the words of the person or system.
    fn note(&self) -> String {
        match self {
            Self::Decision(decision) => decision.note.clone(),
            Self::Confirmation(_) => String::new(),
            Self::Answer(answer) if answer.note.is_empty() => format!("`{}` said no", answer.approver),
            Self::Answer(answer) => format!("`{}` said no: {}", answer.approver, answer.note),
        }
    }

    /// Returns the audit event for it.
    fn audit_event(&self) -> AuditEvent {
        let what = |verdict| if verdict == Verdict::Approve { EventKind::Approved } else { EventKind::Denied };
        let audit_event = match self {
            Self::Decision(decision) => {
                let away = decision.in_place_of.as_ref().map(|away| away.who.as_str());
                let audit_event =
                    AuditEvent::new(what(decision.verdict)).with("human", decision.snapshot.human.as_str());
                let audit_event = noted(audit_event, &decision.note).maybe("in_place_of", away);
                decision.proven.iter().fold(audit_event, proven)
            }
            Self::Confirmation(confirmation) => proven(AuditEvent::new(EventKind::Confirmed), &confirmation.proven),
            Self::Answer(answer) => {
                let audit_event = noted(
                    AuditEvent::new(what(answer.verdict)).with("approver", answer.approver.as_str()),
                    &answer.note,
                );
                let details = answer.details.iter();
                details.fold(audit_event, |audit_event, (name, detail)| {
                    audit_event.with(&format!("approver_{name}"), detail.as_str())
                })
            }
        };
        audit_event.with("question", self.question().to_string())
    }
}

fn noted(audit_event: AuditEvent, note: &str) -> AuditEvent {
    audit_event.maybe("note", (!note.is_empty()).then_some(note))
}

fn proven(audit_event: AuditEvent, proven: &approval::Proven) -> AuditEvent {
    let audit_event = audit_event.with("factor", proven.factor.as_str()).with("proven_at", proven.at);
    proven
        .details
        .iter()
        .fold(audit_event, |audit_event, (name, detail)| audit_event.with(&format!("factor_{name}"), detail.as_str()))
}
