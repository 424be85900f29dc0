//! Proofs that an access demands before it moves. Only [`super::holding`] makes them, from what a
//! database showed.

use std::collections::BTreeSet;

use crate::catalog::Membership;
use crate::clock::Time;
use crate::id::AccessId;
use crate::model::grant::{EndEvidence, Intent};

/// Proof that the membership was observed and nothing prevents the grant. Only `judge` makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clear {
    pub(super) access: AccessId,
    pub(super) membership: Membership,
    pub(super) observed: &'static str,
    pub(super) label: String,
    pub(super) not_after: Time,
    pub(super) default_before: Option<String>,
    pub(super) before: Option<BTreeSet<String>>,
    pub(super) not_compared: Option<String>,
}

impl Clear {
    /// Returns the access that may be granted.
    #[must_use]
    pub fn access(&self) -> AccessId {
        self.access
    }

    /// Returns the membership, by the ids that were observed.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// Returns the state that was observed: `absent`, or `ours`.
    #[must_use]
    pub fn observed(&self) -> &'static str {
        self.observed
    }

    /// Returns the account's default role before our first grant, on engines with a single default
    /// role.
    #[must_use]
    pub fn default_before(&self) -> Option<&str> {
        self.default_before.as_deref()
    }

    /// Adds what the account and the role owned before, or the reason why that is not known.
    #[must_use]
    pub fn with_owned_before(self, before: Result<BTreeSet<String>, String>) -> Self {
        let (before, not_compared) = match before {
            Ok(before) => (Some(before), None),
            Err(why) => (None, Some(why)),
        };
        Self { before, not_compared, ..self }
    }

    /// Returns marks of what the account and the role owned before, if that was read.
    #[must_use]
    pub fn owned_before(&self) -> Option<&BTreeSet<String>> {
        self.before.as_ref()
    }

    /// Returns the reason why it was not read, if it should have been.
    #[must_use]
    pub fn not_compared(&self) -> Option<&str> {
        self.not_compared.as_deref()
    }

    /// Returns the intent to record before the statement.
    #[must_use]
    pub fn intent(&self, now: Time) -> Intent {
        Intent { label: self.label.clone(), not_after: self.not_after, at: now }
    }
}

/// Proof that nothing is held on behalf of an access any more. Only `verify` makes one (law 5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedEnd {
    pub(super) access: AccessId,
    pub(super) since: Time,
    pub(super) evidence: EndEvidence,
}

impl VerifiedEnd {
    /// Returns the access that the proof is for.
    #[must_use]
    pub fn access(&self) -> AccessId {
        self.access
    }

    /// Returns the time at which the proven revoke was due. The proof does not cover a later
    /// revoke.
    #[must_use]
    pub fn since(&self) -> Time {
        self.since
    }

    /// Adds the leftovers of the access, or the reason why they are not known.
    #[must_use]
    pub fn with_leftovers(mut self, left: Result<Vec<String>, String>) -> Self {
        match left {
            Ok(left) => self.evidence.leftovers = left,
            Err(why) => self.evidence.not_compared = Some(why),
        }
        self
    }

    /// Returns the evidence from the database.
    #[must_use]
    pub fn evidence(&self) -> &EndEvidence {
        &self.evidence
    }
}
