//! Errors of databases, which state how certain they are.

use super::credentials::CredentialsError;
use super::{Identity, Rejection};
use crate::catalog::anothers;
use crate::id::{Account, RoleName, StoreId};
use crate::store::BoxError;
use crate::text::with_causes;

/// Error for a name that the engine would refuse or alter (law 11).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` cannot be {what} here: {why}")]
#[non_exhaustive]
pub struct NameError {
    /// Kind of name that was expected: `an account`, `a role`.
    pub what: &'static str,
    /// Name that was given, with control characters escaped.
    pub given: String,
    /// Reason, and what would do instead.
    pub why: String,
}

impl NameError {
    /// Creates the error for this name.
    #[must_use]
    pub fn new(what: &'static str, given: impl Into<String>, why: impl Into<String>) -> Self {
        Self { what, given: given.into(), why: why.into() }
    }
}

/// Error of a database. The variants differ by what the caller may conclude.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// The server could not be reached, or refused the login. Nothing was applied, and no other
    /// order for this server will fare better now.
    #[error("the database cannot be reached: {why}")]
    Unreachable {
        /// Reason, and what to do.
        why: String,
        /// Cause of the error.
        #[source]
        source: Option<BoxError>,
    },
    /// The order was not applied, and it is safe to try again. Examples: a lock not got in time, a
    /// deadlock, a read-only server, a deadline passed.
    #[error("the database did not apply it: {why}")]
    NotApplied {
        /// Reason, and the blocking session if it is known.
        why: String,
        /// Cause of the error.
        #[source]
        source: Option<BoxError>,
    },
    /// Another server answers than the one that the call was meant for, or another incarnation of
    /// it. Nothing was changed there.
    #[error("another server answers: {why}")]
    AnotherServer {
        /// Server that was meant, and server that answers.
        why: String,
    },
    /// The order may have been applied, or may still be. Settle and observe before concluding
    /// anything.
    #[error("it is not known whether the database applied it: {why}")]
    OutcomeUnknown {
        /// Reason for the doubt.
        why: String,
        /// Cause of the error.
        #[source]
        source: Option<BoxError>,
    },
    /// The order was not applied, and trying again will not help.
    #[error("the database rejected it: {why}")]
    Rejected {
        /// Kind of the rejection.
        rejection: Rejection,
        /// Reason, and what to do.
        why: String,
        /// Cause of the error.
        #[source]
        source: Option<BoxError>,
    },
}

/// Failing to read the password means that nobody can log in.
impl From<CredentialsError> for DatabaseError {
    fn from(error: CredentialsError) -> Self {
        Self::Unreachable { why: error.to_string(), source: Some(error.into()) }
    }
}

impl DatabaseError {
    /// Makes a [`Self::Unreachable`] without a source.
    pub fn unreachable(why: impl Into<String>) -> Self {
        Self::Unreachable { why: why.into(), source: None }
    }

    /// Makes a [`Self::NotApplied`] without a source.
    pub fn not_applied(why: impl Into<String>) -> Self {
        Self::NotApplied { why: why.into(), source: None }
    }

    /// Makes a [`Self::AnotherServer`] that names both servers.
    #[must_use]
    pub fn another_server(meant: &Identity, found: &Identity) -> Self {
        let why = format!(
            "expected `{}` ({}), but `{}` ({}) answers at its address",
            meant.realm, meant.incarnation, found.realm, found.incarnation
        );
        Self::AnotherServer { why }
    }

    /// Checks whether another server answered than the one that was meant.
    #[must_use]
    pub fn is_another_server(&self) -> bool {
        matches!(self, Self::AnotherServer { .. })
    }

    /// Makes a [`Self::OutcomeUnknown`] without a source.
    pub fn unknown(why: impl Into<String>) -> Self {
        Self::OutcomeUnknown { why: why.into(), source: None }
    }

    /// Makes a [`Self::Rejected`] without a source.
    pub fn rejected(rejection: Rejection, why: impl Into<String>) -> Self {
        Self::Rejected { rejection, why: why.into(), source: None }
    }

    /// Makes a [`Rejection::AnotherStore`] with its text.
    #[must_use]
    pub fn another_store(account: &Account, role: &RoleName, store: &StoreId) -> Self {
        Self::rejected(Rejection::AnotherStore, anothers(account, role, store))
    }

    /// Checks whether another store accounts for the membership.
    #[must_use]
    pub fn is_another_store(&self) -> bool {
        matches!(self, Self::Rejected { rejection: Rejection::AnotherStore, .. })
    }

    /// Checks whether the whole server is out of reach, not only this order.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// Returns the message with its causes, for the log. Adapters keep secrets out of both (law
    /// 12).
    #[must_use]
    pub fn with_causes(&self) -> String {
        with_causes(self)
    }
}
