//! Conclusions from the errors of MySQL and MariaDB.

use jit_core::database::{DatabaseError, Rejection};
use jit_core::internal::adapter::{HOW_TO_ALLOW, lost};
use jit_core::text::with_causes;
use mysql_async::{DriverError, Error, IoError};

/// Converts an error while connecting: nothing was sent yet.
pub(crate) fn connecting(error: Error) -> DatabaseError {
    let said = said(&error);
    let why = match code(&error) {
        Some(1045 | 1698) => format!("{said}; check the broker's password, and the host that its account is for"),
        Some(3118 | 4151) => format!("{said}; run `ALTER USER ... ACCOUNT UNLOCK` for the broker's account"),
        Some(1820 | 1862 | 3955) => {
            format!(
                "{said}; the broker's password has expired or its account is blocked: set a new one with `ALTER USER`"
            )
        }
        Some(1040 | 1203 | 1226) => format!("{said}; raise max_connections, or the limit of the broker's account"),
        Some(1129) => format!("{said}; run `FLUSH HOSTS`, or `TRUNCATE performance_schema.host_cache`"),
        Some(1130) => format!("{said}; create the broker's account for the host that it comes from"),
        Some(1044) => format!("{said}; take the database out of the target's URL: the broker needs none"),
        Some(1251 | 1275 | 2059) => {
            format!(
                "{said}; let the broker's account log in by a method that this client knows (`ALTER USER ... IDENTIFIED`)"
            )
        }
        Some(3032 | 3168) => format!("{said}; the server is offline: wait, or switch offline_mode off"),
        Some(3159) => format!("{said}; set the target's `tls` to verify-full"),
        _ if is_without_tls(&error) => "the server speaks no TLS: switch it on there".to_owned(),
        _ => said,
    };
    DatabaseError::Unreachable { why, source: None }
}

/// Checks whether the server refused the password, which may have been rotated.
pub(crate) fn is_refused(error: &Error) -> bool {
    matches!(code(error), Some(1045 | 1698))
}

fn is_without_tls(error: &Error) -> bool {
    matches!(error, Error::Driver(DriverError::NoClientSslFlagFromServer))
}

/// Converts an error of a statement that changes nothing: whatever happened, nothing was applied.
pub(crate) fn reading(error: Error) -> DatabaseError {
    match code(&error) {
        Some(code) if is_about_the_server(code) => DatabaseError::unreachable(said(&error)),
        Some(code) => refused(code, &said(&error)).unwrap_or_else(|| DatabaseError::not_applied(said(&error))),
        None => DatabaseError::unreachable(said(&error)),
    }
}

/// Error for a truncated answer: a row that it does not show may exist all the same.
pub(crate) fn cut() -> DatabaseError {
    let why = "the server's answer was cut, so that nothing can be concluded from it: find what limits the rows of the broker's statements \
               (a setting such as sql_select_limit, or a rule of a proxy) and exempt the broker";
    DatabaseError::not_applied(why)
}

/// Converts an error of a packet that changes something, after it was sent.
pub(crate) fn changing(error: &Error) -> DatabaseError {
    match code(error) {
        // the server ends the connection, and may have applied the change before
        Some(code) if is_about_the_server(code) => DatabaseError::unknown(said(error)),
        Some(code) => from_code(code, &said(error)),
        None => lost(&said(error)),
    }
}

fn from_code(code: u16, message: &str) -> DatabaseError {
    refused(code, message).unwrap_or_else(|| match code {
        1290 | 1792 | 1836 | 3100 => DatabaseError::not_applied(format!(
            "the server is read-only ({message}): it is a replica, or read_only is on; point the target at the primary"
        )),
        LOCK_TIMEOUT | 1223 => {
            DatabaseError::not_applied(format!("somebody else holds a lock on the tables of accounts ({message})"))
        }
        // deadlocks; memory, disk and tables that are full; a statement that was interrupted
        1213 | 1021 | 1030 | 1037 | 1038 | 1041 | 1114 | 1180 | 1317 | TOO_LONG | 3024 | 3572 => {
            DatabaseError::not_applied(message)
        }
        _ => DatabaseError::rejected(Rejection::Other, format!("{message} (error {code})")),
    })
}

