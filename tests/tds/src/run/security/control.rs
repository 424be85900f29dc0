//! Permissions: GRANT, DENY, REVOKE, and ownership.

use super::cannot;
use crate::instance::{Database, Grant, Instance, Key, Kind, Login, Principal, Schema, Undo, class};
use crate::run::Machine;
use crate::sql::ast::Securable;
use crate::{Stop, error};

/// Permissions of the whole server without `SERVER` in their name.
const OF_THE_SERVER: [&str; 14] = [
    "ALTER ANY CONNECTION",
    "ALTER ANY DATABASE",
    "ALTER ANY LOGIN",
    "ALTER SETTINGS",
    "CONNECT ANY DATABASE",
    "CONNECT SQL",
    "CREATE ANY DATABASE",
    "CREATE LOGIN",
    "IMPERSONATE ANY LOGIN",
    "SELECT ALL USER SECURABLES",
    "SHUTDOWN",
    "UNSAFE ASSEMBLY",
    "VIEW ANY DATABASE",
    "VIEW ANY DEFINITION",
];

fn of_the_server(permission: &str) -> bool {
    OF_THE_SERVER.contains(&permission) || permission.split(' ').any(|word| word == "SERVER")
}

impl Machine {
    /// Runs GRANT, DENY and REVOKE.
    pub(super) fn control(
        &self,
        w: &mut Instance,
        database: i32,
        how: (char, bool),
        permissions: &[String],
        on: &Securable,
        to: &[String],
    ) -> Result<(), Stop> {
        let spid = self.spid;
        let at_server = match on {
            Securable::ServerPrincipal(_) => true,
            Securable::Whole => permissions.iter().any(|p| of_the_server(p)),
            _ => false,
        };
        self.writable(w, if at_server { 1 } else { database })?;
        if at_server {
            if database != 1 {
                return error(
                    4621,
                    "Permissions at the server scope can only be granted when the current database is master",
                );
            }
            return self.control_server(w, how, permissions, on, to);
        }
        let Some(db) = w.databases.get(&database) else { return Ok(()) };
        let (kind, major, what) = match on {
            Securable::Object(name) => {
                let (schema, table) = match name.as_slice() {
                    [.., s, t] => (s.as_str(), t.as_str()),
                    [t] => ("", t.as_str()),
                    [] => ("", ""),
                };
                (class::OBJECT, db.object_named(schema, table), ("object", table.to_owned()))
            }
            Securable::Schema(name) => (class::SCHEMA, db.schema_named(name).map(|s| s.id), ("schema", name.clone())),
            Securable::Principal(name) => (class::PRINCIPAL, db.named(name).map(|p| p.id), ("principal", name.clone())),
            Securable::Database(name) => {
                let same = w.database_named(name).is_some_and(|d| d.id == database);
                (class::DATABASE, same.then_some(0), ("database", name.clone()))
            }
            _ => (class::DATABASE, Some(0), ("database", db.name.clone())),
        };
        let Some(major) = major else { return cannot("find", what.0, &what.1) };
        let me = w.user_in(spid, database).unwrap_or(0);
        for permission in permissions {
            let holds = db
                .closure(me)
                .iter()
                .any(|id| db.permissions.get(&(kind, major, *id, permission.clone())).is_some_and(|g| g.state == 'W'));
            let security = db.closure(me).contains(&16386) && kind != class::PRINCIPAL;
            if !holds && !security && !w.may(spid, database, kind, major, "CONTROL") {
                // an object that the session may not see does not exist for it
                return if w.may(spid, database, kind, major, permission) || kind == class::DATABASE {
                    error(4613, "Grantor does not have GRANT permission.")
                } else {
                    cannot("find", what.0, &what.1)
                };
            }
        }
        let mut changes = Vec::new();
        for name in to {
            let Some(grantee) = db.named(name).map(|p| p.id) else { return cannot("find", "user", name) };
            if matches!(grantee, 1 | 3 | 4) || grantee == me {
                return error(
                    4624,
                    "Cannot grant, deny, or revoke permissions to sa, dbo, entity owner, information_schema, sys, or yourself.",
                );
            }
            for permission in permissions {
                let key: Key = (kind, major, grantee, permission.clone());
                let held = db.permissions.get(&key).map(|g| g.state);
                changes.push((
                    grantee,
                    key,
                    after(how, held).map(|state| Grant { state, grantor: if w.session(spid).system { 1 } else { me } }),
                ));
            }
        }
        for (grantee, key, grant) in changes {
            w.lock(spid, database, "principal", grantee)?;
            w.change(spid, Undo::Permission(database, key, grant));
        }
        Ok(())
    }

