//! What a database shows.

use serde::{Deserialize, Serialize};

use super::order::Width;
use crate::clock::Time;
use crate::id::{Account, RoleName, StoreId};

/// The engine's own lasting id of an account or role (PostgreSQL: the OID), where there is one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ObjectId(pub String);

/// One membership to look at or to change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// The account's name when it was asked for.
    pub account: Account,
    /// Its lasting id, once seen. Where given, the look goes by it.
    pub account_id: Option<ObjectId>,
    /// The role's name when it was asked for.
    pub role: RoleName,
    /// Its lasting id, once seen. Where given, the look goes by it.
    pub role_id: Option<ObjectId>,
}

/// What was seen of all subjects at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The server's own time, UTC.
    pub server_time: Time,
    /// Who answered.
    pub identity: super::Identity,
    /// One per subject, in their order.
    pub seen: Vec<Seen>,
}

/// What was seen of one subject.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The account's lasting id; `None` where it does not exist (or the engine has no ids: see `account_exists`).
    pub account_id: Option<ObjectId>,
    /// Whether the account exists.
    pub account_exists: bool,
    /// Accounts that may be meant where there is none of this name, as their names are written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alike: Vec<String>,
    /// The account's present name, where it was renamed since.
    pub account_renamed: Option<String>,
    /// The role's lasting id.
    pub role_id: Option<ObjectId>,
    /// Whether the role exists.
    pub role_exists: bool,
    /// Direct memberships of the account in the role, one per grantor where the engine records them.
    pub direct: Vec<Edge>,
    /// Other roles through which the account holds the role.
    pub through: Vec<String>,
    /// Accounts that can act as this account (they are members of it) and so hold the role through it.
    pub members: Vec<String>,
    /// Sessions of the account and of those members.
    pub sessions: Vec<Session>,
    /// Sessions of administrators who may act as the account and are left alone. Whether one of them has taken the role by it, the server does not
    /// show.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apart: Vec<Session>,
    /// Prepared transactions of the account and of those members.
    pub prepared: Vec<Prepared>,
    /// The account's default roles, where the engine has such, as a role's name is written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub default_roles: Vec<String>,
    /// The store whose mark stands on the membership: it has armed the dead man's switch of it, which has not fired. The engine is shown
    /// other stores than its own only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marked_by: Option<StoreId>,
    /// Whether the dead man's switch of the membership says that it took it away. Shown where accounts have no lasting ids, so that a look by name
    /// cannot tell that from a new name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub taken_by_dead_man: bool,
}

impl Seen {
    /// Whether what is there has no lasting ids: nothing but names tell accounts and roles apart.
    #[must_use]
    pub fn is_by_name(&self) -> bool {
        self.account_exists && self.account_id.is_none() || self.role_exists && self.role_id.is_none()
    }

    /// The accounts that may be meant where there is none of this name, for a message: empty, or it begins with a semicolon.
    #[must_use]
    pub fn said_alike(&self) -> String {
        if self.alike.is_empty() {
            return String::new();
        }
        let names: Vec<String> = self.alike.iter().map(|name| format!("`{name}`")).collect();
        format!("; there is {}", names.join(", "))
    }
}

/// One direct membership.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// By whose grant.
    pub grantor: Grantor,
    /// How wide.
    pub width: Width,
    /// Whether it carries the admin option.
    pub admin: bool,
}

/// By whose grant a membership is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grantor {
    /// The broker that this system logs in as.
    Broker,
    /// Somebody else.
    Other(String),
    /// The engine does not say, or what it says cannot be relied on.
    Unknown,
}

/// One session on the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The server's own id of it (PostgreSQL: the pid).
    pub id: String,
    /// The account that logged in.
    pub account: String,
    /// When it began, the server's clock, UTC, where visible.
    pub since: Option<Time>,
}

/// A prepared (two-phase) transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// Its global transaction id.
    pub gid: String,
    /// In which database of the server.
    pub database: String,
    /// Whose it is.
    pub owner: String,
}

/// Every direct holder of the roles asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holders {
    /// The server that showed them, as the very connection saw it.
    pub identity: super::Identity,
    /// The holders.
    pub holders: Vec<Holder>,
}

/// One holder of a role, for reconciliation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The role.
    pub role: RoleName,
    /// Its lasting id.
    pub role_id: Option<ObjectId>,
    /// The account, in the adapter's canonical spelling.
    pub account: Account,
    /// Its lasting id.
    pub account_id: Option<ObjectId>,
    /// The membership.
    pub edge: Edge,
}

/// What the broker's login has to do with memberships, whatever the role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OfTheBroker {
    /// The server that showed it, as the very connection saw it; none where the engine does not record any of it.
    pub identity: Option<super::Identity>,
    /// Every membership that it granted.
    pub granted: Vec<Holder>,
    /// Memberships of its own through which it can use a role, those aside that jit asks for.
    pub usable: Vec<Holder>,
}

/// One thing that is wrong with the broker's account or the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// How bad it is.
    pub severity: Severity,
    /// Which privilege or setting it is about.
    pub about: LostPrivilege,
    /// What is wrong, in a sentence.
    pub message: String,
    /// The statement (or setting) that mends it, ready to copy.
    pub mend: Option<String>,
}

/// How bad a [`Check`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing.
    Remark,
    /// The work can be done, with a risk that a rule has to accept by name.
    Danger,
    /// The work cannot be done; requests are refused.
    Refusal,
}

/// What a [`Check`] is about: a short stable word (`admin-option`, `signal-backend`, `superuser`) and its object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostPrivilege {
    /// The stable word.
    pub what: String,
    /// On which role or object, if on one.
    pub on: Option<String>,
}
