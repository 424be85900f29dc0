//! Pool of a few open connections, kept warm. A connection that was not given back in good order is
//! closed, never kept: what was sent on it may still be under way.

use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::{
    self, Manager, Metrics, Object, PoolError, QueueMode, RecycleError, RecycleResult, TimeoutType, Timeouts,
};
use jit_core::database::DatabaseError;
use jit_core::database::adapter::{Lends, Lent};

use crate::config::{ConfigError, MySqlConfig};
use crate::connect::{Connection, Connector};

/// Pool of the connections to one server.
pub(crate) struct Pool {
    connector: Arc<Connector>,
    connections: managed::Pool<Opening>,
}

impl Clone for Pool {
    fn clone(&self) -> Self {
        Self { connector: Arc::clone(&self.connector), connections: self.connections.clone() }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("connector", &self.connector)
            .field("connections", &self.connections.status())
            .finish()
    }
}

/// Connection lent for one call. If it is dropped without [`Lent::give_back`] (a call that was
/// cancelled, timed out or failed), it is closed.
pub(crate) struct Lease {
    lent: Object<Opening>,
    in_good_order: bool,
}

pub(crate) struct Opening {
    connector: Arc<Connector>,
}

impl Manager for Opening {
    type Type = Connection;
    type Error = DatabaseError;

    async fn create(&self) -> Result<Connection, DatabaseError> {
        self.connector.connect().await
    }

    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<DatabaseError> {
        // the driver notices only on use that a server went away
        if connection.is_open() && connection.answers().await {
            Ok(())
        } else {
            Err(RecycleError::message("it was closed"))
        }
    }
}

impl Pool {
    pub(crate) fn new(config: MySqlConfig) -> Result<Self, ConfigError> {
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

    /// Lends an open connection if there is one.
    async fn lend(&self, limit: Duration) -> Result<Lease, DatabaseError> {
        let limits = Timeouts { wait: Some(limit), create: Some(limit), recycle: Some(limit) };
        match self.connections.timeout_get(&limits).await {
            Ok(lent) => Ok(Lease { lent, in_good_order: false }),
            Err(PoolError::Backend(error)) => Err(error),
            Err(PoolError::Timeout(TimeoutType::Wait)) => Err(DatabaseError::not_applied(format!(
                "all {} connections of this target were busy: allow more, or a longer limit",
                self.connector.config().connections
            ))),
            Err(error) => Err(DatabaseError::unreachable(format!("no connection within the call's limit: {error}"))),
        }
    }
}

impl Lent for Lease {
    fn give_back(mut self, certain: bool) {
        self.in_good_order = certain;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.in_good_order {
            // the pool finds it closed, and forgets it
            self.lent.close();
        }
    }
}

impl std::ops::Deref for Lease {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        &self.lent
    }
}

impl std::ops::DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.lent
    }
}
