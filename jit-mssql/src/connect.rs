//! Opening a connection: TLS, the password, and the identity of the server.

use std::sync::Arc;

use jit_core::clock::Time;
use jit_core::database::{Call, DatabaseError, Identity, Rejection};
use jit_core::internal::adapter::{ConfigError, Connects, Kept, Password, ServerClock, Settings};
use rustls::ClientConfig;
use secrecy::{ExposeSecret, SecretString};
use tiberius::{AuthMethod, Client, EncryptionLevel, Row};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

use crate::config::MsSqlConfig;
use crate::error;
use crate::observe::GROUP;
use crate::row::Columns;
use crate::sql::{self, Scope};
use crate::tls::{self, Wire};

/// Opens connections to one server.
pub(crate) struct Connector {
    config: MsSqlConfig,
    tls: Option<Arc<ClientConfig>>,
    password: Password,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Connection of the broker. Dropping it closes the socket at once, whatever is under way.
pub(crate) struct Connection {
    client: Client<Compat<Wire>>,
    /// The same socket, to see whether the other side has closed it.
    socket: std::net::TcpStream,
    pub(crate) server: Server,
    /// Set while everything that was sent was answered without an error.
    sound: bool,
}

/// Server that answers on a connection.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) version: String,
    pub(crate) edition: i32,
    pub(crate) scope: Scope,
    /// Realm, as the server itself identifies it.
    pub(crate) realm: String,
    pub(crate) database: String,
    pub(crate) broker_login: String,
    pub(crate) session: i32,
    /// Run of the server, as it said on this connection.
    pub(crate) identity: Option<Identity>,
    /// Reading of the server's clock.
    pub(crate) clock: ServerClock,
}

/// `EngineEdition` of Express, of Azure SQL Database and of a managed instance.
pub(crate) const EXPRESS: i32 = 4;
pub(crate) const AZURE_DATABASE: i32 = 5;
pub(crate) const AZURE_INSTANCE: i32 = 8;

/// Value of a statement's parameter.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(String),
    Int(i32),
    Bytes(Vec<u8>),
    Bit(bool),
    Time(Time),
}

/// Answer to a batch: the results that came, and the error that ended it or came among them.
pub(crate) struct Answered {
    pub(crate) results: Vec<Vec<Row>>,
    pub(crate) error: Option<tiberius::error::Error>,
}

impl Connector {
    /// Validates the configuration; connects to nothing.
    pub(crate) fn new(config: MsSqlConfig) -> Result<Self, ConfigError> {
        let tls = tls::verifying(&config)?.map(Arc::new);
        let password = Password::new(config.settings.credentials.clone());
        Ok(Self { config, tls, password })
    }

    pub(crate) fn config(&self) -> &MsSqlConfig {
        &self.config
    }

    /// Checks whether passwords and statements travel readable.
    pub(crate) fn is_plaintext(&self) -> bool {
        self.tls.is_none()
    }

    /// Opens a broker's connection to the configured database.
    pub(crate) async fn connect(&self) -> Result<Connection, DatabaseError> {
        // Boxed: a future of this size, in one call after the other, is too much for the stack of a
        // thread.
        let limit = self.config.settings.connect_limit;
        self.password.connect(limit, &self.config.address(), Box::pin(self.broker())).await
    }

    async fn broker(&self) -> Result<Connection, DatabaseError> {
        let attempt = |password| self.attempt(password);
        let (client, socket) = self.password.log_in(attempt, error::is_refused, error::connecting).await?;
        self.greet(client, socket).await
    }

    /// Connects, and follows one redirect, as a gateway answers (Azure SQL). The server that the
    /// gateway names is verified like the first.
    async fn attempt(
        &self,
        password: Option<SecretString>,
    ) -> Result<(Client<Compat<Wire>>, std::net::TcpStream), tiberius::error::Error> {
        let password = password.as_ref();
        match self.attempt_at(&self.config.host, self.config.port, password).await {
            Err(tiberius::error::Error::Routing { host, port }) => self.attempt_at(&host, port, password).await,
            other => other,
        }
    }

    async fn attempt_at(
        &self,
        host: &str,
        port: u16,
        password: Option<&SecretString>,
    ) -> Result<(Client<Compat<Wire>>, std::net::TcpStream), tiberius::error::Error> {
        let MsSqlConfig { user, database, .. } = &self.config;
        let tcp = TcpStream::connect((host, port)).await?;
        tcp.set_nodelay(true)?;
        let std = tcp.into_std()?;
        let socket = std.try_clone()?;
        let wire = Wire::new(TcpStream::from_std(std)?, host, self.tls.as_ref()).await?;
        let mut settings = tiberius::Config::new();
        settings.host(host);
        settings.port(port);
        settings.database(database);
        settings.application_name("jit");
        // The wire is encrypted and verified already, or readable by the configuration's dangerous
        // option.
        settings.encryption(EncryptionLevel::NotSupported);
        let secret = password.map(ExposeSecret::expose_secret).unwrap_or_default();
        settings.authentication(AuthMethod::sql_server(user, secret));
        let connecting = Client::connect(settings, wire.compat_write());
        let client = if self.is_plaintext() {
            connecting.await?
        } else {
            // The driver would warn that nothing is encrypted, which it cannot know.
            connecting.with_subscriber(NoSubscriber::default()).await?
        };
        Ok((client, socket))
    }