    pub(super) fn control_server(
        &self,
        w: &mut Instance,
        how: (char, bool),
        permissions: &[String],
        on: &Securable,
        to: &[String],
    ) -> Result<(), Stop> {
        let spid = self.spid;
        let (kind, major) = match on {
            Securable::ServerPrincipal(name) => match w.login_named(name) {
                Some(l) => (class::SERVER_PRINCIPAL, l.id),
                None => return cannot("find", "login", name),
            },
            _ => (class::SERVER, 0),
        };
        let me = w.session(spid).context().and_then(|c| c.login).unwrap_or(1);
        let control = w.may_server(spid, "CONTROL SERVER")
            || (kind == class::SERVER_PRINCIPAL && w.may_server_principal(spid, major, "CONTROL"));
        // securityadmin grants the permissions of the server
        let security = kind == class::SERVER && w.server_closure(me).contains(&4);
        let option = permissions.iter().all(|p| {
            w.server_closure(me)
                .iter()
                .any(|id| w.server_permissions.get(&(kind, major, *id, p.clone())).is_some_and(|g| g.state == 'W'))
        });
        if !(control || security || option) {
            return error(4613, "Grantor does not have GRANT permission.");
        }
        let mut changes = Vec::new();
        for name in to {
            let Some(grantee) = w.login_named(name).map(|l| l.id) else { return cannot("find", "login", name) };
            if grantee == 1 || (grantee == me && !w.session(spid).system) {
                return error(
                    4624,
                    "Cannot grant, deny, or revoke permissions to sa, dbo, entity owner, information_schema, sys, or yourself.",
                );
            }
            for permission in permissions {
                let key: Key = (kind, major, grantee, permission.clone());
                let held = w.server_permissions.get(&key).map(|g| g.state);
                changes.push((grantee, key, after(how, held).map(|state| Grant { state, grantor: me })));
            }
        }
        for (grantee, key, grant) in changes {
            w.lock(spid, 0, "login", grantee)?;
            w.change(spid, Undo::ServerPermission(key, grant));
        }
        Ok(())
    }

    pub(super) fn alter_authorization(
        &self,
        w: &mut Instance,
        database: i32,
        on: &Securable,
        to: &str,
    ) -> Result<(), Stop> {
        let spid = self.spid;
        let Some(db) = w.databases.get(&database) else { return Ok(()) };
        match on {
            Securable::Principal(name) => {
                let found = db.named(name).filter(|p| p.kind == Kind::Role).cloned();
                let Some(role) = found.filter(|p| w.may(spid, database, class::PRINCIPAL, p.id, "TAKE OWNERSHIP"))
                else {
                    return cannot("find", "role", name);
                };
                let Some(owner) = db.named(to).map(|p| p.id) else { return cannot("find", "principal", to) };
                w.lock(spid, database, "principal", role.id)?;
                w.change(spid, Undo::Principal(database, role.id, Some(Principal { owner: Some(owner), ..role })));
                Ok(())
            }
            Securable::Schema(name) => {
                let found = db.schema_named(name).cloned();
                let Some(schema) = found.filter(|s| w.may(spid, database, class::SCHEMA, s.id, "TAKE OWNERSHIP"))
                else {
                    return cannot("find", "schema", name);
                };
                let Some(owner) = db.named(to).map(|p| p.id) else { return cannot("find", "principal", to) };
                w.lock(spid, database, "schema", schema.id)?;
                w.change(spid, Undo::Schema(database, schema.id, Some(Schema { owner, ..schema })));
                Ok(())
            }
            Securable::ServerPrincipal(name) => {
                let found = w.login_named(name).filter(|l| l.kind == Kind::Role && !l.fixed).cloned();
                let Some(role) = found.filter(|l| w.may_server_principal(spid, l.id, "TAKE OWNERSHIP")) else {
                    return cannot("find", "server role", name);
                };
                let Some(owner) = w.login_named(to).map(|l| l.id) else {
                    return cannot("find", "server principal", to);
                };
                w.lock(spid, 0, "login", role.id)?;
                w.change(spid, Undo::Login(role.id, Some(Login { owner, ..role })));
                Ok(())
            }
            Securable::Database(name) => {
                let Some(id) = w
                    .database_named(name)
                    .map(|d| d.id)
                    .filter(|id| w.may(spid, *id, class::DATABASE, 0, "TAKE OWNERSHIP"))
                else {
                    return cannot("find", "database", name);
                };
                let Some(sid) = w.login_named(to).map(|l| l.sid.clone()) else {
                    return cannot("find", "principal", to);
                };
                let Some(db) = w.databases.get(&id) else { return Ok(()) };
                if db.principals.values().any(|p| p.sid.as_ref() == Some(&sid) && p.id != 1) {
                    return error(
                        15110,
                        "The proposed new database owner is already a user or aliased in the database.",
                    );
                }
                let owned = Database { owner: sid, ..db.clone() };
                w.change(spid, Undo::Database(id, Some(Box::new(owned))));
                Ok(())
            }
            Securable::Whole | Securable::Object(_) => {
                error(15151, "Cannot find the object, because it does not exist or you do not have permission.")
            }
        }
    }
}

/// Returns the state of a permission after GRANT, DENY or REVOKE. `None`: the permission is not
/// held.
fn after((statement, option): (char, bool), held: Option<char>) -> Option<char> {
    match (statement, option, held) {
        // a plain GRANT leaves an existing grant option
        ('G', false, Some('W')) | ('G', true, _) => Some('W'),
        ('G', ..) => Some('G'),
        ('D', ..) => Some('D'),
        // REVOKE GRANT OPTION FOR leaves the permission
        (_, true, Some('W')) => Some('G'),
        (_, true, held) => held,
        _ => None,
    }
}
