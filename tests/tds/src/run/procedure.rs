//! System procedures, called by EXEC and as remote procedures.

use super::{End, Frame, Machine};
use crate::{
    SqlError, Stop, error,
    instance::{AppLock, Context, class},
    sql::{
        Ty, Value,
        ast::{Argument, Change, Expr, Routine, Stmt},
        fold, parse_parameters,
    },
    wire::{Param, Rpc},
};

/// Argument of a procedure call.
#[derive(Debug, Clone)]
pub(super) struct Given {
    /// Name with its `@`; empty for a positional argument.
    pub(super) name: String,
    pub(super) value: Value,
    output: bool,
}

/// Output parameter of a call.
#[derive(Debug)]
struct Output {
    /// Position among all arguments of the call.
    at: u16,
    name: String,
    value: Value,
}

/// Result of a procedure: output parameters by name, and the status.
#[derive(Debug, Default)]
pub(super) struct Returned {
    outputs: Vec<Output>,
    status: i32,
}

/// Returns the argument with one of these names, or the positional argument at this place.
pub(super) fn pick<'a>(given: &'a [Given], at: usize, names: &[&str]) -> Option<&'a Given> {
    given.iter().find(|g| names.contains(&g.name.as_str())).or_else(|| given.get(at).filter(|g| g.name.is_empty()))
}

pub(super) fn missing(procedure: &str, parameter: &str) -> Stop {
    SqlError::new(
        201,
        format!("Procedure or function '{procedure}' expects parameter '{parameter}', which was not supplied."),
    )
    .into()
}

impl Machine {
    /// Runs an EXEC of a procedure.
    pub(super) fn procedure(&mut self, into: Option<&str>, name: &[String], args: &[Argument]) -> Result<(), Stop> {
        let mut given = Vec::new();
        for a in args {
            given.push(Given {
                name: a.name.clone().unwrap_or_default(),
                value: self.value(&a.value)?,
                output: a.output,
            });
        }
        let result = self.run_procedure(name, &given)?;
        let outputs = args.iter().filter(|a| a.output);
        for (a, output) in outputs.zip(&result.outputs) {
            if let Expr::Variable(variable) = &a.value {
                self.assign(variable, &output.value)?;
            }
        }
        if let Some(variable) = into {
            self.assign(variable, &Value::int(result.status.into()))?;
        }
        Ok(())
    }

    /// Runs a request that calls procedures.
    pub(crate) fn calls(&mut self, calls: Vec<Rpc>) -> End {
        self.start("EXECUTE");
        self.in_proc = true;
        let mut result = Ok(());
        for call in calls {
            let given: Vec<Given> =
                call.params.into_iter().map(|Param { name, output, value }| Given { name, value, output }).collect();
            let name: Vec<String> = call.name.split('.').map(|part| part.trim_matches(['[', ']']).to_owned()).collect();
            match self.run_procedure(&name, &given) {
                Ok(done) => {
                    self.out.return_status(done.status);
                    for output in &done.outputs {
                        self.out.return_value(output.at, &output.name, &output.value);
                    }
                    // the last one of all loses this mark when the response ends
                    self.out.done_proc(true);
                }
                Err(stop) => {
                    result = Err(stop);
                    break;
                }
            }
        }
        self.end(result)
    }

