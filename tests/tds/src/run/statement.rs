//! Execution of single statements.

use std::time::{Duration, Instant};

use super::{Machine, THROWN, TableVariable};
use crate::{
    SqlError, Stop, error,
    instance::{Context, Instance},
    sql::{
        Data, Ty, Value,
        ast::{Body, Expr, Item, Stmt},
    },
};

impl Machine {
    pub(super) fn value(&mut self, e: &Expr) -> Result<Value, Stop> {
        let e = e.clone();
        self.patient(move |m, w| m.eval(w).expr(&e, None))
    }

    pub(super) fn statement(&mut self, stmt: &Stmt) -> Result<(), Stop> {
        match stmt {
            Stmt::Nothing => Ok(()),
            Stmt::Query(q) => {
                let rel = self.patient(|m, w| m.eval(w).query(q, None))?;
                let assigns: Vec<_> = match &q.body {
                    Body::Select(s) => s
                        .items
                        .iter()
                        .filter_map(|i| {
                            if let Item::Assign { variable, op, .. } = i { Some((variable.clone(), *op)) } else { None }
                        })
                        .collect(),
                    _ => Vec::new(),
                };
                if assigns.is_empty() {
                    self.result(rel);
                    return Ok(());
                }
                self.rowcount = rel.rows.len() as i64;
                for row in &rel.rows {
                    for ((name, op), v) in assigns.iter().zip(row) {
                        self.set(name, op, v)?;
                    }
                }
                Ok(())
            }
            Stmt::Declare(list) => list.iter().try_for_each(|(name, ty, value)| {
                let v = value.as_ref().map_or(Ok(Value::NULL), |e| self.value(e))?.cast(*ty, 0)?;
                self.frame().variables.insert(name.clone(), (*ty, v));
                Ok(())
            }),
            Stmt::DeclareTable { name, columns } => {
                self.frame()
                    .tables
                    .insert(name.clone(), TableVariable { columns: columns.clone(), ..TableVariable::default() });
                Ok(())
            }
            Stmt::SetVariable { name, op, expr } => {
                let v = self.value(expr)?;
                self.set(name, op, &v)
            }
            Stmt::SetOption { names, value, on } => {
                let v = value.as_ref().map(|e| self.value(e)).transpose()?;
                let mut instance = self.shared.instance();
                let Some(s) = instance.session_mut(self.spid) else { return Err(Stop::Killed) };
                for name in names {
                    match name.as_str() {
                        "xact_abort" => s.xact_abort = *on,
                        "nocount" => self.nocount = *on,
                        "isolation" => s.dirty_reads = *on,
                        "concat_null_yields_null" => s.concat_null = *on,
                        "lock_timeout" => s.lock_timeout = v.as_ref().and_then(Value::as_int).unwrap_or(-1),
                        "context_info" => {
                            s.context_info = match v
                                .as_ref()
                                .map(|v| v.cast(Ty::VarBinary(Some(128)), 0))
                                .transpose()?
                                .map(|v| v.data)
                            {
                                // context_info is binary(128): padded with zeros
                                Some(Data::Bin(mut b)) => {
                                    b.resize(128, 0);
                                    Some(b)
                                }
                                _ => None,
                            }
                        }
                        _ => {}
                    }
                }
                Ok(())
            }
            Stmt::Print(e) => {
                let text = self.value(e)?.as_text().unwrap_or_default();
                self.inform(0, text);
                Ok(())
            }
            Stmt::Throw(None) => match self.caught.last().cloned() {
                Some(mut e) => {
                    e.compile = false;
                    e.state = THROWN;
                    Err(e.into())
                }
                None => error(10704, "To rethrow an error, a THROW statement must be used inside a CATCH block."),
            },
            Stmt::Throw(Some((n, m, _))) => {
                let number = self.value(n)?.as_int().unwrap_or(0) as i32;
                if number < 50000 {
                    return error(
                        35100,
                        format!(
                            "Error number {number} in the THROW statement is outside the valid range. Specify an error number in the valid range of 50000 to 2147483647."
                        ),
                    );
                }
                let text = self.value(m)?.as_text().unwrap_or_default();
                Err(SqlError::new(number, text).state(THROWN).into())
            }
            Stmt::RaisError { message, severity, state, args } => {
                let mut text = self.value(message)?.as_text().unwrap_or_default();
                for a in args {
                    let v = self.value(a)?.as_text().unwrap_or_else(|| "(null)".into());
                    if let Some(i) = text.find("%s").or_else(|| text.find("%d")) {
                        text.replace_range(i..i + 2, &v);
                    }
                }
                let mut e = SqlError::new(50000, text);
                e.severity = self.value(severity)?.as_int().unwrap_or(16) as u8;
                e.state = self.value(state)?.as_int().unwrap_or(1) as u8;
                if e.severity > 10 {
                    Err(e.into())
                } else {
                    self.tell(&e);
                    Ok(())
                }
            }
            Stmt::Begin | Stmt::Commit | Stmt::Rollback(_) | Stmt::Save(_) => {
                // done by hand: `patient` would take this transaction for an autocommit
                let shared = std::sync::Arc::clone(&self.shared);
                let result = self.transaction_statement(&mut shared.instance(), stmt);
                shared.changed.notify_all();
                self.follow_transaction(matches!(stmt, Stmt::Commit));
                result?;
                self.out.done(self.in_proc, 0, None);
                Ok(())
            }
            Stmt::Use(name) => {
                let id = self.patient(|m, w| {
                    if w.database_named(name).is_none() {
                        return error(
                            911,
                            format!("Database '{name}' does not exist. Make sure that the name is entered correctly."),
                        );
                    }
                    m.eval(w).database(Some(name))
                })?;
                let (old, new) = {
                    let mut w = self.shared.instance();
                    let name = |w: &Instance, id| w.databases.get(&id).map(|d| d.name.clone()).unwrap_or_default();
                    let old = name(&w, w.session(self.spid).database);
                    if let Some(s) = w.session_mut(self.spid) {
                        s.database = id;
                    }
                    (old, name(&w, id))
                };
                self.out.env_text(1, &new, &old);
                self.inform(5701, format!("Changed database context to '{new}'."));
                Ok(())
            }
            Stmt::ExecString { parts } => {
                let mut sql = String::new();
                for p in parts {
                    sql += &self.value(p)?.as_text().unwrap_or_default();
                }
                self.scoped(|m| m.text(&sql, super::Frame::default())).map(drop)
            }
            Stmt::Exec { into, name, args } => self.procedure(into.as_deref(), name, args),
            Stmt::WaitFor(e) => {
                let text = self.value(e)?.as_text().unwrap_or_default();
                let mut secs = 0.0;
                for p in text.split(':') {
                    secs = secs * 60.0 + p.parse::<f64>().unwrap_or(0.0);
                }
                if text.matches(':').count() == 1 {
                    secs *= 60.0;
                }
                self.sleep(Duration::from_secs_f64(secs.max(0.0)))
            }
            Stmt::Return(Some(_)) => {
                error(178, "A RETURN statement with a return value cannot be used in this context.")
            }
            Stmt::Kill(e) => {
                let target = self.value(e)?.as_int().unwrap_or(0) as i32;
                self.patient(|m, w| m.kill(w, target))
            }
            Stmt::ExecuteAs { login, name } => {
                let name = self.value(name)?.as_text().unwrap_or_default();
                self.patient(|m, w| {
                    let s = w.session(m.spid).clone();
                    let none = || SqlError::new(15517, format!("Cannot execute as the database principal because the principal \"{name}\" does not exist, this type of principal cannot be impersonated, or you do not have permission."));
                    let context = if *login {
                        let l = w.login_named(&name).cloned().ok_or_else(none)?;
                        if !w.may_server(m.spid, "CONTROL SERVER") && !w.may_server_principal(m.spid, l.id, "IMPERSONATE") { return Err(none().into()); }
                        Context { login: Some(l.id), login_name: l.name, sid: l.sid, user: None }
                    } else {
                        let p = w.databases.get(&s.database).and_then(|d| d.named(&name)).cloned().ok_or_else(none)?;
                        if !w.may(m.spid, s.database, 4, p.id, "IMPERSONATE") { return Err(none().into()); }
                        let sid = p.sid.clone().unwrap_or_default();
                        Context { login: w.logins.values().find(|l| l.sid == sid).map(|l| l.id), login_name: p.name, sid, user: Some((s.database, p.id)) }
                    };
                    if let Some(s) = w.session_mut(m.spid) { s.contexts.push(context); }
                    Ok(())
                })
            }
            Stmt::Revert => {
                if let Some(s) = self.shared.instance().session_mut(self.spid)
                    && s.contexts.len() > 1
                {
                    s.contexts.pop();
                }
                Ok(())
            }
            Stmt::Insert { .. } | Stmt::Update { .. } | Stmt::Delete { .. } => self.change_rows(stmt),
            other => {
                self.patient(|m, w| m.define(w, other))?;
                if matches!(other, Stmt::AlterRole { server: false, .. }) {
                    self.triggers()?;
                }
                self.out.done(self.in_proc, 0, None);
                Ok(())
            }
        }
    }

