//! The world of the laws on PostgreSQL.

mod plants;
mod session;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use jit_core::clock::Time;
use jit_core::database::{Database, MembershipScope, TlsMode};
use jit_core::store::BoxError;
use jit_core::testkit::database_laws::{
    Act, By, Hold, Login, Need, Plant, Privilege, Row, UserSession, WRONG_PASSWORD, World,
};
use jit_postgres::{PostgresConfig, PostgresDatabase};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::password::Password;
use crate::server::{Cluster, Down, free_port};
use crate::servers::RunningPostgres;
pub use session::{OpenTransaction, PostgresSession};

/// Broker of its own on a server, and the people around it.
#[derive(Debug)]
pub struct PostgresWorld {
    running: RunningPostgres,
    own: Option<tokio::sync::Mutex<Cluster>>,
    number: u64,
    names: AtomicU64,
    broker: String,
    /// Schema of its leases.
    schema: String,
    password: Password,
    listeners: Mutex<Vec<JoinHandle<()>>>,
}

/// Returns the reason why PostgreSQL of this version cannot provide this.
#[must_use]
pub fn lacks(major: u32, need: Need) -> Option<&'static str> {
    match need {
        Need::GrantorRecorded if major < 16 => Some("15 keeps one row per (role, member)"),
        Need::SetOption if major < 16 => Some("15 knows no SET and INHERIT options"),
        Need::DefaultRoles => Some("PostgreSQL has no default roles"),
        Need::OneRowPerMember if major >= 16 => Some("16+ keeps one row per grantor"),
        _ => None,
    }
}

impl PostgresWorld {
    /// Makes a world on a server that others use too.
    ///
    /// # Errors
    /// When the server refuses to make its broker.
    pub async fn within(running: RunningPostgres) -> Result<Self> {
        Self::new(running, None).await
    }

    /// Makes a world on a server that nobody else uses: it may be stopped.
    ///
    /// # Errors
    /// When the server refuses to make its broker.
    pub async fn of_its_own(cluster: Cluster) -> Result<Self> {
        Self::new(cluster.running().clone(), Some(tokio::sync::Mutex::new(cluster))).await
    }

    async fn new(running: RunningPostgres, own: Option<tokio::sync::Mutex<Cluster>>) -> Result<Self> {
        static WORLDS: AtomicU64 = AtomicU64::new(0);
        let number = WORLDS.fetch_add(1, Ordering::Relaxed);
        // several test processes may use one server, one after the other
        let broker = format!("jit_broker_{}_{number}", std::process::id());
        let password = format!("secret of {broker}");
        // the broker with the least privileges
        let (attributes, signal) =
            if running.major < 16 { ("NOINHERIT", "") } else { ("INHERIT", " WITH INHERIT TRUE") };
        let admin = running.admin("postgres").await?;
        admin
            .batch_execute(&format!(
                "CREATE ROLE {broker} LOGIN {attributes} PASSWORD '{password}'; GRANT pg_signal_backend TO {broker}{signal}"
            ))
            .await?;
        let schema = let_dead_mans_switches(&admin, &broker).await?;
        let (names, listeners) = (AtomicU64::new(0), Mutex::default());
        Ok(Self { running, own, number, names, broker, schema, password: Password::new(&password), listeners })
    }

    /// Returns the broker's adapter for the server at this port, which has the same accounts.
    ///
    /// # Errors
    /// When it cannot be configured.
    pub fn database_at(&self, port: u16) -> Result<Arc<dyn Database>, BoxError> {
        let config = self.config("127.0.0.1", port, "postgres", TlsMode::DangerPlaintext)?;
        Ok(Arc::new(PostgresDatabase::new(config)?))
    }

    /// Returns the broker's adapter for a target with these administrators.
    ///
    /// # Errors
    /// When the configuration is refused.
    pub fn database_of(&self, administrators: &[&str]) -> Result<Arc<dyn Database>, BoxError> {
        let tls = TlsMode::verify_full(Some(self.running.ca.clone()));
        let config = self.config("127.0.0.1", self.running.port, "postgres", tls)?;
        let administrators = administrators.iter().map(|name| (*name).to_owned()).collect();
        Ok(Arc::new(PostgresDatabase::new(config.administrators(administrators))?))
    }

    async fn sql(&self, statements: &str) -> Result<(), BoxError> {
        self.running.admin("postgres").await?.batch_execute(statements).await?;
        Ok(())
    }

