//! [`MySqlDatabase`]: the contract, call by call.

use std::sync::Arc;

use async_trait::async_trait;
use jit_core::database::{
    ArmOrder, Armed, Call, Capabilities, Check, Continuity, Database, DatabaseError, DeadMansSwitch, Disarmed,
    GrantOrder, Granted, Holders, Identity, Membership, NameError, Observation, Owned, RevokeOrder, RevokeReport,
    SettleOrder, StoreMarks, TlsMode,
};
use jit_core::id::{Account, RoleName};
use jit_core::internal::adapter::{ConfigError, Pool, Settling as _};

use crate::account::Name;
use crate::config::MySqlConfig;
use crate::connect::{Connection, Connector, Server};
use crate::sql::Flavour;
use crate::sql::set_up::SetUp;
use crate::{account, check, dead_mans_switch, grant, observe, revoke};

/// Database of one MySQL or MariaDB server.
#[derive(Debug, Clone)]
pub struct MySqlDatabase {
    pool: Arc<Pool<Connection>>,
}

impl MySqlDatabase {
    /// Validates the configuration, CA certificates included. It connects to nothing: the first
    /// call does.
    ///
    /// # Errors
    /// Fails if the CA file cannot be used, or if the system has no CA certificates and none are
    /// named.
    pub fn new(config: MySqlConfig) -> Result<Self, ConfigError> {
        Ok(Self { pool: Arc::new(Pool::new(Connector::new(config)?)) })
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
        self.pool.read(async |connection| connection.identity().await).await
    }

    fn continues(&self, before: &Identity, now: &Identity) -> Continuity {
        observe::continues(before, now)
    }

    async fn capabilities(&self) -> Result<Capabilities, DatabaseError> {
        self.pool
            .read(async |connection| {
                let dead_mans_switch = connection.dead_mans_switch().await?;
                Ok(capabilities(&connection.server, dead_mans_switch))
            })
            .await
    }

    async fn check(&self, roles: &[RoleName]) -> Result<Vec<Check>, DatabaseError> {
        let tls = self.pool.connector().config().tls_check();
        self.pool.read(async |connection| check::check(connection, roles, tls).await).await
    }

    async fn observe(&self, memberships: &[Membership]) -> Result<Observation, DatabaseError> {
        self.pool
            .read(async |connection| {
                let (moment, looks) = connection.look(memberships).await?;
                Ok(observe::observation(moment, looks))
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
                revoke::revoke(connection, &self.pool, call, orders, budget).await
            })
            .await
    }

    async fn arm(&self, call: &Call, orders: &[ArmOrder]) -> Vec<Result<Armed, DatabaseError>> {
        let grace = self.pool.connector().config().settings.dead_mans_switch_grace;
        self.pool
            .change(call, orders.len(), async |connection, budget| {
                dead_mans_switch::arm(connection, call, orders, grace, budget).await
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

    async fn set_up(&self, roles: &[RoleName]) -> Result<String, DatabaseError> {
        let config = self.pool.connector().config();
        // a server that answers says which of the two it is, and which account the broker's is
        let answered =
            self.pool.read(async |connection| Ok((connection.server.flavour, check::broker(connection)))).await;
        let (flavour, broker) = answered.unwrap_or_else(|_| (config.flavour, Name::of(config.user.clone(), "%")));
        let named = roles.iter().filter_map(|role| Name::parse(role.as_str()).ok());
        let roles: Vec<Name> = named.map(|role| flavour.role(&role)).collect();
        let needs_tls = config.settings.tls != TlsMode::DangerPlaintext && !config.is_local();
        Ok(SetUp { flavour, broker: &broker, needs_tls, roles: &roles }.script())
    }

    async fn stores(&self) -> Result<Vec<StoreMarks>, DatabaseError> {
        self.pool.read(async |connection| connection.stores().await).await
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
