//! Permission checks. The hierarchy and the fixed roles follow the permissions chapter of the
//! documentation.

use std::collections::BTreeSet;

use super::{Context, Instance};

/// Classes of securables, with the numbers of sys.database_permissions.
pub(crate) const DATABASE: u8 = 0;
pub(crate) const OBJECT: u8 = 1;
pub(crate) const SCHEMA: u8 = 3;
pub(crate) const PRINCIPAL: u8 = 4;
pub(crate) const SERVER: u8 = 100;
pub(crate) const SERVER_PRINCIPAL: u8 = 101;

impl Instance {
    /// Returns the login with its server roles, including `public` (2).
    pub(crate) fn server_closure(&self, id: i32) -> BTreeSet<i32> {
        let mut out: BTreeSet<i32> = [id, 2].into();
        loop {
            let more: Vec<i32> = self
                .server_members
                .iter()
                .filter(|(r, m)| out.contains(m) && !out.contains(r))
                .map(|(r, _)| *r)
                .collect();
            if more.is_empty() {
                return out;
            }
            out.extend(more);
        }
    }

    /// Checks whether the session has a permission on the server.
    pub(crate) fn may_server(&self, spid: i32, permission: &str) -> bool {
        let session = self.session(spid);
        session.system
            || session
                .context()
                .is_some_and(|c| c.user.is_none() && c.login.is_some_and(|l| self.login_may(l, permission)))
    }

    pub(crate) fn sysadmin(&self, login: i32) -> bool {
        self.server_closure(login).contains(&3)
    }

    pub(crate) fn login_may(&self, login: i32, permission: &str) -> bool {
        let closure = self.server_closure(login);
        if closure.contains(&3) {
            return true;
        }
        let covering = covering_server(permission);
        let held = |state: fn(char) -> bool| {
            covering.iter().any(|p| {
                closure.iter().any(|id| {
                    self.server_permissions.get(&(SERVER, 0, *id, (*p).to_owned())).is_some_and(|g| state(g.state))
                })
            })
        };
        let fixed = covering.iter().any(|p| {
            (closure.contains(&4) && *p == "ALTER ANY LOGIN")
                || (closure.contains(&7) && matches!(*p, "ALTER ANY CONNECTION" | "ALTER SERVER STATE"))
                || (closure.contains(&5) && matches!(*p, "ALTER SERVER STATE" | "ALTER SETTINGS" | "SHUTDOWN"))
                || (closure.contains(&9) && matches!(*p, "CREATE ANY DATABASE" | "ALTER ANY DATABASE"))
        });
        // unless denied, everybody may connect and see the names of databases
        let public = matches!(permission, "CONNECT SQL" | "VIEW ANY DATABASE");
        !held(|s| s == 'D') && (fixed || public || held(|s| s != 'D'))
    }

    /// Checks whether the session has a permission on one login or server role.
    pub(crate) fn may_server_principal(&self, spid: i32, id: i32, permission: &str) -> bool {
        let session = self.session(spid);
        if session.system || self.may_server(spid, "CONTROL SERVER") {
            return true;
        }
        let Some(login) = session.context().filter(|c| c.user.is_none()).and_then(|c| c.login) else { return false };
        let closure = self.server_closure(login);
        let kind = self.logins.get(&id).map(|l| (l.kind, l.owner));
        let any = match (permission, kind) {
            ("VIEW DEFINITION", _) if self.may_server(spid, "VIEW ANY DEFINITION") => true,
            (_, Some((super::Kind::Role, _))) => self.may_server(spid, "ALTER ANY SERVER ROLE"),
            _ => self.may_server(spid, "ALTER ANY LOGIN"),
        };
        any || kind.is_some_and(|(_, owner)| owner != 1 && closure.contains(&owner))
            || closure.iter().any(|g| {
                [permission, "CONTROL"].iter().any(|p| {
                    self.server_permissions
                        .get(&(SERVER_PRINCIPAL, id, *g, (*p).to_owned()))
                        .is_some_and(|g| g.state != 'D')
                })
            })
    }

    /// Returns the user that the session acts as in a database.
    pub(crate) fn user_in(&self, spid: i32, database: i32) -> Option<i32> {
        let session = self.session(spid);
        if session.system {
            return Some(1);
        }
        self.user_of(session.context()?, database)
    }

    pub(crate) fn user_of(&self, context: &Context, database: i32) -> Option<i32> {
        if let Some((db, user)) = context.user {
            let there = self.databases.get(&db)?.principals.contains_key(&user);
            return match (db == database, there) {
                (true, true) => Some(user),
                (false, _) if self.databases.get(&database)?.guests() => Some(2),
                _ => None,
            };
        }
        let login = context.login?;
        let db = self.databases.get(&database)?;
        // the sessions of a dropped login have no permissions
        if !self.logins.contains_key(&login) {
            return None;
        }
        if self.login_may(login, "CONTROL SERVER") || db.owner == context.sid {
            return Some(1);
        }
        let own = db.principals.values().find(|p| p.sid.as_ref() == Some(&context.sid) && p.id > 4).map(|p| p.id);
        own.or_else(|| if db.guests() { Some(2) } else { None })
    }

    /// Checks whether the session has a permission in a database.
    pub(crate) fn may(&self, spid: i32, database: i32, class: u8, major: i32, permission: &str) -> bool {
        if self.session(spid).system {
            return true;
        }
        if class == OBJECT && self.chained(spid, database, major, permission) {
            return true;
        }
        if class == DATABASE && permission == "VIEW DEFINITION" && self.may_server(spid, "VIEW ANY DEFINITION") {
            return true;
        }
        self.user_in(spid, database).is_some_and(|user| self.user_may(database, user, class, major, permission))
    }

