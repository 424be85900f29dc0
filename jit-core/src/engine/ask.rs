//! What is asked of the engine.

use chrono::TimeDelta;

use super::view::AccessView;
use crate::clock::Time;
use crate::id::{AccessId, Principal, QuestionId};

/// A request for a role. A duration has to be given; what is left out else is not asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    pub(crate) target: String,
    pub(crate) role: String,
    pub(crate) duration: TimeDelta,
    pub(crate) receiver: Option<Principal>,
    pub(crate) reason: String,
    pub(crate) ticket: Option<String>,
    pub(crate) start: Option<Time>,
    pub(crate) key: Option<String>,
    pub(crate) break_glass: bool,
}

impl Ask {
    /// For this role of this target, for so long from when it is usable.
    pub fn new(target: impl Into<String>, role: impl Into<String>, duration: TimeDelta) -> Self {
        Self {
            target: target.into(),
            role: role.into(),
            duration,
            receiver: None,
            reason: String::new(),
            ticket: None,
            start: None,
            key: None,
            break_glass: false,
        }
    }

    /// Why.
    #[must_use]
    pub fn because(self, reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), ..self }
    }

    /// Under this ticket.
    #[must_use]
    pub fn ticket(self, ticket: impl Into<String>) -> Self {
        Self { ticket: Some(ticket.into()), ..self }
    }

    /// Usable from then on, UTC, instead of at once.
    #[must_use]
    pub fn starting(self, start: Time) -> Self {
        Self { start: Some(start), ..self }
    }

    /// In an emergency: what a rule allows under `break_glass`, at once and reviewed afterwards.
    #[must_use]
    pub fn break_glass(self) -> Self {
        Self { break_glass: true, ..self }
    }

    /// For somebody else.
    #[must_use]
    pub fn on_behalf_of(self, receiver: Principal) -> Self {
        Self { receiver: Some(receiver), ..self }
    }

    /// A repeated request of the same actor with the same key answers with the first access.
    #[must_use]
    pub fn key(self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self }
    }
}

/// What somebody decides on: an access, and which question about it. A decision with a question counts for that one only, and is refused
/// where another one waits (law 19). The view of an access names the question that it shows: pass the view that the person saw.
///
/// Without a question, as from an [`AccessId`] alone, a no means what waits now, and a yes the oldest question that this person has not
/// answered: the request, mostly. So it never gives an extension to somebody who may have read of the request only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    pub(crate) access: AccessId,
    pub(crate) question: Option<QuestionId>,
}

impl About {
    /// This question about the access, where one is named.
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

/// Which accesses to list. All of what is given has to match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// In this state (`active`).
    pub state: Option<String>,
    /// Asked for by, or for, this principal.
    pub principal: Option<Principal>,
    /// On this target.
    pub target: Option<String>,
    /// Only those to which something can still happen.
    pub open: bool,
}

/// What an emergency stop is about.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Everything of the tenant.
    All,
    /// What this principal asked for or has.
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
