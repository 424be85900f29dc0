//! Schemas, tables, databases.

use super::cannot;
use crate::tds::run::Machine;
use crate::tds::sql::ast::{ColumnDef, Stmt};
use crate::tds::world::{Key, Schema, Table, Undo, World, class};
use crate::tds::{Stop, error};

impl Machine {
    pub(super) fn create_schema(
        &self,
        w: &mut World,
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
        w: &mut World,
        database: i32,
        name: &[String],
        columns: &[ColumnDef],
    ) -> Result<(), Stop> {
        let spid = self.spid;
        let (schema, short) = match name {
            [.., s, t] => (if s.is_empty() { "dbo" } else { s.as_str() }, t.as_str()),
            [t] => ("dbo", t.as_str()),
            [] => ("dbo", ""),
        };
        let Some(db) = w.databases.get(&database) else { return Ok(()) };
        if !w.may(spid, database, class::DATABASE, 0, "CREATE TABLE") {
            return error(262, format!("CREATE TABLE permission denied in database '{}'.", db.name));
        }
        let found = db.schema_named(schema).map(|s| s.id);
        let Some(schema) = found.filter(|id| w.may(spid, database, class::SCHEMA, *id, "ALTER")) else {
            return error(
                2760,
                format!(
                    "The specified schema name \"{schema}\" either does not exist or you do not have permission to use it."
                ),
            );
        };
        if db
            .tables
            .values()
            .any(|t| t.schema == schema && crate::tds::sql::fold(&t.name) == crate::tds::sql::fold(short))
        {
            return error(2714, format!("There is already an object named '{short}' in the database."));
        }
        let id = w.fresh_id();
        w.lock(spid, database, "schema", id)?;
        let table = Table {
            id,
            name: short.to_owned(),
            schema,
            columns: columns.to_vec(),
            rows: Vec::new(),
            identity: 0,
            created: w.now(),
        };
        w.change(spid, Undo::Table(database, id, Some(table)));
        Ok(())
    }

    pub(super) fn drop_table(
        &self,
        w: &mut World,
        database: i32,
        name: &[String],
        if_exists: bool,
    ) -> Result<(), Stop> {
        let spid = self.spid;
        let (schema, short) = match name {
            [.., s, t] => (s.as_str(), t.as_str()),
            [t] => ("", t.as_str()),
            [] => ("", ""),
        };
        let found = w.databases.get(&database).and_then(|d| d.table_named(schema, short)).map(|t| (t.id, t.schema));
        if found.is_none() && if_exists {
            return Ok(());
        }
        let may = |t: &(i32, i32)| {
            w.may(spid, database, class::OBJECT, t.0, "CONTROL") || w.may(spid, database, class::SCHEMA, t.1, "ALTER")
        };
        let Some((id, _)) = found.filter(may) else {
            return error(
                3701,
                format!("Cannot drop the table '{short}', because it does not exist or you do not have permission."),
            );
        };
        w.lock(spid, database, "table", id)?;
        w.lock(spid, database, "schema", id)?;
        let keys: Vec<Key> = w
            .databases
            .get(&database)
            .into_iter()
            .flat_map(|d| d.permissions.keys())
            .filter(|k| k.0 == class::OBJECT && k.1 == id)
            .cloned()
            .collect();
        keys.into_iter().for_each(|key| w.change(spid, Undo::Permission(database, key, None)));
        w.change(spid, Undo::Table(database, id, None));
        Ok(())
    }

    /// These are not undone, so that a transaction of the user may not hold them.
    pub(super) fn define_database(&self, w: &mut World, stmt: &Stmt) -> Result<(), Stop> {
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
