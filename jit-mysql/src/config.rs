//! Configuration of one server: its address and how to connect to it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jit_core::database::adapter::{percent_decoded, without_password};
use jit_core::database::tls::TlsError;
use jit_core::database::{Check, Credentials, DEAD_MAN_GRACE, FixedCredentials, TlsMode};
use jit_core::store::BoxError;
use mysql_async::{OptsBuilder, SslOpts};

use crate::sql::Flavour;

/// Address of a MySQL or MariaDB server and how to connect to it. Holds no password in readable
/// form.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use jit_core::TlsMode;
/// use jit_core::database::FileCredentials;
/// use jit_mysql::MySqlConfig;
///
/// let config = MySqlConfig::from_url("mysql://jit_broker@db.example:3306")?
///     .credentials(Arc::new(FileCredentials::new("/run/secrets/orders")))
///     .tls(TlsMode::verify_full(Some("/etc/jit/orders-ca.pem".into())))
///     .connections(4)
///     .connect_limit(Duration::from_secs(3));
///
/// // the URL cannot weaken the protection of the connection
/// let unprotected = "mysql://jit_broker@db.example?ssl-mode=DISABLED";
/// assert!(MySqlConfig::from_url(unprotected).is_err());
/// # Ok::<(), jit_mysql::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct MySqlConfig {
    pub(crate) place: Place,
    pub(crate) user: String,
    /// Server kind that the URL's scheme names; the server itself knows better.
    pub(crate) flavour: Flavour,
    pub(crate) credentials: Option<Arc<dyn Credentials>>,
    pub(crate) tls: TlsMode,
    pub(crate) connections: usize,
    pub(crate) connect_limit: Duration,
    pub(crate) call_limit: Duration,
    pub(crate) dead_mans_switch_grace: Duration,
}

/// Address on which a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Host and port on a network.
    Host { host: String, port: u16 },
    /// Path of a Unix socket.
    Socket(String),
}

/// Transport that the driver uses.
pub(crate) enum Way {
    /// Connection without TLS.
    Plain,
    /// TLS of the driver itself.
    Verified(SslOpts),
    /// Socket of our own relay, which encrypts the rest of the way.
    Relayed(PathBuf),
}

/// The configuration cannot be used. Never holds a password.
#[derive(Debug, thiserror::Error)]
#[error("the mysql server is not configured right: {why}")]
#[non_exhaustive]
pub struct ConfigError {
    /// Reason, and what to write instead.
    pub why: String,
    /// Underlying cause, if any.
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

/// Default port of both servers.
const PORT: u16 = 3306;
const HOW: &str = "write mysql://broker@host:3306 or mariadb://broker@host:3306, special characters percent-encoded";

impl MySqlConfig {
    /// Parses `mysql://broker@host:3306` or `mariadb://broker@host:3306`. The server itself says
    /// which of the two it is.
    ///
    /// A Unix socket is `mysql://broker@%2Frun%2Fmysqld%2Fmysqld.sock`. A database in the URL is
    /// not used: roles belong to the whole server. A password in the URL is taken out of it.
    ///
    /// # Errors
    /// Fails if it is no such URL, names no host or user, or has a parameter.
    pub fn from_url(url: &str) -> Result<Self, ConfigError> {
        let schemes = ["mysql://", "mariadb://"];
        let (clean, password) = without_password(&schemes, url).map_err(ConfigError::new)?;
        let rest = clean.split_once("://").map_or("", |(_, rest)| rest);
        if let Some((_, parameters)) = rest.split_once('?') {
            return Err(unknown_parameter(parameters));
        }
        let authority = rest.split('/').next().unwrap_or_default();
        let (user, host) =
            authority.rsplit_once('@').ok_or_else(|| ConfigError::new(format!("the URL names no user: {HOW}")))?;
        let user = decoded(user)?;
        if user.is_empty() {
            return Err(ConfigError::new(format!("the URL names no user: {HOW}")));
        }
        let place = place(host)?;
        let credentials = password.map(|password| Arc::new(FixedCredentials::new(password)) as Arc<dyn Credentials>);
        let flavour = if clean.starts_with("mariadb:") { Flavour::MariaDb } else { Flavour::MySql };
        Ok(Self {
            place,
            user,
            flavour,
            credentials,
            tls: TlsMode::default(),
            connections: 8,
            connect_limit: Duration::from_secs(5),
            call_limit: Duration::from_secs(10),
            dead_mans_switch_grace: DEAD_MAN_GRACE,
        })
    }

