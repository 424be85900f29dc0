//! Names of accounts and roles as MySQL and MariaDB keep them: a user and a host, always both.

use std::fmt;

use jit_core::database::NameError;
use jit_core::id::{Account, RoleName};
use jit_core::internal::adapter::refused_name;

/// Longest user name of MySQL, in characters. MariaDB takes longer ones; one rule for both keeps a
/// name movable.
const LONGEST_USER: usize = 32;
/// Longest host, in ASCII characters (MySQL 8.0.17 and later, MariaDB 10.5 and later).
const LONGEST_HOST: usize = 255;
/// Words with another meaning where accounts and roles are named, and users that the server itself
/// runs as.
const RESERVED: [&str; 9] =
    ["none", "all", "default", "public", "current_user", "current_role", "event_scheduler", "system user", "mysql.sys"];
/// Host of an account that is named without one.
const ANY_HOST: &str = "%";

/// User and host: an account, or a role (whose host is empty in MariaDB).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name {
    pub(crate) user: String,
    pub(crate) host: String,
}

/// Returns the account of this name, as `'user'@'host'`. A name without a host becomes
/// `'user'@'%'`, as the servers read it.
///
/// # Errors
/// Fails if the server would refuse or alter the name.
pub(crate) fn account(name: &str) -> Result<Account, NameError> {
    let what = "an account";
    let parsed = Name::parse(name).map_err(|why| refused_name(what, name, why))?;
    Account::new(parsed.to_string()).map_err(|error| refused_name(what, name, error.why))
}

/// Returns the role of this name: bare if its host is `%` (MariaDB's roles have none), else as an
/// account.
///
/// # Errors
/// Fails if the server would refuse or alter the name.
pub(crate) fn role(name: &str) -> Result<RoleName, NameError> {
    let what = "a role";
    let refused = |why| refused_name(what, name, why);
    let parsed = Name::parse(name).map_err(refused)?;
    RoleName::new(parsed.as_role()).map_err(|error| refused(error.why))
}

impl Name {
    /// Reads `'user'@'host'` (a quote within is doubled), `user@host` or `user`.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let (user, host) = if text.starts_with('\'') {
            let (user, rest) = quoted_part(text).ok_or(HOW_QUOTED)?;
            let host = rest.strip_prefix('@').ok_or(HOW_QUOTED)?;
            match quoted_part(host) {
                Some((host, "")) => (user, host),
                _ => return Err(HOW_QUOTED),
            }
        } else {
            match text.rsplit_once('@') {
                Some((user, host)) => (user.to_owned(), host.to_owned()),
                None => (text.to_owned(), ANY_HOST.to_owned()),
            }
        };
        validate_user(&user)?;
        validate_host(&host)?;
        Ok(Self { user, host })
    }

    /// Returns the name for a user and a host of the catalog.
    pub(crate) fn of(user: impl Into<String>, host: impl Into<String>) -> Self {
        Self { user: user.into(), host: host.into() }
    }

    /// Returns the role as people read it and as policies name it.
    pub(crate) fn as_role(&self) -> String {
        let bare = (self.host == ANY_HOST || self.host.is_empty()) && !self.user.contains('@');
        if bare && !self.user.starts_with('\'') { self.user.clone() } else { self.to_string() }
    }

    /// Returns the name as written in a statement. Within backticks only a backtick has a meaning.
    pub(crate) fn quoted(&self) -> String {
        format!("{}@{}", backticked(&self.user), backticked(&self.host))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'@'{}'", self.user.replace('\'', "''"), self.host.replace('\'', "''"))
    }
}

