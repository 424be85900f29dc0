//! What an adapter promises. It is told what to do and reports what it saw; it keeps no state of its own and decides nothing.

pub mod adapter;
mod belongings;
mod credentials;
mod dead_man;
mod declared;
mod error;
mod mark;
mod order;
mod password;
mod seen;
pub mod tls;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use belongings::{Belongings, MOST_THINGS, Owned, Thing};
pub use credentials::{
    CommandCredentials, Credentials, CredentialsError, EnvCredentials, FileCredentials, FixedCredentials,
};
pub use dead_man::{ArmOrder, Armed, DEAD_MAN_GRACE, DeadManHere, DeadManKind, Disarmed};
pub(crate) use declared::is_declared;
pub use declared::{DeclaredRealm, FOLLOWS_THE_HOST, InRealm, declared};
pub(crate) use error::anothers;
pub use error::{DatabaseError, NameError, Rejection};
pub use mark::{StoreMarks, store_in};
pub use order::{DefaultRole, GrantOrder, RevokeHow, RevokeOrder, SettleOrder, Width};
pub use password::{Known, Password};
pub use seen::{
    Check, Edge, Grantor, Holder, Holders, LostPrivilege, ObjectId, Observation, OfTheBroker, Prepared, Seen, Session,
    Severity, Subject,
};
pub use tls::TlsMode;

use crate::clock::Time;
use crate::id::{Account, RealmId, RoleName, StoreId};

