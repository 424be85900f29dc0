//! Principals, roles, permissions, tables.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDateTime;

use crate::sql::{
    Ty, Value,
    ast::{ColumnDef, Line, Routine},
    fold, random_guid,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// SQL login or user.
    Sql,
    Role,
}

#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub id: i32,
    pub name: String,
    pub sid: Vec<u8>,
    pub kind: Kind,
    pub fixed: bool,
    pub password: Option<String>,
    pub disabled: bool,
    pub database: String,
    pub owner: i32,
    pub created: NaiveDateTime,
}

#[derive(Debug, Clone)]
pub(crate) struct Principal {
    pub id: i32,
    pub name: String,
    pub sid: Option<Vec<u8>>,
    pub kind: Kind,
    pub fixed: bool,
    /// Password of a contained user.
    pub password: Option<String>,
    pub owner: Option<i32>,
    pub created: NaiveDateTime,
}

/// Key of a permission: (class, major id, grantee, permission).
pub(crate) type Key = (u8, i32, i32, String);

/// State and grantor of a permission.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    /// State: G (granted), W (granted with grant option) or D (denied).
    pub state: char,
    pub grantor: i32,
}

#[derive(Debug, Clone)]
pub(crate) struct Schema {
    pub id: i32,
    pub name: String,
    pub owner: i32,
}

#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub id: i32,
    pub name: String,
    pub schema: i32,
    pub columns: Vec<ColumnDef>,
    pub rows: Vec<Vec<Value>>,
    pub identity: i64,
    pub created: NaiveDateTime,
}

/// Stored procedure of a schema.
#[derive(Debug, Clone)]
pub(crate) struct Procedure {
    pub id: i32,
    pub name: String,
    pub schema: i32,
    pub routine: Routine,
    /// User that it runs as, unless that is the caller.
    pub runs_as: Option<i32>,
    pub created: NaiveDateTime,
}

/// Trigger on a table, or on none: then each change of a role's members runs it. One on a table is
/// visible, and does nothing.
#[derive(Debug, Clone)]
pub(crate) struct Trigger {
    pub id: i32,
    pub name: String,
    pub table: Option<i32>,
    pub body: Vec<Line>,
}

#[derive(Debug, Clone)]
pub(crate) struct Database {
    pub id: i32,
    pub name: String,
    pub contained: bool,
    pub read_only: bool,
    pub owner: Vec<u8>,
    pub principals: BTreeMap<i32, Principal>,
    /// Memberships as (role, member).
    pub members: BTreeSet<(i32, i32)>,
    pub permissions: BTreeMap<Key, Grant>,
    pub schemas: BTreeMap<i32, Schema>,
    pub tables: BTreeMap<i32, Table>,
    pub procedures: BTreeMap<i32, Procedure>,
    pub triggers: Vec<Trigger>,
    pub created: NaiveDateTime,
    /// Service Broker identifier of the database.
    pub broker: [u8; 16],
}

/// Rows with the names and types of their columns.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rel {
    pub columns: Vec<(String, Ty)>,
    pub rows: Vec<Vec<Value>>,
}

/// Compares two names without case.
pub(crate) fn same(a: &str, b: &str) -> bool {
    fold(a) == fold(b)
}

/// Fixed server roles with their principal ids.
const SERVER_ROLES: [(i32, &str); 9] = [
    (2, "public"),
    (3, "sysadmin"),
    (4, "securityadmin"),
    (5, "serveradmin"),
    (6, "setupadmin"),
    (7, "processadmin"),
    (8, "diskadmin"),
    (9, "dbcreator"),
    (10, "bulkadmin"),
];

/// Fixed database roles with their principal ids.
const DATABASE_ROLES: [(i32, &str); 9] = [
    (16384, "db_owner"),
    (16385, "db_accessadmin"),
    (16386, "db_securityadmin"),
    (16387, "db_ddladmin"),
    (16389, "db_backupoperator"),
    (16390, "db_datareader"),
    (16391, "db_datawriter"),
    (16392, "db_denydatareader"),
    (16393, "db_denydatawriter"),
];

