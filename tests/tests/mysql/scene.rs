//! A role on a database of its own, an account, and the broker's adapter.

use std::sync::Arc;
use std::time::Duration;

use jit_core::Actor;
use jit_core::database::{
    ArmOrder, Call, Database, DefaultRole, GrantOrder, Membership, MembershipScope, RevokeOrder, RevokeReport,
};
use jit_core::engine::Jit;
use jit_core::id::{AccessId, Principal, TenantId};
use jit_core::internal::approval::Witness;
use jit_core::policy::{PolicyDocument, Sessions, Stance};
use jit_core::store::{BoxError, MemoryStore};
use jit_core::testkit::database_laws::{Act, Login, World, witness};
use jit_tests::server::{Flavour, MySqlServer};
use jit_tests::servers::RunningMySql;
use jit_tests::world::mysql::{MySqlWorld, PASSWORD};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

/// Mechanism that ends a membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ender {
    Revoke,
    DeadMansSwitchPolicy,
}

/// Way in which an open session uses a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    /// Access to the database that the session has chosen.
    CurrentDatabase,
    /// Access to another database.
    OtherDatabase,
    /// Use of a statement that it prepared before.
    Prepared,
    /// Use of a transaction that it began before.
    Transaction,
}

impl Path {
    pub(crate) const ALL: [Self; 4] = [Self::CurrentDatabase, Self::OtherDatabase, Self::Prepared, Self::Transaction];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CurrentDatabase => "its_current_database",
            Self::OtherDatabase => "another_database",
            Self::Prepared => "a_prepared_statement",
            Self::Transaction => "an_open_transaction",
        }
    }
}

/// Role on a database of its own, an account, and the broker's adapter.
pub(crate) struct Scene {
    pub(crate) world: MySqlWorld,
    pub(crate) running: RunningMySql,
    pub(crate) database: Arc<dyn Database>,
    pub(crate) account: String,
    pub(crate) role: String,
    /// Database that the role may use as a whole, as application roles often may.
    pub(crate) schema: String,
    pub(crate) access: AccessId,
}

impl Scene {
    /// Makes an engine whose policy gives these roles at once, and the account's owner as actor.
    pub(crate) async fn jit(&self, roles: &[&String]) -> Result<(Jit, Actor), BoxError> {
        let policy = format!(
            "version = 1\n[[rule]]\nname = \"at once\"\ntargets = [\"db\"]\nroles = {roles:?}\nrequesters = [\"*\"]\nmax = \"1h\"\n"
        );
        let jit = Jit::builder()
            .store(MemoryStore::default())
            .policy(PolicyDocument::parse(&policy, "test")?)
            .database("db", Arc::clone(&self.database))
            .build()
            .await?;
        Ok((jit, Actor::authenticated(TenantId::default(), Principal::new(self.account.as_str())?, "test")))
    }

    pub(crate) async fn new(running: RunningMySql) -> Result<Self, BoxError> {
        Self::of(MySqlWorld::within(running.clone()).await?, running).await
    }

    /// Makes a scene on a server that no other test uses.
    pub(crate) async fn alone(flavour: Flavour) -> Result<Self, BoxError> {
        let server = MySqlServer::start_fresh(flavour).await?;
        let running = server.running().clone();
        Self::of(MySqlWorld::of_its_own(server).await?, running).await
    }

    async fn of(world: MySqlWorld, running: RunningMySql) -> Result<Self, BoxError> {
        let (account, role, schema) = (world.fresh("alice"), world.fresh("writer"), world.fresh("orders"));
        world.act(Act::CreateAccount { account: &account, inherits: true }).await?;
        world.act(Act::CreateRole { role: &role }).await?;
        let mut admin = running.admin().await?;
        admin.query_drop(format!("CREATE DATABASE {schema}")).await?;
        admin.query_drop(format!("CREATE TABLE {schema}.t (n INT) ENGINE = InnoDB")).await?;
        admin.query_drop(format!("GRANT SELECT, INSERT ON {schema}.* TO `{role}`")).await?;
        admin.disconnect().await?;
        let database = world.database(Login::Broker).await?;
        let access = AccessId::fresh(world.server_time().await?, &jit_core::clock::SystemEntropy);
        Ok(Self { world, running, database, account, role, schema, access })
    }

    pub(crate) fn membership(&self, account: &str) -> Result<Membership, BoxError> {
        let account = self.database.account(account)?;
        Ok(Membership::new(account, self.database.role(&self.role)?))
    }

