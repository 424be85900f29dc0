//! Translation of PostgreSQL's errors for a store.

use jit_core::database::DatabaseError;
use jit_core::store::StoreError;

use crate::error::{is_about_the_server, said};

/// Translates an error of a statement that changes nothing, or of one that is undone as a whole
/// when it fails.
pub(super) fn failed(error: tokio_postgres::Error) -> StoreError {
    let why = said(&error);
    let state = error.code().map(|code| code.code().to_owned()).unwrap_or_default();
    let source = Some(error.into());
    match state.as_str() {
        "25006" => StoreError::ReadOnly {
            hint: format!("the server is a standby or set to read-only ({why}): point the store's URL at the primary"),
            source,
        },
        "53100" | "53400" => {
            StoreError::Full { hint: format!("make room on the store's server, then go on ({why})"), source }
        }
        "3F000" | "42P01" | "42883" => StoreError::Unavailable {
            why: format!(
                "the database holds no store of this version ({why}): let the owner of the database open it once"
            ),
            source,
        },
        "42501" => StoreError::Unavailable {
            why: format!("this user may not use the store ({why}): let the owner allow it by `PostgresStore::migrate`"),
            source,
        },
        _ => StoreError::Unavailable { why, source },
    }
}

/// Translates an error of a change, after it was sent.
pub(super) fn changed(error: tokio_postgres::Error) -> StoreError {
    match error.code() {
        // The server's answer to a single statement: it was rolled back.
        Some(code) if !is_about_the_server(code) => failed(error),
        _ => StoreError::OutcomeUnknown { why: said(&error), source: Some(error.into()) },
    }
}

/// Checks whether another transaction was in the way: the next try will succeed.
pub(super) fn is_a_collision(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| matches!(code.code(), "40P01" | "40001"))
}

/// Translates an error before anything was sent.
pub(super) fn unreachable(error: DatabaseError) -> StoreError {
    StoreError::Unavailable { why: error.with_causes(), source: Some(error.into()) }
}

/// Copies the error for another change of the same call.
pub(super) fn again(error: &StoreError) -> StoreError {
    let why = error.to_string();
    match error {
        StoreError::OutcomeUnknown { why, .. } => StoreError::OutcomeUnknown { why: why.clone(), source: None },
        StoreError::ReadOnly { hint, .. } => StoreError::ReadOnly { hint: hint.clone(), source: None },
        StoreError::Full { hint, .. } => StoreError::Full { hint: hint.clone(), source: None },
        StoreError::Unavailable { why, .. } => StoreError::Unavailable { why: why.clone(), source: None },
        _ => StoreError::Unavailable { why, source: None },
    }
}
