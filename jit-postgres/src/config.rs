//! Address, password source and limits of a PostgreSQL server.

use jit_core::adapter_settings;
use jit_core::database::{Check, TlsMode};
use jit_core::internal::adapter::{
    ConfigError, SAID_BY_CREDENTIALS, SAID_BY_TLS, Settings, refuse_parameters, without_password,
};
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
    pub(crate) settings: Settings,
    pub(crate) administrators: Vec<String>,
}

adapter_settings!(PostgresConfig);

/// Kind of server, as errors of the configuration name it.
pub(crate) const SERVER: &str = "postgres server";

/// Makes an error of the configuration.
pub(crate) fn wrong(why: impl Into<String>) -> ConfigError {
    ConfigError::new(SERVER, why)
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
        let (clean, password) = without_password(&["postgres://", "postgresql://"], url).map_err(wrong)?;
        let (_, query) = clean.split_once('?').unwrap_or_default();
        refuse_parameters(query, refusal).map_err(wrong)?;
        // The driver's own message can quote its input, and that could be a password in the wrong
        // place.
        let mut server: tokio_postgres::Config = clean.parse().map_err(|_| {
            wrong(
                "the URL cannot be read: write postgres://broker@host:5432/database, special characters percent-encoded",
            )
        })?;
        if server.get_hosts().is_empty() {
            return Err(wrong("the URL names no host: write postgres://broker@host:5432/database"));
        }
        if server.get_user().is_none_or(str::is_empty) {
            return Err(wrong("the URL names no user: write postgres://broker@host:5432/database"));
        }
        if server.get_dbname().is_none_or(str::is_empty) {
            server.dbname("postgres");
        }
        Ok(Self { server, settings: Settings::new(password), administrators: Vec::new() })
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

    /// Returns the addresses of the server, for people to read.
    pub(crate) fn address(&self) -> String {
        let port = |index: usize| {
            let ports = self.server.get_ports();
            ports.get(index).or_else(|| ports.first()).copied().unwrap_or(5432)
        };
        let each = self.server.get_hosts().iter().enumerate().map(|(index, host)| match host {
            Host::Tcp(name) => format!("{name}:{}", port(index)),
            Host::Unix(path) => format!("{}/.s.PGSQL.{}", path.display(), port(index)),
        });
        each.collect::<Vec<_>>().join(", ")
    }

    /// Returns the check's finding about how the server is verified. `None` for a Unix socket,
    /// whose traffic nobody on the network can read.
    #[must_use]
    pub fn tls_check(&self) -> Option<Check> {
        if self.is_local() { None } else { self.settings.tls.checked() }
    }

    /// Returns the driver's settings, without the password.
    pub(crate) fn driver_settings(&self) -> tokio_postgres::Config {
        let mut server = self.server.clone();
        let plaintext = self.is_local() || self.settings.tls == TlsMode::DangerPlaintext;
        // The driver's own default would fall back to plaintext when the server has no TLS.
        server.ssl_mode(if plaintext { SslMode::Disable } else { SslMode::Require });
        server.connect_timeout(self.settings.connect_limit);
        server.application_name("jit");
        server
    }
}

/// Returns the reason to refuse this parameter of a URL.
fn refusal(parameter: &str) -> Option<String> {
    let why = match parameter {
        known if PARAMETERS.contains(&known) => return None,
        "sslmode" | "sslrootcert" | "sslcert" | "sslkey" | "sslnegotiation" | "channel_binding" => SAID_BY_TLS,
        "password" | "passfile" => SAID_BY_CREDENTIALS,
        "application_name" | "options" => "it is set by jit itself",
        "user" | "dbname" => "it stands before the `?`: postgres://broker@host:5432/database",
        "connect_timeout" => "the target's setting `connect_limit` says it",
        _ => return Some(format!("known are {}", PARAMETERS.join(", "))),
    };
    Some(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_12_a_password_in_the_url_is_taken_out_and_never_shown() {
        let config = PostgresConfig::from_url("postgres://jit_broker:hunt%2Fer2@db.example:5433/orders").unwrap();
        assert!(config.settings.credentials.is_some());
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
        let mode = |config: PostgresConfig| config.driver_settings().get_ssl_mode();
        let config = PostgresConfig::from_url("postgres://u@h").unwrap();
        assert_eq!(config.server.get_dbname(), Some("postgres"));
        assert_eq!(mode(config.clone()), SslMode::Require);
        assert_eq!(mode(config.clone().tls(TlsMode::verify_full(Some("ca.pem".into())))), SslMode::Require);
        assert_eq!(mode(config.tls(TlsMode::DangerPlaintext)), SslMode::Disable);
        assert_eq!(mode(PostgresConfig::from_url("postgres://u@%2Frun%2Fpostgresql/d").unwrap()), SslMode::Disable);
        assert_eq!(mode(PostgresConfig::from_url("postgres://u@/d?host=/run/postgresql").unwrap()), SslMode::Disable);
    }
}
