//! Address, password source and limits of a SQL Server.

use std::sync::Arc;
use std::time::Duration;

use jit_core::database::adapter::percent_decoded;
use jit_core::database::tls::TlsError;
use jit_core::database::{Check, Credentials, DEAD_MAN_GRACE, FixedCredentials, TlsMode};
use jit_core::store::BoxError;
use secrecy::SecretString;

use crate::sql::Scope;

/// Address of a SQL Server and settings to reach it. Holds no password in readable form.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use jit_core::TlsMode;
/// use jit_core::database::FileCredentials;
/// use jit_mssql::MsSqlConfig;
///
/// let config = MsSqlConfig::from_url("mssql://jit_broker@db.example:1433/orders")?
///     .credentials(Arc::new(FileCredentials::new("/run/secrets/orders")))
///     .tls(TlsMode::verify_full(Some("/etc/jit/orders-ca.pem".into())))
///     .connections(4)
///     .connect_limit(Duration::from_secs(3));
///
/// // the URL cannot weaken the protection of the connection
/// let unprotected = "mssql://jit_broker@db.example/orders?encrypt=false";
/// assert!(MsSqlConfig::from_url(unprotected).is_err());
/// # Ok::<(), jit_mssql::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct MsSqlConfig {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) database: String,
    pub(crate) credentials: Option<Arc<dyn Credentials>>,
    pub(crate) tls: TlsMode,
    pub(crate) connections: usize,
    pub(crate) connect_limit: Duration,
    pub(crate) call_limit: Duration,
    pub(crate) dead_mans_switch_grace: Duration,
}

/// The configuration cannot be used. Never holds a password.
#[derive(Debug, thiserror::Error)]
#[error("the SQL Server is not configured right: {why}")]
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

/// Form of the URL, for error messages.
const FORM: &str = "write mssql://broker@host:1433/database, special characters percent-encoded";

