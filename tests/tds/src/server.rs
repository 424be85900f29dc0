//! The server as tests use it.

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::runtime::Runtime;

use super::{
    Options, SqlError, Tls, Value,
    connection::{self, Security},
    free_port,
    instance::{Instance, Session},
    run::{Machine, serve_jobs},
    wire::acceptor,
};

/// Stack of each thread, in bytes. Statements and expressions nest, and without optimization the
/// interpreter walks them with large frames.
pub(crate) const STACK: usize = 64 << 20;

/// Running server; dropping it ends it.
#[derive(Debug)]
pub struct TdsServer {
    shared: Arc<Shared>,
    tls: Tls,
    port: u16,
    runtime: Option<Runtime>,
    listening: Option<Listening>,
    agent: Option<std::thread::JoinHandle<()>>,
}

/// Handle that tells the listener to stop, and reports that it has stopped.
#[derive(Debug)]
struct Listening {
    quit: tokio::sync::oneshot::Sender<()>,
    is_gone: Mutex<std::sync::mpsc::Receiver<()>>,
}

/// Result of one query.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
}

/// Session as [`TdsServer::sessions`] shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSeen {
    pub spid: i32,
    pub login: String,
    pub program: String,
    pub database: String,
    pub open_transactions: u32,
    /// Session that it waits for; 0 when it waits for nobody.
    pub blocked_by: i32,
    pub encrypted: bool,
    pub context_info: Option<Vec<u8>>,
}

/// State of the server with its lock. Every waiter for a change waits for `changed`.
#[derive(Debug)]
pub(crate) struct Shared {
    instance: Mutex<Instance>,
    pub changed: Condvar,
}