    fn run_procedure(&mut self, name: &[String], given: &[Given]) -> Result<Returned, Stop> {
        if given.len() > 2100 {
            return error(
                8003,
                "The incoming request has too many parameters. The server supports a maximum of 2100 parameters. Reduce the number of parameters and resend the request.",
            );
        }
        let short = name.last().map(|n| fold(n)).unwrap_or_default();
        match short.as_str() {
            "sp_executesql" => {
                // clients name the first two arguments as they like, so both are taken by position
                let text = given.first().and_then(|g| g.value.as_text());
                let Some(text) = text else { return Err(missing(&short, "@statement")) };
                let declared = given.get(1).and_then(|g| g.value.as_text()).unwrap_or_default();
                self.execute_text(&text, &declared, given, 2)
            }
            "sp_prepare" | "sp_prepexec" => {
                let declared = given.get(1).and_then(|g| g.value.as_text()).unwrap_or_default();
                let Some(text) = given.get(2).and_then(|g| g.value.as_text()) else {
                    return Err(missing(&short, "@stmt"));
                };
                let handle = self.prepared.keys().max().map_or(1, |n| n + 1);
                self.prepared.insert(handle, (text.clone(), declared.clone()));
                let mut done = if short == "sp_prepexec" {
                    self.execute_text(&text, &declared, given, 3)?
                } else {
                    Returned::default()
                };
                done.outputs.insert(0, Output { at: 0, name: String::new(), value: Value::int(handle) });
                Ok(done)
            }
            "sp_execute" | "sp_unprepare" => {
                let handle = given.first().and_then(|g| g.value.as_int()).unwrap_or(0);
                if short == "sp_unprepare" {
                    self.prepared.remove(&handle);
                    return Ok(Returned::default());
                }
                let Some((text, declared)) = self.prepared.get(&handle).cloned() else {
                    return error(8179, format!("Could not find prepared statement with handle {handle}."));
                };
                self.execute_text(&text, &declared, given, 1)
            }
            "sp_getapplock" => self.take_app_lock(given),
            "sp_releaseapplock" => self.release_app_lock(given),
            "sp_set_session_context" => {
                let Some(key) = pick(given, 0, &["@key"]).and_then(|g| g.value.as_text()) else {
                    return Err(missing(&short, "@key"));
                };
                let Some(value) = pick(given, 1, &["@value"]).map(|g| g.value.clone()) else {
                    return Err(missing(&short, "@value"));
                };
                let read_only = pick(given, 2, &["@read_only"]).and_then(|g| g.value.as_int()) == Some(1);
                let mut instance = self.shared.instance();
                let Some(s) = instance.session_mut(self.spid) else { return Err(Stop::Killed) };
                if s.values.get(&fold(&key)).is_some_and(|v| v.1) {
                    return error(
                        15664,
                        format!(
                            "Cannot set key '{key}' in the session context. The key has been set as read_only for this session."
                        ),
                    );
                }
                s.values.insert(fold(&key), (value, read_only));
                Ok(Returned::default())
            }
            "sp_addrolemember" | "sp_droprolemember" => {
                let role = pick(given, 0, &["@rolename"]).and_then(|g| g.value.as_text()).unwrap_or_default();
                let member = pick(given, 1, &["@membername"]).and_then(|g| g.value.as_text()).unwrap_or_default();
                let adds = short == "sp_addrolemember";
                let change = if adds { Change::Add(member.clone()) } else { Change::Drop(member.clone()) };
                self.patient(|m, w| {
                    let database = w.session(m.spid).database;
                    if w.databases.get(&database).is_some_and(|d| d.named(&member).is_none()) {
                        return error(15410, format!("User or role '{member}' does not exist in this database."));
                    }
                    m.define(w, &Stmt::AlterRole { name: role.clone(), change: change.clone(), server: false })
                })?;
                Ok(Returned::default())
            }
            _ if self.is_of_jobs(name) => self.job_procedure(&short, given),
            _ => self.stored_procedure(name, given),
        }
    }

    /// Runs text with parameters, in a frame of its own. The first `own` arguments belong to the
    /// procedure itself. SET options and EXECUTE AS last only as long as the text runs.
    fn execute_text(&mut self, text: &str, declared: &str, given: &[Given], own: usize) -> Result<Returned, Stop> {
        let given = given.get(own..).unwrap_or_default();
        let parameters = parse_parameters(declared)?;
        let mut frame = Frame::default();
        for (i, (name, ty, _)) in parameters.iter().enumerate() {
            let Some(one) = pick(given, i, &[name]) else {
                return error(
                    8178,
                    format!(
                        "The parameterized query '({declared}){text}' expects the parameter '{name}', which was not supplied."
                    ),
                );
            };
            frame.variables.insert(name.clone(), (*ty, one.value.cast(*ty, 0)?));
        }
        if given.len() > parameters.len() {
            return error(8144, "Procedure or function has too many arguments specified.");
        }
        // dynamic text is not part of an ownership chain
        let frame = self.scoped(|m| {
            m.chain(None);
            m.text(text, frame)
        })?;
        Ok(Returned { outputs: outputs(&parameters, given, own, &frame), status: 0 })
    }

