//! Observations: what a database shows.

use serde::{Deserialize, Serialize};

use crate::clock::Time;
use crate::handling::MembershipScope;
use crate::id::{Account, RoleName, StoreId};

/// The engine's own lasting id of an account or role (PostgreSQL: the OID), on engines that have
/// one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[allow(clippy::exhaustive_structs, reason = "it is one plain value")]
pub struct ObjectId(pub String);

/// One membership to look at or to change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Membership {
    /// Account's name when the role was asked for.
    pub account: Account,
    /// Account's lasting id, once seen. If given, the look goes by it.
    pub account_id: Option<ObjectId>,
    /// Role's name when it was asked for.
    pub role: RoleName,
    /// Role's lasting id, once seen. If given, the look goes by it.
    pub role_id: Option<ObjectId>,
}

impl Membership {
    /// Creates the membership of this account in this role, by their names alone.
    #[must_use]
    pub fn new(account: Account, role: RoleName) -> Self {
        Self { account, account_id: None, role, role_id: None }
    }

    /// Checks whether both are the same membership of the account. Ids are compared if both have
    /// them, else the role's name. An account that was dropped and created again is another one.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let account = match (&self.account_id, &other.account_id) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        let role = match (&self.role_id, &other.role_id) {
            (Some(one), Some(other)) => one == other,
            _ => self.role == other.role,
        };
        account && role
    }
}

/// Observation of several memberships at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Observation {
    /// Server's own time, UTC.
    pub server_time: Time,
    /// Server that answered.
    pub identity: super::Identity,
    /// Observation of each membership, in the order in which they were asked for.
    pub seen: Vec<Seen>,
}

impl Observation {
    /// Creates the observation of these memberships, by the server that answered and its clock.
    #[must_use]
    pub fn new(identity: super::Identity, server_time: Time, seen: Vec<Seen>) -> Self {
        Self { server_time, identity, seen }
    }
}

/// Observation of one membership, its account and its role.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Seen {
    /// Account's lasting id. `None` if it does not exist, or the engine has no ids: see
    /// `account_exists`.
    pub account_id: Option<ObjectId>,
    /// True if the account exists.
    pub account_exists: bool,
    /// Accounts that may be meant if there is none of this name, as their names are written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alike: Vec<String>,
    /// Account's present name, if it was renamed since.
    pub account_renamed: Option<String>,
    /// Role's lasting id.
    pub role_id: Option<ObjectId>,
    /// True if the role exists.
    pub role_exists: bool,
    /// Direct memberships of the account in the role, one per grantor on engines that record
    /// grantors.
    pub direct: Vec<MembershipGrant>,
    /// Other roles through which the account holds the role.
    pub through: Vec<String>,
    /// Accounts that can act as this account (they are members of it) and so hold the role through
    /// it.
    pub members: Vec<String>,
    /// Sessions of the account and of those members.
    pub sessions: Vec<Session>,
    /// Sessions of administrators who may act as the account; they are left alone. The server does
    /// not show if one of them has taken the role this way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apart: Vec<Session>,
    /// Prepared transactions of the account and of those members.
    pub prepared: Vec<PreparedTransaction>,
    /// Account's default roles, as a role's name is written, on engines that have default roles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub default_roles: Vec<String>,
    /// Store whose mark is on the membership: it armed the dead man's switch, which has not fired.
    /// The engine sees only stores other than its own here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marked_by: Option<StoreId>,
    /// True if the dead man's switch says that it took the membership away. It is shown on engines
    /// whose accounts have no lasting ids. There a look by name cannot tell a membership that the
    /// switch took from one under a new name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[serde(rename = "taken_by_dead_man")]
    pub taken_by_dead_mans_switch: bool,
}

impl Seen {
    /// Checks whether the observed account or role has no lasting id, so that only names
    /// distinguish them.
    #[must_use]
    pub fn is_by_name(&self) -> bool {
        self.account_exists && self.account_id.is_none() || self.role_exists && self.role_id.is_none()
    }

    /// Lists for a message the accounts that may be meant if there is none of this name. The text
    /// is empty or begins with a semicolon.
    #[must_use]
    pub fn alike_hint(&self) -> String {
        if self.alike.is_empty() {
            return String::new();
        }
        let names: Vec<String> = self.alike.iter().map(|name| format!("`{name}`")).collect();
        format!("; there is {}", names.join(", "))
    }
}

/// One direct membership.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MembershipGrant {
    /// Grantor of the membership.
    pub grantor: Grantor,
    /// Scope of the membership.
    #[serde(rename = "width")]
    pub scope: MembershipScope,
    /// True if it carries the admin option.
    pub admin: bool,
}

