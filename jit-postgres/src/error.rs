//! Translation of PostgreSQL's errors into [`DatabaseError`].

use jit_core::database::{DatabaseError, Rejection};
use jit_core::internal::adapter::{HOW_TO_ALLOW, late, lost};
use jit_core::text::with_causes;
use tokio_postgres::error::SqlState;

use crate::connect::pooled;
use crate::sql;

/// Translates an error while connecting: nothing was sent yet.
pub(crate) fn connecting(error: tokio_postgres::Error) -> DatabaseError {
    let code = error.code().cloned().unwrap_or(SqlState::SUCCESSFUL_COMPLETION);
    let said = said(&error);
    let why = if code == SqlState::INVALID_PASSWORD || code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION {
        format!("{said}; check the broker's password and pg_hba.conf")
    } else if code == SqlState::TOO_MANY_CONNECTIONS {
        format!("{said}; raise max_connections, or keep a place with `ALTER ROLE ... CONNECTION LIMIT` for others")
    } else if code == SqlState::INVALID_CATALOG_NAME {
        format!("{said}; correct the database in the target's URL")
    } else {
        said
    };
    DatabaseError::Unreachable { why, source: Some(error.into()) }
}

/// Translates an error of a statement that changes nothing. In every case nothing was applied.
pub(crate) fn reading(error: tokio_postgres::Error) -> DatabaseError {
    match error.code() {
        Some(code) if is_lost(code) => pooled(),
        Some(code) if is_about_the_server(code) => {
            DatabaseError::Unreachable { why: said(&error), source: Some(error.into()) }
        }
        Some(code) => refused(code.code(), &said(&error))
            .unwrap_or_else(|| DatabaseError::NotApplied { why: said(&error), source: Some(error.into()) }),
        None => DatabaseError::Unreachable { why: said(&error), source: Some(error.into()) },
    }
}

/// Translates an error of a packet that changes something, after it was sent.
pub(crate) fn changing(error: &tokio_postgres::Error) -> DatabaseError {
    match error.code() {
        // The server ends the connection. The transaction can have committed before.
        Some(code) if is_about_the_server(code) => DatabaseError::unknown(said(error)),
        Some(code) => from_state(code.code(), &said(error)),
        None => lost(&said(error)),
    }
}

/// Translates the error of a transaction that did not begin. The server refused everything sent
/// behind it.
pub(crate) fn not_begun(error: &tokio_postgres::Error) -> DatabaseError {
    match error.code() {
        Some(code) if *code == SqlState::INVALID_TEXT_REPRESENTATION && said(error).contains(sql::ANOTHER_SERVER) => {
            let said = said(error);
            let found = said.split(sql::ANOTHER_SERVER).nth(1).unwrap_or_default();
            let found = found.split('"').next().unwrap_or_default();
            DatabaseError::AnotherServer { why: format!("`{found}` is at its address now") }
        }
        // `BEGIN READ WRITE` on a standby.
        Some(code) if *code == SqlState::FEATURE_NOT_SUPPORTED => read_only(&said(error)),
        Some(code) if !is_about_the_server(code) => DatabaseError::not_applied(said(error)),
        _ => changing(error),
    }
}

/// Checks whether the server lacks a function, or does not let the broker call it (managed
/// servers).
pub(crate) fn is_withheld(error: &tokio_postgres::Error) -> bool {
    let withheld = [
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        SqlState::FEATURE_NOT_SUPPORTED,
        SqlState::INSUFFICIENT_PRIVILEGE,
        SqlState::UNDEFINED_FUNCTION,
    ];
    error.code().is_some_and(|code| withheld.contains(code))
}

fn read_only(message: &str) -> DatabaseError {
    DatabaseError::not_applied(format!(
        "the server is read-only ({message}): it is a standby; point the target at the primary"
    ))
}

/// Translates an SQLSTATE that the server reported for an order which it rolled back.
pub(crate) fn from_state(state: &str, message: &str) -> DatabaseError {
    refused(state, message).unwrap_or_else(|| match state {
        "25006" => read_only(message),
        "55P03" => DatabaseError::not_applied(format!("another transaction holds a lock on the role ({message})")),
        "57014" => DatabaseError::not_applied(format!("it took longer than allowed ({message})")),
        "JT001" => late(),
        "40P01" | "40001" | "23505" | "XX000" | "53000" | "53100" | "53200" | "53400" | "58030" => {
            DatabaseError::not_applied(message)
        }
        _ => DatabaseError::rejected(Rejection::Other, format!("{message} (SQLSTATE {state})")),
    })
}

