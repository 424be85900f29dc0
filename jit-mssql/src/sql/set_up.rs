//! Script that sets a database up from nothing, or repairs it. It is for sqlcmd, which fills in the
//! variable `password`.

use jit_core::id::RoleName;

use super::Scope;
use super::dead_mans_switch::make;
use crate::account::{bare, literal, quoted};

/// Target, broker and roles that the script is for.
#[derive(Debug)]
pub(crate) struct SetUp<'a> {
    pub(crate) scope: Scope,
    pub(crate) database: &'a str,
    pub(crate) login: &'a str,
    /// User of the login in the database.
    pub(crate) user: &'a str,
    pub(crate) roles: &'a [RoleName],
}

impl SetUp<'_> {
    /// Returns the whole script.
    pub(crate) fn script(&self) -> String {
        let parts = match self.scope {
            Scope::AzureDatabase => [self.contained_user(), self.roles(), String::new()],
            Scope::Database | Scope::Server => {
                let switch = make(self.scope, self.database, self.login, self.user);
                [self.login(), self.roles(), format!("{switch}\n")]
            }
        };
        format!(
            "{BEGIN}{}PRINT N'jit is set up here: jit doctor, or Jit::check_target in a service, says what else there is'\nGO\n",
            parts.concat()
        )
    }

    fn login(&self) -> String {
        let (at, login, user) = (quoted(self.database), quoted(self.login), quoted(self.user));
        let (login_name, user_name) = (literal(self.login), literal(self.user));
        let sees = match self.scope {
            Scope::Server => format!("GRANT VIEW ANY DEFINITION TO {login} -- sees who is in a role\n"),
            Scope::Database | Scope::AzureDatabase => String::new(),
        };
        let come_in = match self.scope {
            Scope::Database | Scope::AzureDatabase => {
                format!("GRANT VIEW DEFINITION TO {user} -- sees who is in a role\nGO\n")
            }
            Scope::Server => String::new(),
        };
        format!(
            "USE [master]\nGO\n\
             IF EXISTS (SELECT 1 FROM sys.server_role_members m JOIN sys.server_principals r ON r.principal_id = m.role_principal_id\n    \
             JOIN sys.server_principals p ON p.principal_id = m.member_principal_id WHERE r.name = N'sysadmin' AND p.name = {login_name})\n  \
             THROW 50011, N'jit is not set up: the login is in sysadmin, and jit needs one of its own', 1;\n\
             IF NOT EXISTS (SELECT 1 FROM sys.server_principals p WHERE p.name = {login_name})\n  \
             CREATE LOGIN {login} WITH PASSWORD = N'$(password)';\n\
             ELSE IF N'$(password)' <> N''\n  \
             ALTER LOGIN {login} WITH PASSWORD = N'$(password)';\n\
             GO\n\
             GRANT ALTER ANY CONNECTION TO {login} -- ends sessions\n\
             GRANT VIEW SERVER STATE TO {login} -- sees them\n\
             {sees}GO\n\
             USE {at}\nGO\n\
             IF EXISTS (SELECT 1 FROM sys.database_principals u WHERE u.name = {user_name}\n    \
             AND NOT EXISTS (SELECT 1 FROM sys.server_principals p WHERE p.name = {login_name} AND p.sid = u.sid))\n  \
             THROW 50011, N'jit is not set up: the user of this name is not the login''s: drop it', 1;\n\
             IF NOT EXISTS (SELECT 1 FROM sys.database_principals u WHERE u.name = {user_name})\n  \
             CREATE USER {user} FOR LOGIN {login};\n\
             GO\n{come_in}"
        )
    }

    /// Makes the broker as a contained user. Azure SQL Database has users of its databases, and no
    /// agent for a dead man's switch.
    fn contained_user(&self) -> String {
        let (user, name) = (quoted(self.login), literal(self.login));
        format!(
            "IF NOT EXISTS (SELECT 1 FROM sys.database_principals u WHERE u.name = {name})\n  \
             CREATE USER {user} WITH PASSWORD = N'$(password)';\n\
             ELSE IF N'$(password)' <> N''\n  \
             ALTER USER {user} WITH PASSWORD = N'$(password)';\n\
             GO\n\
             GRANT KILL DATABASE CONNECTION TO {user} -- ends sessions\n\
             GRANT VIEW DATABASE STATE TO {user} -- sees them\n\
             GRANT VIEW DEFINITION TO {user} -- sees who is in a role\n\
             GO\n"
        )
    }

    /// Makes the roles that are missing, which can do nothing yet, and lets the broker change all
    /// of them.
    fn roles(&self) -> String {
        let (kind, catalog, to) = match self.scope {
            Scope::Database => ("ROLE", "sys.database_principals", quoted(self.user)),
            Scope::AzureDatabase => ("ROLE", "sys.database_principals", quoted(self.login)),
            Scope::Server => ("SERVER ROLE", "sys.server_principals", quoted(self.login)),
        };
        let each = self.roles.iter().map(|role| {
            let (name, role) = (literal(bare(role)), quoted(bare(role)));
            format!(
                "IF NOT EXISTS (SELECT 1 FROM {catalog} r WHERE r.name = {name} AND r.type = 'R') CREATE {kind} {role};\nGO\n\
                 GRANT ALTER ON {kind}::{role} TO {to} -- gives it to people\nGO\n"
            )
        });
        each.collect()
    }
}

const BEGIN: &str = "\
-- Sets up what jit needs here, or repairs it, as often as it is run. It takes over nothing that a stranger made: then it fails.
-- For sqlcmd, by a sysadmin. The password is the new login's; an account that is there gets it too, and keeps its own where it is empty:
--   jit doctor --sql TARGET > jit.sql && sqlcmd -b -v password=\"...\" -i jit.sql
:on error exit
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_11_names_are_quoted_wherever_they_stand() {
        let roles = [RoleName::new("r]'").unwrap()];
        for scope in [Scope::Database, Scope::AzureDatabase, Scope::Server] {
            let text = SetUp { scope, database: "d]'", login: "l]'", user: "u]'", roles: &roles }.script();
            assert!(!text.contains('{') && !text.contains('}'), "{text}");
            for name in ["r", "l"] {
                assert!(text.contains(&format!("[{name}]]']")) && text.contains(&format!("N'{name}]'''")), "{text}");
            }
            // Only what sqlcmd fills in stands there, and always in quotes.
            assert_eq!(text.matches("$(").count(), text.matches("N'$(password)'").count());
        }
    }
}