pub(crate) fn fixed_logins(sa_password: &str) -> BTreeMap<i32, Login> {
    let created = NaiveDateTime::default();
    let role = |&(id, name): &(i32, &str)| {
        let login = Login {
            id,
            name: name.to_owned(),
            sid: vec![id as u8],
            kind: Kind::Role,
            fixed: id != 2,
            password: None,
            disabled: false,
            database: String::new(),
            owner: 1,
            created,
        };
        (id, login)
    };
    let mut logins: BTreeMap<i32, Login> = SERVER_ROLES.iter().map(role).collect();
    let sa = Login {
        id: 1,
        name: "sa".into(),
        sid: vec![1],
        kind: Kind::Sql,
        fixed: false,
        password: Some(sa_password.to_owned()),
        disabled: false,
        database: "master".into(),
        owner: 1,
        created,
    };
    logins.insert(1, sa);
    logins
}

impl Database {
    pub(crate) fn new(id: i32, name: &str, contained: bool, created: NaiveDateTime) -> Self {
        let mut principals = BTreeMap::new();
        let mut put = |id, name: &str, kind, sid, fixed, owner| {
            principals
                .insert(id, Principal { id, name: name.to_owned(), sid, kind, fixed, password: None, owner, created });
        };
        put(0, "public", Kind::Role, None, false, Some(1));
        put(1, "dbo", Kind::Sql, Some(vec![1]), false, None);
        put(2, "guest", Kind::Sql, Some(vec![0]), false, None);
        put(3, "INFORMATION_SCHEMA", Kind::Sql, None, false, None);
        put(4, "sys", Kind::Sql, None, false, None);
        for (id, name) in DATABASE_ROLES {
            put(id, name, Kind::Role, None, true, Some(1));
        }
        let mut schemas = BTreeMap::new();
        for (id, name) in [(1, "dbo"), (2, "guest"), (3, "INFORMATION_SCHEMA"), (4, "sys")] {
            schemas.insert(id, Schema { id, name: name.to_owned(), owner: id });
        }
        Self {
            id,
            name: name.to_owned(),
            contained,
            read_only: false,
            owner: vec![1],
            principals,
            members: [(16384, 1)].into(),
            permissions: BTreeMap::new(),
            schemas,
            tables: BTreeMap::new(),
            procedures: BTreeMap::new(),
            triggers: Vec::new(),
            created,
            broker: if id == 1 { [0; 16] } else { random_guid() },
        }
    }

    /// Checks whether every login may come in as guest.
    pub(crate) fn guests(&self) -> bool {
        matches!(self.id, 1 | 2 | 4)
    }

    pub(crate) fn named(&self, name: &str) -> Option<&Principal> {
        self.principals.values().find(|p| same(&p.name, name))
    }

    pub(crate) fn schema_named(&self, name: &str) -> Option<&Schema> {
        self.schemas.values().find(|s| same(&s.name, name))
    }

    pub(crate) fn table_named(&self, schema: &str, name: &str) -> Option<&Table> {
        let schema = self.schema_named(if schema.is_empty() { "dbo" } else { schema })?.id;
        self.tables.values().find(|t| t.schema == schema && same(&t.name, name))
    }

    pub(crate) fn procedure_named(&self, schema: &str, name: &str) -> Option<&Procedure> {
        let schema = self.schema_named(if schema.is_empty() { "dbo" } else { schema })?.id;
        self.procedures.values().find(|p| p.schema == schema && same(&p.name, name))
    }

    /// Returns the number of the table or procedure of this name.
    pub(crate) fn object_named(&self, schema: &str, name: &str) -> Option<i32> {
        let table = self.table_named(schema, name).map(|t| t.id);
        table.or_else(|| self.procedure_named(schema, name).map(|p| p.id))
    }

    /// Checks whether the schema contains anything.
    pub(crate) fn schema_in_use(&self, schema: i32) -> bool {
        self.tables.values().any(|t| t.schema == schema) || self.procedures.values().any(|p| p.schema == schema)
    }

    /// Returns the schema of a table or procedure.
    pub(crate) fn schema_of(&self, object: i32) -> Option<i32> {
        let table = self.tables.get(&object).map(|t| t.schema);
        table.or_else(|| self.procedures.get(&object).map(|p| p.schema))
    }

    /// Returns the principal and every role that it is a member of, directly or through other
    /// roles. `public` is included.
    pub(crate) fn closure(&self, id: i32) -> BTreeSet<i32> {
        let mut out: BTreeSet<i32> = [id, 0].into();
        loop {
            let more: Vec<i32> =
                self.members.iter().filter(|(r, m)| out.contains(m) && !out.contains(r)).map(|(r, _)| *r).collect();
            if more.is_empty() {
                return out;
            }
            out.extend(more);
        }
    }
}
