//! Opening a connection: TLS, the password, the settings, and the identity of the server.

use std::sync::Arc;

use jit_core::database::{DatabaseError, Rejection, TlsMode};
use jit_core::internal::adapter::{
    ConfigError, Connects, Kept, Password, ServerClock, Settings, TlsError, client_config, trusted,
};
use mysql_async::prelude::{Protocol, Queryable as _};
use mysql_async::{Conn, Params, QueryResult, Row, SslOpts};
use rustls::ClientConfig;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;

use crate::account::Name;
use crate::config::{MySqlConfig, Place, SERVER, Way};
use crate::error;
use crate::observe::{Moment, number, text};
use crate::relay::Relay;
use crate::sql::{self, Flavour, Read, settings};

/// Opener of connections to one server.
#[derive(Debug)]
pub(crate) struct Connector {
    config: MySqlConfig,
    tls: Tls,
    password: Password,
    /// Version of the last server, and the settings that it accepted.
    settings: Mutex<Option<(String, Arc<str>)>>,
}

/// Part that encrypts, and that verifies the server.
#[derive(Debug)]
enum Tls {
    /// No TLS: a Unix socket, or the configuration's dangerous word.
    Nobody,
    /// TLS by the driver, which verifies chain and host name.
    Driver(SslOpts),
    /// TLS by our own relay, where the certificate is not for the host's name.
    Relay(Arc<ClientConfig>),
}

/// Connection of a broker. Dropping it closes it, whatever is under way: it is never used again.
pub(crate) struct Connection {
    conn: Option<Conn>,
    /// Settings of our own, in one packet.
    settings: Arc<str>,
    pub(crate) server: Server,
}

/// Server that answers on a connection.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) flavour: Flavour,
    pub(crate) version_text: String,
    /// Account of the broker, as the server names it.
    pub(crate) broker: String,
    /// Clock of the server, as last read.
    pub(crate) clock: ServerClock,
    /// Roles that everybody held at the last look.
    pub(crate) everybody: Vec<Name>,
}

impl Connector {
    /// Validates the configuration; connects to nothing.
    pub(crate) fn new(config: MySqlConfig) -> Result<Self, ConfigError> {
        // if an embedder's other crates bring a second provider of cryptography, the driver could
        // not choose
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let tls = if config.is_local() { Ok(Tls::Nobody) } else { Tls::of(&config.settings.tls) };
        let tls = tls.map_err(|error| ConfigError::tls(SERVER, error))?;
        let password = Password::new(config.settings.credentials.clone());
        Ok(Self { config, tls, password, settings: Mutex::new(None) })
    }

    pub(crate) fn config(&self) -> &MySqlConfig {
        &self.config
    }

    /// Opens a connection of the broker.
    pub(crate) async fn connect(&self) -> Result<Connection, DatabaseError> {
        // boxed: a future of this size, nested in call after call, is too much for the stack of a
        // thread
        let limit = self.config.settings.connect_limit;
        self.password.connect(limit, &self.config.address(), Box::pin(self.broker())).await
    }

    async fn broker(&self) -> Result<Connection, DatabaseError> {
        let attempt = |password| self.attempt(password);
        let conn = self.password.log_in(attempt, error::is_refused, error::connecting).await?;
        self.greet(conn).await
    }

    async fn attempt(&self, password: Option<SecretString>) -> Result<Conn, mysql_async::Error> {
        let password = password.as_ref().map(ExposeSecret::expose_secret);
        let connect = |way| Conn::new(self.config.driver_settings(way).pass(password));
        match (&self.tls, &self.config.place) {
            (Tls::Relay(tls), Place::Host { host, port }) => {
                let relay = Relay::to(host, *port, tls)?;
                match connect(Way::Relayed(relay.socket())).await {
                    Ok(conn) => {
                        relay.keep();
                        Ok(conn)
                    }
                    Err(error) => Err(relay.why(error).await),
                }
            }
            (Tls::Driver(verifying), _) => connect(Way::Verified(verifying.clone())).await,
            _ => connect(Way::Plain).await,
        }
    }

    /// Applies the settings and reads the identity.
    async fn greet(&self, mut conn: Conn) -> Result<Connection, DatabaseError> {
        conn.query_drop(settings::FIRST).await.map_err(error::reading)?;
        let row: Option<Row> = conn.query_first(sql::VERSION).await.map_err(error::reading)?;
        let row = row.ok_or_else(|| DatabaseError::unreachable("the server does not say who it is"))?;
        let version_text = text(&row, "version")?;
        let (flavour, known) = Flavour::of(&version_text);
        if !known {
            let why = format!("the server is {version_text}: jit needs MySQL 8.0 or MariaDB 10.6, or later");
            return Err(DatabaseError::rejected(Rejection::Other, why));
        }
        let settings = self.settle_settings(&mut conn, flavour, &version_text).await?;
        let row: Option<Row> = conn.query_first(flavour.text(sql::HELLO)).await.map_err(error::reading)?;
        let row = row.ok_or_else(|| DatabaseError::unreachable("the server does not say who it is"))?;
        let realm = text(&row, "realm")?;
        let moment = Moment::of(&row, &realm)?;
        let broker = text(&row, "broker")?;
        let clock = ServerClock::new(moment.now);
        let everybody = Vec::new();
        let server = Server { flavour, version_text, broker, clock, everybody };
        Ok(Connection { conn: Some(conn), settings, server })
    }

