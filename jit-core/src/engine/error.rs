//! What can go wrong with a command, by what the caller may conclude.

use crate::access::Refusal;
use crate::database::{DatabaseError, NameError};
use crate::directory::DirectoryError;
use crate::id::{AccessId, InvalidId, RoleName, RuleName, TargetName};
use crate::store::StoreError;
use crate::text::TextError;

/// What can go wrong with a command. Unless a variant says otherwise, nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JitError {
    /// Policy says no.
    #[error("denied{}: {reason}", by_rule(.rule.as_ref()))]
    Denied {
        /// Why, and what would be accepted.
        reason: String,
        /// The rule that said so; none where none matched.
        rule: Option<RuleName>,
    },
    /// The access is not in a state in which this can be done, or the decision does not count.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Only some may do this (law 16), and the actor is not one of them.
    #[error("`{who}` may not {what}: {hint}")]
    NotAllowed {
        /// Who tried.
        who: String,
        /// What.
        what: String,
        /// Who may.
        hint: String,
    },
    /// There is no such thing in this tenant.
    #[error("there is no {what} `{name}`{hint}")]
    NotFound {
        /// `access`, `target`...
        what: &'static str,
        /// What was asked for.
        name: String,
        /// What there is.
        hint: String,
    },
    /// The second factor that was given proves nothing, or none was given.
    #[error("the second factor was refused: {why}")]
    FactorRefused {
        /// Why.
        why: String,
    },
    /// Something given cannot be meant.
    #[error("{why}")]
    Invalid {
        /// What is wrong with it and what would do.
        why: String,
    },
    /// The role is held already, and not by a grant of ours (law 6).
    #[error("{finding}: nothing was granted, and the finding is in the log")]
    Standing {
        /// How it is held.
        finding: String,
    },
    /// An emergency stop is in force.
    #[error("an emergency stop is in force ({scope}, by `{by}`): {reason}; nothing new is granted until `resume`")]
    Stopped {
        /// What it stops.
        scope: String,
        /// Who ordered it.
        by: String,
        /// Why.
        reason: String,
    },
    /// The clock cannot be trusted.
    #[error("{why}: check the clock, then run `jit clock accept`; due revokes go on meanwhile")]
    ClockDoubtful {
        /// What is wrong with it.
        why: String,
    },
    /// The target is not to be used.
    #[error("target `{target}` is not used: {why}")]
    TargetRefused {
        /// Which.
        target: TargetName,
        /// Why, and what to do.
        why: String,
    },
    /// It ended before it became usable.
    #[error("access {id} is {state}: {why}")]
    Ended {
        /// Which.
        id: AccessId,
        /// The state that it ended in.
        state: &'static str,
        /// Why.
        why: String,
    },
    /// It did not come so far in the time given. It may still.
    #[error("access {id} is still {state}: {awaits}")]
    TimedOut {
        /// Which.
        id: AccessId,
        /// The state that it is in.
        state: &'static str,
        /// What it waits for.
        awaits: String,
    },
    /// Others changed the same case again and again; try again.
    #[error("the case was changed by others at the same time again and again: try again")]
    Busy,
    /// The policy gave no answer: its code panicked or took too long. It counts as no.
    #[error("the policy gave no answer: {why}; look at its code")]
    Policy {
        /// What it did instead.
        why: String,
    },
    /// The directory did not answer.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The database did not answer as it should.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The store did not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl JitError {
    /// A stable word for machines.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Denied { .. } => "denied",
            Self::Refused(_) => "refused",
            Self::NotAllowed { .. } => "not-allowed",
            Self::NotFound { .. } => "not-found",
            Self::FactorRefused { .. } => "factor-refused",
            Self::Invalid { .. } => "invalid",
            Self::Standing { .. } => "standing",
            Self::Stopped { .. } => "stopped",
            Self::ClockDoubtful { .. } => "clock",
            Self::TargetRefused { .. } => "target-refused",
            Self::Ended { .. } => "ended",
            Self::TimedOut { .. } => "timed-out",
            Self::Busy => "busy",
            Self::Policy { .. } => "policy",
            Self::Directory(_) => "directory",
            Self::Database(_) => "database",
            Self::Store(_) => "store",
        }
    }

    pub(crate) fn invalid(why: impl Into<String>) -> Self {
        Self::Invalid { why: why.into() }
    }

    pub(crate) fn of_another_tenant(target: &TargetName, role: &RoleName) -> Self {
        Self::TargetRefused { target: target.clone(), why: format!("role `{role}` there belongs to another tenant") }
    }

    pub(crate) fn no_access(id: AccessId) -> Self {
        Self::NotFound { what: "access", name: id.to_string(), hint: ": look with `jit list`".to_owned() }
    }
}

impl From<NameError> for JitError {
    fn from(error: NameError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<TextError> for JitError {
    fn from(error: TextError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<InvalidId> for JitError {
    fn from(error: InvalidId) -> Self {
        Self::invalid(error.to_string())
    }
}

fn by_rule(rule: Option<&RuleName>) -> String {
    rule.map_or_else(String::new, |rule| format!(" by rule `{rule}`"))
}
