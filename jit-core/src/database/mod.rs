//! The contract of a database adapter: it does what it is told and reports what it saw. It keeps no
//! state of its own and decides nothing.

#[doc(hidden)]
pub mod adapter;
mod credentials;
mod declared;
mod error;
mod mark;
mod order;
mod password;
mod tls;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use crate::catalog::{
    ArmOrder, Armed, Check, CheckSubject, DEAD_MANS_SWITCH_GRACE, DeadMansSwitch, DefaultRole, Disarmed, Granted,
    Grantor, Holder, Holders, Identity, MOST_OWNED_OBJECTS, Membership, MembershipGrant, ObjectId, Observation,
    OfTheBroker, Owned, OwnedObject, OwnedObjects, PreparedTransaction, Rejection, RevokeHow, RevokeOrder,
    RevokeReport, Seen, Session, SettleOrder, Severity, SwitchKind,
};
pub use crate::handling::MembershipScope;
pub use credentials::{
    CommandCredentials, Credentials, CredentialsError, EnvCredentials, FileCredentials, FixedCredentials,
};
pub(crate) use declared::is_declared;
pub use declared::{DeclaredRealm, FOLLOWS_THE_HOST, InRealm, declared};
pub use error::{DatabaseError, NameError};
pub use mark::StoreMarks;
#[cfg(any(test, feature = "testkit"))]
pub(crate) use mark::store_in;
pub use order::GrantOrder;
pub use tls::TlsMode;

use crate::id::{Account, RoleName, StoreId};

/// A database server as the engine sees it.
///
/// Construction only validates, so that a service starts while a target is down. All calls have a
/// time limit.
#[async_trait]
pub trait Database: Debug + Send + Sync + 'static {
    /// Returns the account of this name in the engine's canonical spelling, so that two spellings
    /// of one account are equal. This function is pure.
    ///
    /// # Errors
    /// When the engine would refuse, cut or fold the name (law 11).
    fn account(&self, name: &str) -> Result<Account, NameError>;

    /// Returns the role of this name in the engine's canonical spelling. This function is pure.
    ///
    /// # Errors
    /// When the engine would refuse, cut or fold the name (law 11).
    fn role(&self, name: &str) -> Result<RoleName, NameError>;

    /// Reads the realm that the server holds, and its present incarnation.
    ///
    /// # Errors
    /// As [`DatabaseError`] says.
    async fn identify(&self) -> Result<Identity, DatabaseError>;

    /// Judges if the server that shows itself as `now` can be the one that was seen as `before`.
    /// Both identities are of the same realm, with different incarnations. This function is pure.
    fn continues(&self, before: &Identity, now: &Identity) -> Continuity {
        let _ = (before, now);
        Continuity::Same
    }

    /// Reads the server's abilities and behaviour.
    ///
    /// # Errors
    /// As [`DatabaseError`] says.
    async fn capabilities(&self) -> Result<Capabilities, DatabaseError>;

    /// Checks that the broker can do its work for these roles. Returns one finding for each
    /// privilege that is missing or dangerous, with the statement that fixes it. An empty list
    /// means that all is well.
    ///
    /// # Errors
    /// As [`DatabaseError`] says.
    async fn check(&self, roles: &[RoleName]) -> Result<Vec<Check>, DatabaseError>;

    /// Looks at the present memberships. Returns one [`Seen`] per membership, in their order, all
    /// of one moment.
    ///
    /// # Errors
    /// See [`DatabaseError`]. An account or role that does not exist is no error.
    async fn observe(&self, memberships: &[Membership]) -> Result<Observation, DatabaseError>;

    /// Grants memberships and returns one result per order, in their order. One bad order never
    /// fails the others, and the call is idempotent. Orders for one role share one statement if the
    /// engine allows it. The server itself refuses each order after its `not_after`.
    async fn grant(&self, call: &Call, orders: &[GrantOrder]) -> Vec<Result<Granted, DatabaseError>>;

    /// Revokes memberships, then ends sessions, then looks. Returns one result per order, in their
    /// order. One bad order never fails the others, and the call is idempotent.
    ///
    /// The call leaves alone what is not ours. If the membership has the mark of another store than
    /// the call's, the membership and its sessions stay, and the report names that store
    /// ([`Seen::marked_by`]). An account or role that no longer exists is reported as seen, not as
    /// an error.
    async fn revoke(&self, call: &Call, orders: &[RevokeOrder]) -> Vec<Result<RevokeReport, DatabaseError>>;

    /// Settles these earlier calls: after it returned `Ok`, nothing of them can still arrive (law
    /// 15). It ends the broker's own connections that carry their labels. The server's clock is
    /// then past their `not_after` and wait limits. This holds for the server whose identity is
    /// returned, and for no other.
    ///
    /// # Errors
    /// See [`DatabaseError`]. The caller may then conclude nothing.
    async fn settle(&self, orders: &[SettleOrder]) -> Result<Identity, DatabaseError>;

    /// Arms the dead man's switch of each membership, or moves it. Returns one result per order, in
    /// their order; the call is idempotent. Nothing of it arrives after the call's limit.
    ///
    /// A target without a dead man's switch answers [`Rejection::NoDeadMansSwitch`]. The switch
    /// carries the mark of the call's store ([`Call::mark`]). A switch that another store armed and
    /// that has not fired stays as it is; the answer is then [`Rejection::AnotherStore`].
    async fn arm(&self, call: &Call, orders: &[ArmOrder]) -> Vec<Result<Armed, DatabaseError>> {
        let _ = call;
        orders.iter().map(|_| Err(no_dead_mans_switch())).collect()
    }

    /// Disarms the dead man's switch of each membership, and says if it had fired. Returns one
    /// result per order, in their order; the call is idempotent. Nothing of it arrives after the
    /// call's limit. A switch that another store than the call's armed stays.
    async fn disarm(&self, call: &Call, orders: &[Membership]) -> Vec<Result<Disarmed, DatabaseError>> {
        let _ = call;
        orders.iter().map(|_| Err(no_dead_mans_switch())).collect()
    }

    /// Lists the owned objects of each account and role, and the rights that the account passed on.
    /// Returns one answer per membership, in their order, with the server that showed it.
    ///
    /// # Errors
    /// See [`DatabaseError`]. [`Rejection::Other`] if this kind of database cannot say.
    async fn owned_objects(&self, memberships: &[Membership]) -> Result<Owned, DatabaseError> {
        let _ = memberships;
        Err(DatabaseError::rejected(Rejection::Other, "jit cannot list owned objects on this kind of database"))
    }

    /// Lists every direct holder of the given roles, for reconciliation, with the server that
    /// showed them.
    ///
    /// # Errors
    /// As [`DatabaseError`] says.
    async fn holders(&self, roles: &[RoleName]) -> Result<Holders, DatabaseError>;

    /// Lists what the broker granted to anybody, whatever the role, and what it can use itself, for
    /// reconciliation. Returns nothing if the engine does not record it.
    ///
    /// # Errors
    /// As [`DatabaseError`] says.
    async fn of_the_broker(&self) -> Result<OfTheBroker, DatabaseError> {
        Ok(OfTheBroker::default())
    }

    /// Writes one script for the engine's own client that sets this server up for these roles, or
    /// repairs it. The script makes the broker's account, its rights, and the dead man's switch. It
    /// can be run any number of times. This call needs no running server.
    ///
    /// The script holds no password. For a new account, whoever runs it puts the password in front
    /// of it, as the first lines of the script say.
    ///
    /// # Errors
    /// [`Rejection::Other`] if this kind of database has no such script.
    async fn set_up(&self, roles: &[RoleName]) -> Result<String, DatabaseError> {
        let _ = roles;
        Err(DatabaseError::rejected(Rejection::Other, "jit has no setup script for this kind of database"))
    }

    /// Lists the stores that have marks here by this broker, with the number of memberships that
    /// each accounts for. Returns nothing if the server has no dead man's switch.
    ///
    /// # Errors
    /// As [`DatabaseError`] says.
    async fn stores(&self) -> Result<Vec<StoreMarks>, DatabaseError> {
        Ok(Vec::new())
    }
}