    pub(crate) async fn grant(&self, account: &str) -> Result<(), BoxError> {
        self.grant_with(account, Stance::Refused).await
    }

    /// Grants the role to the account. The stance covers rights that outlive a membership, and
    /// people who can act as the account.
    pub(crate) async fn grant_with(&self, account: &str, stance: Stance) -> Result<(), BoxError> {
        let soon = self.world.server_time().await? + chrono::TimeDelta::seconds(60);
        let witness: Witness = witness(self.access)?;
        let membership = self.membership(account)?;
        let order = GrantOrder::new(&witness, membership, MembershipScope::Inherit, soon)
            .with_account_members(stance)
            .with_can_grant(stance);
        let call = Call::new(format!("g{}", self.access), Duration::from_secs(10));
        for granted in self.database.grant(&call, &[order]).await {
            granted?;
        }
        Ok(())
    }

    pub(crate) async fn revoke(&self, account: &str, sessions: Sessions) -> Result<RevokeReport, BoxError> {
        let order = RevokeOrder::new(self.access, self.membership(account)?)
            .sessions(sessions)
            .default_role(DefaultRole::Goes { back_to: None });
        let call = Call::new(format!("r{}", self.access), Duration::from_secs(10));
        let report = self.database.revoke(&call, &[order]).await.pop().ok_or("no answer")??;
        Ok(report)
    }

    /// Disarms the dead man's switch.
    pub(crate) async fn disarm(&self, account: &str) -> Result<(), BoxError> {
        let call = Call::new(format!("d{}", self.access), Duration::from_secs(10));
        self.database.disarm(&call, &[self.membership(account)?]).await.pop().ok_or("no answer")??;
        Ok(())
    }

    /// Returns the database of the broker's events.
    pub(crate) fn home(&self) -> String {
        jit_mysql::home(&format!("{}@%", self.world.broker()))
    }

    /// Arms the dead man's switch to fire after `ends_in`.
    pub(crate) async fn arm(&self, account: &str, ends_in: Duration) -> Result<(), BoxError> {
        let order = ArmOrder::new(self.membership(account)?, ends_in, Sessions::End)
            .default_role(DefaultRole::Goes { back_to: None });
        let call = Call::new(format!("a{}", self.access), Duration::from_secs(10));
        self.database.arm(&call, &[order]).await.pop().ok_or("no answer")??;
        Ok(())
    }

    /// Arms the dead man's switch for now, and waits until it has fired.
    pub(crate) async fn fires(&self, account: &str) -> Result<(), BoxError> {
        self.arm(account, Duration::ZERO).await?;
        let mut admin = self.running.admin().await?;
        for _ in 0..200 {
            let text = "SELECT COUNT(*) FROM jit.leases WHERE db = ? AND status = 'DISABLED'";
            if admin.exec_first(text, (self.home(),)).await? == Some(1) {
                return Ok(admin.disconnect().await?);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err("the dead man's switch does not fire".into())
    }

    /// Checks whether the account is in this role.
    pub(crate) async fn holds(&self, role: &str) -> Result<bool, BoxError> {
        Ok(self.world.members(role).await?.iter().any(|row| row.member == self.account))
    }

    /// Opens a session of the account, and uses the role in it on this path.
    pub(crate) async fn session(&self, path: Path) -> Result<Conn, BoxError> {
        let mut session = self.running.session(&self.account, PASSWORD).await?;
        let schema = &self.schema;
        match path {
            Path::CurrentDatabase => session.query_drop(format!("USE {schema}")).await?,
            Path::OtherDatabase => {}
            Path::Prepared => session.query_drop(format!("PREPARE p FROM 'INSERT INTO {schema}.t VALUES (1)'")).await?,
            Path::Transaction => session.query_drop("START TRANSACTION").await?,
        }
        self.uses(&mut session, path).await?;
        Ok(session)
    }

    pub(crate) async fn uses(&self, session: &mut Conn, path: Path) -> Result<(), mysql_async::Error> {
        let schema = &self.schema;
        match path {
            Path::CurrentDatabase => session.query_drop("INSERT INTO t VALUES (1)").await,
            Path::Prepared => session.query_drop("EXECUTE p").await,
            Path::OtherDatabase | Path::Transaction => {
                session.query_drop(format!("INSERT INTO {schema}.t VALUES (1)")).await
            }
        }
    }
}
