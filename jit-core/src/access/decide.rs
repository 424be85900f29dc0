//! What people and outside systems say to an access.

use super::event::{Refusal, Step};
use super::handle::Answer;
use super::{Access, Phase};
use crate::approval::{self, Approval, ApprovalState, Confirmation, Decision, DecisionRefused, Verdict};
use crate::clock::Time;
use crate::fact::{Fact, What};
use crate::grant::Grant;
use crate::id::Principal;
use crate::request::Closed;

/// Something that was said.
// it lives for one call: a box would cost more than it saves
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone)]
pub(super) enum Said {
    Decision(Decision),
    Confirmation(Confirmation),
    Answer(approval::Answer),
}

impl Access {
    /// Hears what was said on the request, or on the extension that waits.
    pub(super) fn hear(&self, said: Said, now: Time) -> Answer {
        let refuse = |why| self.refuse(why, What::DecisionRefused, said.tried());
        let waiting = match (&self.phase, &self.extension) {
            (Phase::Pending(pending), _) if now < pending.lapses_at => &self.approval,
            (Phase::Approved(Grant::Active(_)), Some(extension)) if now < extension.lapses_at => &extension.approval,
            _ => {
                let mut refused = refuse(Refusal::Decision(DecisionRefused::Closed));
                refused.why = Refusal::State { state: self.state(), what: "decided on" };
                return Err(refused);
            }
        };
        let heard = said.to(waiting).map_err(|why| refuse(Refusal::Decision(why)))?;
        let mut step = self.unchanged();
        if matches!(self.phase, Phase::Pending(_)) {
            step.facts.push(said.fact());
            step.decided(heard, &said, now);
        } else {
            step.facts.push(said.fact().with("extension", true));
            step.decided_extension(heard, &said, now);
        }
        Ok(step)
    }
}

impl Step {
    fn decided(&mut self, approval: Approval, said: &Said, now: Time) {
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
                    self.facts.push(Fact::new(What::Satisfied));
                }
            }
        }
    }

    fn decided_extension(&mut self, approval: Approval, said: &Said, now: Time) {
        self.extension_stands(approval.without_stale(now), &said.note(), now);
    }
}

impl Said {
    fn to(&self, approval: &Approval) -> Result<Approval, DecisionRefused> {
        match self {
            Self::Decision(decision) => approval.decide(decision.clone()),
            Self::Confirmation(confirmation) => approval.confirm(confirmation.clone()),
            Self::Answer(answer) => approval.answer(answer.clone()),
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

    /// In the words of whoever said it.
    fn note(&self) -> String {
        match self {
            Self::Decision(decision) => decision.note.clone(),
            Self::Confirmation(_) => String::new(),
            Self::Answer(answer) if answer.note.is_empty() => format!("`{}` said no", answer.approver),
            Self::Answer(answer) => format!("`{}` said no: {}", answer.approver, answer.note),
        }
    }

    /// For the log.
    fn fact(&self) -> Fact {
        let what = |verdict| if verdict == Verdict::Approve { What::Approved } else { What::Denied };
        match self {
            Self::Decision(decision) => {
                let away = decision.in_place_of.as_ref().map(|away| away.who.as_str());
                let fact = Fact::new(what(decision.verdict)).with("human", decision.snapshot.human.as_str());
                let fact = noted(fact, &decision.note).maybe("in_place_of", away);
                decision.proven.iter().fold(fact, proven)
            }
            Self::Confirmation(confirmation) => proven(Fact::new(What::Confirmed), &confirmation.proven),
            Self::Answer(answer) => {
                let fact =
                    noted(Fact::new(what(answer.verdict)).with("approver", answer.approver.as_str()), &answer.note);
                let details = answer.details.iter();
                details.fold(fact, |fact, (name, detail)| fact.with(&format!("approver_{name}"), detail.as_str()))
            }
        }
    }
}

fn noted(fact: Fact, note: &str) -> Fact {
    fact.maybe("note", (!note.is_empty()).then_some(note))
}

fn proven(fact: Fact, proven: &approval::Proven) -> Fact {
    let fact = fact.with("factor", proven.factor.as_str()).with("proven_at", proven.at);
    proven.details.iter().fold(fact, |fact, (name, detail)| fact.with(&format!("factor_{name}"), detail.as_str()))
}