    /// Runs the triggers on changes of the database. Error 3609 if one of them ended the
    /// transaction.
    fn triggers(&mut self) -> Result<(), Stop> {
        let (before, bodies) = {
            let w = self.shared.instance();
            let s = w.session(self.spid);
            let all = w.databases.get(&s.database).into_iter().flat_map(|db| &db.triggers);
            let bodies: Vec<_> = all.filter(|t| t.table.is_none()).map(|t| t.body.clone()).collect();
            (s.transactions, bodies)
        };
        for body in bodies {
            self.scoped(|m| m.lines_in(&body, super::Frame::default()))?;
        }
        if self.shared.instance().session(self.spid).transactions < before {
            return error(3609, "The transaction ended in the trigger. The batch has been aborted.");
        }
        Ok(())
    }

    pub(super) fn set(&mut self, name: &str, op: &'static str, v: &Value) -> Result<(), Stop> {
        if op == "=" {
            return self.assign(name, v);
        }
        let sign: &'static str =
            ["+", "-", "*", "/", "%", "&", "|", "^"].into_iter().find(|s| op.starts_with(s)).unwrap_or("+");
        let e = Expr::Binary(sign, Box::new(Expr::Variable(name.to_owned())), Box::new(Expr::Literal(v.clone())));
        let v = self.value(&e)?;
        self.assign(name, &v)
    }