impl MsSqlConfig {
    /// Reads `mssql://broker@host:1433/database` (port 1433 if none is named). The database decides
    /// which roles the target has: its own, or, with `master`, those of the server. A password in
    /// the URL is taken out of it.
    ///
    /// # Errors
    /// When the text is no such URL, names no host, user or database, or has parameters.
    pub fn from_url(url: &str) -> Result<Self, ConfigError> {
        let Some(rest) = url.strip_prefix("mssql://") else {
            return Err(ConfigError::new("the URL does not begin with mssql://"));
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if path.contains('@') {
            return Err(ConfigError::new(
                "the URL has an @ after the host: percent-encode special characters of user and password (`/` is %2F, `?` is %3F, `#` is %23, `@` is %40)",
            ));
        }
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        refuse_parameters(query)?;
        let Some((user_info, place)) = authority.rsplit_once('@') else {
            return Err(ConfigError::new(format!("the URL names no user: {FORM}")));
        };
        let (user, password) = match user_info.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (user_info, None),
        };
        let user = decoded("user", user)?;
        let database = decoded("database", path.trim_start_matches('/'))?;
        let (host, port) = host_and_port(place)?;
        if user.is_empty() {
            return Err(ConfigError::new(format!("the URL names no user: {FORM}")));
        }
        if database.is_empty() {
            return Err(ConfigError::new(format!(
                "the URL names no database: {FORM}; the roles of the server itself are those of `master`"
            )));
        }
        let password = password.map(|password| decoded("password", password)).transpose()?;
        let password = password.filter(|password| !password.is_empty()).map(SecretString::from);
        let credentials = password.map(|password| Arc::new(FixedCredentials::new(password)) as Arc<dyn Credentials>);
        Ok(Self {
            host,
            port,
            user,
            database,
            credentials,
            tls: TlsMode::default(),
            connections: 8,
            connect_limit: Duration::from_secs(5),
            call_limit: Duration::from_secs(10),
            dead_mans_switch_grace: DEAD_MAN_GRACE,
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

    /// Returns the check's finding about how the server is verified.
    pub(crate) fn tls_check(&self) -> Option<Check> {
        self.tls.checked()
    }

    /// Returns the scope of the target's roles: the database, or the server.
    pub(crate) fn scope(&self) -> Scope {
        if self.database.eq_ignore_ascii_case("master") { Scope::Server } else { Scope::Database }
    }
}

/// Splits `host`, `host:port` or `[::1]:port`.
fn host_and_port(place: &str) -> Result<(String, u16), ConfigError> {
    let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => match place.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    if host.is_empty() {
        return Err(ConfigError::new(format!("the URL names no host: {FORM}")));
    }
    if host.contains('\\') || host.contains("%5C") || host.contains("%5c") {
        return Err(ConfigError::new("the URL names an instance: write the port that it listens on instead"));
    }
    // The text can be a part of a password with an unencoded @, so the error does not repeat it.
    let wrong = || ConfigError::new(format!("the URL's port is no number from 1 to 65535: {FORM}"));
    let port = match port {
        Some(port) => port.parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(wrong)?,
        None => 1433,
    };
    Ok((host.to_owned(), port))
}

fn refuse_parameters(query: &str) -> Result<(), ConfigError> {
    let Some(parameter) = query.split('&').find(|parameter| !parameter.is_empty()) else { return Ok(()) };
    let name = parameter.split_once('=').map_or(parameter, |(name, _)| name);
    let shown: String = name.chars().take(40).flat_map(char::escape_debug).collect();
    let why = match name.to_ascii_lowercase().as_str() {
        "encrypt" | "trustservercertificate" | "hostnameincertificate" | "sslmode" => {
            "how the connection is protected is said by the target's `tls`, not by the URL"
        }
        "password" | "pwd" => "give the password by password_file, password_env or password_command",
        "user" | "uid" | "database" => "it stands before the `?`: mssql://broker@host:1433/database",
        _ => "the URL takes no parameters",
    };
    Err(ConfigError::new(format!("the URL's parameter `{shown}` is not accepted: {why}")))
}

fn decoded(what: &str, text: &str) -> Result<String, ConfigError> {
    percent_decoded(text).ok_or_else(|| {
        ConfigError::new(format!("the {what} in the URL is not percent-encoded right: write `%` as %25"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_whose_roles() {
        let config = MsSqlConfig::from_url("mssql://jit%5Fbroker@db.example/Orders%20old").unwrap();
        assert_eq!((config.host.as_str(), config.port), ("db.example", 1433));
        assert_eq!((config.user.as_str(), config.database.as_str()), ("jit_broker", "Orders old"));
        assert_eq!(config.scope(), Scope::Database);
        assert_eq!(MsSqlConfig::from_url("mssql://u@h:14330/Master").unwrap().scope(), Scope::Server);
        let config = MsSqlConfig::from_url("mssql://u@[::1]:14330/d").unwrap();
        assert_eq!((config.host.as_str(), config.port), ("::1", 14330));
    }

    #[test]
    fn law_12_a_password_in_the_url_is_taken_out_and_never_shown() {
        let config = MsSqlConfig::from_url("mssql://jit_broker:hunt%2Fer2@db.example:5433/orders").unwrap();
        assert!(config.credentials.is_some());
        assert!(!format!("{config:?}").contains("hunt"));
        for wrong in [
            "mssql://u:hunter2/x@h/d",
            "mssql://u:hunter2@h:port/d",
            "mssql://u:x@hunter2:y@h:p/d",
            "mssql://u:hun%ter2@h/d",
            "hunter2",
        ] {
            let error = MsSqlConfig::from_url(wrong).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunt"), "{error:?}");
        }
    }

    #[test]
    fn what_is_missing_or_unknown_is_said() {
        let why = |url| MsSqlConfig::from_url(url).unwrap_err().to_string();
        assert!(why("mysql://u@h/d").contains("begin with mssql://"));
        assert!(why("mssql://u@/d").contains("no host"));
        assert!(why("mssql://h/d").contains("no user"));
        assert!(why("mssql://u@h").contains("no database"));
        assert!(why("mssql://u@h\\SQLEXPRESS/d").contains("port"));
        assert!(why("mssql://u@h/d?encrypt=false").contains("`tls`"));
        assert!(why("mssql://u@h/d?colour=red").contains("`colour`"));
    }
}
