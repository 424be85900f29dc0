//! Address, password source and limits of a PostgreSQL server.

use std::sync::Arc;
use std::time::Duration;

use jit_core::database::adapter::without_password;
use jit_core::database::tls::TlsError;
use jit_core::database::{Check, Credentials, DEAD_MAN_GRACE, FixedCredentials, TlsMode};
use jit_core::store::BoxError;
use tokio_postgres::config::{Host, SslMode};

/// Address of a PostgreSQL server and settings to reach it. Holds no password in readable form.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use jit_core::TlsMode;
/// use jit_core::database::FileCredentials;
/// use jit_postgres::PostgresConfig;
///
/// let config = PostgresConfig::from_url("postgres://jit_broker@db.example:5432/orders")?
///     .credentials(Arc::new(FileCredentials::new("/run/secrets/orders")))
///     .tls(TlsMode::verify_full(Some("/etc/jit/orders-ca.pem".into())))
///     .connections(4)
///     .connect_limit(Duration::from_secs(3));
///
/// // the URL cannot weaken the protection of the connection
/// let unprotected = "postgres://jit_broker@db.example/orders?sslmode=disable";
/// assert!(PostgresConfig::from_url(unprotected).is_err());
/// # Ok::<(), jit_postgres::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct PostgresConfig {
    pub(crate) server: tokio_postgres::Config,
    pub(crate) credentials: Option<Arc<dyn Credentials>>,
    pub(crate) tls: TlsMode,
    pub(crate) connections: usize,
    pub(crate) connect_limit: Duration,
    pub(crate) call_limit: Duration,
    pub(crate) dead_mans_switch_grace: Duration,
    pub(crate) administrators: Vec<String>,
}

/// The configuration cannot be used. Never holds a password.
#[derive(Debug, thiserror::Error)]
#[error("the postgres server is not configured right: {why}")]
#[non_exhaustive]
pub struct ConfigError {
    /// Error in the configuration, and how to fix it.
    pub why: String,
    /// Cause of the error.
    #[source]
    pub source: Option<BoxError>,
}

impl ConfigError {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), source: None }
    }
}

impl From<TlsError> for ConfigError {
    fn from(error: TlsError) -> Self {
        Self { why: error.why, source: error.source }
    }
}

/// Parameters of a URL that are passed on to the driver. Those that protect the connection, name it
/// or say what it may run are set elsewhere.
const PARAMETERS: [&str; 8] = [
    "host",
    "port",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "tcp_user_timeout",
    "target_session_attrs",
];

impl PostgresConfig {
    /// Reads `postgres://broker@host:5432/database`. Several hosts are separated by commas. A Unix
    /// socket is `postgres://broker@%2Frun%2Fpostgresql/database` or
    /// `postgres://broker@/database?host=/run/postgresql&port=5432`. The database defaults to
    /// `postgres` (roles belong to the whole cluster). A password in the URL is taken out of it.
    ///
    /// # Errors
    /// When the text is no such URL, names no host or user, or has a parameter that is not known
    /// here.
    pub fn from_url(url: &str) -> Result<Self, ConfigError> {
        let (clean, password) = without_password(&["postgres://", "postgresql://"], url).map_err(ConfigError::new)?;
        refuse_unknown_parameters(&clean)?;
        // The driver's own message can quote its input, and that could be a password in the wrong
        // place.
        let mut server: tokio_postgres::Config = clean.parse().map_err(|_| {
            ConfigError::new(
                "the URL cannot be read: write postgres://broker@host:5432/database, special characters percent-encoded",
            )
        })?;
        if server.get_hosts().is_empty() {
            return Err(ConfigError::new("the URL names no host: write postgres://broker@host:5432/database"));
        }
        if server.get_user().is_none_or(str::is_empty) {
            return Err(ConfigError::new("the URL names no user: write postgres://broker@host:5432/database"));
        }
        if server.get_dbname().is_none_or(str::is_empty) {
            server.dbname("postgres");
        }
        let credentials = password.map(|password| Arc::new(FixedCredentials::new(password)) as Arc<dyn Credentials>);
        Ok(Self {
            server,
            credentials,
            tls: TlsMode::default(),
            connections: 8,
            connect_limit: Duration::from_secs(5),
            call_limit: Duration::from_secs(10),
            dead_mans_switch_grace: DEAD_MAN_GRACE,
            administrators: Vec::new(),
        })
    }

    /// Sets the source of the password, instead of the URL.
    #[must_use]
    pub fn credentials(self, credentials: Arc<dyn Credentials>) -> Self {
        Self { credentials: Some(credentials), ..self }
    }

    /// Sets the protection of the connection. The default verifies the server's certificate and
    /// name by the system's roots.
    #[must_use]
    pub fn tls(self, tls: TlsMode) -> Self {
        Self { tls, ..self }
    }

    /// Sets the greatest number of open connections (default 8).
    #[must_use]
    pub fn connections(self, connections: usize) -> Self {
        Self { connections: connections.max(1), ..self }
    }

    /// Sets the time limit for a new connection, login included (default 5 s).
    #[must_use]
    pub fn connect_limit(self, connect_limit: Duration) -> Self {
        Self { connect_limit, ..self }
    }