    fn sleep(&mut self, time: Duration) -> Result<(), Stop> {
        let end = Instant::now() + time;
        let shared = std::sync::Arc::clone(&self.shared);
        let mut w = shared.instance();
        loop {
            let s = w.session(self.spid);
            if s.killed {
                return Err(Stop::Killed);
            }
            if s.attention {
                return Err(Stop::Attention);
            }
            let rest = end.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                if let Some(s) = w.session_mut(self.spid) {
                    s.wait = "";
                }
                return Ok(());
            }
            if let Some(s) = w.session_mut(self.spid) {
                s.wait = "WAITFOR";
            }
            (w, _) = shared.changed.wait_timeout(w, rest).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    fn kill(&self, w: &mut Instance, target: i32) -> Result<(), Stop> {
        if w.session(self.spid).transactions > 0 {
            return error(6115, "KILL command cannot be used inside user transactions.");
        }
        if !w.may_server(self.spid, "ALTER ANY CONNECTION") {
            return error(6102, "User does not have permission to use the KILL statement.");
        }
        if target == self.spid {
            return error(6104, "Cannot use KILL to kill your own process.");
        }
        if (1..=50).contains(&target) {
            return error(6107, "Only user processes can be killed.");
        }
        match w.session_mut(target).filter(|s| !s.system) {
            Some(s) => {
                s.killed = true;
                let idle = !s.running;
                if let Some(wake) = &s.wake {
                    wake.notify_one();
                }
                // the open transaction of an idle session is rolled back at once
                if idle {
                    w.rollback(target);
                }
                Ok(())
            }
            None => error(6106, format!("Process ID {target} is not an active process ID.")),
        }
    }

    /// Returns error 3906 or 3930 if nothing can be written.
    pub(super) fn writable(&self, w: &Instance, database: i32) -> Result<(), Stop> {
        let s = w.session(self.spid);
        if s.doomed {
            return error(
                3930,
                "The current transaction cannot be committed and cannot support operations that write to the log file. Roll back the transaction.",
            );
        }
        let Some(db) = w.databases.get(&database) else { return Ok(()) };
        if !s.system && (db.read_only || w.read_only) {
            return error(
                3906,
                format!("Failed to update database \"{}\" because the database is read-only.", db.name),
            );
        }
        Ok(())
    }
}
