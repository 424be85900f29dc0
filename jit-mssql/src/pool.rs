//! Pool of a few open connections, kept warm. A connection that was not given back in good order is
//! closed, never kept: what was sent on it may still be under way.

use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::{
    self, Manager, Metrics, Object, PoolError, QueueMode, RecycleError, RecycleResult, TimeoutType, Timeouts,
};
use jit_core::database::DatabaseError;
use jit_core::database::adapter::{Lends, Lent};

use crate::config::{ConfigError, MsSqlConfig};
use crate::connect::{Connection, Connector};

/// Pool of the connections to one server.
#[derive(Clone)]
pub(crate) struct Pool {
    connector: Arc<Connector>,
    connections: managed::Pool<Opening>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("connector", &self.connector)
            .field("connections", &self.connections.status())
            .finish()
    }
}

/// Connection lent for one call. Dropping it without [`Lent::give_back`] (the call was cancelled,
/// timed out or failed) closes it.
pub(crate) struct Lease {
    lent: Option<Object<Opening>>,
}

pub(crate) struct Opening {
    connector: Arc<Connector>,
}

impl Manager for Opening {
    type Type = Connection;
    type Error = DatabaseError;

    async fn create(&self) -> Result<Connection, DatabaseError> {
        // Boxed: a login is many nested calls of the driver, and a stack of 2 MiB is not for them
        // alone.
        Box::pin(self.connector.connect()).await
    }

    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<DatabaseError> {
        if connection.is_open() { Ok(()) } else { Err(RecycleError::message("it was closed")) }
    }
}

impl Pool {
    pub(crate) fn new(config: MsSqlConfig) -> Result<Self, ConfigError> {
        let most = config.connections;
        let connector = Arc::new(Connector::new(config)?);
        let opening = Opening { connector: Arc::clone(&connector) };
        let builder = managed::Pool::builder(opening).max_size(most).queue_mode(QueueMode::Lifo);
        let connections = builder.runtime(deadpool::Runtime::Tokio1).build();
        let connections = connections.map_err(|error| ConfigError::new(error.to_string()))?;
        Ok(Self { connector, connections })
    }

    pub(crate) fn connector(&self) -> &Connector {
        &self.connector
    }
}

impl Lends for Pool {
    type Lent = Lease;

    async fn ready(&self) -> Result<(), DatabaseError> {
        self.connector.ready().await
    }

    /// Lends an open connection if there is one, otherwise a new one.
    async fn lend(&self, limit: Duration) -> Result<Lease, DatabaseError> {
        let limits = Timeouts { wait: Some(limit), create: Some(limit), recycle: None };
        match self.connections.timeout_get(&limits).await {
            Ok(lent) => Ok(Lease { lent: Some(lent) }),
            Err(PoolError::Backend(error)) => Err(error),
            Err(PoolError::Timeout(TimeoutType::Wait)) => Err(DatabaseError::not_applied(format!(
                "all {} connections of this target were busy: allow more, or a longer limit",
                self.connector.config().connections
            ))),
            Err(error) => Err(DatabaseError::unreachable(format!("no connection within the call's limit: {error}"))),
        }
    }
}

impl Lease {
    /// Returns the connection itself. Fails only after the connection was given back.
    pub(crate) fn connection(&mut self) -> Result<&mut Connection, DatabaseError> {
        self.lent.as_deref_mut().ok_or_else(|| DatabaseError::not_applied("the connection was given back already"))
    }
}

impl Lent for Lease {
    /// Gives the connection back. The connection itself knows whether something failed on it.
    fn give_back(mut self, _: bool) {
        if self.lent.as_ref().is_some_and(|lent| lent.is_sound()) {
            drop(self.lent.take());
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(lent) = self.lent.take() {
            // Taken out of the pool; its socket is closed at once.
            drop(Object::take(lent));
        }
    }
}