    /// Sets the owner whose rows a procedure may change for its caller.
    fn chain(&mut self, chain: Option<(i32, i32)>) {
        if let Some(s) = self.shared.instance().session_mut(self.spid) {
            s.chain = chain;
        }
    }

    /// Runs a procedure that a user made.
    fn stored_procedure(&mut self, name: &[String], given: &[Given]) -> Result<Returned, Stop> {
        let unknown = || error(2812, format!("Could not find stored procedure '{}'.", name.join(".")));
        let (database, schema, short) = match name {
            [n] => (None, "", n.as_str()),
            [s, n] => (None, s.as_str(), n.as_str()),
            [d, s, n] => (Some(d.as_str()), s.as_str(), n.as_str()),
            _ => return unknown(),
        };
        let found = self.patient(|m, w| {
            let database = m.eval(w).database(database)?;
            let Some(db) = w.databases.get(&database) else { return Ok(None) };
            let Some(procedure) = db.procedure_named(schema, short) else { return Ok(None) };
            if !w.may(m.spid, database, class::OBJECT, procedure.id, "EXECUTE") {
                let schema = db.schemas.get(&procedure.schema).map(|s| s.name.as_str()).unwrap_or_default();
                return error(
                    229,
                    format!(
                        "The EXECUTE permission was denied on the object '{}', database '{}', schema '{schema}'.",
                        procedure.name, db.name
                    ),
                );
            }
            let owner = db.schemas.get(&procedure.schema).map_or(1, |s| s.owner);
            let context = procedure.runs_as.and_then(|user| db.principals.get(&user)).map(|p| Context {
                login: None,
                login_name: p.name.clone(),
                sid: p.sid.clone().unwrap_or_default(),
                user: Some((database, p.id)),
            });
            Ok(Some((database, owner, context, procedure.routine.clone())))
        })?;
        let Some((database, owner, context, Routine { parameters, body })) = found else { return unknown() };
        let mut frame = Frame::default();
        for (i, (name, ty, _)) in parameters.iter().enumerate() {
            let Some(one) = pick(given, i, &[name]) else { return Err(missing(short, name)) };
            frame.variables.insert(name.clone(), (*ty, one.value.cast(*ty, 0)?));
        }
        if given.len() > parameters.len() {
            return error(8144, format!("Procedure or function {short} has too many arguments specified."));
        }
        let frame = self.scoped(|m| {
            if let Some(s) = m.shared.instance().session_mut(m.spid) {
                s.chain = Some((database, owner));
                s.database = database;
                s.contexts.extend(context);
            }
            m.lines_in(&body, frame)
        })?;
        Ok(Returned { outputs: outputs(&parameters, given, 0, &frame), status: 0 })
    }

