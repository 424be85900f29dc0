//! Names of accounts and roles as SQL Server keeps them: both are principals, of a database or of
//! the server.

use jit_core::database::NameError;
use jit_core::id::{Account, RoleName};
use jit_core::internal::adapter::refused_name as refusal;

use crate::sql::Scope;

/// Longest name, in UTF-16 units: `sysname` is `nvarchar(128)`.
const LONGEST_NAME: usize = 128;

/// Prefix of the server's roles. No database role may begin with it, so that the two cannot be
/// confused in a policy.
pub(crate) const SERVER_ROLE: &str = "server::";

/// Names of principals that every database or server has and that stand for something else than one
/// person. Some depend on who asks (`dbo`, `guest`). Everybody is in `public`. Nothing could take a
/// role from `sa`.
const RESERVED: [&str; 8] =
    ["public", "dbo", "guest", "sys", "information_schema", "sa", "system_function_schema", "sysadmin"];

/// Returns the account of this name: a user of the target's database, or a login if the target is
/// `master`. The name is taken exactly as given. Most servers find a name in another case too, and
/// jit does not, so that two spellings are never one account (law 11).
///
/// # Errors
/// When the server would refuse the name, cut it, or take it for something else.
pub(crate) fn account(name: &str) -> Result<Account, NameError> {
    let what = "an account";
    validate(what, name, name)?;
    if name.starts_with("##") {
        return Err(refusal(what, name, "names that begin with ## belong to the server itself"));
    }
    Account::new(name).map_err(|error| refusal(what, name, error.why))
}

/// Returns the role of this name. `orders_write` is a role of the target's database.
/// `server::orders_audit` is a role of the server, which only a target whose database is `master`
/// has.
///
/// # Errors
/// When the server would refuse the name, cut it, or take it for something else; when the target
/// has no such roles.
pub(crate) fn role(scope: Scope, name: &str) -> Result<RoleName, NameError> {
    let what = "a role";
    let bare = match (scope, name.strip_prefix(SERVER_ROLE)) {
        (Scope::Server, Some(bare)) => bare,
        (Scope::Database | Scope::AzureDatabase, None) => name,
        (Scope::Server, None) => {
            let why =
                "a target whose database is master has roles of the server only, which are written `server::NAME`";
            return Err(refusal(what, name, why));
        }
        (Scope::Database | Scope::AzureDatabase, Some(_)) => {
            let why = "roles of the server belong to all its databases: request them through a target whose database is master";
            return Err(refusal(what, name, why));
        }
    };
    validate(what, name, bare)?;
    RoleName::new(name).map_err(|error| refusal(what, name, error.why))
}

/// Returns the role's name in the catalog.
pub(crate) fn bare(role: &RoleName) -> &str {
    role.as_str().strip_prefix(SERVER_ROLE).unwrap_or(role.as_str())
}

/// Converts a catalog's name into the role's name in this scope.
pub(crate) fn spelled(scope: Scope, name: &str) -> String {
    match scope {
        Scope::Database | Scope::AzureDatabase => name.to_owned(),
        Scope::Server => format!("{SERVER_ROLE}{name}"),
    }
}

/// Quotes a name for use in a statement.
pub(crate) fn quoted(name: &str) -> String {
    format!("[{}]", name.replace(']', "]]"))
}

/// Quotes a text for use in a statement.
pub(crate) fn literal(text: &str) -> String {
    format!("N'{}'", text.replace('\'', "''"))
}

fn validate(what: &'static str, given: &str, name: &str) -> Result<(), NameError> {
    let refuse = |why| Err(refusal(what, given, why));
    if name.is_empty() {
        return refuse("it is empty");
    }
    if name.contains('\0') {
        return refuse("it holds a NUL character");
    }
    if name.encode_utf16().count() > LONGEST_NAME {
        return refuse("it is longer than 128 UTF-16 units, which no name on the server is");
    }
    if name.ends_with(' ') {
        return refuse("it ends with a space, which the server ignores when it compares names");
    }
    if RESERVED.contains(&name.to_lowercase().as_str()) {
        return refuse("the name stands for something else on every server: create a principal of another name");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_11_what_the_server_would_alter_or_refuse_is_refused() {
        for name in ["", "a\0b", "public", "DBO", "sa", "Guest", "sys", "INFORMATION_SCHEMA", "a ", "a\nb", "server::x"]
        {
            assert!(role(Scope::Database, name).is_err(), "{name:?}");
        }
        for name in ["", "a\0b", "public", "DBO", "sa", "a ", "##MS_x##"] {
            assert!(account(name).is_err(), "{name:?}");
        }
        assert!(account(&"x".repeat(128)).is_ok());
        assert!(account(&"x".repeat(129)).is_err());
        assert!(account(&"é".repeat(128)).is_ok());
        assert!(account(&"𝄞".repeat(65)).is_err(), "two units each");
    }

    #[test]
    fn roles_of_the_server_belong_to_a_target_on_master() {
        assert_eq!(bare(&role(Scope::Server, "server::audit").unwrap()), "audit");
        assert!(role(Scope::Server, "audit").is_err());
        assert!(role(Scope::Database, "server::audit").is_err());
        assert!(role(Scope::Server, "server::sysadmin").is_err());
        assert!(role(Scope::Server, &format!("server::{}", "x".repeat(128))).is_ok());
        assert!(role(Scope::Server, &format!("server::{}", "x".repeat(129))).is_err());
    }

    #[test]
    fn law_11_names_are_kept_as_they_are_and_quoted() {
        assert_eq!(account("Alice").unwrap().as_str(), "Alice");
        assert_eq!(quoted("O'Brien [dba]"), "[O'Brien [dba]]]");
        assert_eq!(quoted("a]; DROP ROLE b"), "[a]]; DROP ROLE b]");
    }
}
