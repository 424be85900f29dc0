//! Schemas, tables, procedures, databases.

use super::cannot;
use crate::instance::{Database, Instance, Key, Procedure, Schema, Table, Trigger, Undo, class};
use crate::run::Machine;
use crate::sql::ast::{ColumnDef, Line, Routine, Stmt};
use crate::{Stop, error};

impl Machine {
    pub(super) fn create_schema(
        &self,
        w: &mut Instance,
        database: i32,
        name: &str,
        owner: Option<&str>,
    ) -> Result<(), Stop> {
        let spid = self.spid;
        let Some(db) = w.databases.get(&database) else { return Ok(()) };
        if !w.may(spid, database, class::DATABASE, 0, "CREATE SCHEMA") {
            return error(262, format!("CREATE SCHEMA permission denied in database '{}'.", db.name));
        }
        if db.schema_named(name).is_some() {
            return error(2714, format!("There is already an object named '{name}' in the database."));
        }
        let owner = match owner {
            Some(o) => match db.named(o) {
                Some(p) => p.id,
                None => return cannot("find", "user", o),
            },
            None => w.user_in(spid, database).unwrap_or(1),
        };
        let id = w.fresh_id();
        w.lock(spid, database, "schema", id)?;
        w.change(spid, Undo::Schema(database, id, Some(Schema { id, name: name.to_owned(), owner })));
        Ok(())
    }

    pub(super) fn create_table(
        &self,
        w: &mut Instance,
        database: i32,
        name: &[String],
        columns: &[ColumnDef],
    ) -> Result<(), Stop> {
        let (id, schema, name) = self.place(w, database, name, "TABLE")?;
        let (columns, created) = (columns.to_vec(), w.now());
        let table = Table { id, name, schema, columns, rows: Vec::new(), identity: 0, created };
        w.change(self.spid, Undo::Table(database, id, Some(table)));
        Ok(())
    }

    pub(super) fn create_procedure(
        &self,
        w: &mut Instance,
        database: i32,
        name: &[String],
        (routine, runs_as, or_alter): (&Routine, Option<&str>, bool),
    ) -> Result<(), Stop> {
        let runs_as = match runs_as {
            Some(user) => match w.databases.get(&database).and_then(|d| d.named(user)).map(|p| p.id) {
                Some(id) if w.may(self.spid, database, class::PRINCIPAL, id, "IMPERSONATE") => Some(id),
                _ => return cannot("find", "user", user),
            },
            None => None,
        };
        let old = w.databases.get(&database).and_then(|db| {
            let (schema, short) = parts(name);
            db.procedure_named(schema, short).map(|p| (p.id, p.schema, p.name.clone()))
        });
        let (id, schema, name) = match old {
            // a changed procedure keeps its number, and the permissions on it
            Some(old) if or_alter && w.may(self.spid, database, class::OBJECT, old.0, "ALTER") => old,
            _ => self.place(w, database, name, "PROCEDURE")?,
        };
        let procedure = Procedure { id, name, schema, routine: routine.clone(), runs_as, created: w.now() };
        w.change(self.spid, Undo::Procedure(database, id, Some(Box::new(procedure))));
        Ok(())
    }

    pub(super) fn create_trigger(
        &self,
        w: &mut Instance,
        database: i32,
        name: &[String],
        on: Option<&[String]>,
        body: &[Line],
    ) -> Result<(), Stop> {
        let (_, short) = parts(name);
        let table = match on {
            Some(on) => {
                let (schema, table) = parts(on);
                let found = w.databases.get(&database).and_then(|db| db.table_named(schema, table)).map(|t| t.id);
                match found.filter(|id| w.may(self.spid, database, class::OBJECT, *id, "ALTER")) {
                    Some(id) => Some(id),
                    None => return cannot("alter", "table", table),
                }
            }
            None if w.may(self.spid, database, class::DATABASE, 0, "ALTER ANY DATABASE DDL TRIGGER") => None,
            None => return error(1097, "CREATE TRIGGER permission denied in database."),
        };
        let trigger = Trigger { id: w.fresh_id(), name: short.to_owned(), table, body: body.to_vec() };
        if let Some(db) = w.databases.get_mut(&database) {
            db.triggers.push(trigger);
        }
        Ok(())
    }

    /// Returns the number, schema and name of a new object, after it has checked the permission.
    fn place(&self, w: &mut Instance, database: i32, name: &[String], kind: &str) -> Result<(i32, i32, String), Stop> {
        let spid = self.spid;
        let (schema, short) = parts(name);
        let Some(db) = w.databases.get(&database) else { return error(911, "Database does not exist.") };
        if !w.may(spid, database, class::DATABASE, 0, &format!("CREATE {kind}")) {
            return error(262, format!("CREATE {kind} permission denied in database '{}'.", db.name));
        }
        let found = db.schema_named(schema).map(|s| s.id);
        let Some(id) = found.filter(|id| w.may(spid, database, class::SCHEMA, *id, "ALTER")) else {
            return error(
                2760,
                format!(
                    "The specified schema name \"{schema}\" either does not exist or you do not have permission to use it."
                ),
            );
        };
        if db.object_named(schema, short).is_some() {
            return error(2714, format!("There is already an object named '{short}' in the database."));
        }
        let number = w.fresh_id();
        w.lock(spid, database, "schema", number)?;
        Ok((number, id, short.to_owned()))
    }

