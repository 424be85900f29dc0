//! Ending sessions that block a revoke. An account can keep its role by holding a lock. While a
//! revoke waits, the account's own sessions that hold the lock are ended. The revoke stays in the
//! server's queue meanwhile, so it gets the lock next, however fast the account comes back.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use jit_core::database::{Call, DatabaseError, Membership};
use jit_core::internal::adapter::{Budget, meanwhile};

use crate::connect::{Connection, Connector};
use crate::error::reading;
use crate::observe::{Backend, MembershipColumns};
use crate::sql;

/// Pause between two looks at the blocking sessions.
const PAUSE: Duration = Duration::from_millis(50);

/// Accounts whose sessions may be ended when a call waits for them.
pub(crate) struct Unblock<'a> {
    pub(crate) connector: &'a Connector,
    pub(crate) call: &'a Call,
    pub(crate) budget: Budget,
    /// Accounts whose sessions end anyway.
    pub(crate) memberships: Vec<Membership>,
}

impl Unblock<'_> {
    /// Does the work. Meanwhile it ends the sessions that the work waits for, on a connection of
    /// its own.
    pub(crate) async fn meanwhile<T>(&self, work: impl Future<Output = T>) -> T {
        let clearing = async {
            if self.memberships.is_empty() {
                return;
            }
            if let Err(error) = self.clear().await {
                let why = error.with_causes();
                tracing::warn!(why, "a revoke waits, and it cannot be told for whom");
            }
        };
        meanwhile(work, clearing).await
    }

    /// Ends the blocking sessions, again and again. Returns only when that is impossible.
    async fn clear(&self) -> Result<(), DatabaseError> {
        let connection = self.connector.connect().await?;
        loop {
            tokio::time::sleep(PAUSE).await;
            let sessions = self.in_the_way(&connection).await?;
            if !sessions.is_empty() {
                let pids: Vec<i32> = sessions.iter().map(|backend| backend.pid).collect();
                tracing::warn!(?pids, "sessions of the account are in the way of its revoke: they are ended first");
                connection.end_sessions(self.call, &sessions, self.budget).await?;
            }
        }
    }

    async fn in_the_way(&self, connection: &Connection) -> Result<BTreeSet<Backend>, DatabaseError> {
        let asked = MembershipColumns::of(&self.memberships);
        let text = connection.server.catalog.text(sql::IN_THE_WAY);
        let parameters = asked.of_accounts(&connection.server, &self.call.label);
        let rows = connection.client.query(&text, &parameters).await.map_err(reading)?;
        let backend = |row: &tokio_postgres::Row| {
            Ok(Backend { pid: row.try_get("pid").map_err(reading)?, user: row.try_get("usesysid").map_err(reading)? })
        };
        rows.iter().map(backend).collect()
    }
}
