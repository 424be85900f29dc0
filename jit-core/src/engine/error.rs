//! Errors of commands, by what the caller may conclude.

use crate::database::{DatabaseError, NameError};
use crate::directory::DirectoryError;
use crate::id::{AccessId, Account, InvalidId, RoleName, RuleName, TargetName};
use crate::model::access::{AccessState, Refusal};
use crate::store::StoreError;
use crate::text::TextError;

/// Error of a command. Unless a variant says otherwise, nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JitError {
    /// Policy denies the request.
    #[error("denied{}: {reason}", by_rule(.rule.as_ref()))]
    Denied {
        /// Reason, and what would be accepted.
        reason: String,
        /// Rule that denied it; none if no rule matched.
        rule: Option<RuleName>,
    },
    /// The state of the access does not allow this, or the decision does not count.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Only some people may do this (law 16), and the actor is not one of them.
    #[error("`{who}` may not {what}: {hint}")]
    NotAllowed {
        /// Person who tried.
        who: String,
        /// Action that was tried.
        what: String,
        /// Hint who may do it.
        hint: String,
    },
    /// There is no such thing in this tenant.
    #[error("there is no {what} `{name}`")]
    NotFound {
        /// Kind of thing: `access`, `target`...
        what: &'static str,
        /// Name that was asked for.
        name: String,
        /// What exists instead, for operators: see [`JitError::hint`].
        hint: String,
    },
    /// The second factor proves nothing, or none was given.
    #[error("the second factor was refused: {why}")]
    FactorRefused {
        /// Reason for the refusal.
        why: String,
    },
    /// The account of the grantee does not exist on the target.
    #[error("there is no account `{account}` on target `{target}`")]
    NoAccount {
        /// Account that the grantee would use.
        account: Account,
        /// Target of the request.
        target: TargetName,
        /// Accounts that may be meant, as their names are written.
        alike: Vec<String>,
    },
    /// An argument makes no sense.
    #[error("{why}")]
    Invalid {
        /// Problem with it, and what would be valid.
        why: String,
    },
    /// The role is held already, and not by a grant of ours (law 6).
    #[error("{finding}: nothing was granted, and the finding is in the log")]
    Standing {
        /// Way in which it is held.
        finding: String,
    },
    /// An emergency stop is in force.
    #[error("an emergency stop is in force ({scope}, by `{by}`): {reason}; nothing new is granted until it is lifted")]
    Stopped {
        /// Scope of the stop.
        scope: String,
        /// Person who ordered it.
        by: String,
        /// Reason for the stop.
        reason: String,
    },
    /// The clock cannot be trusted.
    #[error("{why}: check the clock, then accept it; due revokes go on meanwhile")]
    ClockDoubtful {
        /// Problem with the clock.
        why: String,
    },
    /// The target must not be used.
    #[error("target `{target}` is not used: {why}")]
    TargetRefused {
        /// Name of the target.
        target: TargetName,
        /// Reason for the refusal.
        why: String,
        /// What was found there and what to do, for operators: see [`JitError::hint`].
        hint: String,
    },
    /// The access ended before it became usable.
    #[error("access {id} is {state}: {why}")]
    Ended {
        /// Id of the access.
        id: AccessId,
        /// State in which it ended.
        state: AccessState,
        /// Reason for its end.
        why: String,
    },
    /// The access did not reach the state in the given time. It still may.
    #[error("access {id} is still {state}: {pending_on}")]
    TimedOut {
        /// Id of the access.
        id: AccessId,
        /// State in which it is now.
        state: AccessState,
        /// Decisions and conditions that it is pending on.
        pending_on: String,
    },
    /// The key of the request belongs to another request of the same requester.
    #[error("key `{key}` belongs to access {id}, which is another request: use another key for this one")]
    KeyInUse {
        /// Key that was given.
        key: String,
        /// Access of the request that had it first.
        id: AccessId,
    },
    /// Others changed the same access again and again: try again.
    #[error("the access was changed by others at the same time again and again: try again")]
    Busy,
    /// The policy gave no answer, because its code panicked or took too long. It counts as no.
    #[error("the policy gave no answer: {why}; check its code")]
    Policy {
        /// Failure of the policy's code.
        why: String,
    },
    /// The engine itself failed: a part of it panicked. This is a fault of jit, and worth a report.
    #[error("{what} failed inside jit: {why}")]
    Internal {
        /// Work that failed.
        what: &'static str,
        /// Description of the failure.
        why: String,
    },
    /// The directory did not answer.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The database did not answer as it should.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The store did not answer as it should.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl JitError {
    /// Returns a stable word for machines: `denied`, `refused`, `not-allowed`, `not-found`,
    /// `factor-refused`, `no-account`, `invalid`, `standing`, `stopped`, `clock`, `target-refused`,
    /// `ended`, `timed-out`, `key-in-use`, `busy`, `policy`, `internal`, `directory`, `database` or
    /// `store`. [`Refusal::kind`] tells apart what `refused` stands for.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Denied { .. } => "denied",
            Self::Refused(_) => "refused",
            Self::NotAllowed { .. } => "not-allowed",
            Self::NotFound { .. } => "not-found",
            Self::FactorRefused { .. } => "factor-refused",
            Self::NoAccount { .. } => "no-account",
            Self::Invalid { .. } => "invalid",
            Self::Standing { .. } => "standing",
            Self::Stopped { .. } => "stopped",
            Self::ClockDoubtful { .. } => "clock",
            Self::TargetRefused { .. } => "target-refused",
            Self::Ended { .. } => "ended",
            Self::TimedOut { .. } => "timed-out",
            Self::KeyInUse { .. } => "key-in-use",
            Self::Busy => "busy",
            Self::Policy { .. } => "policy",
            Self::Internal { .. } => "internal",
            Self::Directory(_) => "directory",
            Self::Database(_) => "database",
            Self::Store(_) => "store",
        }
    }

    /// Returns the class of the error, by what the caller can do about it.
    ///
    /// ```
    /// use jit_core::engine::ErrorClass;
    /// use jit_core::JitError;
    ///
    /// assert_eq!(JitError::Busy.class(), ErrorClass::Retry);
    /// assert_eq!(JitError::Busy.class().http_status(), 503);
    /// ```
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Refused(refusal) if refusal.is_about_the_person() => ErrorClass::Forbidden,
            Self::Denied { .. }
            | Self::NotAllowed { .. }
            | Self::FactorRefused { .. }
            | Self::Directory(DirectoryError::Unknown { .. }) => ErrorClass::Forbidden,
            Self::NotFound { .. } => ErrorClass::NotFound,
            Self::NoAccount { .. } | Self::Invalid { .. } => ErrorClass::Invalid,
            Self::Refused(_)
            | Self::Standing { .. }
            | Self::Ended { .. }
            | Self::KeyInUse { .. }
            | Self::TargetRefused { .. }
            | Self::Database(DatabaseError::Rejected { .. }) => ErrorClass::Conflict,
            Self::Policy { .. }
            | Self::Internal { .. }
            | Self::Store(StoreError::Newer { .. } | StoreError::Damaged { .. }) => ErrorClass::Internal,
            Self::Stopped { .. }
            | Self::ClockDoubtful { .. }
            | Self::TimedOut { .. }
            | Self::Busy
            | Self::Directory(_)
            | Self::Database(_)
            | Self::Store(_) => ErrorClass::Retry,
        }
    }

    /// Returns what an operator can do about it or use instead, if there is something to say beyond
    /// the message. It may name other targets and accounts, so it is not for everybody who may see
    /// the message.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { hint, .. } | Self::TargetRefused { hint, .. } if !hint.is_empty() => Some(hint.clone()),
            Self::NoAccount { target, alike, .. } => {
                let names: Vec<String> = alike.iter().map(|name| format!("`{name}`")).collect();
                let there = if names.is_empty() { String::new() } else { format!("there is {}; ", names.join(", ")) };
                Some(format!("{there}create it, or name the right one under `[accounts.{target}]`"))
            }
            _ => None,
        }
    }

    pub(crate) fn internal(what: &'static str, why: impl std::fmt::Display) -> Self {
        Self::Internal { what, why: why.to_string() }
    }

    pub(crate) fn invalid(why: impl Into<String>) -> Self {
        Self::Invalid { why: why.into() }
    }

    pub(crate) fn of_another_tenant(target: &TargetName, role: &RoleName) -> Self {
        Self::refused_target(target, format!("role `{role}` there belongs to another tenant"), String::new())
    }

    pub(crate) fn refused_target(target: &TargetName, why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::TargetRefused { target: target.clone(), why: why.into(), hint: hint.into() }
    }

    /// Creates the error for a target that may lead to another server than the known one.
    pub(crate) fn another_server(target: &TargetName, found: impl Into<String>) -> Self {
        Self::refused_target(target, "it may be another server than before: an operator has to look at it", found)
    }

    /// Creates the error for an access that is not there. A service that hides an access from
    /// somebody answers with this, so that nobody learns whether it exists.
    #[must_use]
    pub fn no_access(id: AccessId) -> Self {
        Self::NotFound { what: "access", name: id.to_string(), hint: String::new() }
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

/// Class of a [`JitError`]: what the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ErrorClass {
    /// This person may not do it, or not without a second factor.
    Forbidden,
    /// The present state does not allow it. Look at the access first.
    Conflict,
    /// Nothing of that name exists in this tenant.
    NotFound,
    /// An argument makes no sense. The message says what would.
    Invalid,
    /// Something is down, busy or stopped. The same call can succeed later.
    Retry,
    /// Code of the embedding service failed, or jit itself.
    Internal,
}

impl ErrorClass {
    /// Returns the HTTP status that fits (RFC 9110): 403, 409, 404, 400, 503 or 500.
    #[must_use]
    pub fn http_status(self) -> u16 {
        match self {
            Self::Forbidden => 403,
            Self::Conflict => 409,
            Self::NotFound => 404,
            Self::Invalid => 400,
            Self::Retry => 503,
            Self::Internal => 500,
        }
    }
}

fn by_rule(rule: Option<&RuleName>) -> String {
    rule.map_or_else(String::new, |rule| format!(" by rule `{rule}`"))
}
