//! Configuration of one server: its address and how to connect to it.

use std::path::PathBuf;

use jit_core::adapter_settings;
use jit_core::database::{Check, TlsMode};
use jit_core::internal::adapter::{
    ConfigError, SAID_BY_CREDENTIALS, SAID_BY_TLS, Settings, percent_decoded, refuse_parameters, without_password,
};
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
    pub(crate) settings: Settings,
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

adapter_settings!(MySqlConfig);

/// Kind of server, as errors of the configuration name it.
pub(crate) const SERVER: &str = "mysql server";

/// Makes an error of the configuration.
fn wrong(why: impl Into<String>) -> ConfigError {
    ConfigError::new(SERVER, why)
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
        let (clean, password) = without_password(&schemes, url).map_err(wrong)?;
        let rest = clean.split_once("://").map_or("", |(_, rest)| rest);
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        refuse_parameters(query, refusal).map_err(wrong)?;
        let authority = rest.split('/').next().unwrap_or_default();
        let (user, host) = authority.rsplit_once('@').ok_or_else(|| wrong(format!("the URL names no user: {HOW}")))?;
        let user = decoded(user)?;
        if user.is_empty() {
            return Err(wrong(format!("the URL names no user: {HOW}")));
        }
        let place = place(host)?;
        let flavour = if clean.starts_with("mariadb:") { Flavour::MariaDb } else { Flavour::MySql };
        Ok(Self { place, user, flavour, settings: Settings::new(password) })
    }

    /// Checks whether it is a Unix socket, where nobody in between can read.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self.place, Place::Socket(_))
    }

    /// Returns the address of the server, for people to read.
    pub(crate) fn address(&self) -> String {
        match &self.place {
            Place::Host { host, port } => format!("{host}:{port}"),
            Place::Socket(path) => path.clone(),
        }
    }

    /// Returns a check's finding on how the server is verified. Returns nothing for a Unix socket,
    /// where nobody in between can read.
    pub(crate) fn tls_check(&self) -> Option<Check> {
        if self.is_local() { None } else { self.settings.tls.checked() }
    }

    /// Returns the driver's settings without the password.
    pub(crate) fn driver_settings(&self, way: Way) -> OptsBuilder {
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
        let verified = covered && matches!(self.settings.tls, TlsMode::VerifyFull { .. });
        // without this, the driver would move to a socket that the server names, and nobody has
        // verified its other end
        settings.prefer_socket(false).tcp_nodelay(true).enable_cleartext_plugin(verified)
    }
}

fn decoded(text: &str) -> Result<String, ConfigError> {
    percent_decoded(text).ok_or_else(|| wrong(format!("the URL cannot be read: {HOW}")))
}

fn place(host: &str) -> Result<Place, ConfigError> {
    let unreadable = || wrong(format!("the URL's host cannot be read: {HOW}"));
    let (name, port) = if let Some(rest) = host.strip_prefix('[') {
        let (name, port) = rest.split_once(']').ok_or_else(unreadable)?;
        (name.to_owned(), port.strip_prefix(':'))
    } else {
        let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
        (decoded(name)?, port)
    };
    if name.is_empty() {
        return Err(wrong(format!("the URL names no host: {HOW}")));
    }
    if name.starts_with('/') {
        return Ok(Place::Socket(name));
    }
    let port = port.map_or(Ok(PORT), |port| port.parse().map_err(|_| unreadable()))?;
    Ok(Place::Host { host: name, port })
}

/// Returns the reason to refuse this parameter of a URL. All are refused.
fn refusal(parameter: &str) -> Option<String> {
    let why = match parameter {
        "ssl-mode" | "ssl_mode" | "ssl-ca" | "require_ssl" | "verify_ca" | "verify_identity" => SAID_BY_TLS,
        "password" => SAID_BY_CREDENTIALS,
        _ => "none are known",
    };
    Some(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_12_a_password_in_the_url_is_taken_out_and_never_shown() {
        let config = MySqlConfig::from_url("mysql://jit_broker:hunt%2Fer2@db.example:3307").unwrap();
        assert!(config.settings.credentials.is_some());
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
            mysql_async::Opts::from(config.driver_settings(way)).enable_cleartext_plugin()
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
