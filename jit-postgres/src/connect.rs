//! Opening a connection: TLS, the password, the settings, and the identity of the server.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};

use jit_core::database::{DatabaseError, Rejection};
use jit_core::internal::adapter::{ConfigError, Connects, Kept, Password, ServerClock, Settings, client_config};
use jit_core::text::escaped;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::OnceCell;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, NoTls, Notification, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::account::account;
use crate::config::{PostgresConfig, SERVER, wrong};
use crate::error;
use crate::sql::dead_mans_switch::Home;
use crate::sql::{self, Catalog, Wal};

/// Opens connections to one server.
#[derive(Debug)]
pub(crate) struct Connector {
    config: PostgresConfig,
    tls: Option<Tls>,
    password: Password,
    /// Set once it was found that each connection has a server process to itself.
    direct: OnceCell<()>,
}

/// One open connection on which no broker has introduced itself. Dropping it closes the socket at
/// once, whatever is under way.
pub(crate) struct Line {
    pub(crate) client: Client,
    task: JoinHandle<()>,
    closed: AtomicBool,
}

/// Connection of the broker, with what it knows of the server.
pub(crate) struct Connection {
    line: Line,
    pub(crate) server: Server,
    /// Statement that sets the limits of a transaction ([`sql::limits`]).
    pub(crate) limits: Statement,
    pub(crate) statements: Statements,
}

/// Statements that are prepared once per connection, when first needed.
#[derive(Default)]
pub(crate) struct Statements {
    pub(crate) moment: OnceCell<Statement>,
    pub(crate) observe: OnceCell<Statement>,
    pub(crate) grant: OnceCell<Statement>,
    pub(crate) revoke: OnceCell<Statement>,
    pub(crate) still_there: OnceCell<Statement>,
    pub(crate) owned_objects: OnceCell<Statement>,
    pub(crate) homes: OnceCell<Statement>,
    pub(crate) home: OnceCell<Home>,
    pub(crate) awake: OnceCell<Statement>,
    /// Place of the leases when marks were first read. `None` if there was no place for them.
    pub(crate) marked: OnceCell<Option<Home>>,
    pub(crate) guard: OnceCell<Statement>,
    pub(crate) marks: OnceCell<Statement>,
    pub(crate) arm: OnceCell<Statement>,
    pub(crate) disarm: OnceCell<Statement>,
}

/// Server that answers on a connection.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) version_text: String,
    pub(crate) catalog: Catalog,
    pub(crate) broker: u32,
    pub(crate) superuser: bool,
    /// Names of administrators, who do not count as members of accounts. Empty before 16, where no
    /// server makes the creator of an account a member of it.
    pub(crate) administrators: Vec<String>,
    /// Process that serves the connection for the connection's whole life.
    pub(crate) pid: i32,
    /// True if the server can prepare transactions, which changes only when it is started anew.
    pub(crate) prepares: bool,
    pub(crate) wal: Wal,
    /// Reading of the server's clock.
    pub(crate) clock: ServerClock,
}

#[derive(Clone)]
struct Tls(MakeRustlsConnect);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Connector {
    /// Validates the configuration; connects to nothing.
    pub(crate) fn new(config: PostgresConfig) -> Result<Self, ConfigError> {
        for name in &config.administrators {
            // The dead man's switch names them in a text that is quoted by dollars.
            if account(name).is_err() || name.contains('$') {
                return Err(wrong(format!(
                    "`{}` in `administrators` is no name of a role that is taken here",
                    escaped(name)
                )));
            }
        }
        let verifying = if config.is_local() {
            None
        } else {
            client_config(&config.settings.tls, rustls::DEFAULT_VERSIONS)
                .map_err(|error| ConfigError::tls(SERVER, error))?
        };
        let tls = verifying.map(|verifying| Tls(MakeRustlsConnect::new(verifying)));
        let password = Password::new(config.settings.credentials.clone());
        Ok(Self { config, tls, password, direct: OnceCell::new() })
    }

    pub(crate) fn config(&self) -> &PostgresConfig {
        &self.config
    }