    /// Applies our own settings, and returns those that this server accepts. Which ones it knows is
    /// found out once.
    async fn settle_settings(
        &self,
        conn: &mut Conn,
        flavour: Flavour,
        version: &str,
    ) -> Result<Arc<str>, DatabaseError> {
        let kept = self.settings.lock().await.clone();
        if let Some((_, settings)) = kept.filter(|(of, _)| of == version)
            && conn.query_drop(&*settings).await.is_ok()
        {
            return Ok(settings);
        }
        let mut taken = Vec::new();
        for setting in settings::settings(flavour) {
            match conn.query_drop(setting.statement).await {
                Ok(()) => taken.push(setting.statement),
                // it has no such setting, or not for every account
                Err(error) if !setting.needed && error::code(&error).is_some() => {}
                Err(error) => return Err(error::reading(error)),
            }
        }
        let settings: Arc<str> = taken.join("; ").into();
        *self.settings.lock().await = Some((version.to_owned(), Arc::clone(&settings)));
        Ok(settings)
    }
}

impl Tls {
    fn of(mode: &TlsMode) -> Result<Self, TlsError> {
        if let TlsMode::VerifyFull { ca, server_name: None } = mode {
            let roots = trusted(ca.as_deref())?.into_iter().map(|root| root.to_vec().into()).collect();
            return Ok(Self::Driver(SslOpts::default().with_disable_built_in_roots(true).with_root_certs(roots)));
        }
        let verifying = client_config(mode, rustls::DEFAULT_VERSIONS)?;
        Ok(verifying.map_or(Self::Nobody, |verifying| Self::Relay(Arc::new(verifying))))
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

    /// Checks whether the server answers and takes our settings again. The driver notices only on
    /// use that a server went away. An earlier call changed some settings, and something between us
    /// and the server may have restored the server's own.
    async fn is_open(&mut self) -> bool {
        let Some(conn) = self.conn.as_mut().filter(|conn| !conn.is_disconnected()) else { return false };
        conn.query_drop(&*self.settings).await.is_ok()
    }
}

impl Connection {
    /// Closes it, whatever is under way.
    pub(crate) fn close(&mut self) {
        self.conn = None;
    }

    fn conn(&mut self) -> Result<&mut Conn, mysql_async::Error> {
        self.conn.as_mut().ok_or(mysql_async::Error::Driver(mysql_async::DriverError::ConnectionClosed))
    }

    /// Sends several statements in one packet; returns the rows of each that has any.
    pub(crate) async fn script(&mut self, statements: &str) -> Result<Vec<Vec<Row>>, mysql_async::Error> {
        all_of(self.conn()?.query_iter(statements).await?).await
    }

    /// Reads lists, all in one packet, after statements that answer with one row each. Returns the
    /// rows of each.
    ///
    /// # Errors
    /// Fails also if one of the lists was truncated.
    pub(crate) async fn lists(
        &mut self,
        single: &[&str],
        lists: &[Read],
        more: Option<String>,
    ) -> Result<Vec<Vec<Row>>, DatabaseError> {
        let flavour = self.server.flavour;
        let first = single.iter().map(|statement| flavour.text(statement));
        let lists = lists.iter().map(|list| list.whole(flavour)).chain(more);
        let statements: Vec<String> = first.chain(lists).collect();
        let answers = self.script(&statements.join("; ")).await.map_err(error::reading)?;
        if answers.len() != statements.len() {
            return Err(error::cut());
        }
        let whole = answers.into_iter().enumerate().map(|(i, rows)| match single.len() {
            only if i < only && rows.len() == 1 => Ok(rows),
            only if i < only => Err(error::cut()),
            _ => whole(rows),
        });
        whole.collect()
    }

    /// Reads a list, with parameters.
    ///
    /// # Errors
    /// Fails also if the list was truncated.
    pub(crate) async fn list(&mut self, list: Read, parameters: Params) -> Result<Vec<Row>, DatabaseError> {
        let statement = list.whole(self.server.flavour);
        whole(self.ask(&statement, parameters).await.map_err(error::reading)?)
    }

    /// Sends one statement with parameters; returns its rows. [`Self::list`] reads what answers
    /// with a list.
    pub(crate) async fn ask(&mut self, statement: &str, parameters: Params) -> Result<Vec<Row>, mysql_async::Error> {
        let answers = self.script(&sql::filled(statement, &parameters)?).await?;
        Ok(answers.into_iter().next().unwrap_or_default())
    }
}

/// Returns the rows of a list without the one that shows that the list is whole.
pub(crate) fn whole(mut rows: Vec<Row>) -> Result<Vec<Row>, DatabaseError> {
    let last = rows.iter().position(|row| number(row, sql::LAST).is_ok_and(|last| last != 0));
    rows.remove(last.ok_or_else(error::cut)?);
    Ok(rows)
}

async fn all_of<P: Protocol>(mut result: QueryResult<'_, 'static, P>) -> Result<Vec<Vec<Row>>, mysql_async::Error> {
    let mut all = Vec::new();
    while !result.is_empty() {
        let has_rows = !result.columns_ref().is_empty();
        let rows: Vec<Row> = result.collect().await?;
        if has_rows {
            all.push(rows);
        }
    }
    // a statement after the last one with an answer may have failed
    result.drop_result().await?;
    Ok(all)
}