fn no_dead_mans_switch() -> DatabaseError {
    DatabaseError::rejected(Rejection::NoDeadMansSwitch, "jit has no dead man's switch for this kind of database yet")
}

/// Shared databases implement the contract too.
#[async_trait]
impl<D: Database + ?Sized> Database for Arc<D> {
    fn account(&self, name: &str) -> Result<Account, NameError> {
        (**self).account(name)
    }

    fn role(&self, name: &str) -> Result<RoleName, NameError> {
        (**self).role(name)
    }

    async fn identify(&self) -> Result<Identity, DatabaseError> {
        (**self).identify().await
    }

    fn continues(&self, before: &Identity, now: &Identity) -> Continuity {
        (**self).continues(before, now)
    }

    async fn capabilities(&self) -> Result<Capabilities, DatabaseError> {
        (**self).capabilities().await
    }

    async fn check(&self, roles: &[RoleName]) -> Result<Vec<Check>, DatabaseError> {
        (**self).check(roles).await
    }

    async fn observe(&self, memberships: &[Membership]) -> Result<Observation, DatabaseError> {
        (**self).observe(memberships).await
    }

    async fn grant(&self, call: &Call, orders: &[GrantOrder]) -> Vec<Result<Granted, DatabaseError>> {
        (**self).grant(call, orders).await
    }

    async fn revoke(&self, call: &Call, orders: &[RevokeOrder]) -> Vec<Result<RevokeReport, DatabaseError>> {
        (**self).revoke(call, orders).await
    }

    async fn settle(&self, orders: &[SettleOrder]) -> Result<Identity, DatabaseError> {
        (**self).settle(orders).await
    }

