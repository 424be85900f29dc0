//! An account, a role, and the broker's adapter.

use std::sync::Arc;
use std::time::Duration;

use jit_core::database::{
    Call, Database, DatabaseError, GrantOrder, Membership, MembershipScope, RevokeOrder, RevokeReport,
};
use jit_core::id::AccessId;
use jit_core::policy::Stance;
use jit_core::store::BoxError;
use jit_core::testkit::database_laws::{Act, Login, World as _, witness};
use jit_tests::servers::RunningPostgres;
use jit_tests::world::postgres::PostgresWorld;

/// Account, a role, and the broker's adapter.
pub(crate) struct Scene {
    pub(crate) world: PostgresWorld,
    pub(crate) running: RunningPostgres,
    pub(crate) database: Arc<dyn Database>,
    pub(crate) account: String,
    pub(crate) role: String,
    pub(crate) access: AccessId,
}

impl Scene {
    pub(crate) async fn new(running: RunningPostgres) -> Result<Self, BoxError> {
        let world = PostgresWorld::within(running.clone()).await?;
        let (account, role) = (world.fresh("alice"), world.fresh("writer"));
        world.act(Act::CreateAccount { account: &account, inherits: true }).await?;
        world.act(Act::CreateRole { role: &role }).await?;
        let database = world.database(Login::Broker).await?;
        let access = AccessId::fresh(world.server_time().await?, &jit_core::clock::SystemEntropy);
        Ok(Self { world, running, database, account, role, access })
    }

    pub(crate) async fn sql(&self, statements: &str) -> Result<(), BoxError> {
        let text = statements.replace("{role}", &self.role).replace("{account}", &self.account);
        let text = text.replace("{broker}", &self.world.broker());
        // one after the other: these statements change what all tests share
        let locked = format!("SELECT pg_advisory_xact_lock(4711); {text}");
        Ok(self.running.admin("postgres").await?.batch_execute(&locked).await?)
    }

    pub(crate) fn membership(&self) -> Result<Membership, BoxError> {
        let (account, role) = (self.database.account(&self.account)?, self.database.role(&self.role)?);
        Ok(Membership::new(account, role))
    }

    pub(crate) async fn try_grant(&self, powers: Stance) -> Result<Result<(), DatabaseError>, BoxError> {
        let account = std::slice::from_ref(&self.account);
        self.orders(account, |order| order.with_can_grant(powers)).await?.pop().ok_or("no answer".into())
    }

    /// Tries to grant the role to all these accounts in one call, whatever a rule can accept.
    pub(crate) async fn try_grant_to(&self, accounts: &[String]) -> Result<Vec<Result<(), DatabaseError>>, BoxError> {
        let accepted = Stance::Accepted;
        self.orders(accounts, |order| order.with_account_members(accepted).with_can_grant(accepted)).await
    }

    async fn orders(
        &self,
        accounts: &[String],
        with: impl Fn(GrantOrder) -> GrantOrder,
    ) -> Result<Vec<Result<(), DatabaseError>>, BoxError> {
        let soon = self.world.server_time().await? + chrono::TimeDelta::seconds(60);
        let (witness, role) = (witness(self.access)?, self.database.role(&self.role)?);
        let order = |account: &String| -> Result<GrantOrder, BoxError> {
            let membership = Membership::new(self.database.account(account)?, role.clone());
            Ok(with(GrantOrder::new(&witness, membership, MembershipScope::SetRole, soon)))
        };
        let orders = accounts.iter().map(order).collect::<Result<Vec<_>, _>>()?;
        let call = Call::new(format!("g{}", self.access), Duration::from_secs(10));
        Ok(self.database.grant(&call, &orders).await.into_iter().map(|answer| answer.map(drop)).collect())
    }

    pub(crate) async fn revoke(&self) -> Result<RevokeReport, BoxError> {
        self.revoke_of(self.membership()?).await
    }

    pub(crate) async fn revoke_of(&self, membership: Membership) -> Result<RevokeReport, BoxError> {
        let order = RevokeOrder::new(self.access, membership);
        let call = Call::new(format!("r{}", self.access), Duration::from_secs(10));
        Ok(self.database.revoke(&call, &[order]).await.pop().ok_or("no answer")??)
    }
}
