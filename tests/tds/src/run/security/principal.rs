//! Users and roles of a database.

use super::{cannot, exists_in_database, not_permitted, victim};
use crate::instance::{Grant, Instance, Key, Kind, Principal, Undo, class};
use crate::run::Machine;
use crate::sql::ast::{Change, Stmt};
use crate::sql::random_guid;
use crate::{Stop, error};

impl Machine {
    pub(super) fn define_user(&self, w: &mut Instance, database: i32, stmt: &Stmt) -> Result<(), Stop> {
        let spid = self.spid;
        match stmt {
            Stmt::CreateUser { name, login, password, without } => {
                if !w.may(spid, database, class::DATABASE, 0, "ALTER ANY USER") {
                    return not_permitted();
                }
                let Some(db) = w.databases.get(&database) else { return Ok(()) };
                if password.is_some() && !db.contained {
                    return error(33233, "You can only create a user with a password in a contained database.");
                }
                let sid = if *without || password.is_some() {
                    random_guid().to_vec()
                } else {
                    let login = login.as_ref().unwrap_or(name);
                    match w.login_named(login).filter(|l| l.kind == Kind::Sql) {
                        Some(l) => l.sid.clone(),
                        None => {
                            return error(
                                15007,
                                format!("'{login}' is not a valid login or you do not have permission."),
                            );
                        }
                    }
                };
                if db.named(name).is_some() {
                    return exists_in_database(name);
                }
                if db.principals.values().any(|p| p.sid.as_ref() == Some(&sid)) {
                    return error(15063, "The login already has an account under a different user name.");
                }
                self.add_principal(w, database, name, Kind::Sql, password.clone(), Some(sid), None)
            }
            Stmt::AlterUser { name, rename, password, login } => {
                let found = w
                    .databases
                    .get(&database)
                    .and_then(|d| d.named(name))
                    .filter(|p| p.kind == Kind::Sql && p.id > 4)
                    .cloned();
                let found = found.filter(|p| w.may(spid, database, class::PRINCIPAL, p.id, "ALTER"));
                let Some(mut user) = found else { return cannot("alter", "user", name) };
                w.lock(spid, database, "principal", user.id)?;
                if let Some(new) = rename {
                    if w.databases.get(&database).and_then(|d| d.named(new)).is_some_and(|p| p.id != user.id) {
                        return exists_in_database(new);
                    }
                    user.name.clone_from(new);
                }
                if let Some(login) = login {
                    match w.login_named(login).filter(|l| l.kind == Kind::Sql) {
                        Some(l) => user.sid = Some(l.sid.clone()),
                        None => {
                            return error(
                                15007,
                                format!("'{login}' is not a valid login or you do not have permission."),
                            );
                        }
                    }
                }
                if password.is_some() {
                    user.password.clone_from(password);
                }
                w.change(spid, Undo::Principal(database, user.id, Some(user)));
                Ok(())
            }
            Stmt::DropUser { name, if_exists } => {
                let found = w
                    .databases
                    .get(&database)
                    .and_then(|d| d.named(name))
                    .filter(|p| p.kind == Kind::Sql)
                    .map(|p| p.id);
                if found.is_none() && *if_exists {
                    return Ok(());
                }
                let Some(id) = found.filter(|id| w.may(spid, database, class::PRINCIPAL, *id, "ALTER")) else {
                    return cannot("drop", "user", name);
                };
                if id <= 4 {
                    return error(15150, format!("Cannot drop the user '{name}'."));
                }
                w.lock(spid, database, "principal", id)?;
                self.forget_principal(w, database, id)
            }
            _ => Ok(()),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the columns of a row")]
    pub(super) fn add_principal(
        &self,
        w: &mut Instance,
        database: i32,
        name: &str,
        kind: Kind,
        password: Option<String>,
        sid: Option<Vec<u8>>,
        owner: Option<i32>,
    ) -> Result<(), Stop> {
        let spid = self.spid;
        if w.databases.get(&database).is_some_and(|d| d.named(name).is_some()) {
            return exists_in_database(name);
        }
        let id = w.fresh_id();
        w.lock(spid, database, "principal", id)?;
        // roles have a SID too
        let sid = sid.or_else(|| Some(random_guid().to_vec()));
        let principal =
            Principal { id, name: name.to_owned(), sid, kind, fixed: false, password, owner, created: w.now() };
        w.change(spid, Undo::Principal(database, id, Some(principal)));
        if kind == Kind::Sql {
            let key: Key = (class::DATABASE, 0, id, "CONNECT".to_owned());
            w.change(spid, Undo::Permission(database, key, Some(Grant { state: 'G', grantor: 1 })));
        }
        Ok(())
    }

    pub(super) fn alter_role(&self, w: &mut Instance, database: i32, name: &str, change: &Change) -> Result<(), Stop> {
        let spid = self.spid;
        let Some(db) = w.databases.get(&database) else { return Ok(()) };
        let Some(role) = db.named(name).filter(|p| p.kind == Kind::Role).cloned() else {
            return cannot("alter", "role", name);
        };
        if role.id == 0 {
            return error(15081, "Membership of the public role cannot be changed.");
        }
        // only db_owner changes the members of fixed roles
        let may = if role.fixed {
            w.session(spid).system
                || w.user_in(spid, database).is_some_and(|u| u == 1 || db.closure(u).contains(&16384))
        } else {
            w.may(spid, database, class::PRINCIPAL, role.id, "ALTER")
        };
        if !may {
            return cannot("alter", "role", name);
        }
        victim(w, spid)?;
        w.lock(spid, database, "principal", role.id)?;
        let Some(db) = w.databases.get(&database) else { return Ok(()) };
        let (member, there) = match change {
            Change::Rename(new) => {
                if role.fixed {
                    return error(15150, format!("Cannot alter the role '{name}'."));
                }
                if db.named(new).is_some_and(|p| p.id != role.id) {
                    return exists_in_database(new);
                }
                w.change(spid, Undo::Principal(database, role.id, Some(Principal { name: new.clone(), ..role })));
                return Ok(());
            }
            Change::Add(member) => (member, true),
            Change::Drop(member) => (member, false),
        };
        let verb = if there { "add" } else { "drop" };
        let Some(id) = db.named(member).map(|p| p.id) else { return cannot(verb, "principal", member) };
        if id <= 4 || db.principals.get(&id).is_some_and(|p| p.fixed) {
            return error(15405, format!("Cannot use the special principal '{member}'."));
        }
        if there && (id == role.id || db.closure(role.id).contains(&id)) {
            return error(15413, "Cannot make a role a member of itself.");
        }
        // the statement has no effect the second time, and no error
        if db.members.contains(&(role.id, id)) != there {
            w.change(spid, Undo::Member(database, (role.id, id), there));
        }
        Ok(())
    }

    pub(super) fn drop_role(&self, w: &mut Instance, database: i32, name: &str, if_exists: bool) -> Result<(), Stop> {
        let spid = self.spid;
        let found = w
            .databases
            .get(&database)
            .and_then(|d| d.named(name))
            .filter(|p| p.kind == Kind::Role)
            .map(|p| (p.id, p.fixed));
        if found.is_none() && if_exists {
            return Ok(());
        }
        let Some((id, fixed)) = found.filter(|r| {
            w.may(spid, database, class::PRINCIPAL, r.0, "CONTROL")
                || w.may(spid, database, class::DATABASE, 0, "ALTER ANY ROLE")
        }) else {
            return cannot("drop", "role", name);
        };
        if fixed || id == 0 {
            return error(15150, format!("Cannot drop the role '{name}'."));
        }
        w.lock(spid, database, "principal", id)?;
        if w.databases.get(&database).is_some_and(|d| d.members.iter().any(|(r, _)| *r == id)) {
            return error(15144, "The role has members. It must be empty before it can be dropped.");
        }
        self.forget_principal(w, database, id)
    }

    pub(super) fn forget_principal(&self, w: &mut Instance, database: i32, id: i32) -> Result<(), Stop> {
        let spid = self.spid;
        let Some(db) = w.databases.get(&database) else { return Ok(()) };
        if db.schemas.values().any(|s| s.owner == id) {
            return error(15138, "The database principal owns a schema in the database, and cannot be dropped.");
        }
        if db.principals.values().any(|p| p.owner == Some(id)) {
            return error(15138, "The database principal owns a database role and cannot be dropped.");
        }
        let granted = |(k, g): (&Key, &Grant)| k.2 != id && g.grantor == id;
        if db.permissions.iter().any(granted) {
            return error(
                15284,
                "The database principal has granted or denied permissions to objects in the database and cannot be dropped.",
            );
        }
        let keys: Vec<Key> =
            db.permissions.keys().filter(|k| k.2 == id || (k.0 == class::PRINCIPAL && k.1 == id)).cloned().collect();
        let members: Vec<(i32, i32)> = db.members.iter().filter(|(_, m)| *m == id).copied().collect();
        keys.into_iter().for_each(|key| w.change(spid, Undo::Permission(database, key, None)));
        members.into_iter().for_each(|pair| w.change(spid, Undo::Member(database, pair, false)));
        w.change(spid, Undo::Principal(database, id, None));
        Ok(())
    }
}
