//! An engine on a mock database and a clock that is moved by hand, for the tests of a service.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::{Builder, Jit};
use crate::policy::PolicyDocument;
use crate::store::{BoxError, MemoryStore, Store};
use crate::testkit::ManualClock;
use crate::testkit::mock::{MockServer, Profile};

/// An engine with its store, clock and server, all of which follow one [`ManualClock`]. Nothing
/// happens by itself: [`Bench::advance`] moves the clock and does what is due then.
///
/// ```
/// use std::time::Duration;
///
/// use jit_core::testkit::Bench;
/// use jit_core::testkit::mock::Profile;
/// use jit_core::{AccessRequest, AccessState, Actor, TenantId, TimeDelta};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let policy = r#"
/// version = 1
/// [[rule]]
/// name       = "write orders"
/// targets    = ["*"]
/// roles      = ["orders_write"]
/// requesters = ["*"]
/// max        = "1h"
/// "#;
/// let bench = Bench::start("orders-prod", Profile::postgres(17), policy).await?;
/// bench.server().create_account("alice")?;
/// bench.server().create_role("orders_write")?;
///
/// let alice = Actor::authenticated(TenantId::default(), "alice".parse()?, "test");
/// let request = AccessRequest::new("orders-prod", "orders_write", TimeDelta::minutes(30));
/// let access = bench.jit().request(&alice, request.because("a test")).await?;
/// bench.advance(Duration::ZERO).await?;
/// assert!(bench.holds("orders_write", "alice")?);
///
/// bench.advance(Duration::from_secs(1800)).await?;
/// assert!(!bench.holds("orders_write", "alice")?);
/// assert_eq!(bench.jit().access(access.id()).await?.state, AccessState::Revoked);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Bench {
    clock: ManualClock,
    server: MockServer,
    jit: Jit,
}

impl Bench {
    /// Builds an engine with this one target, a mock server of this profile, and this policy.
    ///
    /// # Errors
    /// Returns an error if the policy is wrong or the target's name is not valid.
    pub async fn start(target: &str, profile: Profile, policy: &str) -> Result<Self, BoxError> {
        Self::start_with(target, profile, policy, |builder| builder).await
    }

    /// Builds the same with what `more` adds to the builder: notifiers, approvers, factors, a
    /// directory.
    ///
    /// # Errors
    /// As [`Bench::start`], or if the engine cannot be built with it.
    pub async fn start_with(
        target: &str,
        profile: Profile,
        policy: &str,
        more: impl FnOnce(Builder) -> Builder,
    ) -> Result<Self, BoxError> {
        let clock = ManualClock::default();
        let server = MockServer::new(profile, Arc::new(clock.clone()));
        let builder = Jit::builder()
            .store(MemoryStore::new(Arc::new(clock.clone())))
            .policy(PolicyDocument::parse(policy, "policy.toml")?)
            .database(target, server.database());
        let jit = more(builder).build().await?;
        // the target is contacted once, as a service's pump does when it starts
        jit.run_due().await?;
        Ok(Self { clock, server, jit })
    }

    /// Returns the engine.
    #[must_use]
    pub fn jit(&self) -> &Jit {
        &self.jit
    }

    /// Returns the server, where accounts and roles are created.
    #[must_use]
    pub fn server(&self) -> &MockServer {
        &self.server
    }

    /// Returns the clock. Its other methods step and reboot it.
    #[must_use]
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// Returns the store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        self.jit.store()
    }

    /// Lets this much time pass, and does everything that is due then.
    ///
    /// # Errors
    /// As [`Jit::run_due`].
    pub async fn advance(&self, how_long: Duration) -> Result<(), BoxError> {
        self.clock.advance(how_long);
        self.jit.run_due().await?;
        Ok(())
    }

    /// Checks whether the account is a member of the role on the server.
    ///
    /// # Errors
    /// Returns an error if there is no such role.
    pub fn holds(&self, role: &str, account: &str) -> Result<bool, BoxError> {
        Ok(self.server.members(role)?.iter().any(|row| row.member == account))
    }
}