/// A database server as the engine sees it.
///
/// Construction only validates: a service starts while a target is down. All calls have a time limit.
#[async_trait]
pub trait Database: Debug + Send + Sync + 'static {
    /// The account of this name in the engine's canonical spelling, so that two spellings of one account are one. Pure.
    ///
    /// # Errors
    /// When the engine would refuse, cut or fold the name (law 11).
    fn account(&self, name: &str) -> Result<Account, NameError>;

    /// The role of this name, likewise. Pure.
    ///
    /// # Errors
    /// When the engine would refuse, cut or fold the name (law 11).
    fn role(&self, name: &str) -> Result<RoleName, NameError>;

    /// Which realm this is, and which incarnation of it.
    ///
    /// # Errors
    /// As [`DatabaseError`] says.
    async fn identify(&self) -> Result<Identity, DatabaseError>;

    /// Whether the server that shows itself as `now` can be the one that was seen as `before`, another run of the same realm. Pure.
    fn continues(&self, before: &Identity, now: &Identity) -> Continuity {
        let _ = (before, now);
        Continuity::Same
    }

    /// What this server can do and how it behaves.
    ///
    /// # Errors
    /// As [`DatabaseError`] says.
    async fn capabilities(&self) -> Result<Capabilities, DatabaseError>;

    /// Can the broker do its work for these roles? One finding for each privilege that is missing or dangerous, each with the
    /// statement that mends it. Empty: all is well.
    ///
    /// # Errors
    /// As [`DatabaseError`] says.
    async fn check(&self, roles: &[RoleName]) -> Result<Vec<Check>, DatabaseError>;

    /// What is held now: one [`Seen`] per subject, in their order, all of one moment.
    ///
    /// # Errors
    /// As [`DatabaseError`] says; a subject that does not exist is no error.
    async fn observe(&self, subjects: &[Subject]) -> Result<Observation, DatabaseError>;

    /// Grants: one result per order, in their order; one bad order never fails the others; idempotent. Orders for one role
    /// travel in one statement where the engine can. Each is refused by the server itself after its `not_after`.
    async fn grant(&self, call: &Call, orders: &[GrantOrder]) -> Vec<Result<Granted, DatabaseError>>;

    /// Revokes, then ends sessions, then looks: one result per order, in their order; one bad order never fails the others;
    /// idempotent. What was not ours is left alone: where the mark of another store than the call's stands on the membership, it and its
    /// sessions stay, and the report says whose it is ([`Seen::marked_by`]). An account or role that is gone is reported as seen, not as an
    /// error.
    async fn revoke(&self, call: &Call, orders: &[RevokeOrder]) -> Vec<Result<RevokeReport, DatabaseError>>;

    /// After this returned `Ok`, nothing of these earlier calls can still arrive (law 15): the broker's own connections that
    /// carry their labels are ended, and the server's clock is past their `not_after` and wait limits. That holds for the server
    /// whose identity is returned, and for no other.
    ///
    /// # Errors
    /// As [`DatabaseError`] says; then nothing may be concluded.
    async fn settle(&self, orders: &[SettleOrder]) -> Result<Identity, DatabaseError>;

    /// Arms the dead-man of each membership, or moves it: one result per order, in their order; idempotent. Nothing of it arrives after the
    /// call's limit. A target without one answers [`Rejection::NoDeadMan`]. It carries the mark of the call's store ([`Call::mark`]); one that
    /// another store has armed and that has not fired stays as it is, and the answer is [`Rejection::AnotherStore`].
    async fn arm(&self, call: &Call, orders: &[ArmOrder]) -> Vec<Result<Armed, DatabaseError>> {
        let _ = call;
        orders.iter().map(|_| Err(no_dead_man())).collect()
    }

    /// Takes the dead-man of each membership away, and says whether it had fired: one result per order, in their order; idempotent.
    /// Nothing of it arrives after the call's limit. One that another store than the call's has armed stays.
    async fn disarm(&self, call: &Call, orders: &[Subject]) -> Vec<Result<Disarmed, DatabaseError>> {
        let _ = call;
        orders.iter().map(|_| Err(no_dead_man())).collect()
    }

    /// What each account and role own, and what the account passed on: one answer per subject, in their order, with the server
    /// that showed it.
    ///
    /// # Errors
    /// As [`DatabaseError`] says; [`Rejection::Other`] where this kind of database cannot say.
    async fn belongings(&self, subjects: &[Subject]) -> Result<Owned, DatabaseError> {
        let _ = subjects;
        Err(DatabaseError::rejected(Rejection::Other, "jit does not see on this kind of database what somebody owns"))
    }

    /// Every holder of the given roles, direct ones, for reconciliation, with the server that showed them.
    ///
    /// # Errors
    /// As [`DatabaseError`] says.
    async fn holders(&self, roles: &[RoleName]) -> Result<Holders, DatabaseError>;

    /// What the broker granted to anybody, whatever the role, and what it can use itself, for reconciliation. Nothing where the
    /// engine does not record it.
    ///
    /// # Errors
    /// As [`DatabaseError`] says.
    async fn of_the_broker(&self) -> Result<OfTheBroker, DatabaseError> {
        Ok(OfTheBroker::default())
    }

    /// One script for the engine's own client that sets this server up from nothing for these roles, or mends it, and that can be run any
    /// number of times: the broker's account without its password, its rights, and the dead man's switch. Needs no server that answers.
    ///
    /// # Errors
    /// [`Rejection::Other`] where this kind of database has none.
    async fn set_up(&self, roles: &[RoleName]) -> Result<String, DatabaseError> {
        let _ = roles;
        Err(DatabaseError::rejected(Rejection::Other, "jit has no script that sets this kind of database up"))
    }

    /// The stores that have marks here by this broker, with how many memberships each accounts for. Nothing where no dead man's switch is.
    ///
    /// # Errors
    /// As [`DatabaseError`] says.
    async fn stores(&self) -> Result<Vec<StoreMarks>, DatabaseError> {
        Ok(Vec::new())
    }
}

fn no_dead_man() -> DatabaseError {
    DatabaseError::rejected(Rejection::NoDeadMan, "this kind of database has no dead-man in jit yet")
}

