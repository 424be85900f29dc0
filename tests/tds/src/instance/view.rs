//! The catalog views and management views, each showing what the session may see.

use super::{
    Instance, Kind, Rel,
    permission::{DATABASE, OBJECT, PRINCIPAL},
};
use crate::{
    error::{Stop, error},
    sql::{Data, Ty, Value},
};

const NAME: Ty = Ty::NVarChar(Some(128));
const DESC: Ty = Ty::NVarChar(Some(60));
const SID: Ty = Ty::VarBinary(Some(85));
const CODE: Ty = Ty::VarChar(Some(1));

fn rel(columns: &[(&str, Ty)], rows: Vec<Vec<Value>>) -> Rel {
    let columns: Vec<(String, Ty)> = columns.iter().map(|(n, t)| ((*n).to_owned(), *t)).collect();
    let typed =
        |row: Vec<Value>| row.into_iter().zip(&columns).map(|(v, (_, ty))| Value { ty: *ty, data: v.data }).collect();
    let rows = rows.into_iter().map(typed).collect();
    Rel { columns, rows }
}

/// Returns the view of this name in schema `sys`, as the session sees it in this database.
pub(crate) fn view(w: &Instance, spid: i32, database: i32, name: &str) -> Result<Option<Rel>, Stop> {
    let name = name.to_lowercase();
    match name.as_str() {
        "database_principals" | "database_role_members" | "database_permissions" | "sysusers" => {
            w.readable(spid, database, "principal")?
        }
        "server_principals" | "server_role_members" | "server_permissions" | "sql_logins" => {
            w.readable(spid, 0, "login")?
        }
        "tables" | "procedures" | "objects" | "schemas" | "columns" | "sql_modules" | "triggers" => {
            w.readable(spid, database, "schema")?
        }
        _ => {}
    }
    Ok(Some(match name.as_str() {
        "databases" => databases(w, spid),
        "server_principals" | "sql_logins" => server_principals(w, spid, name == "sql_logins"),
        "server_role_members" => server_role_members(w, spid),
        "server_permissions" => server_permissions(w, spid),
        "database_principals" => database_principals(w, spid, database),
        "database_role_members" => database_role_members(w, spid, database),
        "database_permissions" => database_permissions(w, spid, database),
        "schemas" => schemas(w, database),
        "objects" => objects(w, spid, database, None),
        "tables" => objects(w, spid, database, Some("U ")),
        "procedures" => objects(w, spid, database, Some("P ")),
        "sql_modules" => modules(w, spid, database),
        "triggers" => triggers(w, database),
        "server_triggers" => rel(&[("name", NAME), ("object_id", Ty::Int), ("is_disabled", Ty::Bit)], Vec::new()),
        "security_predicates" => rel(&[("object_id", Ty::Int), ("target_object_id", Ty::Int)], Vec::new()),
        "columns" => columns(w, spid, database),
        "dm_exec_sessions" => sessions(w, spid),
        "dm_exec_requests" => requests(w, spid),
        "dm_exec_connections" => connections(w, spid)?,
        "dm_tran_locks" => locks(w, spid)?,
        "dm_os_sys_info" => {
            needs_state(w, spid)?;
            let uptime = w.now().signed_duration_since(w.start).num_milliseconds();
            rel(
                &[("sqlserver_start_time", Ty::DateTime), ("ms_ticks", Ty::BigInt), ("cpu_count", Ty::Int)],
                vec![vec![Value::datetime(w.start), Value::big(uptime), Value::int(2)]],
            )
        }
        "dm_os_waiting_tasks" => {
            needs_state(w, spid)?;
            let rows = w.sessions.values().filter(|s| s.blocked_by != 0).map(|s| {
                vec![
                    Value::small(s.spid.into()),
                    Value::text(s.wait),
                    Value::small(s.blocked_by.into()),
                    Value::text(s.wait_resource.as_str()),
                ]
            });
            rel(
                &[
                    ("session_id", Ty::SmallInt),
                    ("wait_type", DESC),
                    ("blocking_session_id", Ty::SmallInt),
                    ("resource_description", Ty::NVarChar(Some(3072))),
                ],
                rows.collect(),
            )
        }
        "dm_tran_session_transactions" => {
            needs_state(w, spid)?;
            let rows = w.sessions.values().filter(|s| s.transactions > 0).map(|s| {
                vec![
                    Value::int(s.spid.into()),
                    Value::big(s.spid.into()),
                    Value::int(1),
                    Value::bit(true),
                    Value::bit(true),
                    Value::int(s.transactions.into()),
                ]
            });
            rel(
                &[
                    ("session_id", Ty::Int),
                    ("transaction_id", Ty::BigInt),
                    ("enlist_count", Ty::Int),
                    ("is_user_transaction", Ty::Bit),
                    ("is_local", Ty::Bit),
                    ("open_transaction_count", Ty::Int),
                ],
                rows.collect(),
            )
        }
        _ => return Ok(None),
    }))
}