/// Returns an identifier as written in a statement.
pub(crate) fn backticked(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Parses the names in a list as the servers' settings have it: `r1, 'r2'@'%', ``r3``@``%```.
/// Anything that is no name is left out.
pub(crate) fn listed(text: &str) -> Vec<Name> {
    let mut names = Vec::new();
    let (mut parts, mut part, mut quote) = (Vec::new(), String::new(), None);
    let mut characters = text.chars().chain([',']).peekable();
    while let Some(one) = characters.next() {
        match (one, quote) {
            (_, Some(end)) if one == end => {
                if characters.next_if_eq(&end).is_some() {
                    part.push(end);
                } else {
                    quote = None;
                }
            }
            ('`' | '\'' | '"', None) => quote = Some(one),
            ('@', None) => parts.push(std::mem::take(&mut part)),
            (',', None) => {
                parts.push(std::mem::take(&mut part));
                let mut named = std::mem::take(&mut parts).into_iter();
                if let Some(user) = named.next().filter(|user| !user.is_empty()) {
                    names.push(Name::of(user, named.next().unwrap_or_else(|| ANY_HOST.to_owned())));
                }
            }
            (_, None) if one.is_whitespace() => {}
            _ => part.push(one),
        }
    }
    names
}

const HOW_QUOTED: &str = "write it as 'user'@'host', with a quote within doubled";

/// Returns the text within the first pair of quotes, and the rest.
fn quoted_part(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('\'')?;
    let mut part = String::new();
    loop {
        let (before, after) = rest.split_once('\'')?;
        part.push_str(before);
        match after.strip_prefix('\'') {
            Some(after) => {
                part.push('\'');
                rest = after;
            }
            None => return Some((part, after)),
        }
    }
}

fn validate_user(user: &str) -> Result<(), &'static str> {
    if user.is_empty() {
        return Err("it is empty, and an anonymous account is anybody's");
    }
    if RESERVED.contains(&user.to_ascii_lowercase().as_str()) {
        return Err("the word is reserved, or the server's own: create one of another name");
    }
    if user.contains('\0') {
        return Err("it holds a NUL byte");
    }
    if user.chars().count() > LONGEST_USER {
        return Err("its user is longer than 32 characters");
    }
    if user.chars().any(|one| u32::from(one) > 0xFFFF) {
        return Err("the servers keep names in three bytes a character: one beyond U+FFFF would be altered");
    }
    if user.ends_with(' ') {
        return Err("the servers take blanks at the end off");
    }
    Ok(())
}

fn validate_host(host: &str) -> Result<(), &'static str> {
    if host.is_empty() {
        return Err("its host is empty: write % for any");
    }
    if host.len() > LONGEST_HOST {
        return Err("its host is longer than 255 characters");
    }
    if host.chars().any(|one| !one.is_ascii_graphic() || "'`\"\\".contains(one)) {
        return Err("its host holds what no host name, address or pattern does");
    }
    if host.chars().any(|one| one.is_ascii_uppercase()) {
        return Err("the servers write hosts in lower case: write it so");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_11_one_spelling_for_each_account_and_role() {
        let spelled = |name: &str| account(name).unwrap().to_string();
        for name in ["alice", "alice@%", "'alice'@'%'"] {
            assert_eq!(spelled(name), "'alice'@'%'");
        }
        assert_eq!(spelled("alice@localhost"), "'alice'@'localhost'");
        assert_eq!(spelled("O'Brien"), "'O''Brien'@'%'");
        assert_eq!(spelled("'O''Brien'@'10.0.%'"), "'O''Brien'@'10.0.%'");
        assert_eq!(spelled("'a@b'@'%'"), "'a@b'@'%'");
        for name in ["orders_write", "'orders_write'@'%'", "orders_write@%"] {
            assert_eq!(role(name).unwrap().as_str(), "orders_write");
        }
        assert_eq!(role("'r@x'@'%'").unwrap().as_str(), "'r@x'@'%'");
        assert_eq!(role("r@localhost").unwrap().as_str(), "'r'@'localhost'");
        // what is canonical stays what it is
        for name in ["alice", "O'Brien", "'a@b'@'%'", "'it''s'@'::1'"] {
            let once = spelled(name);
            assert_eq!(spelled(&once), once);
        }
    }

    #[test]
    fn law_06_mandatory_roles_are_read_however_they_are_written() {
        let listed = |text: &str| listed(text).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(listed(""), Vec::<String>::new());
        let text = "plain, here@localhost,'a,b'@'%' , `o``k`@`10.%`, \"x@y\"@\"%\"";
        assert_eq!(listed(text), ["'plain'@'%'", "'here'@'localhost'", "'a,b'@'%'", "'o`k'@'10.%'", "'x@y'@'%'"]);
    }

    #[test]
    fn law_11_what_the_server_would_refuse_or_alter_is_refused() {
        for name in ["", "@%", "a\0b", "a ", "''@'%'", "'a'", "'a'@", "'a'@'%'x", "a@", "a@LOCALHOST", "a@b c", "😀"]
        {
            assert!(account(name).is_err(), "{name:?}");
            assert!(role(name).is_err(), "{name:?}");
        }
        assert!(role("NONE").is_err() && role("default").is_err());
        assert!(account(&"é".repeat(32)).is_ok(), "characters count, not bytes");
        assert!(account(&"x".repeat(33)).is_err());
    }

    #[test]
    fn law_11_names_are_quoted() {
        assert_eq!(Name::parse("a`b\\c'd").unwrap().quoted(), "`a``b\\c'd`@`%`");
    }
}
