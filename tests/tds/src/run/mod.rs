//! Execution of batches. Control flow, errors and transactions are here, the statements in the
//! other files.

mod agent;
mod data;
mod expression;
mod function;
mod procedure;
mod security;
mod select;
mod statement;
mod transaction;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

pub(crate) use agent::serve_jobs;

use super::{
    SqlError, Stop,
    connection::told,
    instance::{Instance, Rel},
    server::Shared,
    sql::{
        Ty, Value,
        ast::{ColumnDef, Expr, Line, Stmt},
        parse,
    },
    wire::Tokens,
};

/// Fate of the connection after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Stay,
    Close,
}

/// A table variable.
#[derive(Debug, Clone, Default)]
pub(super) struct TableVariable {
    columns: Vec<ColumnDef>,
    rows: Vec<Vec<Value>>,
    identity: i64,
}

/// Variables of a batch. An EXEC of text has its own.
#[derive(Debug, Default)]
pub(super) struct Frame {
    variables: HashMap<String, (Ty, Value)>,
    tables: HashMap<String, TableVariable>,
}

/// Interpreter of one session.
#[derive(Debug)]
pub(crate) struct Machine {
    shared: Arc<Shared>,
    spid: i32,
    out: Tokens,
    /// Results that do not go to the client: those of INSERT ... EXEC and of the double's own
    /// statements.
    capture: Option<Vec<Rel>>,
    failed: Option<SqlError>,
    frames: Vec<Frame>,
    /// Frame of each open TRY.
    tries: Vec<usize>,
    caught: Vec<SqlError>,
    rowcount: i64,
    last_error: i32,
    nocount: bool,
    in_proc: bool,
    /// Client has been told of a transaction.
    told_transaction: bool,
    prepared: HashMap<i64, (String, String)>,
}

impl Machine {
    pub(crate) fn new(shared: Arc<Shared>, spid: i32) -> Self {
        Self {
            shared,
            spid,
            out: Tokens::default(),
            capture: None,
            failed: None,
            frames: Vec::new(),
            tries: Vec::new(),
            caught: Vec::new(),
            rowcount: 0,
            last_error: 0,
            nocount: false,
            in_proc: false,
            told_transaction: false,
            prepared: HashMap::new(),
        }
    }

    pub(crate) fn captured(shared: Arc<Shared>, spid: i32) -> Self {
        Self { capture: Some(Vec::new()), ..Self::new(shared, spid) }
    }

    pub(crate) fn captured_results(self) -> (Vec<Rel>, Option<SqlError>) {
        (self.capture.unwrap_or_default(), self.failed)
    }

    /// Returns the response so far, and empties it.
    pub(crate) fn take_response(&mut self) -> Vec<u8> {
        let mut out = std::mem::take(&mut self.out);
        out.finish(false);
        out.bytes
    }

    /// Runs a batch of text.
    pub(crate) fn batch(&mut self, sql: &str) -> End {
        self.start("SELECT");
        let result = self.text(sql, Frame::default());
        self.end(result.map(|_| ()))
    }

    fn start(&mut self, command: &'static str) {
        let mut instance = self.shared.instance();
        let now = instance.now();
        if let Some(s) = instance.session_mut(self.spid) {
            (s.running, s.command, s.last_start) = (true, command, now);
        }
    }

    /// Ends a request: sends the remaining error, and rolls back what cannot be committed.
    fn end(&mut self, result: Result<(), Stop>) -> End {
        let mut close = End::Stay;
        match result {
            Ok(())
            | Err(Stop::Return | Stop::Batch | Stop::Break | Stop::Continue | Stop::Attention | Stop::Blocked { .. }) =>
                {}
            Err(Stop::Error(e)) => {
                self.tell(&e);
                self.out.done_error(self.in_proc);
            }
            Err(Stop::Killed) => close = End::Close,
        }
        let doomed = self.shared.instance().session(self.spid).doomed;
        if doomed {
            self.shared.instance().rollback(self.spid);
            self.tell(&SqlError::new(
                3998,
                "Uncommittable transaction is detected at the end of the batch. The transaction is rolled back.",
            ));
            self.follow_transaction(false);
            self.out.done_error(self.in_proc);
        }
        self.frames.clear();
        self.tries.clear();
        self.caught.clear();
        self.in_proc = false;
        let mut instance = self.shared.instance();
        let system = instance.session(self.spid).system;
        if let Some(s) = instance.session_mut(self.spid) {
            (s.running, s.command) = (false, "AWAITING COMMAND");
            if s.killed && !system {
                close = End::Close;
            }
        }
        drop(instance);
        if close == End::Close {
            let e = SqlError::new(596, "Cannot continue the execution because the session is in the kill state.");
            self.tell(&e);
            self.out.done_error(false);
        }
        self.shared.changed.notify_all();
        close
    }