/// Returns error 300 (followed by 297) if the session may not see the server's state.
fn needs_state(w: &Instance, spid: i32) -> Result<(), Stop> {
    if w.may_server(spid, "VIEW SERVER STATE") {
        return Ok(());
    }
    error(300, "VIEW SERVER STATE permission was denied on object 'server', database 'master'.")
}

fn databases(w: &Instance, spid: i32) -> Rel {
    let current = w.session(spid).database;
    let all = w.may_server(spid, "VIEW ANY DATABASE");
    let azure = w.engine_edition == 5;
    // Azure SQL Database shows only itself and master, under other numbers than those of DB_ID()
    let shown = move |id: i32| if azure { id == 1 || id == current } else { all || id <= 2 || id == current };
    let rows = w.databases.values().filter(move |d| shown(d.id)).map(move |d| {
        vec![
            Value::name(d.name.as_str()),
            Value::int(i64::from(if azure && d.id > 1 { d.id + 100 } else { d.id })),
            Value::bin(d.owner.clone()),
            Value::datetime(d.created),
            Value::tiny(if w.version.starts_with("14.") { 140 } else { 150 }),
            Value::name("SQL_Latin1_General_CP1_CI_AS"),
            Value::bit(d.read_only || w.read_only && d.id > 4),
            Value::tiny(0),
            Value::text("ONLINE"),
            Value::tiny(i64::from(d.contained)),
            Value::text(if d.contained { "PARTIAL" } else { "NONE" }),
            Value::bit(d.id <= 2),
            Value::bit(false),
            Value::tiny(0),
            Value::text("MULTI_USER"),
            Value { ty: Ty::Guid, data: Data::Guid(d.broker) },
            Value::null(Ty::Guid),
        ]
    });
    rel(
        &[
            ("name", NAME),
            ("database_id", Ty::Int),
            ("owner_sid", SID),
            ("create_date", Ty::DateTime),
            ("compatibility_level", Ty::TinyInt),
            ("collation_name", NAME),
            ("is_read_only", Ty::Bit),
            ("state", Ty::TinyInt),
            ("state_desc", DESC),
            ("containment", Ty::TinyInt),
            ("containment_desc", DESC),
            ("is_db_chaining_on", Ty::Bit),
            ("is_trustworthy_on", Ty::Bit),
            ("user_access", Ty::TinyInt),
            ("user_access_desc", DESC),
            ("service_broker_guid", Ty::Guid),
            ("group_database_id", Ty::Guid),
        ],
        rows.collect(),
    )
}

fn sees_login(w: &Instance, spid: i32, id: i32) -> bool {
    let me = w.session(spid).context().and_then(|c| c.login);
    id == 1
        || id <= 10
        || me == Some(id)
        || w.may_server_principal(spid, id, "VIEW DEFINITION")
        || w.may_server_principal(spid, id, "ALTER")
        || me.is_some_and(|m| w.server_closure(m).contains(&id))
}