    /// Opens a broker's connection to the configured database.
    pub(crate) async fn connect(&self) -> Result<Connection, DatabaseError> {
        // Boxed: a future of this size, in one call after the other, is too much for the stack of a
        // thread.
        let connecting = Box::pin(async {
            let connection = self.broker(None).await?;
            self.direct.get_or_try_init(|| self.prove_direct(&connection)).await?;
            Ok(connection)
        });
        self.within_limit(connecting).await
    }

    /// Opens a broker's connection to another database of the same server.
    pub(crate) async fn connect_to(&self, database: &str) -> Result<Connection, DatabaseError> {
        self.within_limit(Box::pin(self.broker(Some(database)))).await
    }

    /// Opens a connection to the configured database, with the server's own settings. `to` receives
    /// the server's notifications.
    pub(crate) async fn line(&self, to: Option<UnboundedSender<Notification>>) -> Result<Line, DatabaseError> {
        self.within_limit(Box::pin(self.login(None, to))).await
    }

    async fn within_limit<T>(
        &self,
        connecting: impl Future<Output = Result<T, DatabaseError>>,
    ) -> Result<T, DatabaseError> {
        self.password.connect(self.config.settings.connect_limit, &self.config.address(), connecting).await
    }

    async fn broker(&self, database: Option<&str>) -> Result<Connection, DatabaseError> {
        let line = self.login(database, None).await?;
        let server = greet(&line.client, &self.config.administrators).await?;
        // Prepared at once: nothing may wait between the parts of a transaction.
        let limits = line.client.prepare(&sql::limits()).await.map_err(error::reading)?;
        Ok(Connection { line, server, limits, statements: Statements::default() })
    }

    /// Looks for a pooler in transaction mode. It shows itself in one of two ways while a second
    /// connection is open. Either several processes of the server serve one connection in turn, or
    /// the same process serves two connections.
    async fn prove_direct(&self, connection: &Connection) -> Result<(), DatabaseError> {
        let first = connection.server.pid;
        let stays = async || {
            for _ in 0..2 {
                if serving(&connection.client).await? != first {
                    return Err(pooled());
                }
            }
            Ok(())
        };
        stays().await?;
        let second = self.login(None, None).await?;
        let other = serving(&second.client).await?;
        stays().await?;
        if other == first || serving(&second.client).await? != other { Err(pooled()) } else { Ok(()) }
    }

    async fn login(
        &self,
        database: Option<&str>,
        to: Option<UnboundedSender<Notification>>,
    ) -> Result<Line, DatabaseError> {
        let attempt = |password| self.attempt(database, password, to.clone());
        self.password.log_in(attempt, is_refused, error::connecting).await
    }

    async fn attempt(
        &self,
        database: Option<&str>,
        password: Option<SecretString>,
        to: Option<UnboundedSender<Notification>>,
    ) -> Result<Line, tokio_postgres::Error> {
        let mut settings = self.config.driver_settings();
        if let Some(database) = database {
            settings.dbname(database);
        }
        if let Some(password) = password {
            settings.password(password.expose_secret());
        }
        let (client, task) = match &self.tls {
            Some(Tls(tls)) => {
                let (client, connection) = settings.connect(tls.clone()).await?;
                (client, tokio::spawn(drive(connection, to)))
            }
            None => {
                let (client, connection) = settings.connect(NoTls).await?;
                (client, tokio::spawn(drive(connection, to)))
            }
        };
        Ok(Line { client, task, closed: AtomicBool::new(false) })
    }
}

fn is_refused(error: &tokio_postgres::Error) -> bool {
    let refused = [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION];
    error.code().is_some_and(|code| refused.contains(code))
}

impl Drop for Line {
    fn drop(&mut self) {
        // Dropping the client alone would let the driver wait for what is under way.
        self.close();
    }
}

impl Connects for Connector {
    fn settings(&self) -> &Settings {
        &self.config.settings
    }

    fn password(&self) -> &Password {
        &self.password
    }
}

impl Kept for Line {
    type Connector = Connector;

    async fn open(connector: &Connector) -> Result<Self, DatabaseError> {
        connector.line(None).await
    }

    async fn is_open(&mut self) -> bool {
        self.is_usable()
    }
}

impl Kept for Connection {
    type Connector = Connector;

    async fn open(connector: &Connector) -> Result<Self, DatabaseError> {
        connector.connect().await
    }

