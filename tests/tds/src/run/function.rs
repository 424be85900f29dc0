//! Functions, under the names of the documentation.

use super::expression::{Eval, Row, Up};
use crate::{
    Stop, error,
    sql::{Data, Ty, Value, ast::Expr, fold, random_guid},
};

impl Eval<'_> {
    pub(super) fn global(&self, name: &str) -> Result<Value, Stop> {
        let s = self.w.session(self.spid);
        Ok(match name {
            "spid" => Value::small(s.spid.into()),
            "trancount" => Value::int(s.transactions.into()),
            "rowcount" => Value::int(self.m.rowcount),
            "error" => Value::int(self.m.last_error.into()),
            "servername" => Value::name(self.w.name.as_str()),
            "lock_timeout" => Value::int(s.lock_timeout),
            "nestlevel" => Value::int(self.m.frames.len() as i64 - 1),
            "version" => {
                Value::text(format!("Microsoft SQL Server (TDS double of the tests) - {} (X64)", self.w.version))
            }
            _ => return error(137, format!("Must declare the scalar variable \"@@{name}\".")),
        })
    }

    pub(super) fn call(
        &self,
        name: &str,
        args: &[Expr],
        distinct: bool,
        within: &[(Expr, bool)],
        row: Up<'_>,
    ) -> Result<Value, Stop> {
        if matches!(name, "count" | "count_big" | "min" | "max" | "sum" | "avg" | "string_agg") {
            return self.aggregate(name, args, distinct, within, row);
        }
        if name == "iif" || name == "coalesce" {
            if name == "iif" && args.len() == 3 {
                let pick = if self.truth(&args[0], row)? == Some(true) { 1 } else { 2 };
                return self.expr(&args[pick], row);
            }
            let mut ty = Ty::Null;
            for a in args {
                let v = self.expr(a, row)?;
                ty = ty.meet(v.ty);
                if !v.is_null() && !self.probe.get() {
                    return Ok(v);
                }
            }
            return Ok(Value::null(ty));
        }
        let v = args.iter().map(|a| self.expr(a, row)).collect::<Result<Vec<_>, _>>()?;
        let at = |i: usize| v.get(i).cloned().unwrap_or(Value::NULL);
        let text = |i: usize| at(i).as_text();
        let int = |i: usize| at(i).as_int();
        let (w, spid) = (self.w, self.spid);
        let s = w.session(spid);
        let db = w.databases.get(&s.database);
        let me = w.user_in(spid, s.database);
        let user_name = |id: i32| db.and_then(|d| d.principals.get(&id)).map(|p| p.name.clone());
        let opt_int = |n: Option<i32>| n.map_or(Value::null(Ty::Int), |n| Value::int(n.into()));
        let opt_text = |t: Option<String>| t.map_or(Value::null(Ty::NVarChar(Some(4000))), Value::text);
        Ok(match name {
            "sysutcdatetime" | "sysdatetime" => Value::datetime2(w.now()),
            "getutcdate" | "getdate" | "current_timestamp" => Value::datetime(w.now()),
            "isnull" => {
                if at(0).is_null() && !self.probe.get() {
                    if at(0).ty == Ty::Null { at(1) } else { at(1).cast(at(0).ty, 0)? }
                } else if at(0).ty == Ty::Null {
                    at(1)
                } else {
                    at(0)
                }
            }
            "nullif" => {
                if at(0).compare(&at(1), false)? == Some(std::cmp::Ordering::Equal) {
                    Value::null(at(0).ty)
                } else {
                    at(0)
                }
            }
            "dateadd" => {
                let n = int(1).unwrap_or(0);
                let t = at(2);
                let t = if t.ty.is_string() { t.cast(Ty::DateTime, 0)? } else { t };
                let (Data::Time(time), Some(step)) = (&t.data, part(&text(0).unwrap_or_default())) else {
                    return Ok(Value::null(t.ty));
                };
                let moved = time.checked_add_signed(chrono::Duration::nanoseconds(step.saturating_mul(n)));
                match moved {
                    Some(m) => Value { ty: t.ty, data: Data::Time(m) }.cast(t.ty, 0)?,
                    None => return error(517, "Adding a value to a 'datetime' column caused an overflow."),
                }
            }
            "datediff" | "datediff_big" => {
                let (a, b) = (at(1).cast(Ty::DateTime2(7), 0)?, at(2).cast(Ty::DateTime2(7), 0)?);
                let ty = if name == "datediff" { Ty::Int } else { Ty::BigInt };
                let (Data::Time(a), Data::Time(b), Some(step)) = (&a.data, &b.data, part(&text(0).unwrap_or_default()))
                else {
                    return Ok(Value::null(ty));
                };
                let nanos = |t: &chrono::NaiveDateTime| {
                    i128::from(t.and_utc().timestamp()) * 1_000_000_000
                        + i128::from(t.and_utc().timestamp_subsec_nanos())
                };
                // DATEDIFF counts the boundaries that are crossed
                let n = nanos(b).div_euclid(step.into()) - nanos(a).div_euclid(step.into());
                match Value::big(n as i64).cast(ty, 0) {
                    Ok(v) => v,
                    Err(_) => {
                        return error(
                            535,
                            "The datediff function resulted in an overflow. The number of dateparts separating two date/time instances is too large.",
                        );
                    }
                }
            }
            "len" => text(0)
                .map_or(Value::null(Ty::Int), |t| Value::int(t.trim_end_matches(' ').encode_utf16().count() as i64)),
            "datalength" => match (&at(0).data, at(0).ty) {
                (Data::Null, _) => Value::null(Ty::Int),
                (Data::Bin(b), _) => Value::int(b.len() as i64),
                (Data::Str(t), Ty::NVarChar(_)) => Value::int(t.encode_utf16().count() as i64 * 2),
                (Data::Str(t), _) => Value::int(t.chars().count() as i64),
                (_, Ty::BigInt | Ty::DateTime | Ty::Float | Ty::DateTime2(_)) => Value::int(8),
                _ => Value::int(4),
            },
            "substring" => {
                let (from, n) = (int(1).unwrap_or(1), int(2).unwrap_or(0).max(0));
                let start = (from - 1).max(0) as usize;
                let end = (from - 1 + n).max(0) as usize;
                match &at(0).data {
                    Data::Bin(b) => Value::bin(b.iter().take(end).skip(start).copied().collect::<Vec<_>>()),
                    _ => opt_text(text(0).map(|t| t.chars().take(end).skip(start).collect())),
                }
            }
            "left" => opt_text(text(0).map(|t| t.chars().take(int(1).unwrap_or(0).max(0) as usize).collect())),
            "right" => opt_text(text(0).map(|t| {
                let n = t.chars().count().saturating_sub(int(1).unwrap_or(0).max(0) as usize);
                t.chars().skip(n).collect()
            })),
            "charindex" => Value::int(
                text(0)
                    .zip(text(1))
                    .and_then(|(a, b)| {
                        b.to_lowercase().find(&a.to_lowercase()).map(|i| b[..i].chars().count() as i64 + 1)
                    })
                    .unwrap_or(0),
            ),
            "replace" => match (text(0), text(1), text(2)) {
                (Some(t), Some(a), Some(b)) => Value::text(if a.is_empty() { t } else { t.replace(&a, &b) }),
                _ => Value::null(Ty::NVarChar(Some(4000))),
            },
            "quotename" => {
                let mark = text(1).and_then(|m| m.chars().next()).unwrap_or('[');
                let (open, close) = match mark {
                    '[' | ']' => ('[', ']'),
                    '(' | ')' => ('(', ')'),
                    m => (m, m),
                };
                let quoted = text(0)
                    .filter(|t| t.encode_utf16().count() <= 128)
                    .map(|t| format!("{open}{}{close}", t.replace(close, &format!("{close}{close}"))));
                quoted.map_or(Value::null(Ty::NVarChar(Some(258))), |q| Value {
                    ty: Ty::NVarChar(Some(258)),
                    data: Data::Str(q),
                })
            }
            "concat" => Value::text(v.iter().filter_map(Value::as_text).collect::<String>()),
            "upper" => opt_text(text(0).map(|t| t.to_uppercase())),
            "lower" => opt_text(text(0).map(|t| t.to_lowercase())),
            "ltrim" => opt_text(text(0).map(|t| t.trim_start().to_owned())),
            "rtrim" => opt_text(text(0).map(|t| t.trim_end().to_owned())),
            "trim" => opt_text(text(0).map(|t| t.trim().to_owned())),
            "newid" => Value { ty: Ty::Guid, data: Data::Guid(random_guid()) },
            "is_rolemember" | "is_member" => {
                w.readable(spid, s.database, "principal")?;
                let (Some(db), Some(role)) = (db, text(0)) else { return Ok(Value::null(Ty::Int)) };
                let who = if v.len() > 1 { text(1).and_then(|n| db.named(&n).map(|p| p.id)) } else { me };
                let role = db
                    .named(&role)
                    .filter(|p| p.kind == crate::instance::Kind::Role && w.sees_principal(spid, s.database, p.id))
                    .map(|p| p.id);
                match (role, who) {
                    (Some(role), Some(who)) => {
                        if Some(who) != me && !w.may(spid, s.database, 4, role, "VIEW DEFINITION") {
                            return Ok(Value::null(Ty::Int));
                        }
                        Value::int(i64::from(who != role && db.closure(who).contains(&role)))
                    }
                    _ => Value::null(Ty::Int),
                }
            }
            "is_srvrolemember" => {
                w.readable(spid, 0, "login")?;
                let role = text(0)
                    .and_then(|n| w.login_named(&n).filter(|l| l.kind == crate::instance::Kind::Role).map(|l| l.id));
                let who = if v.len() > 1 {
                    text(1).and_then(|n| w.login_named(&n).map(|l| l.id))
                } else {
                    s.context().and_then(|c| c.login)
                };
                match (role, who) {
                    (Some(r), Some(l)) => Value::int(i64::from(w.server_closure(l).contains(&r))),
                    _ => Value::null(Ty::Int),
                }
            }
            "has_perms_by_name" => self.has_perms(text(0), text(1), &text(2).unwrap_or_default().to_uppercase())?,
            "suser_sname" | "suser_name" | "system_user" => {
                if v.is_empty() {
                    Value::name(s.login_name())
                } else {
                    let found = match &at(0).data {
                        Data::Bin(b) => w.logins.values().find(|l| &l.sid == b),
                        _ => int(0).and_then(|i| w.logins.get(&(i as i32))),
                    };
                    Value::opt_name(found.map(|l| l.name.clone()))
                }
            }
            "suser_sid" => {
                let sid = if v.is_empty() {
                    s.context().map(|c| c.sid.clone())
                } else {
                    text(0).and_then(|n| w.login_named(&n).map(|l| l.sid.clone()))
                };
                sid.map_or(Value::null(Ty::VarBinary(Some(85))), Value::bin)
            }
            "suser_id" => opt_int(if v.is_empty() {
                s.context().and_then(|c| c.login)
            } else {
                text(0).and_then(|n| w.login_named(&n).map(|l| l.id))
            }),
            "original_login" => Value::name(s.original_login.as_str()),
            "user_name" | "current_user" | "session_user" | "user" => Value::opt_name(if v.is_empty() {
                me.and_then(user_name)
            } else {
                int(0).and_then(|i| user_name(i as i32))
            }),
            "user_id" | "database_principal_id" => opt_int(if v.is_empty() {
                me
            } else {
                text(0).and_then(|n| db?.named(&n).filter(|p| w.sees_principal(spid, s.database, p.id)).map(|p| p.id))
            }),
            "schema_id" => {
                opt_int(if v.is_empty() { Some(1) } else { text(0).and_then(|n| db?.schema_named(&n).map(|p| p.id)) })
            }
            "schema_name" => {
                Value::opt_name(db.and_then(|d| d.schemas.get(&(int(0).unwrap_or(1) as i32))).map(|x| x.name.clone()))
            }
            "object_id" => {
                let name = text(0).unwrap_or_default().replace(['[', ']'], "");
                let (schema, table) = name.rsplit_once('.').unwrap_or(("", &name));
                let schema = schema.rsplit('.').next().unwrap_or("");
                let sought = text(1).map(|kind| fold(&kind));
                let found = db.and_then(|d| match sought.as_deref() {
                    Some("u") => d.table_named(schema, table).map(|t| t.id),
                    Some("p") => d.procedure_named(schema, table).map(|p| p.id),
                    Some(_) => None,
                    None => d.object_named(schema, table),
                });
                opt_int(found.filter(|id| w.sees_object(spid, s.database, *id)))
            }
            "object_name" => Value::opt_name(int(0).and_then(|i| db?.tables.get(&(i as i32))).map(|t| t.name.clone())),
            "db_name" => Value::opt_name(if v.is_empty() {
                db.map(|d| d.name.clone())
            } else {
                int(0).and_then(|i| w.databases.get(&(i as i32))).map(|d| d.name.clone())
            }),
            "db_id" => {
                let id = if v.is_empty() {
                    Some(s.database)
                } else {
                    text(0).and_then(|n| w.database_named(&n).map(|d| d.id))
                };
                id.map_or(Value::null(Ty::SmallInt), |i| Value::small(i.into()))
            }
            "has_dbaccess" => {
                opt_int(text(0).and_then(|n| w.database_named(&n).map(|d| i32::from(w.user_in(spid, d.id).is_some()))))
            }
            "databasepropertyex" => {
                match (text(0).and_then(|n| w.database_named(&n).cloned()), fold(&text(1).unwrap_or_default()).as_str())
                {
                    (Some(d), "updateability") => {
                        Value::text(if d.read_only || w.read_only { "READ_ONLY" } else { "READ_WRITE" })
                    }
                    (Some(_), "status") => Value::text("ONLINE"),
                    _ => Value::null(Ty::NVarChar(Some(128))),
                }
            }
            "serverproperty" => {
                let part = |i: usize| w.version.split('.').nth(i).unwrap_or("0").to_owned();
                match fold(&text(0).unwrap_or_default()).as_str() {
                    "productversion" => Value::name(w.version.as_str()),
                    "productmajorversion" => Value::name(part(0)),
                    "productminorversion" => Value::name(part(1)),
                    "productlevel" => Value::name("RTM"),
                    "engineedition" => Value::int(w.engine_edition),
                    "edition" => {
                        Value::name(if w.engine_edition == 5 { "SQL Azure" } else { "Enterprise Edition (64-bit)" })
                    }
                    "servername" | "machinename" => Value::name(w.name.as_str()),
                    "ishadrenabled" | "isclustered" => Value::int(0),
                    _ => Value::null(Ty::NVarChar(Some(128))),
                }
            }
            "app_name" => Value::name(s.program.as_str()),
            "host_name" => Value::name(s.host.as_str()),
            "context_info" => s.context_info.clone().map_or(Value::null(Ty::VarBinary(Some(128))), Value::bin),
            "session_context" => text(0)
                .and_then(|k| s.values.get(&fold(&k)).map(|v| v.0.clone()))
                .unwrap_or(Value::null(Ty::NVarChar(Some(4000)))),
            "xact_state" => Value::small(if s.transactions == 0 {
                0
            } else if s.doomed {
                -1
            } else {
                1
            }),
            "error_number" => self.m.caught.last().map_or(Value::null(Ty::Int), |e| Value::int(e.number.into())),
            "error_severity" => self.m.caught.last().map_or(Value::null(Ty::Int), |e| Value::int(e.severity.into())),
            "error_state" => self.m.caught.last().map_or(Value::null(Ty::Int), |e| Value::int(e.state.into())),
            "error_line" => self.m.caught.last().map_or(Value::null(Ty::Int), |e| Value::int(e.line.into())),
            "error_message" => opt_text(self.m.caught.last().map(|e| e.message.clone())),
            "error_procedure" => Value::null(Ty::NVarChar(Some(128))),
            "applock_mode" => {
                let (resource, owner) = (text(1).unwrap_or_default(), fold(&text(2).unwrap_or_default()));
                let held = w
                    .app_locks
                    .iter()
                    .find(|l| l.spid == spid && l.resource == resource && l.of_session == (owner == "session"));
                Value::text(held.map_or("NoLock", |l| l.mode.as_str()))
            }
            _ => return error(195, format!("'{name}' is not a recognized built-in function name.")),
        })
    }

    fn has_perms(&self, securable: Option<String>, class: Option<String>, permission: &str) -> Result<Value, Stop> {
        let (w, spid) = (self.w, self.spid);
        let database = w.session(spid).database;
        let plain = securable.map(|s| s.replace("]]", "]").trim_start_matches('[').trim_end_matches(']').to_owned());
        let yes = |b: bool| Value::int(i64::from(b));
        let Some(class) = class.map(|c| c.to_uppercase()) else { return Ok(yes(w.may_server(spid, permission))) };
        let db = w.databases.get(&database);
        let name = plain.unwrap_or_default();
        Ok(match class.as_str() {
            "SERVER" => yes(w.may_server(spid, permission)),
            "DATABASE" => {
                let id = if name.is_empty() { Some(database) } else { w.database_named(&name).map(|d| d.id) };
                id.map_or(Value::null(Ty::Int), |id| yes(w.may(spid, id, 0, 0, permission)))
            }
            "ROLE" | "USER" | "APPLICATION ROLE" => {
                let p = db.and_then(|d| d.named(&name)).filter(|p| w.sees_principal(spid, database, p.id));
                p.map_or(Value::null(Ty::Int), |p| {
                    yes(if p.fixed {
                        w.may(spid, database, 0, 0, "CONTROL")
                    } else {
                        w.may(spid, database, 4, p.id, permission)
                    })
                })
            }
            "LOGIN" | "SERVER ROLE" => w
                .login_named(&name)
                .map_or(Value::null(Ty::Int), |l| yes(w.may_server_principal(spid, l.id, permission))),
            "SCHEMA" => db
                .and_then(|d| d.schema_named(&name))
                .map_or(Value::null(Ty::Int), |x| yes(w.may(spid, database, 3, x.id, permission))),
            "OBJECT" => {
                let flat = name.replace(['[', ']'], "");
                let (schema, table) = flat.rsplit_once('.').unwrap_or(("", &flat));
                db.and_then(|d| d.object_named(schema, table))
                    .map_or(Value::null(Ty::Int), |id| yes(w.may(spid, database, 1, id, permission)))
            }
            _ => Value::null(Ty::Int),
        })
    }

    fn aggregate(
        &self,
        name: &str,
        args: &[Expr],
        distinct: bool,
        within: &[(Expr, bool)],
        row: Up<'_>,
    ) -> Result<Value, Stop> {
        let Some((r, group)) = row.and_then(|r| r.group.map(|g| (r, g))) else {
            return error(147, "An aggregate may not appear here.");
        };
        let counts = if name == "count" { Value::int } else { Value::big };
        let Some(arg) = args.first() else { return Ok(counts(group.len() as i64)) };
        let mut found: Vec<(Vec<Value>, Value)> = Vec::new();
        let nulls: Vec<Value> = r.columns.iter().map(|c| Value::null(c.ty)).collect();
        let ty = self.probe(arg, Some(&Row { values: &nulls, group: None, ..*r }))?;
        for values in group {
            let row = Row { columns: r.columns, values, group: None, up: r.up };
            let v = self.expr(arg, Some(&row))?;
            let again = distinct && found.iter().any(|f| f.1 == v);
            if !(v.is_null() || again) {
                let keys = within.iter().map(|(e, _)| self.expr(e, Some(&row))).collect::<Result<Vec<_>, _>>()?;
                found.push((keys, v));
            }
        }
        let order = super::select::order_values;
        Ok(match name {
            "count" | "count_big" => counts(found.len() as i64),
            "min" => found.into_iter().map(|f| f.1).min_by(order).unwrap_or(Value::null(ty)),
            "max" => found.into_iter().map(|f| f.1).max_by(order).unwrap_or(Value::null(ty)),
            "string_agg" => {
                let mark =
                    args.get(1).map(|a| self.expr(a, row)).transpose()?.and_then(|v| v.as_text()).unwrap_or_default();
                found.sort_by(|a, b| {
                    a.0.iter().zip(&b.0).zip(within).fold(std::cmp::Ordering::Equal, |o, ((x, y), (_, d))| {
                        o.then_with(|| if *d { order(y, x) } else { order(x, y) })
                    })
                });
                if found.is_empty() {
                    Value::null(Ty::NVarChar(Some(4000)))
                } else {
                    Value::text(found.iter().filter_map(|f| f.1.as_text()).collect::<Vec<_>>().join(&mark))
                }
            }
            _ if found.is_empty() => Value::null(ty),
            _ => {
                let (sum, n) =
                    found.iter().fold((0_i64, 0_i64), |(s, n), f| (s.saturating_add(f.1.as_int().unwrap_or(0)), n + 1));
                let ty = if ty == Ty::BigInt { Ty::BigInt } else { Ty::Int };
                Value::big(if name == "sum" { sum } else { sum / n.max(1) }).cast(ty, 0)?
            }
        })
    }
}

/// Returns the nanoseconds of a part of a date.
fn part(name: &str) -> Option<i64> {
    Some(match name {
        "ns" | "nanosecond" => 1,
        "mcs" | "microsecond" => 1_000,
        "ms" | "millisecond" => 1_000_000,
        "s" | "ss" | "second" => 1_000_000_000,
        "n" | "mi" | "minute" => 60_000_000_000,
        "hh" | "hour" => 3_600_000_000_000,
        "d" | "dd" | "day" => 86_400_000_000_000,
        "ww" | "wk" | "week" => 7 * 86_400_000_000_000,
        _ => return None,
    })
}