    /// Checks for an ownership chain: a procedure's caller needs no permission on rows of the
    /// procedure's owner.
    fn chained(&self, spid: i32, database: i32, object: i32, permission: &str) -> bool {
        let owner = self.databases.get(&database).and_then(|d| d.schemas.get(&d.schema_of(object)?).map(|s| s.owner));
        matches!(permission, "SELECT" | "INSERT" | "UPDATE" | "DELETE" | "EXECUTE")
            && owner.is_some_and(|owner| self.session(spid).chain == Some((database, owner)))
    }

    pub(crate) fn user_may(&self, database: i32, user: i32, class: u8, major: i32, permission: &str) -> bool {
        let Some(db) = self.databases.get(&database) else { return false };
        if user == 1 {
            return true;
        }
        let closure = db.closure(user);
        let schema = match class {
            OBJECT => db.schema_of(major).unwrap_or(1),
            _ => major,
        };
        let is_role = db.principals.get(&major).is_some_and(|p| p.kind == super::Kind::Role);
        let covering = covering(class, major, schema, is_role, permission);
        let held = |state: fn(char) -> bool| {
            covering.iter().any(|(c, m, p)| {
                closure
                    .iter()
                    .any(|id| db.permissions.get(&(*c, *m, *id, (*p).to_owned())).is_some_and(|g| state(g.state)))
            })
        };
        if held(|s| s == 'D') {
            return false;
        }
        let data = class == OBJECT || class == SCHEMA;
        if data && permission == "SELECT" && closure.contains(&16392) {
            return false;
        }
        if data && matches!(permission, "INSERT" | "UPDATE" | "DELETE") && closure.contains(&16393) {
            return false;
        }
        let owns = match class {
            PRINCIPAL => db.principals.get(&major).and_then(|p| p.owner).is_some_and(|o| closure.contains(&o)),
            SCHEMA | OBJECT => db.schemas.get(&schema).is_some_and(|s| closure.contains(&s.owner)),
            _ => false,
        };
        let fixed = closure.contains(&16384)
            || covering.iter().any(|(c, _, p)| match (*c, *p) {
                (DATABASE, "ALTER ANY USER") => closure.contains(&16385),
                (DATABASE, "ALTER ANY ROLE" | "VIEW DEFINITION" | "CREATE ROLE" | "CREATE SCHEMA") => {
                    closure.contains(&16386)
                }
                (DATABASE, "ALTER ANY SCHEMA" | "CREATE TABLE" | "CREATE PROCEDURE") => closure.contains(&16387),
                (DATABASE, "SELECT") => data && closure.contains(&16390),
                (DATABASE, "INSERT" | "UPDATE" | "DELETE") => data && closure.contains(&16391),
                (DATABASE, "CONNECT") => user != 2,
                _ => false,
            });
        fixed || owns || held(|s| s != 'D')
    }
}

/// Returns the permission and those that imply it, on the server.
fn covering_server(permission: &str) -> Vec<&str> {
    let mut out = vec![permission];
    match permission {
        "VIEW SERVER STATE" => out.push("ALTER SERVER STATE"),
        "VIEW SERVER PERFORMANCE STATE" | "VIEW SERVER SECURITY STATE" => {
            out.extend(["VIEW SERVER STATE", "ALTER SERVER STATE"])
        }
        "CREATE SERVER ROLE" => out.push("ALTER ANY SERVER ROLE"),
        "CREATE LOGIN" => out.push("ALTER ANY LOGIN"),
        "CREATE ANY DATABASE" => out.push("ALTER ANY DATABASE"),
        _ => {}
    }
    out.push("CONTROL SERVER");
    out
}

/// Returns the permission and those that imply it, each with its securable.
fn covering(class: u8, major: i32, schema: i32, is_role: bool, permission: &str) -> Vec<(u8, i32, &str)> {
    let mut out = vec![(class, major, permission), (class, major, "CONTROL")];
    match class {
        OBJECT => {
            out.extend([(SCHEMA, schema, permission), (SCHEMA, schema, "CONTROL"), (DATABASE, 0, permission)]);
            if permission == "ALTER" {
                out.push((DATABASE, 0, "ALTER ANY SCHEMA"));
            }
        }
        SCHEMA => {
            out.push((DATABASE, 0, permission));
            if permission == "ALTER" {
                out.push((DATABASE, 0, "ALTER ANY SCHEMA"));
            }
        }
        PRINCIPAL => match permission {
            "ALTER" => out.extend([
                (DATABASE, 0, if is_role { "ALTER ANY ROLE" } else { "ALTER ANY USER" }),
                (DATABASE, 0, "ALTER"),
            ]),
            "VIEW DEFINITION" => out.push((DATABASE, 0, "VIEW DEFINITION")),
            _ => {}
        },
        _ => match permission {
            "ALTER ANY ROLE" | "ALTER ANY USER" | "ALTER ANY SCHEMA" => out.push((DATABASE, 0, "ALTER")),
            "CREATE ROLE" => out.extend([(DATABASE, 0, "ALTER ANY ROLE"), (DATABASE, 0, "ALTER")]),
            "CREATE SCHEMA" => out.extend([(DATABASE, 0, "ALTER ANY SCHEMA"), (DATABASE, 0, "ALTER")]),
            "CREATE TABLE" | "CREATE PROCEDURE" => out.push((DATABASE, 0, "ALTER")),
            _ => {}
        },
    }
    out.push((DATABASE, 0, "CONTROL"));
    out
}