fn server_principals(w: &Instance, spid: i32, sql_only: bool) -> Rel {
    let rows =
        w.logins.values().filter(|l| sees_login(w, spid, l.id) && !(sql_only && l.kind == Kind::Role)).map(|l| {
            let role = l.kind == Kind::Role;
            vec![
                Value::name(l.name.as_str()),
                Value::int(l.id.into()),
                Value::bin(l.sid.clone()),
                Value::text(if role { "R" } else { "S" }),
                Value::text(if role { "SERVER_ROLE" } else { "SQL_LOGIN" }),
                Value::bit(l.disabled),
                Value::datetime(l.created),
                Value::datetime(l.created),
                if role { Value::NULL } else { Value::name(l.database.as_str()) },
                if role { Value::int(l.owner.into()) } else { Value::NULL },
                Value::bit(l.fixed),
            ]
        });
    rel(
        &[
            ("name", NAME),
            ("principal_id", Ty::Int),
            ("sid", SID),
            ("type", CODE),
            ("type_desc", DESC),
            ("is_disabled", Ty::Bit),
            ("create_date", Ty::DateTime),
            ("modify_date", Ty::DateTime),
            ("default_database_name", NAME),
            ("owning_principal_id", Ty::Int),
            ("is_fixed_role", Ty::Bit),
        ],
        rows.collect(),
    )
}

fn server_role_members(w: &Instance, spid: i32) -> Rel {
    let me = w.session(spid).context().and_then(|c| c.login);
    let all = w.may_server(spid, "VIEW ANY DEFINITION");
    let own = |r: i32, m: i32| {
        me == Some(m) || (w.may_server_principal(spid, r, "VIEW DEFINITION") && sees_login(w, spid, m))
    };
    let rows = w.server_members.iter().filter(|(r, m)| all || own(*r, *m));
    rel(
        &[("role_principal_id", Ty::Int), ("member_principal_id", Ty::Int)],
        rows.map(|(r, m)| vec![Value::int((*r).into()), Value::int((*m).into())]).collect(),
    )
}

fn state_desc(state: char) -> &'static str {
    match state {
        'D' => "DENY",
        'W' => "GRANT_WITH_GRANT_OPTION",
        _ => "GRANT",
    }
}

/// Returns the four-letter code of a permission. A code that is not in this list is made from the
/// permission's words.
fn code(permission: &str) -> String {
    let known = match permission {
        "SELECT" => "SL",
        "INSERT" => "IN",
        "UPDATE" => "UP",
        "DELETE" => "DL",
        "EXECUTE" => "EX",
        "CONTROL" => "CL",
        "ALTER" => "AL",
        "CONNECT" => "CO",
        "VIEW DEFINITION" => "VW",
        "TAKE OWNERSHIP" => "TO",
        "ALTER ANY ROLE" => "ALRL",
        "ALTER ANY USER" => "ALUS",
        "ALTER ANY LOGIN" => "ALLG",
        "ALTER ANY SERVER ROLE" => "ALSR",
        "ALTER ANY CONNECTION" => "ALCO",
        "VIEW SERVER STATE" => "VWSS",
        "VIEW ANY DEFINITION" => "VWAD",
        "VIEW ANY DATABASE" => "VWDB",
        "VIEW DATABASE STATE" => "VWDS",
        "CONTROL SERVER" => "CL",
        "CONNECT SQL" => "COSQ",
        _ => return permission.split(' ').filter_map(|w| w.chars().next()).take(4).collect(),
    };
    known.to_owned()
}

fn permission_row(key: &super::Key, grant: &super::Grant, class: &str) -> Vec<Value> {
    vec![
        Value::tiny(key.0.into()),
        Value::text(class),
        Value::int(key.1.into()),
        Value::int(0),
        Value::int(key.2.into()),
        Value::int(grant.grantor.into()),
        Value::text(code(&key.3)),
        Value::name(key.3.as_str()),
        Value::text(grant.state.to_string()),
        Value::text(state_desc(grant.state)),
    ]
}

const PERMISSIONS: [(&str, Ty); 10] = [
    ("class", Ty::TinyInt),
    ("class_desc", DESC),
    ("major_id", Ty::Int),
    ("minor_id", Ty::Int),
    ("grantee_principal_id", Ty::Int),
    ("grantor_principal_id", Ty::Int),
    ("type", Ty::VarChar(Some(4))),
    ("permission_name", NAME),
    ("state", CODE),
    ("state_desc", DESC),
];

