//! Sessions: the connected clients, their execution contexts and waits.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, NaiveDateTime};
use tokio::sync::Notify;

use super::{Instance, Undo};
use crate::sql::Value;

/// Execution context of a session. EXECUTE AS puts another one on top.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub login: Option<i32>,
    pub login_name: String,
    pub sid: Vec<u8>,
    /// Context is bound to this (database, user): that of a contained user, or of EXECUTE AS USER.
    pub user: Option<(i32, i32)>,
}

#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub spid: i32,
    pub contexts: Vec<Context>,
    pub original_login: String,
    pub original_sid: Vec<u8>,
    pub database: i32,
    pub host: String,
    pub program: String,
    pub interface: String,
    pub address: String,
    pub encrypted: bool,
    pub login_time: NaiveDateTime,
    pub last_start: NaiveDateTime,
    pub context_info: Option<Vec<u8>>,
    pub values: BTreeMap<String, (Value, bool)>,
    pub transactions: u32,
    /// Transaction can only be rolled back.
    pub doomed: bool,
    pub undo: Vec<Undo>,
    pub savepoints: Vec<(String, usize)>,
    pub running: bool,
    pub command: &'static str,
    pub blocked_by: i32,
    pub wait: &'static str,
    pub wait_resource: String,
    pub killed: bool,
    pub attention: bool,
    /// Notification that wakes the connection's task.
    pub wake: Option<Arc<Notify>>,
    /// Lock timeout in milliseconds; -1 waits for ever.
    pub lock_timeout: i64,
    pub xact_abort: bool,
    pub dirty_reads: bool,
    pub concat_null: bool,
    /// Database of the running procedure, and its owner.
    pub chain: Option<(i32, i32)>,
    /// Session belongs to the double itself; nobody sees it.
    pub system: bool,
}

pub(super) static NOBODY: Session = Session::new(0);

impl Session {
    pub(crate) const fn new(spid: i32) -> Self {
        Self {
            spid,
            contexts: Vec::new(),
            original_login: String::new(),
            original_sid: Vec::new(),
            database: 1,
            host: String::new(),
            program: String::new(),
            interface: String::new(),
            address: String::new(),
            encrypted: false,
            login_time: DateTime::UNIX_EPOCH.naive_utc(),
            last_start: DateTime::UNIX_EPOCH.naive_utc(),
            context_info: None,
            values: BTreeMap::new(),
            transactions: 0,
            doomed: false,
            undo: Vec::new(),
            savepoints: Vec::new(),
            running: false,
            command: "AWAITING COMMAND",
            blocked_by: 0,
            wait: "",
            wait_resource: String::new(),
            killed: false,
            attention: false,
            wake: None,
            lock_timeout: -1,
            xact_abort: false,
            dirty_reads: false,
            concat_null: true,
            chain: None,
            system: false,
        }
    }

    pub(crate) fn context(&self) -> Option<&Context> {
        self.contexts.last()
    }

    pub(crate) fn login_name(&self) -> String {
        self.context().map(|c| c.login_name.clone()).unwrap_or_default()
    }

    /// Restores what sp_reset_connection restores.
    pub(crate) fn reset(&mut self, database: i32) {
        self.contexts.truncate(1);
        self.database = database;
        self.context_info = None;
        self.values.clear();
        self.lock_timeout = -1;
        self.xact_abort = false;
        self.dirty_reads = false;
        self.concat_null = true;
    }
}

impl Instance {
    /// Returns the smallest free number above 50. Numbers are used again.
    pub(crate) fn free_spid(&self) -> i32 {
        (51..).find(|n| !self.sessions.contains_key(n)).unwrap_or(i32::MAX)
    }

    /// Rolls back the session's open transaction and forgets the session.
    pub(crate) fn end_session(&mut self, spid: i32) {
        self.rollback(spid);
        self.app_locks.retain(|l| l.spid != spid);
        self.sessions.remove(&spid);
    }
}
