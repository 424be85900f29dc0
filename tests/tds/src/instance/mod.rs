//! The server's state: catalog, sessions, locks.

mod agent;
mod catalog;
mod lock;
pub(crate) mod permission;
mod session;
mod undo;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDateTime;

pub(crate) use agent::{Job, Schedule, Step};
pub(crate) use catalog::{Database, Grant, Key, Kind, Login, Principal, Procedure, Rel, Schema, Table, Trigger};
pub(crate) use lock::{AppLock, Lock, deadlock};
pub(crate) use permission as class;
pub(crate) use session::{Context, Session};
pub(crate) use undo::Undo;
pub(crate) use view::view;

use crate::Options;

/// State behind the server's one mutex.
#[derive(Debug)]
pub(crate) struct Instance {
    pub name: String,
    pub version: String,
    pub engine_edition: i64,
    /// Port of this machine to which logins are sent instead.
    pub route: Option<u16>,
    pub logins: BTreeMap<i32, Login>,
    /// Memberships of server roles as (role, member).
    pub server_members: BTreeSet<(i32, i32)>,
    pub server_permissions: BTreeMap<Key, Grant>,
    pub databases: BTreeMap<i32, Database>,
    pub sessions: BTreeMap<i32, Session>,
    pub locks: BTreeMap<String, Lock>,
    pub app_locks: Vec<AppLock>,
    /// Jobs of SQL Server Agent, by name.
    pub jobs: BTreeMap<String, Job>,
    /// SQL Server Agent is running.
    pub agent: bool,
    pub start: NaiveDateTime,
    /// Time added to the machine's clock.
    pub clock: chrono::Duration,
    pub read_only: bool,
    /// Number of the next role statements that become deadlock victims.
    pub deadlocks: u32,
    pub stopping: bool,
    next: i32,
}

impl Instance {
    pub(crate) fn new(options: &Options) -> Self {
        let mut instance = Self {
            name: options.server_name.clone(),
            version: options.version.clone(),
            engine_edition: 3,
            route: None,
            logins: catalog::fixed_logins(&options.sa_password),
            server_members: [(3, 1)].into(),
            server_permissions: BTreeMap::new(),
            databases: BTreeMap::new(),
            sessions: BTreeMap::new(),
            locks: BTreeMap::new(),
            app_locks: Vec::new(),
            jobs: BTreeMap::new(),
            agent: true,
            start: NaiveDateTime::MIN,
            clock: chrono::Duration::zero(),
            read_only: false,
            deadlocks: 0,
            stopping: false,
            next: 1000,
        };
        instance.start = instance.now();
        for (id, name) in [(1, "master"), (2, "tempdb"), (3, "model"), (4, "msdb")] {
            instance.databases.insert(id, Database::new(id, name, false, instance.start));
        }
        for name in &options.databases {
            instance.create_database(name, false);
        }
        for name in &options.contained_databases {
            instance.create_database(name, true);
        }
        instance
    }

    pub(crate) fn create_database(&mut self, name: &str, contained: bool) -> i32 {
        let id = (5..).find(|id| !self.databases.contains_key(id)).unwrap_or(5);
        self.databases.insert(id, Database::new(id, name, contained, self.now()));
        id
    }

    /// Returns the UTC time of this server's clock.
    pub(crate) fn now(&self) -> NaiveDateTime {
        let now = chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now()).naive_utc();
        now.checked_add_signed(self.clock).unwrap_or(now)
    }

    pub(crate) fn fresh_id(&mut self) -> i32 {
        self.next += 1;
        self.next
    }

    pub(crate) fn login_named(&self, name: &str) -> Option<&Login> {
        self.logins.values().find(|l| catalog::same(&l.name, name))
    }

    pub(crate) fn database_named(&self, name: &str) -> Option<&Database> {
        self.databases.values().find(|d| catalog::same(&d.name, name))
    }

    pub(crate) fn session(&self, spid: i32) -> &Session {
        self.sessions.get(&spid).unwrap_or(&session::NOBODY)
    }

    pub(crate) fn session_mut(&mut self, spid: i32) -> Option<&mut Session> {
        self.sessions.get_mut(&spid)
    }
}