    async fn greet(
        &self,
        client: Client<Compat<Wire>>,
        socket: std::net::TcpStream,
    ) -> Result<Connection, DatabaseError> {
        let scope = self.config.scope();
        let mut connection = Connection { client, socket, server: Server::unknown(scope), sound: true };
        let hello = format!("{} {}", sql::HELLO, sql::MOMENT);
        let answered = connection.run(&hello, Vec::new()).await.all().map_err(error::reading)?;
        let row = answered
            .first()
            .and_then(|rows| rows.first())
            .ok_or_else(|| DatabaseError::not_applied("the server does not say who it is"))?;
        connection.server = Server::of(scope, row)?;
        // A session of TDS stays where it is: another server, or another run of it, is another
        // connection.
        connection.server.identity = Some(connection.moment_of(answered.get(1..).unwrap_or_default())?.identity);
        Ok(connection)
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

impl Kept for Connection {
    type Connector = Connector;

    async fn open(connector: &Connector) -> Result<Self, DatabaseError> {
        connector.connect().await
    }

    /// Checks whether the connection can still be used, as far as is known on this side. Nothing
    /// may have come unasked, and the other side must not have closed it.
    async fn is_open(&mut self) -> bool {
        let silent = |error: std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
        self.sound && self.socket.peek(&mut [0; 1]).is_err_and(silent)
    }

    /// Checks whether nothing failed on the connection, which it knows itself.
    fn is_in_order(&self, _: bool) -> bool {
        self.sound
    }
}

impl Connection {
    /// Returns the server's identity, if it is the server that the call is meant for.
    pub(crate) fn meant(&self, call: &Call) -> Result<Identity, DatabaseError> {
        let unknown = || DatabaseError::not_applied("the server did not say who it is");
        let identity = self.server.identity.clone().ok_or_else(unknown)?;
        call.meant_for(&identity).map(|()| identity)
    }

    /// Checks whether everything that was sent was answered without an error.
    pub(crate) fn is_sound(&self) -> bool {
        self.sound
    }

    /// Sends one batch and reads all its answers. If this is dropped halfway, the connection is not
    /// sound any more.
    pub(crate) async fn run(&mut self, text: &str, values: Vec<Value>) -> Answered {
        self.sound = false;
        let answered = send(&mut self.client, text, values).await;
        self.sound = answered.error.is_none();
        answered
    }
}

async fn send(client: &mut Client<Compat<Wire>>, text: &str, values: Vec<Value>) -> Answered {
    use futures_util::TryStreamExt;
    let mut results: Vec<Vec<Row>> = Vec::new();
    let opened = if values.is_empty() {
        client.simple_query(text).await
    } else {
        let mut query = tiberius::Query::new(text);
        for value in values {
            match value {
                Value::Text(text) => query.bind(text),
                Value::Int(number) => query.bind(number),
                Value::Bytes(bytes) => query.bind(bytes),
                Value::Bit(bit) => query.bind(bit),
                Value::Time(time) => query.bind(time.naive_utc()),
            }
        }
        query.query(client).await
    };
    let mut stream = match opened {
        Ok(stream) => stream,
        Err(error) => return Answered { results, error: Some(error) },
    };
    loop {
        match stream.try_next().await {
            Ok(Some(tiberius::QueryItem::Metadata(_))) => results.push(Vec::new()),
            Ok(Some(tiberius::QueryItem::Row(row))) => {
                if let Some(last) = results.last_mut() {
                    last.push(row);
                }
            }
            Ok(None) => return Answered { results, error: None },
            Err(error) => return Answered { results, error: Some(error) },
        }
    }
}

impl Answered {
    /// Returns all results, if nothing failed.
    pub(crate) fn all(self) -> Result<Vec<Vec<Row>>, tiberius::error::Error> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(self.results),
        }
    }
}

impl Server {
    fn unknown(scope: Scope) -> Self {
        Self {
            version: String::new(),
            edition: 0,
            scope,
            realm: String::new(),
            database: String::new(),
            broker_login: String::new(),
            session: 0,
            identity: None,
            clock: ServerClock::new(Time::MIN_UTC),
        }
    }

    fn of(scope: Scope, row: &Row) -> Result<Self, DatabaseError> {
        let (version, edition) = (row.text("version")?, row.int("edition")?);
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok()).unwrap_or_default();
        let cloud = edition == AZURE_DATABASE || edition == AZURE_INSTANCE;
        let scope = match scope {
            _ if edition != AZURE_DATABASE => scope,
            Scope::Server => {
                return Err(DatabaseError::rejected(
                    Rejection::Other,
                    "Azure SQL Database has no server roles that could be given: register the database instead of `master`",
                ));
            }
            Scope::Database | Scope::AzureDatabase => Scope::AzureDatabase,
        };
        // Version 14 is 2017.
        if major < 14 && !cloud {
            return Err(DatabaseError::rejected(
                Rejection::Other,
                format!("the server is SQL Server {version}: jit needs 2017 (14.0) or later"),
            ));
        }
        let (server, hidden) = (row.text("server_name")?, "the broker cannot read which one this is");
        let hidden = || {
            DatabaseError::rejected(
                Rejection::PrivilegeMissing,
                format!("{hidden}: run `GRANT VIEW ANY DATABASE TO` it in master"),
            )
        };
        let realm = match scope {
            Scope::Server => format!("mssql:{server}/{}", row.maybe_text("server_guid")?.ok_or_else(hidden)?),
            Scope::Database | Scope::AzureDatabase => match row.maybe_text("group_guid")? {
                Some(group) => format!("{GROUP}{group}"),
                None => format!("mssql:{server}/{}", row.maybe_text("database_guid")?.ok_or_else(hidden)?),
            },
        };
        Ok(Self {
            version,
            edition,
            scope,
            realm,
            database: row.text("database_name")?,
            broker_login: row.text("broker_login")?,
            session: row.int("session_id")?,
            identity: None,
            clock: ServerClock::new(row.utc("now")?),
        })
    }
}