fn server_permissions(w: &Instance, spid: i32) -> Rel {
    let rows = w.server_permissions.iter().filter(|(k, _)| sees_login(w, spid, k.2));
    rel(
        &PERMISSIONS,
        rows.map(|(k, g)| permission_row(k, g, if k.0 == 100 { "SERVER" } else { "SERVER_PRINCIPAL" })).collect(),
    )
}

impl Instance {
    /// Checks whether the session sees this table or procedure.
    pub(crate) fn sees_object(&self, spid: i32, database: i32, id: i32) -> bool {
        ["SELECT", "INSERT", "UPDATE", "DELETE", "EXECUTE", "ALTER", "VIEW DEFINITION"]
            .iter()
            .any(|p| self.may(spid, database, OBJECT, id, p))
    }

    /// Checks whether the session sees a principal of a database: itself, the fixed ones, its
    /// roles, and those on which it has a permission.
    pub(crate) fn sees_principal(&self, spid: i32, database: i32, id: i32) -> bool {
        if self.session(spid).system {
            return true;
        }
        let (Some(me), Some(db)) = (self.user_in(spid, database), self.databases.get(&database)) else { return false };
        let closure = db.closure(me);
        let granted = || {
            db.permissions
                .iter()
                .any(|(k, g)| k.0 == PRINCIPAL && k.1 == id && closure.contains(&k.2) && g.state != 'D')
        };
        id <= 4
            || db.principals.get(&id).is_some_and(|p| p.fixed || p.owner == Some(me))
            || closure.contains(&id)
            || granted()
            || self.may(spid, database, PRINCIPAL, id, "ALTER")
            || self.may(spid, database, PRINCIPAL, id, "VIEW DEFINITION")
    }
}

fn database_principals(w: &Instance, spid: i32, database: i32) -> Rel {
    let Some(db) = w.databases.get(&database) else { return Rel::default() };
    let rows = db.principals.values().filter(|p| w.sees_principal(spid, database, p.id)).map(|p| {
        let role = p.kind == Kind::Role;
        let auth = match (&p.password, &p.sid, p.id) {
            (Some(_), _, _) => 2,
            (None, Some(sid), id) if id != 2 && (id == 1 || w.logins.values().any(|l| &l.sid == sid)) => 1,
            _ => 0,
        };
        vec![
            Value::name(p.name.as_str()),
            Value::int(p.id.into()),
            Value::text(if role { "R" } else { "S" }),
            Value::text(if role { "DATABASE_ROLE" } else { "SQL_USER" }),
            if role { Value::NULL } else { Value::name("dbo") },
            Value::datetime(p.created),
            Value::datetime(p.created),
            p.owner.map_or(Value::NULL, |o| Value::int(o.into())),
            p.sid.clone().map_or(Value::NULL, Value::bin),
            Value::bit(p.fixed),
            Value::int(auth),
            Value::text(["NONE", "INSTANCE", "DATABASE"][auth as usize]),
        ]
    });
    rel(
        &[
            ("name", NAME),
            ("principal_id", Ty::Int),
            ("type", CODE),
            ("type_desc", DESC),
            ("default_schema_name", NAME),
            ("create_date", Ty::DateTime),
            ("modify_date", Ty::DateTime),
            ("owning_principal_id", Ty::Int),
            ("sid", SID),
            ("is_fixed_role", Ty::Bit),
            ("authentication_type", Ty::Int),
            ("authentication_type_desc", DESC),
        ],
        rows.collect(),
    )
}

/// Returns the session's own memberships. VIEW DEFINITION on the database, which db_securityadmin
/// has, shows all of them.
fn database_role_members(w: &Instance, spid: i32, database: i32) -> Rel {
    let Some(db) = w.databases.get(&database) else { return Rel::default() };
    let me = w.user_in(spid, database);
    let all = w.may(spid, database, DATABASE, 0, "VIEW DEFINITION");
    let rows = db
        .members
        .iter()
        .filter(|(r, m)| all || Some(*m) == me || w.may(spid, database, PRINCIPAL, *r, "VIEW DEFINITION"));
    rel(
        &[("role_principal_id", Ty::Int), ("member_principal_id", Ty::Int)],
        rows.map(|(r, m)| vec![Value::int((*r).into()), Value::int((*m).into())]).collect(),
    )
}