    /// Does the work, then restores the session's options and execution context.
    pub(super) fn scoped<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, Stop>) -> Result<T, Stop> {
        let before = self.shared.instance().session(self.spid).clone();
        let nocount = self.nocount;
        let result = work(self);
        self.nocount = nocount;
        if let Some(s) = self.shared.instance().session_mut(self.spid) {
            s.contexts.truncate(before.contexts.len());
            (s.xact_abort, s.dirty_reads, s.concat_null) = (before.xact_abort, before.dirty_reads, before.concat_null);
            s.lock_timeout = before.lock_timeout;
            (s.chain, s.database) = (before.chain, before.database);
        }
        result
    }

    fn take_app_lock(&mut self, given: &[Given]) -> Result<Returned, Stop> {
        let text = |at, name| pick(given, at, &[name]).and_then(|g| g.value.as_text());
        let Some(resource) = text(0, "@resource") else { return Err(missing("sp_getapplock", "@Resource")) };
        let Some(mode) = text(1, "@lockmode") else { return Err(missing("sp_getapplock", "@LockMode")) };
        let of_session = text(2, "@lockowner").is_some_and(|o| fold(&o) == "session");
        let status = |status| Ok(Returned { outputs: Vec::new(), status });
        let timeout = pick(given, 3, &["@locktimeout"]).and_then(|g| g.value.as_int());
        let before = {
            let mut instance = self.shared.instance();
            let Some(s) = instance.session_mut(self.spid) else { return Err(Stop::Killed) };
            if !of_session && s.transactions == 0 {
                // outside of a transaction nothing could own the lock
                return status(-999);
            }
            let before = s.lock_timeout;
            s.lock_timeout = timeout.unwrap_or(before);
            before
        };
        let mut waited = false;
        let result = self.patient(|m, w| {
            let (spid, database) = (m.spid, w.session(m.spid).database);
            let other = w.app_locks.iter().find(|l| {
                l.spid != spid && l.database == database && l.resource == resource && !compatible(&l.mode, &mode)
            });
            if let Some(by) = other.map(|l| l.spid) {
                waited = true;
                return w.wait(spid, by, format!("APPLICATION: {database}:0:[{resource}]"), "LCK_M_X");
            }
            let own = w.app_locks.iter_mut().find(|l| {
                l.spid == spid && l.database == database && l.resource == resource && l.of_session == of_session
            });
            match own {
                Some(l) => l.count += 1,
                None => w.app_locks.push(AppLock {
                    spid,
                    database,
                    resource: resource.clone(),
                    mode: mode.clone(),
                    of_session,
                    count: 1,
                }),
            }
            Ok(())
        });
        if let Some(s) = self.shared.instance().session_mut(self.spid) {
            s.lock_timeout = before;
        }
        match result {
            Ok(()) => status(i32::from(waited)),
            Err(Stop::Error(e)) if e.number == 1222 => status(-1),
            Err(Stop::Error(e)) if e.number == 1205 => status(-3),
            Err(stop) => Err(stop),
        }
    }

    fn release_app_lock(&mut self, given: &[Given]) -> Result<Returned, Stop> {
        let text = |at, name| pick(given, at, &[name]).and_then(|g| g.value.as_text());
        let Some(resource) = text(0, "@resource") else { return Err(missing("sp_releaseapplock", "@Resource")) };
        let of_session = text(1, "@lockowner").is_some_and(|o| fold(&o) == "session");
        let mut instance = self.shared.instance();
        let database = instance.session(self.spid).database;
        let spid = self.spid;
        let mine = |l: &AppLock| {
            l.spid == spid && l.database == database && l.resource == resource && l.of_session == of_session
        };
        let Some(at) = instance.app_locks.iter().position(mine) else {
            return error(
                1223,
                format!(
                    "Cannot release the application lock (Database Principal: 'public', Resource: '{resource}') because it is not currently held."
                ),
            );
        };
        let last = instance.app_locks.get_mut(at).is_none_or(|l| {
            l.count -= 1;
            l.count == 0
        });
        if last {
            instance.app_locks.remove(at);
        }
        drop(instance);
        self.shared.changed.notify_all();
        Ok(Returned::default())
    }
}

/// Returns the output parameters. The first `own` arguments belong to the procedure itself.
fn outputs(parameters: &[(String, Ty, bool)], given: &[Given], own: usize, frame: &Frame) -> Vec<Output> {
    let out = parameters.iter().enumerate().filter(|(_, (_, _, out))| *out);
    let asked = out.filter(|(i, (name, ..))| pick(given, *i, &[name]).is_some_and(|g| g.output));
    let one = |(i, (name, ty, _)): (usize, &(String, Ty, bool))| {
        let value = frame.variables.get(name).and_then(|v| v.1.cast(*ty, 0).ok());
        let at = given.iter().position(|g| &g.name == name).unwrap_or(i).saturating_add(own) as u16;
        Output { at, name: name.clone(), value: value.unwrap_or(Value::null(*ty)) }
    };
    asked.map(one).collect()
}

/// Checks whether two sessions may hold these lock modes at once.
fn compatible(a: &str, b: &str) -> bool {
    let (a, b) = (fold(a), fold(b));
    let pair = |x: &str, y: &str| (a == x && b == y) || (a == y && b == x);
    pair("shared", "shared")
        || pair("shared", "update")
        || pair("shared", "intentshared")
        || pair("update", "intentshared")
        || pair("intentshared", "intentshared")
        || pair("intentshared", "intentexclusive")
        || pair("intentexclusive", "intentexclusive")
}
