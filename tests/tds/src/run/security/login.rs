//! Logins and server roles.

use super::{cannot, exists_at_server, not_permitted, victim};
use crate::instance::{Instance, Key, Kind, Login, Undo, class};
use crate::run::Machine;
use crate::sql::ast::{Change, Stmt};
use crate::sql::random_guid;
use crate::{Stop, error};

impl Machine {
    pub(super) fn define_login(&self, w: &mut Instance, stmt: &Stmt) -> Result<(), Stop> {
        let spid = self.spid;
        match stmt {
            Stmt::CreateLogin { name, password, sid, database } => {
                if !w.may_server(spid, "CREATE LOGIN") {
                    return not_permitted();
                }
                if let Some(sid) = sid
                    && w.logins.values().any(|l| &l.sid == sid)
                {
                    return error(15433, "Supplied parameter sid is in use.");
                }
                self.add_login(w, name, Kind::Sql, password.clone(), sid.clone(), 1)?;
                let made = w.login_named(name).cloned();
                if let (Some(mut login), Some(database)) = (made, database) {
                    login.database.clone_from(database);
                    w.change(spid, Undo::Login(login.id, Some(login)));
                }
                Ok(())
            }
            Stmt::AlterLogin { name, rename, password, disable } => {
                let found = w.login_named(name).filter(|l| l.kind == Kind::Sql).cloned();
                let found = found.filter(|l| w.may_server_principal(spid, l.id, "ALTER"));
                let Some(mut login) = found else { return cannot("alter", "login", name) };
                w.lock(spid, 0, "login", login.id)?;
                if let Some(new) = rename {
                    if w.login_named(new).is_some_and(|l| l.id != login.id) {
                        return exists_at_server(new);
                    }
                    login.name.clone_from(new);
                }
                if password.is_some() {
                    login.password.clone_from(password);
                }
                login.disabled = disable.unwrap_or(login.disabled);
                w.change(spid, Undo::Login(login.id, Some(login)));
                Ok(())
            }
            Stmt::DropLogin(name) => {
                let found = w.login_named(name).filter(|l| l.kind == Kind::Sql && l.id != 1).cloned();
                let found = found
                    .filter(|l| w.may_server(spid, "ALTER ANY LOGIN") || w.may_server_principal(spid, l.id, "CONTROL"));
                let Some(login) = found else { return cannot("drop", "login", name) };
                w.lock(spid, 0, "login", login.id)?;
                if w.sessions.values().any(|s| s.contexts.first().is_some_and(|c| c.login == Some(login.id))) {
                    return error(15434, format!("Could not drop login '{name}' as the user is currently logged in."));
                }
                if w.databases.values().any(|d| d.owner == login.sid) {
                    return error(
                        15174,
                        format!(
                            "Login '{name}' owns one or more database(s). Change the owner of the database(s) before dropping the login."
                        ),
                    );
                }
                if w.logins.values().any(|l| l.kind == Kind::Role && l.owner == login.id) {
                    return error(15141, "The server principal owns a server role and cannot be dropped.");
                }
                forget_login(w, spid, login.id);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn add_login(
        &self,
        w: &mut Instance,
        name: &str,
        kind: Kind,
        password: Option<String>,
        sid: Option<Vec<u8>>,
        owner: i32,
    ) -> Result<(), Stop> {
        if w.login_named(name).is_some() {
            return exists_at_server(name);
        }
        let id = w.fresh_id();
        w.lock(self.spid, 0, "login", id)?;
        let sid = sid.unwrap_or_else(|| random_guid().to_vec());
        let login = Login {
            id,
            name: name.to_owned(),
            sid,
            kind,
            fixed: false,
            password,
            disabled: false,
            database: "master".into(),
            owner,
            created: w.now(),
        };
        w.change(self.spid, Undo::Login(id, Some(login)));
        Ok(())
    }

    pub(super) fn alter_server_role(&self, w: &mut Instance, name: &str, change: &Change) -> Result<(), Stop> {
        let spid = self.spid;
        let Some(role) = w.login_named(name).filter(|l| l.kind == Kind::Role).cloned() else {
            return cannot("alter", "server role", name);
        };
        if role.id == 2 {
            return error(15081, "Membership of the public role cannot be changed.");
        }
        // only a member changes the membership of a fixed role
        let me = w.session(spid).context().and_then(|c| c.login);
        let within = me.is_some_and(|l| w.sysadmin(l) || w.server_closure(l).contains(&role.id));
        let may =
            if role.fixed { w.session(spid).system || within } else { w.may_server_principal(spid, role.id, "ALTER") };
        if !may {
            return cannot("alter", "server role", name);
        }
        victim(w, spid)?;
        w.lock(spid, 0, "login", role.id)?;
        let (member, there) = match change {
            Change::Rename(new) => {
                if role.fixed {
                    return error(15150, format!("Cannot alter the server role '{name}'."));
                }
                if w.login_named(new).is_some_and(|l| l.id != role.id) {
                    return exists_at_server(new);
                }
                w.change(spid, Undo::Login(role.id, Some(Login { name: new.clone(), ..role })));
                return Ok(());
            }
            Change::Add(member) => (member, true),
            Change::Drop(member) => (member, false),
        };
        let verb = if there { "add" } else { "drop" };
        let Some(member) = w.login_named(member).map(|l| (l.id, l.fixed)) else {
            return cannot(verb, "server principal", member);
        };
        if member.0 == 1 {
            return error(15405, "Cannot use the special principal 'sa'.");
        }
        if there && (member.0 == role.id || w.server_closure(role.id).contains(&member.0)) {
            return error(15413, "Cannot make a role a member of itself.");
        }
        w.lock(spid, 0, "login", member.0)?;
        // the statement has no effect the second time, and no error
        if w.server_members.contains(&(role.id, member.0)) != there {
            w.change(spid, Undo::ServerMember((role.id, member.0), there));
        }
        Ok(())
    }
}

pub(super) fn forget_login(w: &mut Instance, spid: i32, id: i32) {
    let keys: Vec<Key> = w
        .server_permissions
        .keys()
        .filter(|k| k.2 == id || (k.0 == class::SERVER_PRINCIPAL && k.1 == id))
        .cloned()
        .collect();
    let members: Vec<(i32, i32)> = w.server_members.iter().filter(|(_, m)| *m == id).copied().collect();
    keys.into_iter().for_each(|key| w.change(spid, Undo::ServerPermission(key, None)));
    members.into_iter().for_each(|pair| w.change(spid, Undo::ServerMember(pair, false)));
    w.change(spid, Undo::Login(id, None));
}
