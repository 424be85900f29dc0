//! Address, password source and limits of a SQL Server.

use jit_core::adapter_settings;
use jit_core::database::Check;
use jit_core::internal::adapter::{
    ConfigError, SAID_BY_CREDENTIALS, SAID_BY_TLS, Settings, decoded, refuse_parameters, without_password,
};

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
    pub(crate) settings: Settings,
}

adapter_settings!(MsSqlConfig);

/// Kind of server, as errors of the configuration name it.
pub(crate) const SERVER: &str = "SQL Server";

/// Makes an error of the configuration.
fn wrong(why: impl Into<String>) -> ConfigError {
    ConfigError::new(SERVER, why)
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
        let (clean, password) = without_password(&["mssql://"], url).map_err(wrong)?;
        let rest = clean.split_once("://").map_or("", |(_, rest)| rest);
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        refuse_parameters(query, refusal).map_err(wrong)?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let database = path.trim_start_matches('/');
        let (user, place) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, database) = (decoded("user", user).map_err(wrong)?, decoded("database", database).map_err(wrong)?);
        if user.is_empty() {
            return Err(wrong(format!("the URL names no user: {FORM}")));
        }
        let (host, port) = host_and_port(place)?;
        if database.is_empty() {
            return Err(wrong(format!(
                "the URL names no database: {FORM}; the roles of the server itself are those of `master`"
            )));
        }
        Ok(Self { host, port, user, database, settings: Settings::new(password) })
    }

    /// Returns the address of the server, for people to read.
    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Returns the check's finding about how the server is verified.
    pub(crate) fn tls_check(&self) -> Option<Check> {
        self.settings.tls.checked()
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
        return Err(wrong(format!("the URL names no host: {FORM}")));
    }
    if host.contains('\\') || host.contains("%5C") || host.contains("%5c") {
        return Err(wrong("the URL names an instance: write the port that it listens on instead"));
    }
    // The text can be a part of a password with an unencoded @, so the error does not repeat it.
    let wrong = || wrong(format!("the URL's port is no number from 1 to 65535: {FORM}"));
    let port = match port {
        Some(port) => port.parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(wrong)?,
        None => 1433,
    };
    Ok((host.to_owned(), port))
}

/// Returns the reason to refuse this parameter of a URL. All are refused.
fn refusal(parameter: &str) -> Option<String> {
    let why = match parameter.to_ascii_lowercase().as_str() {
        "encrypt" | "trustservercertificate" | "hostnameincertificate" | "sslmode" => SAID_BY_TLS,
        "password" | "pwd" => SAID_BY_CREDENTIALS,
        "user" | "uid" | "database" => "it stands before the `?`: mssql://broker@host:1433/database",
        _ => "the URL takes no parameters",
    };
    Some(why.to_owned())
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
        assert!(config.settings.credentials.is_some());
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