impl MembershipGrant {
    /// Creates a membership of this scope, without the admin option.
    #[must_use]
    pub fn new(grantor: Grantor, scope: MembershipScope) -> Self {
        Self { grantor, scope, admin: false }
    }

    /// Sets whether it carries the admin option.
    #[must_use]
    pub fn admin(self, admin: bool) -> Self {
        Self { admin, ..self }
    }
}

/// Grantor of a membership.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Grantor {
    /// The broker that this system logs in as.
    Broker,
    /// Another grantor than the broker.
    Other(String),
    /// Unknown: the engine does not say, or what it says cannot be relied on.
    Unknown,
}

/// One session on the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Session {
    /// Server's own id of the session (PostgreSQL: the pid).
    pub id: String,
    /// Account that logged in.
    pub account: String,
    /// Begin of the session, by the server's clock, UTC, if visible.
    pub since: Option<Time>,
}

impl Session {
    /// Creates a session whose begin is not visible.
    #[must_use]
    pub fn new(id: impl Into<String>, account: impl Into<String>) -> Self {
        Self { id: id.into(), account: account.into(), since: None }
    }

    /// Adds the begin of the session, by the server's clock, UTC.
    #[must_use]
    pub fn began(self, since: Time) -> Self {
        Self { since: Some(since), ..self }
    }
}

/// A prepared (two-phase) transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PreparedTransaction {
    /// Global transaction id.
    pub gid: String,
    /// Database of the server that holds it.
    pub database: String,
    /// Owner of the transaction.
    pub owner: String,
}

impl PreparedTransaction {
    /// Creates a prepared transaction of this owner in this database.
    #[must_use]
    pub fn new(gid: impl Into<String>, database: impl Into<String>, owner: impl Into<String>) -> Self {
        Self { gid: gid.into(), database: database.into(), owner: owner.into() }
    }
}

/// Every direct holder of the roles asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holders {
    /// Server that showed them, as the very connection saw it.
    pub identity: super::Identity,
    /// Holders of the roles.
    pub holders: Vec<Holder>,
}

impl Holders {
    /// Creates the list of what this server showed.
    #[must_use]
    pub fn new(identity: super::Identity, holders: Vec<Holder>) -> Self {
        Self { identity, holders }
    }
}

/// One holder of a role, for reconciliation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Holder {
    /// Role that is held.
    pub role: RoleName,
    /// Role's lasting id.
    pub role_id: Option<ObjectId>,
    /// Account, in the adapter's canonical spelling.
    pub account: Account,
    /// Account's lasting id.
    pub account_id: Option<ObjectId>,
    /// Membership of the account in the role.
    pub grant: MembershipGrant,
}

impl Holder {
    /// Creates a holder, by the names alone.
    #[must_use]
    pub fn new(role: RoleName, account: Account, grant: MembershipGrant) -> Self {
        Self { role, role_id: None, account, account_id: None, grant }
    }
}

/// Memberships that involve the broker's login, whatever the role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OfTheBroker {
    /// Server that showed them, as the very connection saw it. `None` if the engine does not record
    /// any of this.
    pub identity: Option<super::Identity>,
    /// Memberships that the broker granted.
    pub granted: Vec<Holder>,
    /// Memberships of the broker itself through which it can use a role, except those that jit asks
    /// for.
    pub usable: Vec<Holder>,
}

/// One finding about the broker's account or the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Check {
    /// Severity of the finding.
    pub severity: Severity,
    /// Privilege or setting that the finding is about.
    pub about: CheckSubject,
    /// Problem, in a sentence.
    pub message: String,
    /// Fix: the statement (or setting), ready to copy.
    pub remedy: Option<String>,
}

impl Check {
    /// Creates a finding that says no fix.
    #[must_use]
    pub fn new(severity: Severity, about: CheckSubject, message: impl Into<String>) -> Self {
        Self { severity, about, message: message.into(), remedy: None }
    }

    /// Adds the fix: the statement or setting, ready to copy.
    #[must_use]
    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}

/// Severity of a [`Check`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Severity {
    /// Worth knowing, nothing more.
    Remark,
    /// The work can be done, with a risk that a rule has to accept by name.
    Danger,
    /// The work cannot be done; requests are refused.
    Refusal,
}

/// Subject of a [`Check`]: a short stable word (`admin-option`, `signal-backend`, `superuser`) and
/// its object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CheckSubject {
    /// Stable word of the privilege or setting.
    pub what: String,
    /// Role or object that it applies to, if any.
    pub on: Option<String>,
}

impl CheckSubject {
    /// Creates a subject of this stable word, on no object.
    #[must_use]
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), on: None }
    }

    /// Adds the role or object that it applies to.
    #[must_use]
    pub fn on(self, on: impl Into<String>) -> Self {
        Self { on: Some(on.into()), ..self }
    }
}
