//! Address of the store and settings to reach it.

use std::time::Duration;

use crate::config::PostgresConfig;

/// Default interval at which a store asks what others committed.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// Shortest interval. A store that asks all the time would be a load of its own.
const POLL_AT_MOST_EVERY: Duration = Duration::from_millis(50);

/// Address of a [`crate::PostgresStore`] and settings to reach it.
///
/// ```no_run
/// use jit_postgres::{PostgresConfig, PostgresStore, StoreConfig};
///
/// # async fn open() -> Result<(), Box<dyn std::error::Error>> {
/// // a pooler in transaction mode, and the way around it for listening
/// let pooled = PostgresConfig::from_url("postgres://jit@pooler.example:6432/jit")?;
/// let direct = PostgresConfig::from_url("postgres://jit@db.example:5432/jit")?;
/// let store = PostgresStore::open(StoreConfig::new(pooled).listen(Some(direct))).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct StoreConfig {
    pub(super) server: PostgresConfig,
    pub(super) listen: Option<PostgresConfig>,
    pub(super) poll_every: Duration,
}

impl StoreConfig {
    /// Configures the store in this database. The server may stand behind a pooler in transaction
    /// mode, if [`StoreConfig::listen`] leads around it.
    #[must_use]
    pub fn new(server: PostgresConfig) -> Self {
        Self { listen: Some(server.clone()), server, poll_every: POLL_EVERY }
    }

    /// Sets the server to listen on for the commits of others, by a connection that no pooler
    /// shares. `None`: the store does not listen, and notices others' commits only when it polls.
    #[must_use]
    pub fn listen(self, listen: Option<PostgresConfig>) -> Self {
        Self { listen, ..self }
    }

    /// Sets the interval at which the store polls for the commits of others (default 1 s, at least
    /// 50 ms). The poll also saves the time that was given.
    #[must_use]
    pub fn poll_every(self, poll_every: Duration) -> Self {
        Self { poll_every: poll_every.max(POLL_AT_MOST_EVERY), ..self }
    }
}