    /// Returns the statement that lets our broker grant the role, and nothing else.
    fn let_broker_grant(&self, role: &str) -> String {
        let options = if self.running.major < 16 { "ADMIN OPTION" } else { "ADMIN OPTION, INHERIT FALSE, SET FALSE" };
        format!("GRANT {} TO {} WITH {options}", quoted(role), self.broker)
    }

    fn config(&self, host: &str, port: u16, database: &str, tls: TlsMode) -> Result<PostgresConfig, BoxError> {
        let url = format!("postgres://{}@{host}:{port}/{database}", self.broker);
        let config = PostgresConfig::from_url(&url)?;
        Ok(config
            .credentials(Arc::new(self.password.clone()))
            .tls(tls)
            .connections(4)
            .dead_mans_switch_grace(Duration::from_secs(1)))
    }

    /// Starts a man in the middle who claims that the server speaks no TLS. Returns its port.
    async fn stripper(&self) -> Result<u16, BoxError> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let (port, server) = (listener.local_addr()?.port(), self.running.port);
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(strip(client, server));
            }
        });
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(listening);
        Ok(port)
    }

    async fn own(&self) -> Result<tokio::sync::MutexGuard<'_, Cluster>, BoxError> {
        Ok(self.own.as_ref().ok_or("this server is not its own")?.lock().await)
    }
}

/// Installs a dead man's switch for the broker, as doctor prints it. Worlds share a database, so it
/// stands in a schema of its own, whose name is returned.
async fn let_dead_mans_switches(admin: &Client, broker: &str) -> Result<String> {
    let oid: u32 = admin.query_one("SELECT oid FROM pg_roles WHERE rolname = $1", &[&broker]).await?.try_get(0)?;
    one_by_one(admin, &jit_postgres::dead_mans_switch(broker, Some(oid))).await?;
    Ok(format!("jit_of_{oid}"))
}

/// Runs statements that change what all worlds of a server share. The server refuses two at once,
/// so a lock lets one world in after the other.
async fn one_by_one(admin: &Client, statements: &str) -> Result<()> {
    // one transaction: the lock is held until its end
    Ok(admin.batch_execute(&format!("SELECT pg_advisory_xact_lock(4711); {statements}")).await?)
}

async fn strip(mut client: TcpStream, server: u16) -> std::io::Result<()> {
    let mut request = [0; 8];
    client.read_exact(&mut request).await?;
    client.write_all(b"N").await?;
    let mut server = TcpStream::connect(("127.0.0.1", server)).await?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

impl Drop for PostgresWorld {
    fn drop(&mut self) {
        for listening in self.listeners.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            listening.abort();
        }
    }
}