/// Error code: the server gave up waiting for a lock.
pub(crate) const LOCK_TIMEOUT: u16 = 1205;
/// Error code of MariaDB: a statement took too long, that is, it waited.
pub(crate) const TOO_LONG: u16 = 1969;
/// Error code: a packet stopped itself, because a subquery returned two rows instead of one.
pub(crate) const STOPPED: u16 = 1242;
/// Error code: the session to end belongs to another account, and the broker may not end those.
pub(crate) const MAY_NOT_KILL: u16 = 1095;
/// Error code: the session to end is gone.
pub(crate) const NO_SUCH_SESSION: u16 = 1094;
/// Error code of MariaDB: the broker cannot activate a role that it does not hold.
pub(crate) const NOT_A_ROLE_OF_OURS: u16 = 1959;
/// Error code: two changes met in a deadlock.
pub(crate) const DEADLOCK: u16 = 1213;

/// Checks whether the broker may not read a table, or a column of it.
pub(crate) fn is_denied(error: &Error) -> bool {
    matches!(code(error), Some(1142 | 1143))
}

/// Checks whether an account or a role does not exist, or the account is not in the role. What was
/// to be revoked is gone already.
pub(crate) fn is_absence(error: &Error) -> bool {
    matches!(code(error), Some(1133 | 1141 | 1269 | 1959 | 1962 | 3523 | 3530))
}

/// Checks whether the server cannot serve any order now, or the connection is gone.
fn is_about_the_server(code: u16) -> bool {
    matches!(code, 1040 | 1053 | 1077 | 1079 | 1152 | 1153 | 1156..=1161 | 1184 | 1203 | 1927 | 3168 | 3169 | 4031)
}

/// Returns the rejection for an error that trying again does not fix.
fn refused(code: u16, message: &str) -> Option<DatabaseError> {
    let (rejection, why) = match code {
        1044 | 1045 | 1142 | 1143 | 1227 | 1370 | 1396 | 1410 | 1698 | 3619 | 3879 => {
            (Rejection::PrivilegeMissing, format!("{message}; {HOW_TO_ALLOW}"))
        }
        1133 | 1959 | 3523 | 3530 => (Rejection::Other, format!("{message}; it was dropped or renamed meanwhile")),
        3628 => (Rejection::Other, format!("{message}; it is one of mandatory_roles, which everybody has")),
        1064 | 1146 | 1054 | 1193 => {
            (Rejection::Other, format!("{message}; this server's catalog is not as MySQL 8.0 or MariaDB 10.6 have it"))
        }
        _ => return None,
    };
    Some(DatabaseError::rejected(rejection, why))
}

pub(crate) fn code(error: &Error) -> Option<u16> {
    match error {
        Error::Server(server) => Some(server.code),
        _ => None,
    }
}

/// Returns the server's own words, or the driver's with their causes. Neither holds a password.
pub(crate) fn said(error: &Error) -> String {
    match error {
        Error::Server(server) => server.message.clone(),
        // the content of a packet may not be shown
        Error::Driver(DriverError::UnexpectedPacket { .. }) => "the server sent what was not expected".to_owned(),
        Error::Driver(DriverError::FromRow { .. } | DriverError::FromValue { .. }) => {
            "the server answered in another form than was asked for".to_owned()
        }
        Error::Driver(error) => error.to_string(),
        Error::Io(IoError::Io(error)) => error.to_string(),
        other => with_causes(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_safe_to_try_again_says_so() {
        for code in [1290, 1205, 1213, 1114] {
            assert!(matches!(from_code(code, "x"), DatabaseError::NotApplied { .. }), "{code}");
        }
        assert!(from_code(1290, "x").to_string().contains("replica"));
    }

    #[test]
    fn what_trying_again_will_not_mend_says_what_would() {
        let rejection = |code| match from_code(code, "said") {
            DatabaseError::Rejected { rejection, .. } => Some(rejection),
            _ => None,
        };
        assert_eq!(rejection(1227), Some(Rejection::PrivilegeMissing));
        assert_eq!(rejection(1698), Some(Rejection::PrivilegeMissing));
        assert_eq!(rejection(3628), Some(Rejection::Other));
    }
}