/// Checks whether two changes of one membership collided (15 only). The next try will succeed.
pub(crate) fn is_a_collision(state: &str, message: &str) -> bool {
    match state {
        "23505" | "40P01" | "40001" => true,
        "XX000" => message.contains("tuple concurrently"),
        _ => false,
    }
}

/// Checks whether the fault of a statement for several accounts may be that of one of them. If it
/// is the role's, a lock's or the server's, trying fewer accounts would only multiply it.
pub(crate) fn is_of_an_account(state: &str) -> bool {
    let of_all = state.is_empty() || matches!(state, "55P03" | "42501" | "25006" | "40P01" | "57014");
    !of_all && !is_about_the_server(&SqlState::from_code(state))
}

/// Checks whether a prepared statement is missing, or exists already. That does not happen to a
/// connection of our own, so a pooler in transaction mode is in between.
fn is_lost(code: &SqlState) -> bool {
    *code == SqlState::INVALID_SQL_STATEMENT_NAME || *code == SqlState::DUPLICATE_PSTATEMENT
}

/// Checks whether the server can serve no order just now, or the connection is gone.
pub(crate) fn is_about_the_server(code: &SqlState) -> bool {
    matches!(code.code(), "57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "25P03" | "53300")
        || code.code().starts_with("08")
}

/// Translates errors that trying again does not fix.
fn refused(state: &str, message: &str) -> Option<DatabaseError> {
    let (rejection, why) = match state {
        "42501" => (Rejection::PrivilegeMissing, format!("{message}; {HOW_TO_ALLOW}")),
        "42704" => (Rejection::Other, format!("{message}; it was dropped or renamed meanwhile")),
        "0LP01" => (Rejection::Other, format!("{message}; the account and the role are members of each other")),
        "2BP01" => (
            Rejection::Other,
            format!(
                "{message}; the account passed the role on: revoke those memberships (`REVOKE ... CASCADE`), then this one goes"
            ),
        ),
        "42883" | "42P01" | "42703" => {
            (Rejection::Other, format!("{message}; this server's catalog is not PostgreSQL's of 15 or later"))
        }
        _ => return None,
    };
    Some(DatabaseError::rejected(rejection, why))
}

/// Returns the server's own message without detail and hint, or the driver's message with its
/// causes. Neither holds a password.
pub(crate) fn said(error: &tokio_postgres::Error) -> String {
    if let Some(server) = error.as_db_error() {
        return server.message().to_owned();
    }
    with_causes(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_not_applied(state: &str, message: &str) -> bool {
        matches!(from_state(state, message), DatabaseError::NotApplied { .. })
    }

    #[test]
    fn what_is_safe_to_try_again_says_so() {
        for state in ["25006", "55P03", "40P01", "23505", "57014", "JT001", "XX000"] {
            assert!(is_not_applied(state, "x"), "{state}");
        }
        assert!(from_state("25006", "x").to_string().contains("standby"));
    }

    #[test]
    fn what_trying_again_will_not_mend_says_what_would() {
        let rejection = |state| match from_state(state, "said") {
            DatabaseError::Rejected { rejection, .. } => Some(rejection),
            _ => None,
        };
        assert_eq!(rejection("42501"), Some(Rejection::PrivilegeMissing));
        assert_eq!(rejection("2BP01"), Some(Rejection::Other));
        assert!(from_state("2BP01", "x").to_string().contains("CASCADE"));
        assert!(from_state("0LP01", "x").to_string().contains("members of each other"));
    }

    #[test]
    fn only_meetings_of_two_changes_are_collisions() {
        assert!(is_a_collision("XX000", "tuple concurrently deleted"));
        assert!(is_a_collision("XX000", "tuple concurrently updated"));
        assert!(!is_a_collision("XX000", "cache lookup failed for role 1"));
        assert!(is_a_collision("23505", "duplicate key"));
        assert!(!is_a_collision("42501", "permission denied"));
    }
}