#[async_trait]
impl World for PostgresWorld {
    fn lacks(&self, need: Need) -> Option<&'static str> {
        match need {
            Need::OwnServer if self.own.is_none() => Some("others use this server, too"),
            _ => lacks(self.running.major, need),
        }
    }

    fn fresh(&self, hint: &str) -> String {
        let (process, number) = (std::process::id(), self.names.fetch_add(1, Ordering::Relaxed));
        format!("{hint}_{process}_{}_{number}", self.number)
    }

    fn longest_name(&self) -> usize {
        63
    }

    fn counts_bytes(&self) -> bool {
        true
    }

    fn refused_names(&self) -> Vec<String> {
        ["", "public", "none", "pg_monitor", "pg_x", "nul\0"].map(str::to_owned).to_vec()
    }

    fn broker(&self) -> String {
        self.broker.clone()
    }

    async fn database(&self, login: Login) -> Result<Arc<dyn Database>, BoxError> {
        let (host, port, database) = ("127.0.0.1", self.running.port, "postgres");
        let tls = || crate::tls::mode(login, Some(self.running.ca.clone()), &self.running.other_ca);
        let config = match login {
            Login::Broker
            | Login::UnknownCa
            | Login::Plaintext
            | Login::NameInCertificate
            | Login::AnotherName
            | Login::NameByUnknownCa
            | Login::ChainAlone
            | Login::ChainByUnknownCa => self.config(host, port, database, tls())?,
            Login::OtherDatabase => self.config(host, port, "other", tls())?,
            Login::Superuser => {
                let name = self.fresh("superuser");
                let password = Password::new("secret of a superuser");
                self.sql(&format!("CREATE ROLE {name} LOGIN SUPERUSER PASSWORD 'secret of a superuser'")).await?;
                let config = PostgresConfig::from_url(&format!("postgres://{name}@{host}:{port}/{database}"))?;
                config.credentials(Arc::new(password)).tls(tls())
            }
            Login::WrongHost => self.config("127.0.0.2", port, database, tls())?,
            Login::Stripped => self.config(host, self.stripper().await?, database, tls())?,
            Login::WrongPassword => {
                let wrong = Arc::new(Password::new(WRONG_PASSWORD));
                self.config(host, port, database, tls())?.credentials(wrong)
            }
            Login::NobodyThere => {
                let port = free_port()?;
                self.config(host, port, database, tls())?
            }
            other => return Err(format!("no {other:?} here").into()),
        };
        Ok(Arc::new(PostgresDatabase::new(config)?))
    }

    async fn act(&self, act: Act<'_>) -> Result<(), BoxError> {
        let sixteen = self.running.major >= 16;
        match act {
            Act::CreateAccount { account, inherits } => {
                let inherits = if inherits { "INHERIT" } else { "NOINHERIT" };
                self.sql(&format!("CREATE ROLE {} LOGIN {inherits}", quoted(account))).await
            }
            Act::CreateRole { role } => {
                let (name, grant) = (quoted(role), self.let_broker_grant(role));
                self.sql(&format!(
                    "CREATE ROLE {name}; {grant}; CREATE TABLE {name} AS SELECT n FROM generate_series(1, 1000) n; \
                     GRANT SELECT, INSERT ON {name} TO {name}"
                ))
                .await
            }
            Act::Grant { role, to, by, scope, admin } => {
                let admin = if admin { "ADMIN TRUE" } else { "ADMIN FALSE" };
                let options = match (sixteen, scope) {
                    (true, MembershipScope::SetRole) => format!(" WITH {admin}, INHERIT TRUE, SET TRUE"),
                    (true, MembershipScope::Inherit) => format!(" WITH {admin}, INHERIT TRUE, SET FALSE"),
                    (false, _) if admin == "ADMIN TRUE" => " WITH ADMIN OPTION".to_owned(),
                    (false, _) => String::new(),
                };
                let grant = format!("GRANT {} TO {}{options}", quoted(role), quoted(to));
                self.sql(&self.by(by, &grant)).await
            }
            Act::Revoke { role, from, by } => {
                let revoke = format!("REVOKE {} FROM {}", quoted(role), quoted(from));
                self.sql(&self.by(by, &revoke)).await
            }
            Act::Rename { from, to } => {
                self.sql(&format!("ALTER ROLE {} RENAME TO {}", quoted(from), quoted(to))).await
            }
            Act::Drop { name } => {
                let name = quoted(name);
                self.sql(&format!("DROP OWNED BY {name}; DROP ROLE {name}")).await
            }
            Act::LetCreateAccounts { role } => self.sql(&format!("ALTER ROLE {} CREATEROLE", quoted(role))).await,
            Act::TakeAdminOption { role } => {
                self.sql(&format!("REVOKE {} FROM {} CASCADE", quoted(role), self.broker)).await
            }
            Act::AdminThroughGroup { role } => {
                let (group, role, broker) = (quoted(&self.fresh("dba")), quoted(role), &self.broker);
                self.sql(&format!(
                    "REVOKE {role} FROM {broker}; CREATE ROLE {group}; GRANT {role} TO {group} WITH ADMIN OPTION; \
                     GRANT {group} TO {broker}"
                ))
                .await
            }
            Act::LetActAs { account } => {
                let options = if sixteen { " WITH INHERIT FALSE, SET TRUE" } else { "" };
                self.sql(&format!("GRANT {} TO {}{options}", quoted(account), self.broker)).await
            }
            Act::Show { certificate } => {
                crate::tls::show(&self.running.ca, certificate)?;
                self.sql("SELECT pg_reload_conf()").await
            }
            Act::Run { statement } => Ok(one_by_one(&self.running.admin("postgres").await?, statement).await?),
            Act::LetMake { role } => self.sql(&format!("GRANT CREATE ON SCHEMA public TO {}", quoted(role))).await,
            Act::LetDeadMen { live: true } => {
                let_dead_mans_switches(&self.running.admin("postgres").await?, &self.broker).await?;
                Ok(())
            }
            Act::LetDeadMen { live: false } => {
                let statement = format!("REVOKE INSERT ON {}.leases FROM {}", self.schema, self.broker);
                Ok(one_by_one(&self.running.admin("postgres").await?, &statement).await?)
            }
            Act::TakeSignal => self.sql(&format!("REVOKE pg_signal_backend FROM {}", self.broker)).await,
            Act::RotatePassword => {
                let password = self.fresh("another secret");
                self.sql(&format!(
                    "ALTER ROLE {broker} PASSWORD '{password}'; \
                     SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = '{broker}'",
                    broker = self.broker
                ))
                .await?;
                self.password.set(&password);
                Ok(())
            }
            Act::CommitPrepared { gid } => self.sql(&format!("COMMIT PREPARED {}", literal(gid))).await,
            Act::Restart => {
                let mut cluster = self.own().await?;
                cluster.stop(Down::Fast)?;
                Ok(cluster.start().await?)
            }
            Act::Stop => Ok(self.own().await?.stop(Down::Fast)?),
            Act::Start { read_only: false } => Ok(self.own().await?.start().await?),
            Act::Start { read_only: true } => Ok(self.own().await?.start_read_only().await?),
            other => Err(format!("no {other:?} here").into()),
        }
    }

    async fn session(&self, account: &str) -> Result<Box<dyn UserSession>, BoxError> {
        Ok(Box::new(PostgresSession::open(&self.running, account).await?))
    }

    async fn hold(&self, role: &str, account: &str) -> Result<Box<dyn Hold>, BoxError> {
        Ok(Box::new(OpenTransaction::begin(&self.running, role, account).await?))
    }

    async fn members(&self, role: &str) -> Result<Vec<Row>, BoxError> {
        let options = if self.running.major < 16 { "a.rolinherit, true" } else { "m.inherit_option, m.set_option" };
        let text = format!(
            "SELECT a.rolname::text, g.rolname::text, m.admin_option, {options} FROM pg_auth_members m \
             JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles a ON a.oid = m.member JOIN pg_roles g ON g.oid = m.grantor \
             WHERE r.rolname = {}",
            literal(role)
        );
        let rows = self.running.admin("postgres").await?.query(&text, &[]).await?;
        rows.iter()
            .map(|row| {
                Ok(Row {
                    member: row.try_get(0)?,
                    grantor: row.try_get(1)?,
                    admin: row.try_get(2)?,
                    inherits: row.try_get(3)?,
                    set: row.try_get(4)?,
                })
            })
            .collect()
    }

    fn privileges(&self) -> Vec<Privilege> {
        let broker = &self.broker;
        let signal = if self.running.major < 16 { "" } else { " WITH INHERIT TRUE" };
        let mut all = vec![Privilege {
            given: format!("GRANT pg_signal_backend TO {broker}{signal}"),
            taken: format!("REVOKE pg_signal_backend FROM {broker}"),
            named: vec!["GRANT pg_signal_backend".to_owned()],
        }];
        let (schema, leases) = (format!("SCHEMA {}", self.schema), format!("{}.leases", self.schema));
        let on_leases = ["SELECT", "INSERT", "UPDATE", "DELETE"].map(|right| (right, &leases));
        for (right, on) in std::iter::once(("USAGE", &schema)).chain(on_leases) {
            all.push(Privilege {
                given: format!("GRANT {right} ON {on} TO {broker}"),
                taken: format!("REVOKE {right} ON {on} FROM {broker}"),
                named: vec![right.to_owned(), on.clone()],
            });
        }
        all
    }

    fn plants(&self) -> Vec<Plant> {
        plants::all(&self.schema)
    }

    fn hostile_defaults(&self) -> Option<Plant> {
        Some(plants::defaults(&self.broker))
    }

    async fn waiting(&self) -> Result<usize, BoxError> {
        let text = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1::text AND wait_event_type = 'Lock'";
        let waiting: i64 = self.running.admin("postgres").await?.query_one(text, &[&self.broker]).await?.try_get(0)?;
        Ok(usize::try_from(waiting)?)
    }

    async fn server_time(&self) -> Result<Time, BoxError> {
        let admin = self.running.admin("postgres").await?;
        Ok(admin.query_one("SELECT clock_timestamp()", &[]).await?.try_get(0)?)
    }

    async fn pass(&self, how_long: Duration) {
        tokio::time::sleep(how_long).await;
    }
}

impl PostgresWorld {
    /// Returns the statement as this user would send it.
    fn by(&self, by: By, statement: &str) -> String {
        match by {
            By::Admin => statement.to_owned(),
            By::Broker => format!("SET SESSION AUTHORIZATION {}; {statement}", self.broker),
        }
    }
}

/// Quotes a name for use in a statement.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Checks whether the server says that a privilege is missing.
fn is_denied(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE)
}

/// Checks whether the session is gone.
fn is_ended(client: &Client, error: &tokio_postgres::Error) -> bool {
    client.is_closed() || error.is_closed() || error.code() == Some(&tokio_postgres::error::SqlState::ADMIN_SHUTDOWN)
}