impl Shared {
    pub(crate) fn instance(&self) -> MutexGuard<'_, Instance> {
        self.instance.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl TdsServer {
    /// Starts a server on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// If it cannot listen, if its certificate cannot be read, or if its setup fails.
    pub fn start(options: Options) -> Result<Self> {
        let shared = Arc::new(Shared { instance: Mutex::new(Instance::new(&options)), changed: Condvar::new() });
        let mut server =
            Self { shared, tls: options.tls.clone(), port: 0, runtime: None, listening: None, agent: None };
        for (database, sql) in &options.setup {
            server.execute(database, sql).with_context(|| format!("setup: {sql}"))?;
        }
        server.port = free_port()?;
        server.listen()?;
        Ok(server)
    }

    fn listen(&mut self) -> Result<()> {
        let at = (Ipv4Addr::LOCALHOST, self.port);
        let listener = TcpListener::bind(at).with_context(|| format!("cannot listen on {at:?}"))?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("tds")
            .thread_stack_size(STACK)
            .enable_all()
            .build()?;
        // the certificate files are read at each start
        let security = Arc::new(match &self.tls {
            Tls::Refused => Security::None,
            Tls::Offered { certificate, key } => Security::Offered(acceptor(certificate, key)?),
            Tls::Forced { certificate, key } => Security::Forced(acceptor(certificate, key)?),
        });
        let shared = Arc::clone(&self.shared);
        let (quit, quits) = tokio::sync::oneshot::channel::<()>();
        let (gone, is_gone) = std::sync::mpsc::channel();
        runtime.spawn(async move {
            let accepting = async move {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                while let Ok((stream, peer)) = listener.accept().await {
                    // a broken connection ends alone
                    tokio::spawn(connection::serve(Arc::clone(&shared), Arc::clone(&security), stream, peer));
                }
            };
            tokio::select! {
                () = accepting => {}
                _ = quits => {}
            }
            let _ = gone.send(());
        });
        self.listening = Some(Listening { quit, is_gone: Mutex::new(is_gone) });
        self.runtime = Some(runtime);
        let shared = Arc::clone(&self.shared);
        self.agent = Some(std::thread::Builder::new().name("tds agent".to_owned()).spawn(move || serve_jobs(&shared))?);
        Ok(())
    }

    /// Returns the port that it listens on, or listened on before it was stopped.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends all sessions, rolls back their open transactions, and stops listening. The catalog
    /// stays.
    pub fn stop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        if let Some(Listening { quit, is_gone }) = self.listening.take() {
            let _ = quit.send(());
            let is_gone = is_gone.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
            let _ = is_gone.recv_timeout(Duration::from_secs(2));
        }
        {
            let mut instance = self.shared.instance();
            instance.stopping = true;
            for session in instance.sessions.values_mut() {
                session.killed = true;
                if let Some(wake) = &session.wake {
                    wake.notify_one();
                }
            }
        }
        self.shared.changed.notify_all();
        if let Some(agent) = self.agent.take() {
            let _ = agent.join();
        }
        let limit = Instant::now() + Duration::from_secs(2);
        while Instant::now() < limit && !self.shared.instance().sessions.is_empty() {
            std::thread::sleep(Duration::from_millis(2));
        }
        // only a thread outside of a runtime may wait for one; after this join all sockets are
        // closed, as those of a stopped server are
        let closing = std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(2)));
        let _ = closing.join();
        let mut instance = self.shared.instance();
        let left: Vec<i32> = instance.sessions.keys().copied().collect();
        left.into_iter().for_each(|spid| instance.end_session(spid));
    }

    /// Starts again on the same port, with the same catalog and a new start time.
    ///
    /// # Errors
    /// If the port has been taken meanwhile.
    pub fn start_again(&mut self) -> Result<()> {
        self.stop();
        {
            let mut instance = self.shared.instance();
            instance.stopping = false;
            // the start time is shown in steps of 1/300 second: two starts must differ
            let after = instance.start.checked_add_signed(chrono::Duration::milliseconds(10)).unwrap_or(instance.start);
            instance.start = instance.now().max(after);
            let tempdb = super::instance::Database::new(2, "tempdb", false, instance.start);
            instance.databases.insert(2, tempdb);
        }
        // the previous listener may live a moment longer
        let limit = Instant::now() + Duration::from_secs(5);
        loop {
            match self.listen() {
                Err(_) if Instant::now() < limit => std::thread::sleep(Duration::from_millis(10)),
                done => return done,
            }
        }
    }

    /// Runs a batch without permission checks, in a session that nobody sees. It waits five seconds
    /// at most for locks.
    ///
    /// # Errors
    /// The first error of the batch.
    pub fn execute(&self, database: &str, sql: &str) -> Result<Vec<Rows>, SqlError> {
        let spid = {
            let mut instance = self.shared.instance();
            let Some(id) = instance.database_named(database).map(|d| d.id) else {
                return Err(SqlError::new(911, format!("Database '{database}' does not exist.")));
            };
            let spid = (-1_000_000..).find(|n| !instance.sessions.contains_key(n)).unwrap_or(-1);
            let mut session = Session::new(spid);
            (session.system, session.database, session.lock_timeout) = (true, id, 5000);
            session.original_login = "sa".into();
            session.contexts.push(super::instance::Context {
                login: Some(1),
                login_name: "sa".into(),
                sid: vec![1],
                user: None,
            });
            instance.sessions.insert(spid, session);
            spid
        };
        let mut machine = Machine::captured(Arc::clone(&self.shared), spid);
        let run = move || {
            machine.batch(sql);
            machine.captured_results()
        };
        let done = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, run);
            thread.ok().and_then(|thread| thread.join().ok())
        });
        self.shared.instance().end_session(spid);
        self.shared.changed.notify_all();
        let Some((sets, failed)) = done else {
            return Err(SqlError::new(701, "There is insufficient system memory to run this query."));
        };
        match failed {
            Some(e) => Err(e),
            None => Ok(sets
                .into_iter()
                .map(|r| Rows { columns: r.columns.into_iter().map(|c| c.0).collect(), rows: r.rows })
                .collect()),
        }
    }

    /// Returns the sessions of clients.
    pub fn sessions(&self) -> Vec<SessionSeen> {
        let instance = self.shared.instance();
        let seen = |s: &Session| SessionSeen {
            spid: s.spid,
            login: s.original_login.clone(),
            program: s.program.clone(),
            database: instance.databases.get(&s.database).map(|d| d.name.clone()).unwrap_or_default(),
            open_transactions: s.transactions,
            blocked_by: s.blocked_by,
            encrypted: s.encrypted,
            context_info: s.context_info.clone(),
        };
        instance.sessions.values().filter(|s| !s.system).map(seen).collect()
    }

    /// Checks whether a database user is a direct member of a role. False if either does not exist.
    pub fn is_member(&self, database: &str, role: &str, user: &str) -> bool {
        let instance = self.shared.instance();
        let Some(db) = instance.database_named(database) else { return false };
        match (db.named(role), db.named(user)) {
            (Some(r), Some(u)) => db.members.contains(&(r.id, u.id)),
            _ => false,
        }
    }

    /// Checks whether a login is a direct member of a server role.
    pub fn is_server_member(&self, role: &str, login: &str) -> bool {
        let instance = self.shared.instance();
        match (instance.login_named(role), instance.login_named(login)) {
            (Some(r), Some(l)) => instance.server_members.contains(&(r.id, l.id)),
            _ => false,
        }
    }

    /// Makes all databases read-only (error 3906), or writable again.
    pub fn set_read_only(&self, read_only: bool) {
        self.shared.instance().read_only = read_only;
    }

    /// Makes this number of the next role statements deadlock victims (error 1205).
    pub fn deadlock_next(&self, statements: u32) {
        self.shared.instance().deadlocks = statements;
    }

    /// Sets the server's clock this much ahead of the machine's.
    pub fn set_clock(&self, ahead: chrono::Duration) {
        self.shared.instance().clock = ahead;
    }

    /// Starts SQL Server Agent, or stops it.
    pub fn set_agent(&self, runs: bool) {
        let mut instance = self.shared.instance();
        instance.agent = runs;
        let jobs = instance.sessions.values_mut().filter(|s| !runs && s.program.starts_with("SQLAgent - "));
        jobs.for_each(|session| session.killed = true);
        drop(instance);
        self.shared.changed.notify_all();
    }

    /// Returns the error message of the last run of a job if that run failed.
    pub fn job_failure(&self, job: &str) -> Option<String> {
        self.shared.instance().jobs.get(&super::sql::fold(job)).and_then(|job| job.failure.clone())
    }

    /// Sends everybody who logs in from now on to the server at this port of the machine.
    pub fn route_to(&self, port: u16) {
        self.shared.instance().route = Some(port);
    }

    /// Sets the engine edition: 5 is Azure SQL Database; 3, the default, is Enterprise.
    pub fn set_engine_edition(&self, edition: i64) {
        self.shared.instance().engine_edition = edition;
    }
}

impl Drop for TdsServer {
    fn drop(&mut self) {
        self.stop();
    }
}