    async fn arm(&self, call: &Call, orders: &[ArmOrder]) -> Vec<Result<Armed, DatabaseError>> {
        (**self).arm(call, orders).await
    }

    async fn disarm(&self, call: &Call, orders: &[Membership]) -> Vec<Result<Disarmed, DatabaseError>> {
        (**self).disarm(call, orders).await
    }

    async fn owned_objects(&self, memberships: &[Membership]) -> Result<Owned, DatabaseError> {
        (**self).owned_objects(memberships).await
    }

    async fn holders(&self, roles: &[RoleName]) -> Result<Holders, DatabaseError> {
        (**self).holders(roles).await
    }

    async fn of_the_broker(&self) -> Result<OfTheBroker, DatabaseError> {
        (**self).of_the_broker().await
    }

    async fn set_up(&self, roles: &[RoleName]) -> Result<String, DatabaseError> {
        (**self).set_up(roles).await
    }

    async fn stores(&self) -> Result<Vec<StoreMarks>, DatabaseError> {
        (**self).stores().await
    }
}

/// Context of one call: the work it belongs to, its time limit, its server and its store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Call {
    /// Node, boot and batch, at most 40 ASCII characters. The connection shows the label while it
    /// works (PostgreSQL: `application_name`). `settle` finds earlier connections by it.
    pub label: String,
    /// Client's time limit for the whole call. The server-side wait limit for locks is shorter.
    pub limit: Duration,
    /// Server that the call is meant for. If another server answers, or another incarnation of it,
    /// the adapter changes nothing there and answers [`DatabaseError::AnotherServer`].
    ///
    /// The adapter compares on the very connection, in the transaction or round trip of the change
    /// itself. Behind a pooler or a proxy the next connection may lead elsewhere. `None`: whichever
    /// server answers, for tests and tools.
    pub server: Option<Identity>,
    /// Store that does the work. What it arms carries its mark, and what carries another store's
    /// mark is left alone. `None`: the call makes no mark and heeds none, for tests and tools.
    pub store: Option<StoreId>,
}

impl Call {
    /// Creates the context of a call to whichever server answers, of no store.
    #[must_use]
    pub fn new(label: impl Into<String>, limit: Duration) -> Self {
        Self { label: label.into(), limit, server: None, store: None }
    }

    /// Sets the server that the call is meant for.
    #[must_use]
    pub fn to_server(self, server: Identity) -> Self {
        Self { server: Some(server), ..self }
    }

    /// Sets the store that does the work.
    #[must_use]
    pub fn of_store(self, store: StoreId) -> Self {
        Self { store: Some(store), ..self }
    }
}

/// Relation of a server to the one that was seen before, if it shows another incarnation of the
/// same realm.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Continuity {
    /// Same server, whatever it holds now.
    Same,
    /// Same server, restarted in place: nothing that it reports contradicts this. What was granted
    /// there has to be there.
    Restarted,
    /// Failover or copy: only an operator or a declared realm can tell. Holds the difference.
    Unclear(String),
    /// Another server than the one that was seen: it lacks what that one had, or runs beside it.
    /// Holds the evidence.
    Other(String),
}

impl Call {
    /// Checks that this server is the one that the call is meant for.
    ///
    /// # Errors
    /// [`DatabaseError::AnotherServer`] if it is not.
    pub fn meant_for(&self, found: &Identity) -> Result<(), DatabaseError> {
        match &self.server {
            Some(server) if server != found => Err(DatabaseError::another_server(server, found)),
            _ => Ok(()),
        }
    }
}

/// Abilities and behaviour of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Capabilities {
    /// Name of the engine: `PostgreSQL`, `MariaDB`...
    pub engine: String,
    /// Version text of the server itself (`17.10`).
    pub version: String,
    /// True if the catalog keeps one membership per grantor, so that ours can be told from others'.
    pub grantor_recorded: bool,
    /// True if a grant can withhold SET ROLE.
    pub set_option: bool,
    /// True if an open session keeps a revoked role until it ends.
    pub sessions_keep_role: bool,
    /// Dead man's switch of this server, or the way to turn it on.
    pub dead_mans_switch: DeadMansSwitch,
    /// Remarks for people (`server roles take up to 5 minutes to apply`).
    pub remarks: Vec<String>,
}

impl Capabilities {
    /// Creates the abilities of a server of this engine and version. It records no grantors,
    /// withholds no SET ROLE, keeps roles in open sessions, and has this dead man's switch.
    #[must_use]
    pub fn new(engine: impl Into<String>, version: impl Into<String>, dead_mans_switch: DeadMansSwitch) -> Self {
        Self {
            engine: engine.into(),
            version: version.into(),
            grantor_recorded: false,
            set_option: false,
            sessions_keep_role: true,
            dead_mans_switch,
            remarks: Vec::new(),
        }
    }
}
