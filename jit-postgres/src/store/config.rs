//! Where the store is and how it is reached.

use std::time::Duration;

use crate::config::PostgresConfig;

/// How often a store asks what others committed, unless told otherwise.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// A store that asks all the time would be a load of its own.
const POLL_AT_MOST_EVERY: Duration = Duration::from_millis(50);

/// Where a [`crate::PostgresStore`] is and how it is reached.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    pub(super) server: PostgresConfig,
    pub(super) listen: Option<PostgresConfig>,
    pub(super) poll_every: Duration,
}

impl StoreConfig {
    /// The store in this database. The server may stand behind a pooler in transaction mode, if [`StoreConfig::listen`] leads around it.
    #[must_use]
    pub fn new(server: PostgresConfig) -> Self {
        Self { listen: Some(server.clone()), server, poll_every: POLL_EVERY }
    }

    /// Where to listen for the commits of others: a connection that no pooler shares. `None`: nowhere, others' commits are noticed when it is
    /// asked for them.
    #[must_use]
    pub fn listen(self, listen: Option<PostgresConfig>) -> Self {
        Self { listen, ..self }
    }

    /// How often it is asked for the commits of others (1 s unless told, 50 ms at the least), and the time that was given is kept.
    #[must_use]
    pub fn poll_every(self, poll_every: Duration) -> Self {
        Self { poll_every: poll_every.max(POLL_AT_MOST_EVERY), ..self }
    }
}
