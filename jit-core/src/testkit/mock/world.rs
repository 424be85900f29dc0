//! The mock as a world of the laws.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::adapter::MockDatabase;
use super::server::{ADMIN, BROKER, MockHold, MockServer, MockSession, find};
use crate::clock::Time;
use crate::database::{Database, MembershipScope};
use crate::store::BoxError;
use crate::testkit::database_laws::{Act, Attempt, By, Hold, Login, Need, Row, Tried, UserSession, World};

/// Grace after the end before dead man's switches fire.
const GRACE: chrono::TimeDelta = chrono::TimeDelta::seconds(1);

/// A mock server and everybody around it.
#[derive(Debug)]
pub struct MockWorld {
    server: MockServer,
    names: AtomicU64,
}

impl MockWorld {
    /// Makes a world around this server, which nobody else should use.
    #[must_use]
    pub fn new(server: MockServer) -> Self {
        server.set_dead_mans_switch(Some(GRACE));
        Self { server, names: AtomicU64::new(0) }
    }
}

#[async_trait]
impl World for MockWorld {
    fn lacks(&self, need: Need) -> Option<&'static str> {
        let profile = self.server.catalog().profile;
        let (per_grantor, postgres) = (profile.per_grantor(), profile.is_postgres());
        match need {
            Need::GrantorRecorded if !postgres => Some("no grantor is named"),
            Need::SetOption if !postgres => Some("no SET and INHERIT options: who is in a role may SET ROLE"),
            Need::LastingIds if !postgres => Some("accounts and roles have no ids but their names"),
            Need::Prepared if !postgres => Some("XA RECOVER does not say whose a prepared transaction is"),
            Need::Cursors if !postgres => Some("cursors live inside of routines only"),
            Need::AccountMembers if !profile.account_members() => Some("an account cannot be granted like a role"),
            Need::GrantorRecorded if !per_grantor => Some("15 keeps one row per (role, member)"),
            Need::SetOption if !per_grantor => Some("15 knows no SET and INHERIT options"),
            Need::OneRowPerMember if per_grantor => Some("16+ keeps one row per grantor"),
            Need::DefaultRoles if postgres => Some("PostgreSQL has no default roles"),
            Need::Planted => Some("nothing can be planted in the mock"),
            Need::Privileges => Some("the mock's broker may whatever it has to, unless a law takes it"),
            Need::Network => Some("the mock is in memory: it has no TLS and no passwords"),
            _ => None,
        }
    }

    fn fresh(&self, hint: &str) -> String {
        format!("{hint}{}", self.names.fetch_add(1, Ordering::Relaxed))
    }

    fn longest_name(&self) -> usize {
        self.server.catalog().profile.longest_name()
    }

    fn counts_bytes(&self) -> bool {
        self.server.catalog().profile.is_postgres()
    }

    fn refused_names(&self) -> Vec<String> {
        self.server.catalog().profile.refused_names().iter().map(|name| (*name).to_owned()).collect()
    }

    fn broker(&self) -> String {
        BROKER.to_owned()
    }

    async fn database(&self, login: Login) -> Result<Arc<dyn Database>, BoxError> {
        let account = match login {
            Login::Broker | Login::OtherDatabase => BROKER,
            Login::Superuser => ADMIN,
            other => return Err(format!("the mock has no {other:?}").into()),
        };
        Ok(Arc::new(MockDatabase::new(self.server.clone(), account)))
    }

    async fn act(&self, act: Act<'_>) -> Result<(), BoxError> {
        let server = &self.server;
        match act {
            Act::CreateAccount { account, inherits } => server.create(account, inherits),
            Act::CreateRole { role } => server.create_role(role),
            Act::Grant { role, to, by, scope, admin: true } => {
                server.grant_with_admin_option(role, to, grantor(by), scope)
            }
            Act::Grant { role, to, by, scope, .. } => server.grant(role, to, grantor(by), scope),
            Act::Revoke { role, from, by } => server.revoke(role, from, grantor(by)),
            Act::Rename { from, to } => server.rename(from, to),
            Act::Drop { name } => server.drop_name(name),
            Act::LetCreateAccounts { role } => {
                let mut catalog = server.catalog();
                let id = find(&catalog, role)?;
                catalog.names.get_mut(&id).map(|row| row.creates = true).ok_or_else(|| "no such role".into())
            }
            Act::TakeAdminOption { role } => server.revoke(role, BROKER, ADMIN),
            Act::AdminThroughGroup { role } => {
                server.revoke(role, BROKER, ADMIN)?;
                let group = self.fresh("dba");
                server.create(&group, true)?;
                server.grant_with_admin_option(role, &group, ADMIN, MembershipScope::SetRole)?;
                server.grant(&group, BROKER, ADMIN, MembershipScope::SetRole)
            }
            Act::LetActAs { account } => server.grant(account, BROKER, ADMIN, MembershipScope::SetRole),
            Act::LetDeadMen { live } => {
                server.set_dead_mans_switch(live.then_some(GRACE));
                Ok(())
            }
            Act::Run { statement } => Err(format!("the mock runs no `{statement}`").into()),
            // a role of the mock can make any object
            Act::LetMake { .. } => Ok(()),
            Act::TakeSignal => {
                server.catalog().signals = false;
                Ok(())
            }
            Act::CommitPrepared { gid } => {
                let prepared = server.catalog().prepared.remove(gid);
                prepared.map(drop).ok_or_else(|| format!("there is no prepared transaction `{gid}`").into())
            }
            Act::RotatePassword => Err("the mock has no passwords".into()),
            Act::Show { .. } => Err("the mock has no certificate".into()),
            Act::Restart => {
                server.stop();
                server.start(false);
                Ok(())
            }
            Act::Stop => {
                server.stop();
                Ok(())
            }
            Act::Start { read_only } => {
                server.start(read_only);
                Ok(())
            }
        }
    }

    async fn session(&self, account: &str) -> Result<Box<dyn UserSession>, BoxError> {
        Ok(Box::new(self.server.session(account)?))
    }

    async fn hold(&self, role: &str, account: &str) -> Result<Box<dyn Hold>, BoxError> {
        Ok(Box::new(self.server.hold(role, account)?))
    }

    async fn members(&self, role: &str) -> Result<Vec<Row>, BoxError> {
        self.server.members(role)
    }

    async fn waiting(&self) -> Result<usize, BoxError> {
        Ok(self.server.catalog().waiting.len())
    }

    async fn server_time(&self) -> Result<Time, BoxError> {
        Ok(self.server.now())
    }

    async fn pass(&self, how_long: Duration) {
        self.server.clock.sleep(how_long).await;
    }
}

fn grantor(by: By) -> &'static str {
    match by {
        By::Admin => ADMIN,
        By::Broker => BROKER,
    }
}

#[async_trait]
impl UserSession for MockSession {
    fn id(&self) -> String {
        Self::id(self)
    }

    async fn attempt(&mut self, what: Attempt<'_>) -> Result<Tried, BoxError> {
        Self::attempt(self, what)
    }
}

#[async_trait]
impl Hold for MockHold {
    fn id(&self) -> String {
        Self::id(self)
    }

    async fn release(self: Box<Self>) -> Result<(), BoxError> {
        Self::release(*self);
        Ok(())
    }
}
