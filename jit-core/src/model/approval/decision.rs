//! Answers of people and outside systems: decisions, confirmations, answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::people::Snapshot;
use crate::actor::Evidence;
use crate::clock::Time;
use crate::id::{ApproverName, FactorName, Principal, QuestionId};

/// Answer of an approver: yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Verdict {
    /// Approver says yes.
    Approve,
    /// Approver says no, which ends the request.
    Deny,
}

/// One decision by one person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Decision {
    /// Question that it answers.
    #[serde(default)]
    pub question: QuestionId,
    /// Person who decided.
    pub by: Principal,
    /// Verdict of the person.
    pub verdict: Verdict,
    /// Time of the decision, by the store's clock, UTC.
    pub at: Time,
    /// Note in the decider's own words.
    pub note: String,
    /// Evidence of the decider's identity.
    pub evidence: Evidence,
    /// Directory's last answer about the decider.
    pub snapshot: Snapshot,
    /// Second factor of the decider, if one was demanded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven: Option<Proven>,
    /// Absent person in whose place the decider acts. The decision counts as theirs then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_place_of: Option<InPlaceOf>,
}

impl Decision {
    /// Returns the person whose decision this is, and what the directory said about them.
    pub(super) fn standing(&self) -> (&Principal, &Snapshot) {
        match &self.in_place_of {
            Some(InPlaceOf { who, snapshot }) => (who, snapshot),
            None => (&self.by, &self.snapshot),
        }
    }

    /// Returns the humans who share this one decision.
    pub(super) fn humans(&self) -> impl Iterator<Item = &Principal> {
        let away = self.in_place_of.as_ref().map(|away| &away.snapshot.human);
        std::iter::once(&self.snapshot.human).chain(away)
    }

    /// Checks whether this human or this name decided. A decision made in their place is not
    /// theirs, because they may not have read it.
    pub(crate) fn is_of(&self, name: &Principal, human: &Principal) -> bool {
        self.by == *name || self.snapshot.human == *human
    }

    /// Checks whether both decisions share a human or a name, for themselves or in another's place.
    pub(super) fn shares_with(&self, other: &Self) -> bool {
        let names = |decision: &Self| [decision.by.clone(), decision.standing().0.clone()];
        self.humans().any(|human| other.humans().any(|one| human == one))
            || names(self).iter().any(|name| names(other).contains(name))
    }
}

/// A verified second factor for one access and one act on it. It carries no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Proven {
    /// Name of the factor (`totp`, `oidc`).
    pub factor: FactorName,
    /// Time of the proof, by the store's clock, UTC: now for a code, the time of login for a token.
    pub at: Time,
    /// Details of the proof, for the log.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

/// Proof of the requester's identity by a second factor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Confirmation {
    /// Question that it answers.
    #[serde(default)]
    pub question: QuestionId,
    /// Person who confirms.
    pub by: Principal,
    /// Time of the confirmation, by the store's clock, UTC.
    pub at: Time,
    /// Second factor that was given.
    pub proven: Proven,
}

/// Answer of an outside system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Answer {
    /// Question that it answers.
    #[serde(default)]
    pub question: QuestionId,
    /// Outside system that answered.
    pub approver: ApproverName,
    /// Verdict of the outside system.
    pub verdict: Verdict,
    /// Time of the answer, by the store's clock, UTC.
    pub at: Time,
    /// Note in the system's own words.
    pub note: String,
    /// Details of the answer, for the log (the id of a decision, the state of a ticket).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

/// An absent person in whose place another person decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct InPlaceOf {
    /// Person who is absent.
    pub who: Principal,
    /// Directory's last answer about them.
    pub snapshot: Snapshot,
}

/// Directory's present answer about a person who decided.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fresh {
    /// Person who decided.
    pub by: Principal,
    /// Directory's answer about the decider.
    pub snapshot: Snapshot,
    /// Directory's answer about the absent person, if the decider may still act in their place.
    pub in_place_of: Option<Snapshot>,
}