    /// Answers a request that cannot be parsed.
    pub(crate) fn refuse(&mut self, e: &SqlError) -> End {
        self.tell(e);
        self.out.done_error(false);
        End::Stay
    }

    /// Sends an error or a message to the client.
    fn tell(&mut self, e: &SqlError) {
        if e.severity > 10 && self.failed.is_none() {
            self.failed = Some(e.clone());
        }
        let name = self.shared.instance().name.clone();
        self.out.message(e, &name);
        // the documentation announces these two errors together
        if e.number == 300 {
            self.out.message(
                &SqlError::new(297, "The user does not have permission to perform this action.").at(e.line),
                &name,
            );
        }
    }

    fn inform(&mut self, number: i32, text: impl Into<String>) {
        self.tell(&told(number, text));
    }

    /// Parses text, runs it in a frame of its own, and returns that frame.
    fn text(&mut self, sql: &str, frame: Frame) -> Result<Frame, Stop> {
        let lines = match parse(sql) {
            Ok(lines) => lines,
            Err(e) if self.frames.is_empty() => {
                self.last_error = e.number;
                self.tell(&e);
                self.out.done_error(self.in_proc);
                return Err(Stop::Batch);
            }
            Err(e) => return self.raise(e, false).map(|()| frame),
        };
        self.lines_in(&lines, frame)
    }

    /// Runs these lines in this frame, and returns the frame.
    fn lines_in(&mut self, lines: &[Line], frame: Frame) -> Result<Frame, Stop> {
        let mut names: HashSet<String> = frame.variables.keys().cloned().collect();
        if let Err(e) = declared(lines, &mut names) {
            // an error of the compiler is raised before anything of the batch runs
            return match self.frames.is_empty() {
                true => {
                    self.last_error = e.number;
                    self.tell(&e);
                    self.out.done_error(self.in_proc);
                    Err(Stop::Batch)
                }
                false => self.raise(e, false).map(|()| frame),
            };
        }
        if self.frames.len() >= 32 {
            return super::error(
                217,
                "Maximum stored procedure, function, trigger, or view nesting level exceeded (limit 32).",
            );
        }
        self.frames.push(frame);
        let result = self.lines(lines);
        let frame = self.frames.pop().unwrap_or_default();
        match result {
            Ok(()) | Err(Stop::Return) => Ok(frame),
            // an outer level resolved its names before, so there it is an ordinary error
            Err(Stop::Error(mut e)) => {
                e.compile = false;
                Err(Stop::Error(e))
            }
            Err(stop) => Err(stop),
        }
    }

    fn lines(&mut self, lines: &[Line]) -> Result<(), Stop> {
        lines.iter().try_for_each(|line| self.line(line))
    }

