//! Names of accounts and roles as PostgreSQL keeps them: both are rows of `pg_authid`.

use jit_core::database::NameError;
use jit_core::id::{Account, RoleName};
use jit_core::internal::adapter::refused_name as refusal;

/// Longest name in bytes: `NAMEDATALEN - 1`. The server silently cuts what is longer.
const LONGEST_NAME: usize = 63;

/// Reserved words that no account or role may have as a name. Some stand for something else
/// wherever a role is named, quoted or not (`public`, `none`). The others somebody may one day
/// write unquoted. An account of that name could not be told from what the word stands for.
const RESERVED: [&str; 6] = ["public", "none", "current_user", "current_role", "session_user", "user"];

/// Returns the account of this name, exactly as given, since every name is quoted.
///
/// # Errors
/// When the server would refuse or cut the name.
pub(crate) fn account(name: &str) -> Result<Account, NameError> {
    let what = "an account";
    validate(what, name)?;
    Account::new(name).map_err(|error| refusal(what, name, error.why))
}

/// Returns the role of this name. A predefined role (`pg_read_all_data`) must be granted through a
/// role of the database's own, so that the requested role's name says what it is for.
///
/// # Errors
/// When the server would refuse or cut the name.
pub(crate) fn role(name: &str) -> Result<RoleName, NameError> {
    let what = "a role";
    validate(what, name)?;
    RoleName::new(name).map_err(|error| refusal(what, name, error.why))
}

/// Quotes a name for use in a statement.
pub(crate) fn quoted(name: &str) -> String {
    postgres_protocol::escape::escape_identifier(name)
}

fn validate(what: &'static str, name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(refusal(what, name, "it is empty"));
    }
    if name.contains('\0') {
        return Err(refusal(what, name, "it holds a NUL byte"));
    }
    if name.len() > LONGEST_NAME {
        return Err(refusal(
            what,
            name,
            "it is longer than 63 bytes, and the server would cut it: give the name in full as the server keeps it",
        ));
    }
    if name.starts_with("pg_") {
        let why =
            "names that begin with pg_ belong to the system: to give a predefined role, grant it to a role of your own";
        return Err(refusal(what, name, why));
    }
    if RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(refusal(what, name, "the word is reserved: create a role of another name"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_11_what_the_server_would_cut_or_refuse_is_refused() {
        for name in ["", "a\0b", "public", "PUBLIC", "none", "current_user", "Session_User", "a\nb", "pg_read_all_data"]
        {
            assert!(account(name).is_err(), "{name:?}");
            assert!(role(name).is_err(), "{name:?}");
        }
        assert!(account(&"x".repeat(63)).is_ok());
        assert!(account(&"x".repeat(64)).is_err());
        assert!(account(&"é".repeat(31)).is_ok());
        assert!(account(&"é".repeat(32)).is_err(), "64 bytes, though 32 characters");
    }

    #[test]
    fn law_11_names_are_kept_as_they_are_and_quoted() {
        assert_eq!(account("Alice").unwrap().as_str(), "Alice");
        assert_eq!(quoted("O'Brien \"dba\""), "\"O'Brien \"\"dba\"\"\"");
        assert_eq!(quoted("a; DROP ROLE b"), "\"a; DROP ROLE b\"");
    }
}
