//! Arguments of the engine's commands.

use chrono::{SubsecRound as _, TimeDelta};

use super::view::AccessView;
use crate::clock::Time;
use crate::id::{AccessId, Principal, QuestionId};
use crate::model::access::AccessState;

/// Request for a role. A duration is mandatory, everything else is optional.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRequest {
    pub(crate) target: String,
    pub(crate) role: String,
    pub(crate) duration: TimeDelta,
    pub(crate) grantee: Option<Principal>,
    pub(crate) reason: String,
    pub(crate) ticket: Option<String>,
    pub(crate) start: Option<Time>,
    pub(crate) key: Option<String>,
    pub(crate) break_glass: bool,
}

impl AccessRequest {
    /// Creates a request for this role of this target. The duration counts from the moment when the
    /// role is usable. Times and durations are kept to the microsecond.
    pub fn new(target: impl Into<String>, role: impl Into<String>, duration: TimeDelta) -> Self {
        Self {
            target: target.into(),
            role: role.into(),
            duration: TimeDelta::microseconds(duration.num_microseconds().unwrap_or(i64::MAX)),
            grantee: None,
            reason: String::new(),
            ticket: None,
            start: None,
            key: None,
            break_glass: false,
        }
    }

    /// Sets the reason of the request.
    #[must_use]
    pub fn because(self, reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), ..self }
    }

    /// Sets the ticket of the request.
    #[must_use]
    pub fn ticket(self, ticket: impl Into<String>) -> Self {
        Self { ticket: Some(ticket.into()), ..self }
    }

    /// Makes the role usable from this time on, UTC, instead of at once.
    #[must_use]
    pub fn starting(self, start: Time) -> Self {
        Self { start: Some(start.trunc_subsecs(6)), ..self }
    }

    /// Marks the request as an emergency. A rule with `break_glass` grants it at once, and it is
    /// reviewed afterwards.
    #[must_use]
    pub fn break_glass(self) -> Self {
        Self { break_glass: true, ..self }
    }

    /// Requests the role for somebody else.
    #[must_use]
    pub fn on_behalf_of(self, grantee: Principal) -> Self {
        Self { grantee: Some(grantee), ..self }
    }

    /// Sets an idempotency key, which belongs to the requester. A repeated request with the same
    /// key returns the first access. Another request with the key is refused as
    /// [`JitError::KeyInUse`](super::JitError::KeyInUse).
    #[must_use]
    pub fn key(self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self }
    }
}

/// Subject of a decision: an access, and a question about it.
///
/// A decision with a question counts for that question only. It is refused if another question
/// waits (law 19). The view of an access names the question that it shows: pass the view that the
/// person saw.
///
/// Without a question, as from an [`AccessId`] alone, a no answers the question that waits now. A
/// yes answers the oldest question that this person has not answered: the request, mostly. So it
/// never approves an extension for somebody who may have read only the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    pub(crate) access: AccessId,
    pub(crate) question: Option<QuestionId>,
}

impl About {
    /// Names the access, and this question about it if one is given.
    #[must_use]
    pub fn question(access: AccessId, question: Option<QuestionId>) -> Self {
        Self { access, question }
    }
}

impl From<AccessId> for About {
    fn from(access: AccessId) -> Self {
        Self { access, question: None }
    }
}

impl From<&AccessView> for About {
    fn from(view: &AccessView) -> Self {
        Self { access: view.id, question: Some(view.question) }
    }
}

/// Filter for a list of accesses. Every given condition has to match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// State of the access.
    pub state: Option<AccessState>,
    /// Requester or grantee of the access.
    pub principal: Option<Principal>,
    /// Target of the access.
    pub target: Option<String>,
    /// True to list only accesses to which something can still happen.
    pub open: bool,
}

impl Filter {
    /// Lists only accesses to which something can still happen.
    #[must_use]
    pub fn open() -> Self {
        Self { open: true, ..Self::default() }
    }

    /// Lists only accesses of this state.
    #[must_use]
    pub fn state(self, state: AccessState) -> Self {
        Self { state: Some(state), ..self }
    }

    /// Lists only accesses that this principal requested or holds.
    #[must_use]
    pub fn principal(self, principal: Principal) -> Self {
        Self { principal: Some(principal), ..self }
    }

    /// Lists only accesses to this target.
    #[must_use]
    pub fn target(self, target: impl Into<String>) -> Self {
        Self { target: Some(target.into()), ..self }
    }
}

/// Scope of an emergency stop.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Scope {
    /// Everything of the tenant.
    All,
    /// Everything that this principal requested or holds.
    Principal(Principal),
    /// Everything on this target.
    Target(crate::id::TargetName),
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("everything"),
            Self::Principal(principal) => write!(f, "principal `{principal}`"),
            Self::Target(target) => write!(f, "target `{target}`"),
        }
    }
}