    async fn is_open(&mut self) -> bool {
        self.is_usable()
    }
}

impl Line {
    /// Checks whether the connection can still be used, as far as is known on this side.
    fn is_usable(&self) -> bool {
        !self.closed.load(Ordering::Relaxed) && !self.client.is_closed() && !self.task.is_finished()
    }

    /// Closes the socket at once, whatever is under way.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.task.abort();
    }
}

impl std::ops::Deref for Connection {
    type Target = Line;
    fn deref(&self) -> &Line {
        &self.line
    }
}

impl Connection {
    /// Returns a statement in the form for this server's catalog, prepared when it is first needed.
    pub(crate) async fn prepared<'c>(
        &'c self,
        kept: &'c OnceCell<Statement>,
        text: impl FnOnce() -> String,
    ) -> Result<&'c Statement, DatabaseError> {
        let prepare = || async { self.client.prepare(&self.server.catalog.text(&text())).await };
        kept.get_or_try_init(prepare).await.map_err(error::reading)
    }
}

async fn drive<S, T>(mut connection: tokio_postgres::Connection<S, T>, to: Option<UnboundedSender<Notification>>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let ended = loop {
        match std::future::poll_fn(|context| connection.poll_message(context)).await {
            Some(Ok(AsyncMessage::Notification(said))) => {
                if let Some(to) = &to {
                    // The listener may have gone.
                    let _ = to.send(said);
                }
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => break Some(error),
            None => break None,
        }
    };
    if let Some(error) = ended {
        tracing::debug!(why = error::said(&error), "a connection to postgres ended");
    }
}

/// Applies the settings and reads the server's identity, in one round trip.
async fn greet(client: &Client, administrators: &[String]) -> Result<Server, DatabaseError> {
    let (patience, settings, row, wal) = tokio::join!(
        biased;
        client.batch_execute(sql::PATIENCE),
        client.batch_execute(sql::SETTINGS),
        client.query_typed_one(sql::HELLO, &[]),
        client.query_typed_one(sql::POSITION, &[])
    );
    let row = row.map_err(error::reading)?;
    let version: i32 = row.try_get("version").map_err(error::reading)?;
    let version_text: String = row.try_get("version_text").map_err(error::reading)?;
    let Some(catalog) = Catalog::of(version) else {
        return Err(DatabaseError::rejected(
            Rejection::Other,
            format!("the server is PostgreSQL {version_text}: jit needs 15 or later"),
        ));
    };
    patience.and(settings).map_err(error::reading)?;
    if !row.try_get::<_, bool>("pinned").map_err(error::reading)? {
        return Err(pooled());
    }
    if !row.try_get::<_, bool>("may_identify").map_err(error::reading)? {
        return Err(DatabaseError::rejected(
            Rejection::PrivilegeMissing,
            "the broker cannot read which cluster this is: run `GRANT EXECUTE ON FUNCTION pg_catalog.pg_control_system() TO` it in this database",
        ));
    }
    Ok(Server {
        version_text,
        catalog,
        broker: row.try_get("broker").map_err(error::reading)?,
        superuser: row.try_get("superuser").map_err(error::reading)?,
        administrators: if catalog == Catalog::PerGrantor { administrators.to_vec() } else { Vec::new() },
        pid: row.try_get("pid").map_err(error::reading)?,
        prepares: row.try_get("prepares").map_err(error::reading)?,
        wal: match wal {
            Ok(_) => Wal::Readable,
            Err(error) if error::is_withheld(&error) => Wal::Refused,
            Err(error) => return Err(error::reading(error)),
        },
        clock: ServerClock::new(row.try_get("now").map_err(error::reading)?),
    })
}

/// Returns the process that serves the connection just now.
async fn serving(client: &Client) -> Result<i32, DatabaseError> {
    client.query_typed_one(sql::BACKEND, &[]).await.and_then(|row| row.try_get(0)).map_err(error::reading)
}

/// Error for a connection whose statements reach several processes of the server.
pub(crate) fn pooled() -> DatabaseError {
    DatabaseError::unreachable(
        "a pooler in transaction mode stands before the server: settings and statements of one connection reach several processes; \
         point the target at the server itself, or set the pooler's mode for this database to `session`",
    )
}