fn database_permissions(w: &Instance, spid: i32, database: i32) -> Rel {
    let Some(db) = w.databases.get(&database) else { return Rel::default() };
    let class = |c: u8| match c {
        0 => "DATABASE",
        1 => "OBJECT_OR_COLUMN",
        3 => "SCHEMA",
        _ => "DATABASE_PRINCIPAL",
    };
    let rows = db.permissions.iter().filter(|(k, _)| w.sees_principal(spid, database, k.2));
    rel(&PERMISSIONS, rows.map(|(k, g)| permission_row(k, g, class(k.0))).collect())
}

fn schemas(w: &Instance, database: i32) -> Rel {
    let rows = w.databases.get(&database).into_iter().flat_map(|d| d.schemas.values());
    rel(
        &[("name", NAME), ("schema_id", Ty::Int), ("principal_id", Ty::Int)],
        rows.map(|s| vec![Value::name(s.name.as_str()), Value::int(s.id.into()), Value::int(s.owner.into())]).collect(),
    )
}

/// Returns tables and procedures, or only the tables.
fn objects(w: &Instance, spid: i32, database: i32, only: Option<&str>) -> Rel {
    let Some(db) = w.databases.get(&database) else { return Rel::default() };
    let tables = db.tables.values().map(|t| (t.name.as_str(), t.id, t.schema, "U ", "USER_TABLE", t.created));
    let procedures =
        db.procedures.values().map(|p| (p.name.as_str(), p.id, p.schema, "P ", "SQL_STORED_PROCEDURE", p.created));
    let rows =
        tables.chain(procedures).filter(|o| only.is_none_or(|kind| o.3 == kind) && w.sees_object(spid, database, o.1));
    let triggers = db.triggers.iter().filter(|t| only.is_none() && t.table.is_some()).map(|t| {
        let schema = t.table.and_then(|id| db.tables.get(&id)).map_or(1, |table| table.schema);
        ((t.name.as_str(), t.id, schema, "TR", "SQL_TRIGGER", db.created), t.table.unwrap_or_default())
    });
    let rows = rows.map(|o| (o, 0)).chain(triggers);
    rel(
        &[
            ("name", NAME),
            ("object_id", Ty::Int),
            ("principal_id", Ty::Int),
            ("schema_id", Ty::Int),
            ("parent_object_id", Ty::Int),
            ("type", Ty::VarChar(Some(2))),
            ("type_desc", DESC),
            ("create_date", Ty::DateTime),
            ("is_ms_shipped", Ty::Bit),
        ],
        rows.map(|((name, id, schema, kind, described, created), parent)| {
            vec![
                Value::name(name),
                Value::int(id.into()),
                Value::NULL,
                Value::int(schema.into()),
                Value::int(parent.into()),
                Value::text(kind),
                Value::text(described),
                Value::datetime(created),
                Value::bit(false),
            ]
        })
        .collect(),
    )
}

fn triggers(w: &Instance, database: i32) -> Rel {
    let rows = w.databases.get(&database).into_iter().flat_map(|d| &d.triggers);
    rel(
        &[
            ("name", NAME),
            ("object_id", Ty::Int),
            ("parent_class", Ty::TinyInt),
            ("parent_id", Ty::Int),
            ("is_disabled", Ty::Bit),
        ],
        rows.map(|t| {
            vec![
                Value::name(t.name.as_str()),
                Value::int(t.id.into()),
                Value::tiny(i64::from(t.table.is_some())),
                Value::int(t.table.unwrap_or_default().into()),
                Value::bit(false),
            ]
        })
        .collect(),
    )
}