    /// Sets the source of the password, which replaces one in the URL.
    #[must_use]
    pub fn credentials(self, credentials: Arc<dyn Credentials>) -> Self {
        Self { credentials: Some(credentials), ..self }
    }

    /// Sets how the connection is protected. The default verifies the server's certificate and name
    /// by the system's roots.
    #[must_use]
    pub fn tls(self, tls: TlsMode) -> Self {
        Self { tls, ..self }
    }

    /// Sets the number of connections that are open at once, at most (8 by default).
    #[must_use]
    pub fn connections(self, connections: usize) -> Self {
        Self { connections: connections.max(1), ..self }
    }

    /// Sets the time limit for a new connection, login included (5 s by default).
    #[must_use]
    pub fn connect_limit(self, connect_limit: Duration) -> Self {
        Self { connect_limit, ..self }
    }

    /// Sets the time limit for a call that brings no limit of its own: looking, checking,
    /// identifying (10 s by default).
    #[must_use]
    pub fn call_limit(self, call_limit: Duration) -> Self {
        Self { call_limit, ..self }
    }

    /// Sets the time from the end of the last access until the server itself revokes a role, if jit
    /// has not done it before (60 s by default).
    #[must_use]
    pub fn dead_mans_switch_grace(self, dead_mans_switch_grace: Duration) -> Self {
        Self { dead_mans_switch_grace, ..self }
    }

    /// Checks whether it is a Unix socket, where nobody in between can read.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self.place, Place::Socket(_))
    }

    /// Returns a check's finding on how the server is verified. Returns nothing for a Unix socket,
    /// where nobody in between can read.
    pub(crate) fn tls_check(&self) -> Option<Check> {
        if self.is_local() { None } else { self.tls.checked() }
    }

    /// Returns the driver's settings without the password.
    pub(crate) fn settings(&self, way: Way) -> OptsBuilder {
        let settings = OptsBuilder::default().user(Some(self.user.clone()));
        let settings = match &self.place {
            Place::Host { host, port } => settings.ip_or_hostname(host.clone()).tcp_port(*port),
            Place::Socket(path) => settings.socket(Some(path.clone())),
        };
        let covered = !matches!(way, Way::Plain);
        let settings = match way {
            Way::Plain => settings,
            Way::Verified(verifying) => settings.ssl_opts(verifying),
            Way::Relayed(socket) => settings.socket(Some(socket.to_string_lossy())),
        };
        // Some servers check passwords elsewhere (PAM, LDAP, a cloud's tokens) and ask for them in
        // the clear. They get them only where both chain and name of the certificate were verified:
        // anyone else who asks may not be the server.
        let verified = covered && matches!(self.tls, TlsMode::VerifyFull { .. });
        // without this, the driver would move to a socket that the server names, and nobody has
        // verified its other end
        settings.prefer_socket(false).tcp_nodelay(true).enable_cleartext_plugin(verified)
    }
}

fn decoded(text: &str) -> Result<String, ConfigError> {
    percent_decoded(text).ok_or_else(|| ConfigError::new(format!("the URL cannot be read: {HOW}")))
}

