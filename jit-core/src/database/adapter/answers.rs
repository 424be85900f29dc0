//! Answers of a call, one for each of its orders, and errors that are worded alike everywhere.

use std::time::Duration;

use crate::database::{DatabaseError, NameError};
use crate::id::{Account, RoleName};
use crate::text::escaped;

/// Says that the server did not answer a call that changes nothing.
#[must_use]
pub(super) fn too_slow(limit: Duration) -> DatabaseError {
    DatabaseError::unreachable(format!("the server did not answer within {} s", limit.as_secs_f32()))
}

/// Answers all orders with an unknown outcome: the client's own limit is over, and everything may
/// have been sent.
#[must_use]
pub(super) fn unknown_to_all<T>(count: usize, limit: Duration) -> Vec<Result<T, DatabaseError>> {
    let why = format!("no answer within {} s", limit.as_secs_f32());
    (0..count).map(|_| Err(DatabaseError::unknown(&why))).collect()
}

/// Answers all orders with the same error: nothing was sent.
#[must_use]
pub fn none_applied<T>(count: usize, error: &DatabaseError) -> Vec<Result<T, DatabaseError>> {
    (0..count).map(|_| Err(copied(error))).collect()
}

/// Copies the error for another order of the call, without its source.
#[must_use]
pub fn copied(error: &DatabaseError) -> DatabaseError {
    match error {
        DatabaseError::Unreachable { why, .. } => DatabaseError::unreachable(why),
        DatabaseError::NotApplied { why, .. } => DatabaseError::not_applied(why),
        DatabaseError::AnotherServer { why } => DatabaseError::AnotherServer { why: why.clone() },
        DatabaseError::OutcomeUnknown { why, .. } => DatabaseError::unknown(why),
        DatabaseError::Rejected { rejection, why, .. } => DatabaseError::rejected(*rejection, why),
    }
}

/// Checks whether every order has a certain answer, so that the connection may serve the next call.
/// A connection that leads to another server may not: the next one may lead to the right server.
#[must_use]
pub(super) fn all_certain<T>(results: &[Result<T, DatabaseError>]) -> bool {
    let uncertain = |result: &Result<T, DatabaseError>| {
        matches!(
            result,
            Err(DatabaseError::OutcomeUnknown { .. }
                | DatabaseError::Unreachable { .. }
                | DatabaseError::AnotherServer { .. })
        )
    };
    !results.iter().any(uncertain)
}

/// Says at which place the server could not be reached, and what to do if its certificate is not
/// trusted.
pub(in crate::database) fn at(place: &str, error: DatabaseError) -> DatabaseError {
    match error {
        DatabaseError::Unreachable { why, source } => {
            let trust = if why.contains("UnknownIssuer") { TRUST } else { "" };
            DatabaseError::Unreachable { why: format!("{why}{trust} (at `{}`)", escaped(place)), source }
        }
        other => other,
    }
}

/// Fix, in a part of a sentence, for a certificate whose authority is not trusted.
const TRUST: &str = "; the system does not trust the authority of its certificate: give the target's `tls` the file of that \
                     authority (`ca`)";

/// Fix, in a sentence, for a dead man's switch whose table, routines or rights are missing.
pub const HOW_TO_MAKE: &str = "run the check of this target, which prints the statements that make it";

/// Fix, in a sentence, for a right that the broker lacks.
pub const HOW_TO_ALLOW: &str = "run the check of this target, which names the statement that fixes it";

/// Says that the connection was lost behind a statement that changes something. `said` is the
/// driver's message.
#[must_use]
pub fn lost(said: &str) -> DatabaseError {
    DatabaseError::unknown(format!("the connection was lost after the statement was sent: {said}"))
}

/// Answers all orders that were applied, but whose look afterwards failed.
#[must_use]
pub fn applied_unseen<T>(count: usize, error: &DatabaseError) -> Vec<Result<T, DatabaseError>> {
    let why = format!("the statement was applied, and looking afterwards failed: {}", error.with_causes());
    (0..count).map(|_| Err(DatabaseError::unknown(&why))).collect()
}

/// Says why the broker's own account gets no role.
#[must_use]
pub fn is_the_broker(account: &Account) -> String {
    format!("`{account}` is the broker itself, which must not hold what it grants")
}

/// Says why a role with these powers is not granted ([`crate::catalog::Rejection::RoleCanGrant`]).
#[must_use]
pub fn role_can_grant(role: &RoleName, powers: &str) -> String {
    format!("role `{role}` gives what outlives it ({powers}); a rule can accept that with `can_grant = \"accepted\"`")
}

/// Says why an account with these members gets no role
/// ([`crate::catalog::Rejection::AccountHasMembers`]).
#[must_use]
pub fn account_has_members(account: &Account, members: &str) -> String {
    format!(
        "account `{account}` has members that would hold the role too ({members}); a rule can accept that with \
         `account_members = \"accepted\"`"
    )
}

/// Says that the server refuses the order because it came after its `not_after`.
#[must_use]
pub fn late() -> DatabaseError {
    DatabaseError::not_applied("it reached the server after its deadline, by the server's clock")
}

/// Makes the error for a name that cannot be taken, with its control characters escaped.
#[must_use]
pub fn refused_name(what: &'static str, name: &str, why: &str) -> NameError {
    let given = escaped(name).chars().take(80).collect();
    NameError { what, given, why: why.to_owned() }
}