/// Returns the definitions of procedures; their text is not kept.
fn modules(w: &Instance, spid: i32, database: i32) -> Rel {
    let all = w.databases.get(&database).into_iter().flat_map(|d| d.procedures.values());
    let rows = all.filter(|p| w.sees_object(spid, database, p.id)).map(|p| {
        let runs_as = p.runs_as.map_or(Value::NULL, |id| Value::int(id.into()));
        vec![Value::int(p.id.into()), Value::null(Ty::NVarChar(None)), runs_as]
    });
    rel(
        &[("object_id", Ty::Int), ("definition", Ty::NVarChar(None)), ("execute_as_principal_id", Ty::Int)],
        rows.collect(),
    )
}

fn columns(w: &Instance, spid: i32, database: i32) -> Rel {
    let tables = w
        .databases
        .get(&database)
        .into_iter()
        .flat_map(|d| d.tables.values())
        .filter(|t| w.sees_object(spid, database, t.id));
    let rows = tables.flat_map(|t| {
        t.columns.iter().enumerate().map(|(i, c)| {
            vec![
                Value::int(t.id.into()),
                Value::name(c.name.as_str()),
                Value::int(i as i64 + 1),
                Value::bit(!c.not_null),
                Value::bit(c.identity),
                Value::bit(false),
            ]
        })
    });
    rel(
        &[
            ("object_id", Ty::Int),
            ("name", NAME),
            ("column_id", Ty::Int),
            ("is_nullable", Ty::Bit),
            ("is_identity", Ty::Bit),
            ("is_computed", Ty::Bit),
        ],
        rows.collect(),
    )
}

/// Returns the sessions. Without VIEW SERVER STATE a session sees only itself.
fn sessions(w: &Instance, spid: i32) -> Rel {
    let all = w.may_server(spid, "VIEW SERVER STATE");
    let rows = w.sessions.values().filter(|s| !s.system && (all || s.spid == spid)).map(|s| {
        let sid = s.context().map(|c| c.sid.clone()).unwrap_or_default();
        vec![
            Value::small(s.spid.into()),
            Value::datetime(s.login_time),
            Value::name(s.host.as_str()),
            Value::name(s.program.as_str()),
            Value::int(1),
            Value::int(7),
            Value::name(s.interface.as_str()),
            Value::bin(sid),
            Value::name(s.login_name()),
            Value::text(if s.running { "running" } else { "sleeping" }),
            Value::bin(s.context_info.clone().unwrap_or_default()),
            Value::datetime(s.last_start),
            Value::datetime(s.last_start),
            Value::bit(true),
            Value::int(s.lock_timeout),
            Value::int(0),
            Value::bin(s.original_sid.clone()),
            Value::name(s.original_login.as_str()),
            Value::small(s.database.into()),
            if s.contexts.first().is_some_and(|c| c.login.is_none()) {
                Value::small(s.database.into())
            } else {
                Value::small(1)
            },
            Value::int(s.transactions.into()),
            Value::int(0),
        ]
    });
    rel(
        &[
            ("session_id", Ty::SmallInt),
            ("login_time", Ty::DateTime),
            ("host_name", NAME),
            ("program_name", NAME),
            ("host_process_id", Ty::Int),
            ("client_version", Ty::Int),
            ("client_interface_name", Ty::NVarChar(Some(32))),
            ("security_id", SID),
            ("login_name", NAME),
            ("status", Ty::NVarChar(Some(30))),
            ("context_info", Ty::VarBinary(Some(128))),
            ("last_request_start_time", Ty::DateTime),
            ("last_request_end_time", Ty::DateTime),
            ("is_user_process", Ty::Bit),
            ("lock_timeout", Ty::Int),
            ("deadlock_priority", Ty::Int),
            ("original_security_id", SID),
            ("original_login_name", NAME),
            ("database_id", Ty::SmallInt),
            ("authenticating_database_id", Ty::Int),
            ("open_transaction_count", Ty::Int),
            ("endpoint_id", Ty::Int),
        ],
        rows.collect(),
    )
}