fn place(host: &str) -> Result<Place, ConfigError> {
    let unreadable = || ConfigError::new(format!("the URL's host cannot be read: {HOW}"));
    let (name, port) = if let Some(rest) = host.strip_prefix('[') {
        let (name, port) = rest.split_once(']').ok_or_else(unreadable)?;
        (name.to_owned(), port.strip_prefix(':'))
    } else {
        let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
        (decoded(name)?, port)
    };
    if name.is_empty() {
        return Err(ConfigError::new(format!("the URL names no host: {HOW}")));
    }
    if name.starts_with('/') {
        return Ok(Place::Socket(name));
    }
    let port = port.map_or(Ok(PORT), |port| port.parse().map_err(|_| unreadable()))?;
    Ok(Place::Host { host: name, port })
}

fn unknown_parameter(parameters: &str) -> ConfigError {
    let name = parameters.split(['=', '&']).next().unwrap_or_default();
    let shown: String = name.chars().take(40).flat_map(char::escape_debug).collect();
    let why = match name {
        "ssl-mode" | "ssl_mode" | "ssl-ca" | "require_ssl" | "verify_ca" | "verify_identity" => {
            "how the connection is protected is said by the target's `tls`, not by the URL"
        }
        "password" => "give the password by password_file, password_env or password_command",
        _ => "none are known",
    };
    ConfigError::new(format!("the URL's parameter `{shown}` is not accepted: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_12_a_password_in_the_url_is_taken_out_and_never_shown() {
        let config = MySqlConfig::from_url("mysql://jit_broker:hunt%2Fer2@db.example:3307").unwrap();
        assert!(config.credentials.is_some());
        assert!(!format!("{config:?}").contains("hunt"));
        for wrong in ["mysql://u:hunter2/x@h", "mysql://u:hunter2@h:port", "mysql://u:hun%ter2@h", "hunter2"] {
            let error = MySqlConfig::from_url(wrong).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunt"), "{error:?}");
        }
    }

    #[test]
    fn what_is_missing_or_unknown_is_said() {
        let why = |url| MySqlConfig::from_url(url).unwrap_err().to_string();
        assert!(why("postgres://u@h").contains("mysql://"));
        assert!(why("mysql://h").contains("no user"));
        assert!(why("mysql://u@:1/d").contains("no host"));
        assert!(why("mysql://u@h?ssl-mode=DISABLED").contains("`tls`"));
        assert!(why("mysql://u@h?colour=red").contains("`colour`"));
        assert!(why("mysql://u@h?password=x").contains("password_file"));
    }

    #[test]
    fn law_12_a_password_is_given_in_the_clear_only_where_the_server_was_verified() {
        let asks = |tls: TlsMode, way: Way| {
            let config = MySqlConfig::from_url("mysql://u@h").unwrap().tls(tls);
            mysql_async::Opts::from(config.settings(way)).enable_cleartext_plugin()
        };
        let named =
            || TlsMode::VerifyFull { ca: Some("ca.pem".into()), server_name: Some("project:instance".to_owned()) };
        assert!(asks(TlsMode::default(), Way::Verified(SslOpts::default())));
        assert!(asks(named(), Way::Relayed("socket".into())));
        assert!(!asks(TlsMode::VerifyCa { ca: "ca.pem".into() }, Way::Relayed("socket".into())));
        assert!(!asks(TlsMode::default(), Way::Plain));
        assert!(!asks(TlsMode::DangerPlaintext, Way::Plain));
        assert!(!asks(TlsMode::DangerPlaintext, Way::Verified(SslOpts::default())));
    }

    #[test]
    fn places_are_read() {
        let place = |url| MySqlConfig::from_url(url).unwrap().place;
        let host = |host: &str, port| Place::Host { host: host.to_owned(), port };
        assert_eq!(place("mysql://u@db.example"), host("db.example", 3306));
        assert_eq!(place("mariadb://u@[::1]:3307/x"), host("::1", 3307));
        assert_eq!(place("mysql://u@%2Frun%2Fmysqld.sock"), Place::Socket("/run/mysqld.sock".to_owned()));
    }
}