/// A shared database is one.
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

    async fn observe(&self, subjects: &[Subject]) -> Result<Observation, DatabaseError> {
        (**self).observe(subjects).await
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

    async fn disarm(&self, call: &Call, orders: &[Subject]) -> Vec<Result<Disarmed, DatabaseError>> {
        (**self).disarm(call, orders).await
    }

    async fn belongings(&self, subjects: &[Subject]) -> Result<Owned, DatabaseError> {
        (**self).belongings(subjects).await
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

/// Whose work a call is, and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Node, boot and batch: the connection says so while it works (PostgreSQL: `application_name`), at most 40 ASCII characters.
    /// `settle` finds earlier connections by it.
    pub label: String,
    /// The client's time limit for the whole call. The server-side wait limit for locks is shorter.
    pub limit: Duration,
    /// Which server the call is meant for. Where another one answers, or another run of it, the adapter changes nothing there and
    /// answers [`DatabaseError::AnotherServer`]. It compares on the very connection, in the transaction or round trip of the change
    /// itself: behind a pooler or a proxy the next one may lead elsewhere. None: whichever answers, for tests and tools.
    pub server: Option<Identity>,
    /// Which store works: what it arms carries its mark, and what carries another's is left alone. None: no mark is made and none is
    /// heeded, for tests and tools.
    pub store: Option<StoreId>,
}

/// Which server it is that answers: where roles live, and which run of it. Two are equal where both say the same of these two.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Identity {
    /// Where roles live.
    pub realm: RealmId,
    /// Changes when the server was restarted, failed over or restored (timeline, start time). Two servers that run at the same
    /// time never show the same one, also where one is a copy of the other.
    pub incarnation: String,
    /// What a later run of the server has to show again, and an earlier copy of it cannot: how far its log is, as the adapter writes
    /// it. Empty where it shows none.
    #[serde(default)]
    pub position: String,
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        // a log goes on
        let Self { realm, incarnation, position: _ } = self;
        *realm == other.realm && *incarnation == other.incarnation
    }
}

impl Eq for Identity {}

/// What a server is that shows another run of its realm than was seen before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Continuity {
    /// The same one, whatever it holds now.
    Same,
    /// One that was started again where it was: nothing that it says of itself is against it. What was granted there has to be there.
    Restarted,
    /// A failover, or a copy of it: it cannot be told without an operator, or a declared realm. What is different.
    Unclear(String),
    /// Not the one that was seen: it lacks what that one had, or runs beside it. How that shows.
    Other(String),
}

impl Call {
    /// Whether this server is the one that the call is meant for.
    ///
    /// # Errors
    /// [`DatabaseError::AnotherServer`] where it is not.
    pub fn meant_for(&self, found: &Identity) -> Result<(), DatabaseError> {
        match &self.server {
            Some(server) if server != found => Err(DatabaseError::another_server(server, found)),
            _ => Ok(()),
        }
    }
}

/// What a server can do and how it behaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// `PostgreSQL`, `MariaDB`...
    pub engine: String,
    /// The server's own version text (`17.10`).
    pub version: String,
    /// Whether the catalog keeps one membership per grantor, so that ours can be told from others'.
    pub grantor_recorded: bool,
    /// Whether a grant can withhold SET ROLE.
    pub set_option: bool,
    /// Whether an open session keeps a revoked role until it ends.
    pub sessions_keep_role: bool,
    /// Whether it can take a membership away by itself.
    pub dead_man: DeadManHere,
    /// Worth saying to a person (`server roles take up to 5 minutes to apply`).
    pub remarks: Vec<String>,
}

/// What a grant answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// The server's own time right after the statement, UTC.
    pub server_time: Time,
    /// The server that did it, as the very connection saw it.
    pub identity: Identity,
}

/// What a revoke did and what was seen afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokeReport {
    /// What the catalog and the session list show now, read after the statement and after the sessions were ended.
    pub seen: Seen,
    /// Whether the membership was there when the revoke came; `None` where nothing was to be taken, or nobody looked.
    pub was_held: Option<bool>,
    /// Why the role stays set as a default role of the account although the membership is gone, where trying again will not
    /// mend it. For people to read.
    pub default_kept: Option<String>,
    /// Sessions that were ended.
    pub ended: Vec<Session>,
    /// Prepared transactions that were rolled back, by their names.
    pub rolled_back: Vec<String>,
    /// The server's own time right after the statement was committed, UTC: a session that began later never had the role.
    pub revoked_at: Time,
    /// The server's own time of the last look, UTC.
    pub server_time: Time,
    /// The server that did it and was looked at, as the very connection saw it.
    pub identity: Identity,
}