    /// Runs one statement. Its error goes to the enclosing TRY, else to the client.
    fn line(&mut self, line: &Line) -> Result<(), Stop> {
        let result = match &line.stmt {
            Stmt::If { test, then, other } => match self.test(test) {
                Ok(true) => return self.line(then),
                Ok(false) => return other.as_ref().map_or(Ok(()), |o| self.line(o)),
                Err(stop) => Err(stop),
            },
            Stmt::While { test, body } => loop {
                match self.test(test) {
                    Ok(true) => match self.line(body) {
                        Ok(()) | Err(Stop::Continue) => {}
                        Err(Stop::Break) => return Ok(()),
                        Err(stop) => return Err(stop),
                    },
                    Ok(false) => return Ok(()),
                    Err(stop) => break Err(stop),
                }
            },
            Stmt::Block(lines) => return self.lines(lines),
            Stmt::Try { body, catch } => return self.try_catch(body, catch),
            Stmt::Break => return Err(Stop::Break),
            Stmt::Continue => return Err(Stop::Continue),
            Stmt::Return(None) => return Err(Stop::Return),
            stmt => self.statement(stmt),
        };
        match result {
            Ok(()) => {
                self.last_error = 0;
                Ok(())
            }
            Err(Stop::Error(mut e)) => {
                if e.line <= 1 {
                    e.line = line.line;
                }
                let soft = matches!(line.stmt, Stmt::RaisError { .. });
                self.raise(e, soft)
            }
            Err(stop) => Err(stop),
        }
    }

    /// Raises an error: to the innermost TRY that can catch it, else to the client. `soft` errors
    /// ignore XACT_ABORT.
    fn raise(&mut self, e: SqlError, soft: bool) -> Result<(), Stop> {
        self.last_error = e.number;
        let level = self.frames.len();
        let catchable = e.severity < 20 && self.tries.iter().any(|t| *t < level || !e.compile);
        let abort = self.shared.instance().session(self.spid).xact_abort && !soft;
        let dooms = abort || matches!(e.number, 1205 | 245 | 241 | 8114 | 8169);
        if catchable {
            if let Some(s) = self.shared.instance().session_mut(self.spid)
                && dooms
                && s.transactions > 0
            {
                s.doomed = true;
            }
            return Err(Stop::Error(e));
        }
        // errors that have already happened are sent first
        self.tell(&e);
        if dooms {
            self.shared.instance().rollback(self.spid);
            self.shared.changed.notify_all();
            self.follow_transaction(false);
        }
        self.out.done_error(self.in_proc);
        let ends = dooms || e.compile || matches!(e.number, 911 | 916 | 3998 | 217) || e.state == THROWN;
        if ends { Err(Stop::Batch) } else { Ok(()) }
    }

    fn try_catch(&mut self, body: &[Line], catch: &[Line]) -> Result<(), Stop> {
        let level = self.frames.len();
        self.tries.push(level);
        let result = self.lines(body);
        self.tries.pop();
        match result {
            Err(Stop::Error(e)) if !e.compile => {
                self.caught.push(e);
                let result = self.lines(catch);
                self.caught.pop();
                result
            }
            other => other,
        }
    }

    fn test(&mut self, test: &Expr) -> Result<bool, Stop> {
        let test = test.clone();
        self.patient(move |m, w| m.eval(w).truth(&test, None).map(|t| t == Some(true)))
    }

    /// Does the work. While another session is in the way it waits, then does the work again.
    fn patient<T>(&mut self, mut work: impl FnMut(&mut Self, &mut Instance) -> Result<T, Stop>) -> Result<T, Stop> {
        let shared = Arc::clone(&self.shared);
        let mut instance = shared.instance();
        let mut until: Option<Option<Instant>> = None;
        loop {
            let session = instance.session(self.spid);
            if session.killed || instance.stopping && !session.system {
                return Err(Stop::Killed);
            }
            if session.attention {
                return Err(Stop::Attention);
            }
            let mark = session.undo.len();
            let timeout = session.lock_timeout;
            let result = work(self, &mut instance);
            let Err(Stop::Blocked { by, resource, wait }) = result else {
                if result.is_err() {
                    instance.undo_to(self.spid, mark);
                }
                // outside of a transaction each statement is its own transaction
                if instance.session(self.spid).transactions == 0 {
                    instance.finish(self.spid);
                }
                drop(instance);
                shared.changed.notify_all();
                return result;
            };
            instance.undo_to(self.spid, mark);
            let end = *until.get_or_insert_with(|| {
                u64::try_from(timeout).ok().map(|ms| Instant::now() + Duration::from_millis(ms))
            });
            let rest = end.map(|end| end.saturating_duration_since(Instant::now()));
            if rest == Some(Duration::ZERO) {
                if instance.session(self.spid).transactions == 0 {
                    instance.finish(self.spid);
                }
                return super::error(1222, "Lock request time out period exceeded.");
            }
            if let Some(s) = instance.session_mut(self.spid) {
                (s.blocked_by, s.wait, s.wait_resource) = (by, wait, resource);
            }
            let rest = rest.unwrap_or(Duration::from_secs(1)).min(Duration::from_secs(1));
            (instance, _) =
                shared.changed.wait_timeout(instance, rest).unwrap_or_else(std::sync::PoisonError::into_inner);
            if let Some(s) = instance.session_mut(self.spid) {
                (s.blocked_by, s.wait) = (0, "");
                s.wait_resource.clear();
            }
        }
    }

