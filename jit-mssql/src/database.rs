//! [`MsSqlDatabase`]: the contract [`Database`], call by call.

use std::sync::Arc;

use async_trait::async_trait;
use jit_core::database::{
    ArmOrder, Armed, Call, Capabilities, Check, Continuity, Database, DatabaseError, DeadMansSwitch, Disarmed,
    GrantOrder, Granted, Holders, Identity, Membership, NameError, Observation, Owned, RevokeOrder, RevokeReport,
    SettleOrder, StoreMarks,
};
use jit_core::id::{Account, RoleName};
use jit_core::internal::adapter::{ConfigError, Pool, Settling as _};

use crate::config::MsSqlConfig;
use crate::connect::{AZURE_DATABASE, AZURE_INSTANCE, Connection, Connector, Server};
use crate::sql::Scope;
use crate::sql::set_up::SetUp;
use crate::{account, check, dead_mans_switch, grant, observe, revoke};

/// One database of a SQL Server with its roles, or the server with its own roles if the database is
/// `master`.
#[derive(Debug, Clone)]
pub struct MsSqlDatabase {
    pool: Arc<Pool<Connection>>,
    scope: Scope,
}

impl MsSqlDatabase {
    /// Validates the configuration, CA certificates included. Connects to nothing: the first call
    /// does.
    ///
    /// # Errors
    /// When the CA file cannot be used, or the system has no CA certificates and none are named.
    pub fn new(config: MsSqlConfig) -> Result<Self, ConfigError> {
        let scope = config.scope();
        Ok(Self { pool: Arc::new(Pool::new(Connector::new(config)?)), scope })
    }
}

#[async_trait]
impl Database for MsSqlDatabase {
    fn account(&self, name: &str) -> Result<Account, NameError> {
        account::account(name)
    }

    fn role(&self, name: &str) -> Result<RoleName, NameError> {
        account::role(self.scope, name)
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
                let dead_mans_switch = connection.dead_mans_switch().await?.here();
                Ok(capabilities(&connection.server, dead_mans_switch))
            })
            .await
    }

    async fn check(&self, roles: &[RoleName]) -> Result<Vec<Check>, DatabaseError> {
        let tls = self.pool.connector().config().tls_check();
        self.pool.read(async |connection| check::check(connection, roles, tls).await).await
    }

    async fn observe(&self, memberships: &[Membership]) -> Result<Observation, DatabaseError> {
        let memberships: Vec<&Membership> = memberships.iter().collect();
        let (moment, looks) = self.pool.read(async |connection| connection.look(&memberships).await).await?;
        Ok(observe::observation(moment, looks))
    }

    async fn grant(&self, call: &Call, orders: &[GrantOrder]) -> Vec<Result<Granted, DatabaseError>> {
        let connector = self.pool.connector();
        self.pool
            .change(call, orders.len(), async |connection, budget| {
                grant::grant(connector, connection, call, orders, budget).await
            })
            .await
    }

    async fn revoke(&self, call: &Call, orders: &[RevokeOrder]) -> Vec<Result<RevokeReport, DatabaseError>> {
        let connector = self.pool.connector();
        self.pool
            .change(call, orders.len(), async |connection, budget| {
                revoke::revoke(connector, connection, call, orders, budget).await
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
        // A server that answers says whether it is Azure's, and which user the login is.
        let answered = self.pool.read(async |connection| {
            let user = check::user(connection).await?;
            Ok((connection.server.scope, user))
        });
        let answered = answered.await;
        let azure = config.host.to_ascii_lowercase().ends_with(".database.windows.net");
        let unseen = if azure && self.scope.is_database() { Scope::AzureDatabase } else { self.scope };
        let (scope, user) = answered.unwrap_or_else(|_| (unseen, config.user.clone()));
        // A login without a user in a database is its guest.
        let user = if user == "guest" { &config.user } else { &user };
        let (database, login) = (config.database.as_str(), config.user.as_str());
        Ok(SetUp { scope, database, login, user, roles }.script())
    }

    async fn stores(&self) -> Result<Vec<StoreMarks>, DatabaseError> {
        self.pool.read(async |connection| connection.stores().await).await
    }
}

fn capabilities(server: &Server, dead_mans_switch: DeadMansSwitch) -> Capabilities {
    let engine = match server.edition {
        AZURE_DATABASE => "Azure SQL Database",
        AZURE_INSTANCE => "Azure SQL Managed Instance",
        _ => "SQL Server",
    };
    let mut remarks = vec![
        "the catalog does not say who granted a membership".to_owned(),
        "a role is used without being set: whoever is in it has it".to_owned(),
    ];
    if server.scope == Scope::Server && server.edition == AZURE_DATABASE {
        remarks.push("server roles take up to 5 minutes to apply, and only to new connections".to_owned());
    }
    let mut capabilities = Capabilities::new(engine, &server.version, dead_mans_switch);
    capabilities.remarks = remarks;
    capabilities
}
