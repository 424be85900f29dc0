//! Pool of a few open connections, kept warm. A connection that was not given back in good order is
//! closed, never kept: what was sent on it may still be under way.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::{
    self, Manager, Metrics, Object, PoolError, QueueMode, RecycleError, RecycleResult, TimeoutType, Timeouts,
};
use jit_core::database::DatabaseError;
use jit_core::database::adapter::{Lends, Lent};

use crate::config::{ConfigError, PostgresConfig};
use crate::connect::{Connection, Connector, Line};

/// Connection that a pool can keep.
pub(crate) trait Kept: Sized + Send + Sync + 'static {
    /// Opens a new connection.
    fn open(connector: &Connector) -> impl Future<Output = Result<Self, DatabaseError>> + Send;
    /// Checks whether the connection can still be used, as far as is known on this side.
    fn is_open(&self) -> bool;
    /// Closes the connection's socket at once, whatever is under way.
    fn close(&self);
}

impl Kept for Connection {
    async fn open(connector: &Connector) -> Result<Self, DatabaseError> {
        connector.connect().await
    }

    fn is_open(&self) -> bool {
        Line::is_open(self)
    }

    fn close(&self) {
        Line::close(self);
    }
}

impl Kept for Line {
    async fn open(connector: &Connector) -> Result<Self, DatabaseError> {
        connector.line(None).await
    }

    fn is_open(&self) -> bool {
        Self::is_open(self)
    }

    fn close(&self) {
        Self::close(self);
    }
}

/// Pool of the connections to one server.
pub(crate) struct Pool<C: Kept> {
    connector: Arc<Connector>,
    connections: managed::Pool<Opening<C>>,
}

impl<C: Kept> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Self { connector: Arc::clone(&self.connector), connections: self.connections.clone() }
    }
}

impl<C: Kept> std::fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("connector", &self.connector)
            .field("connections", &self.connections.status())
            .finish()
    }
}

/// Connection lent for one call. Dropping it without [`Lent::give_back`] (the call was cancelled,
/// timed out or failed) closes it.
pub(crate) struct Lease<C: Kept> {
    lent: Object<Opening<C>>,
    in_good_order: bool,
}

pub(crate) struct Opening<C> {
    connector: Arc<Connector>,
    kept: std::marker::PhantomData<fn() -> C>,
}

impl<C: Kept> Manager for Opening<C> {
    type Type = C;
    type Error = DatabaseError;

    async fn create(&self) -> Result<C, DatabaseError> {
        C::open(&self.connector).await
    }

    async fn recycle(&self, connection: &mut C, _: &Metrics) -> RecycleResult<DatabaseError> {
        if connection.is_open() { Ok(()) } else { Err(RecycleError::message("it was closed")) }
    }
}

impl<C: Kept> Pool<C> {
    pub(crate) fn new(config: PostgresConfig) -> Result<Self, ConfigError> {
        let most = config.connections;
        let connector = Arc::new(Connector::new(config)?);
        let opening = Opening { connector: Arc::clone(&connector), kept: std::marker::PhantomData };
        let builder = managed::Pool::builder(opening).max_size(most).queue_mode(QueueMode::Lifo);
        let connections = builder.runtime(deadpool::Runtime::Tokio1).build();
        let connections = connections.map_err(|error| ConfigError::new(error.to_string()))?;
        Ok(Self { connector, connections })
    }

    pub(crate) fn connector(&self) -> &Arc<Connector> {
        &self.connector
    }
}

impl<C: Kept> Lends for Pool<C> {
    type Lent = Lease<C>;

    async fn ready(&self) -> Result<(), DatabaseError> {
        self.connector.ready().await
    }

    /// Lends an open connection if there is one, otherwise a new one.
    async fn lend(&self, limit: Duration) -> Result<Lease<C>, DatabaseError> {
        let limits = Timeouts { wait: Some(limit), create: Some(limit), recycle: None };
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

impl<C: Kept> Lent for Lease<C> {
    fn give_back(mut self, certain: bool) {
        self.in_good_order = certain;
    }
}

impl<C: Kept> Drop for Lease<C> {
    fn drop(&mut self) {
        if !self.in_good_order {
            // The pool finds it closed, and forgets it.
            self.lent.close();
        }
    }
}

impl<C: Kept> std::ops::Deref for Lease<C> {
    type Target = C;
    fn deref(&self) -> &C {
        &self.lent
    }
}