    /// Sends a result set to the client, or to whatever captures results.
    fn result(&mut self, rel: Rel) {
        let count = rel.rows.len();
        self.rowcount = count as i64;
        match &mut self.capture {
            Some(sets) => sets.push(rel),
            None => {
                self.out.columns(&rel.columns);
                for row in &rel.rows {
                    self.out.row(&rel.columns, row);
                }
                self.out.done(self.in_proc, 0xc1, Some(count as u64));
            }
        }
    }

    /// Tells the client when a transaction began or ended.
    fn follow_transaction(&mut self, committed: bool) {
        let open = self.shared.instance().session(self.spid).transactions > 0;
        if open != self.told_transaction {
            let kind = match (open, committed) {
                (true, _) => 8,
                (false, true) => 9,
                (false, false) => 10,
            };
            self.out.env_transaction(kind, u64::from(self.spid.unsigned_abs()) + 0x1_0000_0000);
            self.told_transaction = open;
        }
    }

    /// Does what sp_reset_connection does: rolls back an open transaction.
    pub(crate) fn reset(&mut self, home: i32) {
        let mut instance = self.shared.instance();
        instance.rollback(self.spid);
        instance.app_locks.retain(|l| l.spid != self.spid);
        if let Some(s) = instance.session_mut(self.spid) {
            s.reset(home);
        }
        drop(instance);
        self.shared.changed.notify_all();
        self.nocount = false;
        self.prepared.clear();
        self.follow_transaction(false);
        self.out.env_reset();
    }

    fn frame(&mut self) -> &mut Frame {
        if self.frames.is_empty() {
            self.frames.push(Frame::default());
        }
        let last = self.frames.len() - 1;
        &mut self.frames[last]
    }

    fn assign(&mut self, name: &str, value: &Value) -> Result<(), Stop> {
        match self.frame().variables.get_mut(name) {
            Some((ty, held)) => {
                *held = value.cast(*ty, 0)?;
                Ok(())
            }
            None => super::error(137, format!("Must declare the scalar variable \"{name}\".")),
        }
    }
}

/// State that marks a batch ended by [`Stmt::Throw`]. Nothing else uses states above 127.
pub(super) const THROWN: u8 = 254;

/// Checks that each variable of a batch has a name of its own, table variables included, wherever
/// it is declared.
fn declared(lines: &[Line], names: &mut HashSet<String>) -> Result<(), SqlError> {
    lines.iter().try_for_each(|line| match &line.stmt {
        Stmt::Declare(list) => list.iter().try_for_each(|(name, ..)| only_once(name, line.line, names)),
        Stmt::DeclareTable { name, .. } => only_once(name, line.line, names),
        Stmt::If { then, other, .. } => {
            declared(std::slice::from_ref(&**then), names)?;
            other.as_deref().map_or(Ok(()), |other| declared(std::slice::from_ref(other), names))
        }
        Stmt::While { body, .. } => declared(std::slice::from_ref(&**body), names),
        Stmt::Block(lines) => declared(lines, names),
        Stmt::Try { body, catch } => {
            declared(body, names)?;
            declared(catch, names)
        }
        _ => Ok(()),
    })
}

fn only_once(name: &str, line: u32, names: &mut HashSet<String>) -> Result<(), SqlError> {
    if names.insert(name.to_owned()) {
        return Ok(());
    }
    let text = format!(
        "The variable name '{name}' has already been declared. Variable names must be unique within a query batch or stored procedure."
    );
    Err(SqlError::new(134, text).at(line))
}