fn requests(w: &Instance, spid: i32) -> Rel {
    let all = w.may_server(spid, "VIEW SERVER STATE");
    let rows = w.sessions.values().filter(|s| s.running && !s.system && (all || s.spid == spid)).map(|s| {
        let waits = s.blocked_by != 0 || !s.wait.is_empty();
        vec![
            Value::small(s.spid.into()),
            Value::int(0),
            Value::datetime(s.last_start),
            Value::text(if s.killed {
                "rollback"
            } else if waits {
                "suspended"
            } else {
                "running"
            }),
            Value::text(if s.killed { "KILLED/ROLLBACK" } else { s.command }),
            Value::small(s.database.into()),
            Value::small(s.blocked_by.into()),
            if waits { Value::text(s.wait) } else { Value::NULL },
            Value::int(0),
            Value::text(s.wait_resource.as_str()),
            Value::int(s.transactions.into()),
            Value::int(s.lock_timeout),
            s.context_info.clone().map_or(Value::NULL, Value::bin),
        ]
    });
    rel(
        &[
            ("session_id", Ty::SmallInt),
            ("request_id", Ty::Int),
            ("start_time", Ty::DateTime),
            ("status", Ty::NVarChar(Some(30))),
            ("command", Ty::NVarChar(Some(32))),
            ("database_id", Ty::SmallInt),
            ("blocking_session_id", Ty::SmallInt),
            ("wait_type", DESC),
            ("wait_time", Ty::Int),
            ("wait_resource", Ty::NVarChar(Some(256))),
            ("open_transaction_count", Ty::Int),
            ("lock_timeout", Ty::Int),
            ("context_info", Ty::VarBinary(Some(128))),
        ],
        rows.collect(),
    )
}

fn connections(w: &Instance, spid: i32) -> Result<Rel, Stop> {
    needs_state(w, spid)?;
    let rows = w.sessions.values().filter(|s| !s.system).map(|s| {
        vec![
            Value::int(s.spid.into()),
            Value::int(s.spid.into()),
            Value::datetime(s.login_time),
            Value::text("TCP"),
            Value::text("TSQL"),
            Value::text(if s.encrypted { "TRUE" } else { "FALSE" }),
            Value::text("SQL"),
            Value::text(s.address.as_str()),
        ]
    });
    Ok(rel(
        &[
            ("session_id", Ty::Int),
            ("most_recent_session_id", Ty::Int),
            ("connect_time", Ty::DateTime),
            ("net_transport", Ty::NVarChar(Some(40))),
            ("protocol_type", Ty::NVarChar(Some(40))),
            ("encrypt_option", Ty::NVarChar(Some(40))),
            ("auth_scheme", Ty::NVarChar(Some(40))),
            ("client_net_address", Ty::VarChar(Some(48))),
        ],
        rows.collect(),
    ))
}

fn locks(w: &Instance, spid: i32) -> Result<Rel, Stop> {
    needs_state(w, spid)?;
    let row = |ty: &str, database: i32, what: &str, mode: &str, status: &str, spid: i32| {
        vec![
            Value::text(ty),
            Value::int(database.into()),
            Value::text(what),
            Value::text(mode),
            Value::text("LOCK"),
            Value::text(status),
            Value::int(spid.into()),
        ]
    };
    let mut rows: Vec<_> =
        w.locks.iter().map(|(what, l)| row("METADATA", l.database, what, "X", "GRANT", l.spid)).collect();
    rows.extend(w.app_locks.iter().map(|l| row("APPLICATION", l.database, &l.resource, &l.mode, "GRANT", l.spid)));
    rows.extend(
        w.sessions.values().filter(|s| s.blocked_by != 0).map(|s| {
            row("METADATA", s.database, &s.wait_resource, s.wait.trim_start_matches("LCK_M_"), "WAIT", s.spid)
        }),
    );
    Ok(rel(
        &[
            ("resource_type", DESC),
            ("resource_database_id", Ty::Int),
            ("resource_description", Ty::NVarChar(Some(256))),
            ("request_mode", DESC),
            ("request_type", DESC),
            ("request_status", DESC),
            ("request_session_id", Ty::Int),
        ],
        rows,
    ))
}
