//! [`PostgresDatabase`]: the contract [`Database`], call by call.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jit_core::database::{
    ArmOrder, Armed, Call, Capabilities, Check, Continuity, Database, DatabaseError, DeadMansSwitch, Disarmed,
    GrantOrder, Granted, Holders, Identity, Membership, NameError, Observation, OfTheBroker, Owned, RevokeOrder,
    RevokeReport, SettleOrder, StoreMarks,
};
use jit_core::id::{Account, RoleName};
use jit_core::internal::adapter::{ConfigError, Pool, Settling as _};

use crate::config::PostgresConfig;
use crate::connect::{Connection, Connector};
use crate::sql::{Catalog, set_up};
use crate::{account, check, dead_mans_switch, grant, observe, revoke};

/// Longest wait of a look for the marks of stores. A look goes on without them.
const MARKS_WAIT: Duration = Duration::from_secs(1);

/// One PostgreSQL cluster, reached through one of its databases.
#[derive(Debug, Clone)]
pub struct PostgresDatabase {
    pool: Arc<Pool<Connection>>,
}

impl PostgresDatabase {
    /// Validates the configuration, CA certificates included. Connects to nothing: the first call
    /// does.
    ///
    /// # Errors
    /// When the CA file cannot be used, or the system has no CA certificates and none are named.
    pub fn new(config: PostgresConfig) -> Result<Self, ConfigError> {
        Ok(Self { pool: Arc::new(Pool::new(Connector::new(config)?)) })
    }
}

#[async_trait]
impl Database for PostgresDatabase {
    fn account(&self, name: &str) -> Result<Account, NameError> {
        account::account(name)
    }

    fn role(&self, name: &str) -> Result<RoleName, NameError> {
        account::role(name)
    }

    async fn identify(&self) -> Result<Identity, DatabaseError> {
        self.pool.read(async |connection| connection.identity().await).await
    }

    fn continues(&self, before: &Identity, now: &Identity) -> Continuity {
        observe::continues(before, now)
    }

    async fn capabilities(&self) -> Result<Capabilities, DatabaseError> {
        self.pool
            .read(async |connection| {
                let dead_mans_switch = connection.dead_mans_switch().await?;
                Ok(capabilities(connection, dead_mans_switch))
            })
            .await
    }

    async fn check(&self, roles: &[RoleName]) -> Result<Vec<Check>, DatabaseError> {
        let config = self.pool.connector().config();
        self.pool
            .read(async |connection| check::check(connection, roles, config.tls_check(), &config.administrators).await)
            .await
    }

    async fn observe(&self, memberships: &[Membership]) -> Result<Observation, DatabaseError> {
        self.pool
            .read(async |connection| {
                tokio::try_join!(connection.prepare_look(), async {
                    connection.prepare_marks().await;
                    Ok(())
                })?;
                let (looked, marks) =
                    tokio::join!(biased; connection.look(memberships), connection.marks(memberships, MARKS_WAIT));
                Ok(observe::observation(looked?, marks))
            })
            .await
    }

    async fn grant(&self, call: &Call, orders: &[GrantOrder]) -> Vec<Result<Granted, DatabaseError>> {
        self.pool
            .change(call, orders.len(), async |connection, budget| grant::grant(connection, call, orders, budget).await)
            .await
    }

    async fn revoke(&self, call: &Call, orders: &[RevokeOrder]) -> Vec<Result<RevokeReport, DatabaseError>> {
        self.pool
            .change(call, orders.len(), async |connection, budget| {
                revoke::revoke(self.pool.connector(), connection, call, orders, budget).await
            })
            .await
    }

    async fn arm(&self, call: &Call, orders: &[ArmOrder]) -> Vec<Result<Armed, DatabaseError>> {
        self.pool
            .change(call, orders.len(), async |connection, budget| {
                dead_mans_switch::arm(self.pool.connector(), connection, call, orders, budget).await
            })
            .await
    }

    async fn disarm(&self, call: &Call, orders: &[Membership]) -> Vec<Result<Disarmed, DatabaseError>> {
        self.pool
            .change(call, orders.len(), async |connection, budget| {
                dead_mans_switch::disarm(connection, call, orders, budget).await
            })
            .await
    }

    async fn settle(&self, orders: &[SettleOrder]) -> Result<Identity, DatabaseError> {
        self.pool.settle(orders).await
    }

    async fn owned_objects(&self, memberships: &[Membership]) -> Result<Owned, DatabaseError> {
        self.pool.read(async |connection| connection.owned_objects(memberships).await).await
    }

    async fn holders(&self, roles: &[RoleName]) -> Result<Holders, DatabaseError> {
        self.pool.read(async |connection| connection.holders(roles).await).await
    }

    async fn of_the_broker(&self) -> Result<OfTheBroker, DatabaseError> {
        self.pool.read(async |connection| connection.of_the_broker().await).await
    }

    async fn set_up(&self, roles: &[RoleName]) -> Result<String, DatabaseError> {
        let server = &self.pool.connector().config().server;
        let (broker, database) = (server.get_user().unwrap_or_default(), server.get_dbname().unwrap_or_default());
        Ok(set_up::script(broker, database, roles))
    }

    async fn stores(&self) -> Result<Vec<StoreMarks>, DatabaseError> {
        self.pool.read(async |connection| connection.stores().await).await
    }
}

fn capabilities(connection: &Connection, dead_mans_switch: DeadMansSwitch) -> Capabilities {
    let server = &connection.server;
    let per_grantor = server.catalog == Catalog::PerGrantor;
    let mut remarks = vec![
        "sessions on standbys and read replicas are not looked at: one that ran SET ROLE there keeps the role until it ends".to_owned(),
    ];
    if !per_grantor {
        remarks.push("the catalog keeps one membership per role and account, whoever granted it".to_owned());
        remarks.push("SET ROLE cannot be withheld: sessions that used it keep the role until they end".to_owned());
    }
    let mut capabilities = Capabilities::new("PostgreSQL", &server.version_text, dead_mans_switch);
    capabilities.grantor_recorded = per_grantor;
    capabilities.set_option = per_grantor;
    capabilities.remarks = remarks;
    capabilities
}