    /// Sets the time limit for calls that bring none of their own: looking, checking, identifying
    /// (default 10 s).
    #[must_use]
    pub fn call_limit(self, call_limit: Duration) -> Self {
        Self { call_limit, ..self }
    }

    /// Sets the grace of the dead man's switch (default 60 s). This long after the end of the last
    /// access the server itself takes a role away, if no process of jit has.
    #[must_use]
    pub fn dead_mans_switch_grace(self, dead_mans_switch_grace: Duration) -> Self {
        Self { dead_mans_switch_grace, ..self }
    }

    /// Sets the roles of administrators. From PostgreSQL 16 on, a server can make the creator of an
    /// account a member of it. Administrators do not count as members of accounts. Their sessions
    /// are not ended with the window of an account.
    #[must_use]
    pub fn administrators(self, administrators: Vec<String>) -> Self {
        Self { administrators, ..self }
    }

    /// Checks whether every host is a Unix socket, whose traffic nobody on the network can read.
    pub(crate) fn is_local(&self) -> bool {
        self.server.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)))
    }

    /// Returns the check's finding about how the server is verified. `None` for a Unix socket,
    /// whose traffic nobody on the network can read.
    #[must_use]
    pub fn tls_check(&self) -> Option<Check> {
        if self.is_local() { None } else { self.tls.checked() }
    }

    /// Returns the driver's settings, without the password.
    pub(crate) fn settings(&self) -> tokio_postgres::Config {
        let mut server = self.server.clone();
        let plaintext = self.is_local() || self.tls == TlsMode::DangerPlaintext;
        // The driver's own default would fall back to plaintext when the server has no TLS.
        server.ssl_mode(if plaintext { SslMode::Disable } else { SslMode::Require });
        server.connect_timeout(self.connect_limit);
        server.application_name("jit");
        server
    }
}

fn refuse_unknown_parameters(url: &str) -> Result<(), ConfigError> {
    let Some((_, query)) = url.split_once('?') else { return Ok(()) };
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let name = parameter.split_once('=').map_or(parameter, |(name, _)| name);
        if PARAMETERS.contains(&name) {
            continue;
        }
        let shown: String = name.chars().take(40).flat_map(char::escape_debug).collect();
        let why = match name {
            "sslmode" | "sslrootcert" | "sslcert" | "sslkey" | "sslnegotiation" | "channel_binding" => {
                "how the connection is protected is said by the target's `tls`, not by the URL".to_owned()
            }
            "password" | "passfile" => {
                "give the password by password_file, password_env or password_command".to_owned()
            }
            "application_name" | "options" => "it is set by jit itself".to_owned(),
            "user" | "dbname" => "it stands before the `?`: postgres://broker@host:5432/database".to_owned(),
            "connect_timeout" => "the connect limit is said by the target's own settings".to_owned(),
            _ => format!("known are {}", PARAMETERS.join(", ")),
        };
        return Err(ConfigError::new(format!("the URL's parameter `{shown}` is not accepted: {why}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_12_a_password_in_the_url_is_taken_out_and_never_shown() {
        let config = PostgresConfig::from_url("postgres://jit_broker:hunt%2Fer2@db.example:5433/orders").unwrap();
        assert!(config.credentials.is_some());
        assert_eq!(config.server.get_password(), None);
        assert!(!format!("{config:?}").contains("hunt"));
        for wrong in
            ["postgres://u:hunter2/x@h/d", "postgres://u:hunter2@h:port/d", "postgres://u:hun%ter2@h/d", "hunter2"]
        {
            let error = PostgresConfig::from_url(wrong).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunt"), "{error:?}");
        }
    }

    #[test]
    fn what_is_missing_or_unknown_is_said() {
        let why = |url| PostgresConfig::from_url(url).unwrap_err().to_string();
        assert!(why("mysql://u@h/d").contains("begin with postgres://"));
        assert!(why("postgres:///d").contains("no host"));
        assert!(why("postgres://h/d").contains("no user"));
        assert!(why("postgres://u@h/d?sslmode=disable").contains("`tls`"));
        assert!(why("postgres://u@h/d?colour=red").contains("`colour`"));
        assert!(why("postgres://u@h/d?password=x").contains("password_file"));
    }

    #[test]
    fn tls_is_required_unless_plaintext_is_spelled_out_or_the_socket_is_local() {
        let mode = |config: PostgresConfig| config.settings().get_ssl_mode();
        let config = PostgresConfig::from_url("postgres://u@h").unwrap();
        assert_eq!(config.server.get_dbname(), Some("postgres"));
        assert_eq!(mode(config.clone()), SslMode::Require);
        assert_eq!(mode(config.clone().tls(TlsMode::verify_full(Some("ca.pem".into())))), SslMode::Require);
        assert_eq!(mode(config.tls(TlsMode::DangerPlaintext)), SslMode::Disable);
        assert_eq!(mode(PostgresConfig::from_url("postgres://u@%2Frun%2Fpostgresql/d").unwrap()), SslMode::Disable);
        assert_eq!(mode(PostgresConfig::from_url("postgres://u@/d?host=/run/postgresql").unwrap()), SslMode::Disable);
    }
}
