//! What people and outside systems said: decisions, confirmations, answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::people::{Evidence, Snapshot};
use crate::clock::Time;
use crate::id::{ApproverName, FactorName, Principal, QuestionId};

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Yes.
    Approve,
    /// No; it ends the request.
    Deny,
}

/// One decision by one person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Which question it answers.
    #[serde(default)]
    pub question: QuestionId,
    /// By whom.
    pub by: Principal,
    /// Yes or no.
    pub verdict: Verdict,
    /// When, the store's time, UTC.
    pub at: Time,
    /// In his words.
    pub note: String,
    /// What proved who he was.
    pub evidence: Evidence,
    /// What the directory said of him, last time it was asked.
    pub snapshot: Snapshot,
    /// With which second factor, where one was demanded of him.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven: Option<Proven>,
    /// In whose place, who is away: then it counts as that one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_place_of: Option<InPlaceOf>,
}

impl Decision {
    /// As whom he decides, and what the directory said of that one.
    pub(super) fn standing(&self) -> (&Principal, &Snapshot) {
        match &self.in_place_of {
            Some(InPlaceOf { who, snapshot }) => (who, snapshot),
            None => (&self.by, &self.snapshot),
        }
    }

    /// The humans whose one decision it is.
    pub(super) fn humans(&self) -> impl Iterator<Item = &Principal> {
        let away = self.in_place_of.as_ref().map(|away| &away.snapshot.human);
        std::iter::once(&self.snapshot.human).chain(away)
    }

    /// Whether it is this human's or this name's own: what somebody else said in their place they need not have read.
    pub(crate) fn is_of(&self, name: &Principal, human: &Principal) -> bool {
        self.by == *name || self.snapshot.human == *human
    }

    /// Whether both are of one human or one name, for themselves or in somebody's place.
    pub(super) fn shares_with(&self, other: &Self) -> bool {
        let names = |decision: &Self| [decision.by.clone(), decision.standing().0.clone()];
        self.humans().any(|human| other.humans().any(|one| human == one))
            || names(self).iter().any(|name| names(other).contains(name))
    }
}

/// A second factor that was verified, for one access and one act on it. It carries no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proven {
    /// Which factor (`totp`, `oidc`).
    pub factor: FactorName,
    /// When the human proved it, the store's time, UTC: now for a code, when he logged in for a token.
    pub at: Time,
    /// More of it, for the log.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

/// The requester proved by a second factor that it is he who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// Which question it answers.
    #[serde(default)]
    pub question: QuestionId,
    /// Who.
    pub by: Principal,
    /// When, the store's time, UTC.
    pub at: Time,
    /// With which factor.
    pub proven: Proven,
}

/// What an outside system said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Which question it answers.
    #[serde(default)]
    pub question: QuestionId,
    /// Which system.
    pub approver: ApproverName,
    /// Yes or no.
    pub verdict: Verdict,
    /// When, the store's time, UTC.
    pub at: Time,
    /// In its words.
    pub note: String,
    /// More of it, for the log (the id of a decision, the state of a ticket).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

/// Somebody who is away, and in whose place another decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InPlaceOf {
    /// Who is away.
    pub who: Principal,
    /// What the directory said of him, last time it was asked.
    pub snapshot: Snapshot,
}

/// What the directory says now of one who decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fresh {
    /// Who decided.
    pub by: Principal,
    /// What it says of him.
    pub snapshot: Snapshot,
    /// What it says of the one in whose place he decided, where that still stands.
    pub in_place_of: Option<Snapshot>,
}
