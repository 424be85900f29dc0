//! A few open connections, kept warm. One that was not given back in good order is closed, never kept: what was sent on it may still
//! be under way.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jit_core::database::DatabaseError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{ConfigError, PostgresConfig};
use crate::connect::{Connection, Connector};

/// The connections to one server.
#[derive(Clone)]
pub(crate) struct Pool {
    connector: Arc<Connector>,
    idle: Arc<Mutex<Vec<Connection>>>,
    places: Arc<Semaphore>,
}

/// A connection lent for one call. Dropped without [`Lease::give_back`] (a call that was cancelled, timed out or failed) it is closed.
pub(crate) struct Lease {
    connection: Connection,
    idle: Arc<Mutex<Vec<Connection>>>,
    _place: OwnedSemaphorePermit,
}

impl Pool {
    pub(crate) fn new(config: PostgresConfig) -> Result<Self, ConfigError> {
        let places = Arc::new(Semaphore::new(config.connections));
        Ok(Self { connector: Arc::new(Connector::new(config)?), idle: Arc::default(), places })
    }

    pub(crate) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// A connection, an open one if there is one. Nothing was sent when this fails.
    pub(crate) async fn lease(&self, limit: Duration) -> Result<Lease, DatabaseError> {
        let waiting = tokio::time::timeout(limit, Arc::clone(&self.places).acquire_owned());
        let Ok(Ok(place)) = waiting.await else {
            return Err(DatabaseError::not_applied(format!(
                "all {} connections of this target were busy: allow more, or a longer limit",
                self.connector.config().connections
            )));
        };
        let kept = loop {
            let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match kept {
                Some(connection) if !connection.is_open() => {}
                other => break other,
            }
        };
        let connection = match kept {
            Some(connection) => connection,
            None => tokio::time::timeout(limit, self.connector.connect())
                .await
                .unwrap_or_else(|_| Err(DatabaseError::unreachable("no connection within the call's limit")))?,
        };
        Ok(Lease { connection, idle: Arc::clone(&self.idle), _place: place })
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("connector", &self.connector)
            .field("free", &self.places.available_permits())
            .finish()
    }
}

impl Lease {
    /// The call came to its end, every answer was read: the connection may serve the next.
    pub(crate) fn give_back(self) {
        let Self { connection, idle, _place } = self;
        if connection.is_open() {
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }
}

impl std::ops::Deref for Lease {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl std::ops::DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}
