//! Data definition and data control: principals, roles, permissions, schemas, tables, databases.

mod control;
mod login;
mod object;
mod principal;

use super::Machine;
use crate::instance::{Instance, Kind, Undo, class, deadlock};
use crate::sql::ast::Stmt;
use crate::{Stop, error};

impl Machine {
    pub(super) fn define(&mut self, w: &mut Instance, stmt: &Stmt) -> Result<(), Stop> {
        let spid = self.spid;
        let database = w.session(spid).database;
        match stmt {
            Stmt::CreateLogin { .. } | Stmt::AlterLogin { .. } | Stmt::DropLogin(_) => {
                self.writable(w, 1)?;
                self.define_login(w, stmt)
            }
            Stmt::CreateRole { name, owner, server: true } => {
                self.writable(w, 1)?;
                if !w.may_server(spid, "CREATE SERVER ROLE") {
                    return not_permitted();
                }
                let me = w.session(spid).context().and_then(|c| c.login).unwrap_or(1);
                let owner = match owner {
                    Some(o) => match w.login_named(o) {
                        Some(l) => l.id,
                        None => return cannot("find", "server principal", o),
                    },
                    None => me,
                };
                self.add_login(w, name, Kind::Role, None, None, owner)
            }
            Stmt::AlterRole { name, change, server: true } => {
                self.writable(w, 1)?;
                self.alter_server_role(w, name, change)
            }
            Stmt::DropRole { name, server: true, .. } => {
                self.writable(w, 1)?;
                let role = w.login_named(name).filter(|l| l.kind == Kind::Role).map(|l| (l.id, l.fixed));
                let Some((id, fixed)) = role.filter(|r| w.may_server_principal(spid, r.0, "CONTROL")) else {
                    return cannot("drop", "server role", name);
                };
                if fixed || id == 2 {
                    return error(15150, format!("Cannot drop the server role '{name}'."));
                }
                w.lock(spid, 0, "login", id)?;
                if w.server_members.iter().any(|(r, _)| *r == id) {
                    return error(15144, "The role has members. It must be empty before it can be dropped.");
                }
                login::forget_login(w, spid, id);
                Ok(())
            }
            Stmt::CreateUser { .. } | Stmt::AlterUser { .. } | Stmt::DropUser { .. } => {
                self.writable(w, database)?;
                self.define_user(w, database, stmt)
            }
            Stmt::CreateRole { name, owner, .. } => {
                self.writable(w, database)?;
                if !w.may(spid, database, class::DATABASE, 0, "CREATE ROLE") {
                    return not_permitted();
                }
                let owner = match owner {
                    Some(o) => match w.databases.get(&database).and_then(|d| d.named(o)) {
                        Some(p) => p.id,
                        None => return cannot("find", "principal", o),
                    },
                    None => w.user_in(spid, database).unwrap_or(1),
                };
                self.add_principal(w, database, name, Kind::Role, None, None, Some(owner))
            }
            Stmt::AlterRole { name, change, .. } => {
                self.writable(w, database)?;
                self.alter_role(w, database, name, change)
            }
            Stmt::DropRole { name, if_exists, .. } => {
                self.writable(w, database)?;
                self.drop_role(w, database, name, *if_exists)
            }
            Stmt::Permission { state, permissions, on, to, option } => {
                self.control(w, database, (*state, *option), permissions, on, to)
            }
            Stmt::CreateSchema { name, owner } => {
                self.writable(w, database)?;
                self.create_schema(w, database, name, owner.as_deref())
            }
            Stmt::DropSchema(name) => {
                self.writable(w, database)?;
                let found = w.databases.get(&database).and_then(|d| d.schema_named(name)).map(|s| s.id);
                let Some(id) = found.filter(|id| w.may(spid, database, class::SCHEMA, *id, "CONTROL")) else {
                    return cannot("drop", "schema", name);
                };
                if w.databases.get(&database).is_some_and(|d| d.schema_in_use(id)) {
                    return error(
                        3729,
                        format!("Cannot drop schema '{name}' because it is being referenced by an object."),
                    );
                }
                w.lock(spid, database, "schema", id)?;
                w.change(spid, Undo::Schema(database, id, None));
                Ok(())
            }
            Stmt::CreateTable { name, columns } => {
                self.writable(w, database)?;
                self.create_table(w, database, name, columns)
            }
            Stmt::CreateProcedure { name, routine, runs_as, or_alter } => {
                self.writable(w, database)?;
                self.create_procedure(w, database, name, (routine, runs_as.as_deref(), *or_alter))
            }
            Stmt::CreateTrigger { name, on, body } => {
                self.writable(w, database)?;
                self.create_trigger(w, database, name, on.as_deref(), body)
            }
            Stmt::DropProcedure { name, if_exists } => {
                self.writable(w, database)?;
                self.drop_procedure(w, database, name, *if_exists)
            }
            Stmt::DropTable { names, if_exists } => {
                self.writable(w, database)?;
                names.iter().try_for_each(|name| self.drop_table(w, database, name, *if_exists))
            }
            Stmt::AlterAuthorization { on, to } => {
                self.writable(w, database)?;
                self.alter_authorization(w, database, on, to)
            }
            Stmt::CreateDatabase { .. } | Stmt::AlterDatabase { .. } | Stmt::DropDatabase(_) => {
                self.define_database(w, stmt)
            }
            other => error(40510, format!("Statement '{other:?}' is not supported in this version of SQL Server.")),
        }
    }
}

/// Returns error 15151, which does not tell a missing principal from a forbidden one.
fn cannot<T>(verb: &str, kind: &str, name: &str) -> Result<T, Stop> {
    error(15151, format!("Cannot {verb} the {kind} '{name}', because it does not exist or you do not have permission."))
}

fn not_permitted<T>() -> Result<T, Stop> {
    error(15247, "User does not have permission to perform this action.")
}

fn exists_in_database<T>(name: &str) -> Result<T, Stop> {
    error(15023, format!("User, group, or role '{name}' already exists in the current database."))
}

fn exists_at_server<T>(name: &str) -> Result<T, Stop> {
    error(15025, format!("The server principal '{name}' already exists."))
}

/// Returns one of the deadlock errors that the test asked for.
fn victim(w: &mut Instance, spid: i32) -> Result<(), Stop> {
    if w.deadlocks == 0 || w.session(spid).system {
        return Ok(());
    }
    w.deadlocks -= 1;
    deadlock(spid)
}
