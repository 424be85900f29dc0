//! Translation of SQL Server's errors into [`DatabaseError`].

use jit_core::database::{DatabaseError, Rejection};
use jit_core::internal::adapter::HOW_TO_ALLOW;
use tiberius::error::{Error, IoErrorKind};

/// Translates an error while connecting: nothing was sent yet.
pub(crate) fn connecting(error: Error) -> DatabaseError {
    let said = said(&error);
    let why = match error.code() {
        Some(18456) => format!("{said}; check the broker's login and password"),
        Some(18452) => format!("{said}; the broker needs a login with a password, or a contained user"),
        Some(18470) => format!("{said}; run `ALTER LOGIN ... ENABLE` for the broker"),
        Some(18486..=18488) => format!("{said}; unlock the broker's login or change its password"),
        Some(4060) => format!("{said}; correct the database in the target's URL, or make the broker's user in it"),
        Some(916) => format!("{said}; run `CREATE USER ... FOR LOGIN ...` for the broker in the target's database"),
        Some(40532 | 40615) => format!("{said}; the server's firewall does not let this machine in"),
        Some(40613 | 40501 | 40197) => format!("{said}; the service is busy or moves the database: it is tried again"),
        _ => said,
    };
    DatabaseError::Unreachable { why, source: source(error) }
}

/// Checks whether the server refused the login: the password may have been rotated.
pub(crate) fn is_refused(error: &Error) -> bool {
    matches!(error.code(), Some(18456 | 18486..=18488))
}

/// Translates an error of a statement that changes nothing. In every case nothing was applied.
pub(crate) fn reading(error: Error) -> DatabaseError {
    match error.code() {
        Some(number) if !ends_the_connection(&error) => from_number(number, &said(&error)),
        _ => DatabaseError::Unreachable { why: said(&error), source: source(error) },
    }
}

/// Translates an error of a batch that changes something, before its answers came.
pub(crate) fn changing(error: Error) -> DatabaseError {
    match error.code() {
        Some(number) if !ends_the_connection(&error) => from_number(number, &said(&error)),
        _ => DatabaseError::OutcomeUnknown {
            why: format!("the connection was lost after the batch was sent: {}", said(&error)),
            source: source(error),
        },
    }
}

/// Translates an error that the server reported for an order which it did not apply.
pub(crate) fn from_number(number: u32, message: &str) -> DatabaseError {
    let (rejection, why) = match number {
        // "Cannot alter the role ..., because it does not exist or you do not have permission". The
        // catalog showed the role a moment before.
        15151 => (
            Rejection::PrivilegeMissing,
            format!("{message} (it was there a moment before, so the permission is missing): {HOW_TO_ALLOW}"),
        ),
        15247 | 229 | 230 | 262 | 297 | 300 | 6102 | 15562 | 4613 => {
            (Rejection::PrivilegeMissing, format!("{message}; {HOW_TO_ALLOW}"))
        }
        15410 | 15404 | 15401 => (
            Rejection::Other,
            format!("{message}; the account was dropped meanwhile, or its directory does not know it any more"),
        ),
        15405 => (Rejection::Other, format!("{message}; a role cannot be given to this principal")),
        15413 => (Rejection::Other, format!("{message}; the account and the role are members of each other")),
        1205 => return DatabaseError::not_applied(format!("it met another change of the same role ({message})")),
        1222 => return DatabaseError::not_applied(format!("another transaction holds a lock on the role ({message})")),
        3906 | 3908 | 978 | 976 | 982 => {
            return DatabaseError::not_applied(format!(
                "the database is read-only or a secondary replica ({message}): point the target at the primary"
            ));
        }
        3930
        | 3989
        | 9002
        | 1105
        | 701
        | 8645
        | 1203
        | 1204
        | 10928
        | 10929
        | 40501
        | 40613
        | 40197
        | 49918..=49920 => {
            return DatabaseError::not_applied(message);
        }
        208 | 207 => {
            (Rejection::Other, format!("{message}; this server's catalog is not SQL Server's of 2017 or later"))
        }
        _ => (Rejection::Other, format!("{message} (error {number})")),
    };
    DatabaseError::rejected(rejection, why)
}

/// Checks whether the order was a deadlock's victim. The next try will succeed.
pub(crate) fn is_a_collision(number: Option<u32>) -> bool {
    number == Some(1205)
}

/// Checks whether the server ended the connection. From severity 20 on it does so, whatever it did
/// before; 596 says that the session was killed.
fn ends_the_connection(error: &Error) -> bool {
    match error {
        Error::Server(token) => token.class() >= 20 || matches!(token.code(), 596 | 6005 | 40613 | 40197 | 40501),
        _ => true,
    }
}

/// Returns the server's own message, or the driver's. Neither holds a password. Leaves out the
/// driver's advice on refused certificates.
pub(crate) fn said(error: &Error) -> String {
    match error {
        Error::Server(token) => token.message().to_owned(),
        Error::Tls(text) => {
            let text = text.split(" To connect anyway you can").next().unwrap_or_default();
            format!("no verified TLS connection: {text}")
        }
        Error::Io { kind: IoErrorKind::UnexpectedEof, message } => {
            format!("the server ended the connection ({message})")
        }
        Error::Io { message, .. } => message.clone(),
        other => other.to_string(),
    }
}

/// Returns the cause, if it says more than the message already does.
fn source(error: Error) -> Option<jit_core::store::BoxError> {
    match error {
        Error::Server(_) | Error::Tls(_) => None,
        other => Some(other.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_safe_to_try_again_says_so() {
        for number in [1205, 1222, 3906, 40613, 9002] {
            assert!(matches!(from_number(number, "x"), DatabaseError::NotApplied { .. }), "{number}");
        }
    }

    #[test]
    fn a_missing_privilege_is_rejected_as_one() {
        for number in [15151, 15247, 229, 297, 300, 6102] {
            let error = from_number(number, "x");
            assert!(
                matches!(error, DatabaseError::Rejected { rejection: Rejection::PrivilegeMissing, .. }),
                "{number}: {error}"
            );
        }
    }

    #[test]
    fn a_lost_connection_leaves_the_outcome_open() {
        let lost = || Error::Io { kind: IoErrorKind::UnexpectedEof, message: "eof".to_owned() };
        assert!(matches!(changing(lost()), DatabaseError::OutcomeUnknown { .. }));
        assert!(reading(lost()).is_unreachable());
        assert!(connecting(lost()).is_unreachable());
    }

    #[test]
    fn the_drivers_advice_to_trust_any_certificate_is_not_passed_on() {
        let error =
            Error::Tls("it was rejected: UnknownIssuer. To connect anyway you can: `Config::trust_cert()`".to_owned());
        assert!(!connecting(error).with_causes().contains("trust_cert"));
    }
}