    pub(super) fn drop_table(
        &self,
        w: &mut Instance,
        database: i32,
        name: &[String],
        if_exists: bool,
    ) -> Result<(), Stop> {
        let Some(id) =
            self.dropped(w, database, name, ("table", if_exists), |db, s, n| db.table_named(s, n).map(|t| t.id))?
        else {
            return Ok(());
        };
        w.lock(self.spid, database, "table", id)?;
        w.change(self.spid, Undo::Table(database, id, None));
        Ok(())
    }

    pub(super) fn drop_procedure(
        &self,
        w: &mut Instance,
        database: i32,
        name: &[String],
        if_exists: bool,
    ) -> Result<(), Stop> {
        let found = self
            .dropped(w, database, name, ("procedure", if_exists), |db, s, n| db.procedure_named(s, n).map(|p| p.id))?;
        if let Some(id) = found {
            w.change(self.spid, Undo::Procedure(database, id, None));
        }
        Ok(())
    }

    /// Returns the object to drop, after it has checked the permission and removed the permissions
    /// on it. `None` where the object is absent and IF EXISTS allows that.
    fn dropped(
        &self,
        w: &mut Instance,
        database: i32,
        name: &[String],
        (kind, if_exists): (&str, bool),
        find: fn(&Database, &str, &str) -> Option<i32>,
    ) -> Result<Option<i32>, Stop> {
        let spid = self.spid;
        let (schema, short) = parts(name);
        let Some(db) = w.databases.get(&database) else { return Ok(None) };
        let found = find(db, schema, short);
        if found.is_none() && if_exists {
            return Ok(None);
        }
        let may = |id: &i32| {
            let schema = db.schema_of(*id).unwrap_or(1);
            w.may(spid, database, class::OBJECT, *id, "CONTROL")
                || w.may(spid, database, class::SCHEMA, schema, "ALTER")
        };
        let Some(id) = found.filter(may) else {
            return error(
                3701,
                format!("Cannot drop the {kind} '{short}', because it does not exist or you do not have permission."),
            );
        };
        let keys: Vec<Key> = db.permissions.keys().filter(|k| k.0 == class::OBJECT && k.1 == id).cloned().collect();
        w.lock(spid, database, "schema", id)?;
        keys.into_iter().for_each(|key| w.change(spid, Undo::Permission(database, key, None)));
        Ok(Some(id))
    }

    /// Runs the statements that cannot be undone, so that a user's transaction may not contain
    /// them.
    pub(super) fn define_database(&self, w: &mut Instance, stmt: &Stmt) -> Result<(), Stop> {
        let spid = self.spid;
        if w.session(spid).transactions > 0 {
            return error(
                226,
                "CREATE, ALTER or DROP DATABASE statement not allowed within multi-statement transaction.",
            );
        }
        match stmt {
            Stmt::CreateDatabase { name, contained } => {
                if !w.may_server(spid, "CREATE ANY DATABASE") {
                    return error(262, "CREATE DATABASE permission denied in database 'master'.");
                }
                if w.database_named(name).is_some() {
                    return error(1801, format!("Database '{name}' already exists. Choose a different database name."));
                }
                w.create_database(name, *contained);
                Ok(())
            }
            Stmt::AlterDatabase { name, read_only } => {
                let Some(id) =
                    w.database_named(name).map(|d| d.id).filter(|id| w.may(spid, *id, class::DATABASE, 0, "ALTER"))
                else {
                    return error(
                        5011,
                        format!(
                            "User does not have permission to alter database '{name}', the database does not exist, or the database is not in a state that allows access checks."
                        ),
                    );
                };
                if let (Some(db), Some(read_only)) = (w.databases.get_mut(&id), read_only) {
                    db.read_only = *read_only;
                }
                Ok(())
            }
            Stmt::DropDatabase(name) => {
                let found = w.database_named(name).map(|d| d.id);
                let Some(id) = found.filter(|id| {
                    w.may(spid, *id, class::DATABASE, 0, "CONTROL") || w.may_server(spid, "ALTER ANY DATABASE")
                }) else {
                    return error(
                        3701,
                        format!(
                            "Cannot drop the database '{name}', because it does not exist or you do not have permission."
                        ),
                    );
                };
                if id <= 4 {
                    return error(3708, format!("Cannot drop the database '{name}' because it is a system database."));
                }
                if w.sessions.values().any(|s| s.database == id) {
                    return error(3702, format!("Cannot drop database \"{name}\" because it is currently in use."));
                }
                w.databases.remove(&id);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Returns schema and name. The default schema is `dbo`.
fn parts(name: &[String]) -> (&str, &str) {
    match name {
        [.., s, n] => (if s.is_empty() { "dbo" } else { s.as_str() }, n.as_str()),
        [n] => ("dbo", n.as_str()),
        [] => ("dbo", ""),
    }
}
