//! [`PostgresDatabase`]: the contract [`Database`], call by call.

use std::time::Duration;

use async_trait::async_trait;
use jit_core::database::adapter::{Lends as _, Lent as _, change, read, settle, settle_limit, too_slow};
use jit_core::database::{
    ArmOrder, Armed, Call, Capabilities, Check, Continuity, Database, DatabaseError, DeadMansSwitch, Disarmed,
    GrantOrder, Granted, Holders, Identity, Membership, NameError, Observation, OfTheBroker, Owned, RevokeOrder,
    RevokeReport, SettleOrder, StoreMarks,
};
use jit_core::id::{Account, RoleName};

use crate::config::{ConfigError, PostgresConfig};
use crate::connect::Connection;
use crate::pool::{Lease, Pool};
use crate::settle::Settler;
use crate::sql::{Catalog, set_up};
use crate::{account, check, dead_mans_switch, grant, observe, revoke};

/// Time that a look waits for the table of leases.
const MARKS_WAIT: Duration = Duration::from_secs(1);

/// One PostgreSQL cluster, reached through one of its databases.
#[derive(Debug, Clone)]
pub struct PostgresDatabase {
    pool: Pool<Connection>,
}

impl PostgresDatabase {
    /// Validates the configuration, CA certificates included. Connects to nothing: the first call
    /// does.
    ///
    /// # Errors
    /// When the CA file cannot be used, or the system has no CA certificates and none are named.
    pub fn new(config: PostgresConfig) -> Result<Self, ConfigError> {
        Ok(Self { pool: Pool::new(config)? })
    }

    /// Makes a call that changes nothing, within the configured limit.
    async fn read<T>(
        &self,
        work: impl AsyncFnOnce(&mut Lease<Connection>) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        read(&self.pool, self.pool.connector().config().call_limit, work).await
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
        self.read(async |lease| lease.moment().await.map(|moment| moment.identity)).await
    }

    fn continues(&self, before: &Identity, now: &Identity) -> Continuity {
        observe::continues(before, now)
    }

    async fn capabilities(&self) -> Result<Capabilities, DatabaseError> {
        self.read(async |lease| {
            let dead_mans_switch = lease.dead_mans_switch().await?;
            Ok(capabilities(lease, dead_mans_switch))
        })
        .await
    }

    async fn check(&self, roles: &[RoleName]) -> Result<Vec<Check>, DatabaseError> {
        let config = self.pool.connector().config();
        self.read(async |lease| check::check(lease, roles, config.tls_check(), &config.administrators).await).await
    }

    async fn observe(&self, memberships: &[Membership]) -> Result<Observation, DatabaseError> {
        self.read(async |lease| {
            tokio::try_join!(lease.prepare_look(), async {
                lease.prepare_marks().await;
                Ok(())
            })?;
            let (looked, marks) = tokio::join!(biased; lease.look(memberships), lease.marks(memberships, MARKS_WAIT));
            Ok(observe::observation(looked?, marks))
        })
        .await
    }

    async fn grant(&self, call: &Call, orders: &[GrantOrder]) -> Vec<Result<Granted, DatabaseError>> {
        change(&self.pool, call, orders.len(), async |lease, budget| grant::grant(lease, call, orders, budget).await)
            .await
    }

    async fn revoke(&self, call: &Call, orders: &[RevokeOrder]) -> Vec<Result<RevokeReport, DatabaseError>> {
        change(&self.pool, call, orders.len(), async |lease, budget| {
            revoke::revoke(self.pool.connector(), lease, call, orders, budget).await
        })
        .await
    }

    async fn arm(&self, call: &Call, orders: &[ArmOrder]) -> Vec<Result<Armed, DatabaseError>> {
        change(&self.pool, call, orders.len(), async |lease, budget| {
            dead_mans_switch::arm(self.pool.connector(), lease, call, orders, budget).await
        })
        .await
    }

    async fn disarm(&self, call: &Call, orders: &[Membership]) -> Vec<Result<Disarmed, DatabaseError>> {
        change(&self.pool, call, orders.len(), async |lease, budget| {
            dead_mans_switch::disarm(lease, call, orders, budget).await
        })
        .await
    }

    async fn settle(&self, orders: &[SettleOrder]) -> Result<Identity, DatabaseError> {
        let Some(last) = orders.iter().map(|order| order.not_after).max() else { return self.identify().await };
        let limit = self.pool.connector().config().call_limit;
        let lease = self.pool.lend(limit).await?;
        let limit = settle_limit(lease.server.clock.after(Duration::ZERO), last, limit)?;
        let settling = async {
            settle(&mut Settler(&lease), orders).await?;
            lease.moment().await.map(|moment| moment.identity)
        };
        let result = tokio::time::timeout(limit, settling).await.map_err(|_| too_slow(limit))?;
        lease.give_back(result.is_ok());
        result
    }

    async fn owned_objects(&self, memberships: &[Membership]) -> Result<Owned, DatabaseError> {
        self.read(async |lease| lease.owned_objects(memberships).await).await
    }

    async fn holders(&self, roles: &[RoleName]) -> Result<Holders, DatabaseError> {
        self.read(async |lease| lease.holders(roles).await).await
    }

    async fn of_the_broker(&self) -> Result<OfTheBroker, DatabaseError> {
        self.read(async |lease| lease.of_the_broker().await).await
    }

    async fn set_up(&self, roles: &[RoleName]) -> Result<String, DatabaseError> {
        let server = &self.pool.connector().config().server;
        let (broker, database) = (server.get_user().unwrap_or_default(), server.get_dbname().unwrap_or_default());
        Ok(set_up::script(broker, database, roles))
    }

    async fn stores(&self) -> Result<Vec<StoreMarks>, DatabaseError> {
        self.read(async |lease| lease.stores().await).await
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
