//! [`MySqlDatabase`]: the contract, call by call.

use std::time::Duration;

use async_trait::async_trait;
use jit_core::database::adapter::{Lends as _, Lent as _, change, read, settle, settle_limit, too_slow};
use jit_core::database::{
    ArmOrder, Armed, Call, Capabilities, Check, Continuity, Database, DatabaseError, DeadMansSwitch, Disarmed,
    GrantOrder, Granted, Holders, Identity, Membership, NameError, Observation, Owned, RevokeOrder, RevokeReport,
    SettleOrder, StoreMarks, TlsMode,
};
use jit_core::id::{Account, RoleName};

use crate::account::Name;
use crate::config::{ConfigError, MySqlConfig};
use crate::connect::Server;
use crate::pool::{Lease, Pool};
use crate::sql::Flavour;
use crate::sql::set_up::SetUp;
use crate::{account, check, dead_mans_switch, grant, observe, revoke};

/// Database of one MySQL or MariaDB server.
#[derive(Debug, Clone)]
pub struct MySqlDatabase {
    pool: Pool,
}

impl MySqlDatabase {
    /// Validates the configuration, CA certificates included. It connects to nothing: the first
    /// call does.
    ///
    /// # Errors
    /// Fails if the CA file cannot be used, or if the system has no CA certificates and none are
    /// named.
    pub fn new(config: MySqlConfig) -> Result<Self, ConfigError> {
        Ok(Self { pool: Pool::new(config)? })
    }

    /// Makes a call that changes nothing, within the configured limit.
    async fn read<T>(
        &self,
        work: impl AsyncFnOnce(&mut Lease) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        read(&self.pool, self.pool.connector().config().call_limit, work).await
    }
}

#[async_trait]
impl Database for MySqlDatabase {
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
            Ok(capabilities(&lease.server, dead_mans_switch))
        })
        .await
    }

    async fn check(&self, roles: &[RoleName]) -> Result<Vec<Check>, DatabaseError> {
        let tls = self.pool.connector().config().tls_check();
        self.read(async |lease| check::check(lease, roles, tls).await).await
    }

    async fn observe(&self, memberships: &[Membership]) -> Result<Observation, DatabaseError> {
        self.read(async |lease| {
            let (moment, looks) = lease.look(memberships).await?;
            Ok(observe::observation(moment, looks))
        })
        .await
    }

    async fn grant(&self, call: &Call, orders: &[GrantOrder]) -> Vec<Result<Granted, DatabaseError>> {
        change(&self.pool, call, orders.len(), async |lease, budget| grant::grant(lease, call, orders, budget).await)
            .await
    }

    async fn revoke(&self, call: &Call, orders: &[RevokeOrder]) -> Vec<Result<RevokeReport, DatabaseError>> {
        let pool = &self.pool;
        change(pool, call, orders.len(), async |lease, budget| revoke::revoke(lease, pool, call, orders, budget).await)
            .await
    }

    async fn arm(&self, call: &Call, orders: &[ArmOrder]) -> Vec<Result<Armed, DatabaseError>> {
        let grace = self.pool.connector().config().dead_mans_switch_grace;
        change(&self.pool, call, orders.len(), async |lease, budget| {
            dead_mans_switch::arm(lease, call, orders, grace, budget).await
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
        let mut lease = self.pool.lend(limit).await?;
        let limit = settle_limit(lease.server.clock.after(Duration::ZERO), last, limit)?;
        let settling = async {
            settle(&mut *lease, orders).await?;
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

    async fn set_up(&self, roles: &[RoleName]) -> Result<String, DatabaseError> {
        let config = self.pool.connector().config();
        // a server that answers says which of the two it is, and which account the broker's is
        let answered = self.read(async |lease| Ok((lease.server.flavour, check::broker(lease)))).await;
        let (flavour, broker) = answered.unwrap_or_else(|_| (config.flavour, Name::of(config.user.clone(), "%")));
        let named = roles.iter().filter_map(|role| Name::parse(role.as_str()).ok());
        let roles: Vec<Name> = named.map(|role| flavour.role(&role)).collect();
        let needs_tls = config.tls != TlsMode::DangerPlaintext && !config.is_local();
        Ok(SetUp { flavour, broker: &broker, needs_tls, roles: &roles }.script())
    }

    async fn stores(&self) -> Result<Vec<StoreMarks>, DatabaseError> {
        self.read(async |lease| lease.stores().await).await
    }
}

fn capabilities(server: &Server, dead_mans_switch: DeadMansSwitch) -> Capabilities {
    let mut remarks = vec![
        "the catalog names no grantor, and keeps one membership per role and account".to_owned(),
        "SET ROLE cannot be withheld".to_owned(),
        "the server does not say when a session began, nor which account it is: the most specific host decides"
            .to_owned(),
    ];
    let engine = match server.flavour {
        Flavour::MySql => {
            remarks.push("an open session keeps what a role allows in its current database".to_owned());
            "MySQL"
        }
        Flavour::MariaDb => {
            remarks.push("an open session keeps everything that a role allows".to_owned());
            remarks
                .push("an account has one default role: the latest access's, then the one before it again".to_owned());
            "MariaDB"
        }
    };
    let mut capabilities = Capabilities::new(engine, &server.version_text, dead_mans_switch);
    capabilities.remarks = remarks;
    capabilities
}
