//! Settings that every adapter's configuration has, and the error of a configuration.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use crate::database::{Credentials, DEAD_MANS_SWITCH_GRACE, FixedCredentials, TlsMode};
use crate::store::BoxError;

/// Password source, protection and limits of the connections to one server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// Source of the password. `None` if the server wants no password.
    pub credentials: Option<Arc<dyn Credentials>>,
    /// Protection of the connection.
    pub tls: TlsMode,
    /// Greatest number of open connections.
    pub connections: usize,
    /// Time limit for a new connection, login included.
    pub connect_limit: Duration,
    /// Time limit for calls that bring none of their own.
    pub call_limit: Duration,
    /// Time from the end of the last access until the server itself takes a role away.
    pub dead_mans_switch_grace: Duration,
}

impl Settings {
    /// Makes the default settings, with the password that stood in the URL.
    #[must_use]
    pub fn new(password: Option<SecretString>) -> Self {
        Self {
            credentials: password.map(|password| Arc::new(FixedCredentials::new(password)) as Arc<dyn Credentials>),
            tls: TlsMode::default(),
            connections: 8,
            connect_limit: Duration::from_secs(5),
            call_limit: Duration::from_secs(10),
            dead_mans_switch_grace: DEAD_MANS_SWITCH_GRACE,
        }
    }
}

/// Gives a configuration the methods that set its field `settings`, a
/// [`Settings`](crate::database::adapter::Settings).
#[doc(hidden)]
#[macro_export]
macro_rules! adapter_settings {
    ($config:ty) => {
        impl $config {
            /// Sets the source of the password, instead of the URL.
            #[must_use]
            pub fn credentials(mut self, credentials: ::std::sync::Arc<dyn $crate::database::Credentials>) -> Self {
                self.settings.credentials = Some(credentials);
                self
            }

            /// Sets the protection of the connection. The default verifies the server's certificate
            /// and name by the system's roots.
            #[must_use]
            pub fn tls(mut self, tls: $crate::database::TlsMode) -> Self {
                self.settings.tls = tls;
                self
            }

            /// Sets the greatest number of open connections (default 8).
            #[must_use]
            pub fn connections(mut self, connections: usize) -> Self {
                self.settings.connections = connections.max(1);
                self
            }

            /// Sets the time limit for a new connection, login included (default 5 s).
            #[must_use]
            pub fn connect_limit(mut self, connect_limit: ::std::time::Duration) -> Self {
                self.settings.connect_limit = connect_limit;
                self
            }

            /// Sets the time limit for calls that bring none of their own: looking, checking,
            /// identifying (default 10 s).
            #[must_use]
            pub fn call_limit(mut self, call_limit: ::std::time::Duration) -> Self {
                self.settings.call_limit = call_limit;
                self
            }

            /// Sets the grace of the dead man's switch (default 60 s). This long after the end of
            /// the last access the server itself takes a role away, if no process of jit has.
            #[must_use]
            pub fn dead_mans_switch_grace(mut self, dead_mans_switch_grace: ::std::time::Duration) -> Self {
                self.settings.dead_mans_switch_grace = dead_mans_switch_grace;
                self
            }
        }
    };
}

/// The configuration cannot be used. Never holds a password.
#[derive(Debug, thiserror::Error)]
#[error("the {server} is not configured right: {why}")]
#[non_exhaustive]
pub struct ConfigError {
    /// Kind of server: `postgres server`, `SQL Server`.
    pub server: &'static str,
    /// Error in the configuration, and how to fix it.
    pub why: String,
    /// Cause of the error.
    #[source]
    pub source: Option<BoxError>,
}

impl ConfigError {
    /// Makes an error without a source.
    pub fn new(server: &'static str, why: impl Into<String>) -> Self {
        Self { server, why: why.into(), source: None }
    }

    /// Makes the error for TLS that cannot be set up.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(server: &'static str, error: crate::database::tls::TlsError) -> Self {
        Self { server, why: error.why, source: error.source }
    }
}
