//! Answers of a call, one for each of its orders, and errors that are worded alike everywhere.

use std::time::Duration;

use crate::database::{DatabaseError, NameError};

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

/// Fix, in a sentence, for a dead man's switch whose table, routines or rights are missing.
pub const HOW_TO_MAKE: &str = "run the check of this target, which prints the statements that make it";

/// Says that the server refuses the order because it came after its `not_after`.
#[must_use]
pub fn late() -> DatabaseError {
    DatabaseError::not_applied("it reached the server after its deadline, by the server's clock")
}

/// Makes the error for a name that cannot be taken, with its control characters escaped.
#[must_use]
pub fn refused_name(what: &'static str, name: &str, why: &str) -> NameError {
    let given = crate::text::escaped(name).chars().take(80).collect();
    NameError { what, given, why: why.to_owned() }
}
