//! Leftovers of a membership: objects that the account or the role came to own, and rights that
//! were passed on.

use crate::id::{Account, RoleName};

/// Largest number of owned objects that are compared. An account that owns thousands of objects
/// does not belong to a person.
pub const MOST_OWNED_OBJECTS: usize = 1_000;

/// One owned object or passed-on right.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct OwnedObject {
    /// Id that distinguishes it from all others on the server. It survives a rename if the engine
    /// has such ids.
    pub id: String,
    /// Description for people: `table public.copy_of_orders, owned by alice`.
    pub what: String,
    /// Version, which changes when the object is altered under the same id (a function's body, a
    /// right that became wider). `None` if alterations do not count.
    pub version: Option<String>,
    /// Membership, if the entry is one instead of an owned object: of somebody else in the role, or
    /// of the account in another role. Engines whose accounts and roles have no lasting ids list
    /// these, including the broker's own. They list none if there are too many. A renamed account
    /// or role shows as one that is gone and one that is new.
    pub membership: Option<(Account, RoleName)>,
}

impl OwnedObject {
    /// Creates an entry without a version, which is not a membership.
    #[must_use]
    pub fn new(id: impl Into<String>, what: impl Into<String>) -> Self {
        Self { id: id.into(), what: what.into(), version: None, membership: None }
    }
}

/// Owned objects of the accounts and roles of one look.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Owned {
    /// Server that showed them, as the very connection saw it.
    pub identity: super::Identity,
    /// Owned objects for each membership, in the order in which they were asked for.
    pub each: Vec<OwnedObjects>,
}

impl Owned {
    /// Creates the answer of this server, one entry for each membership.
    #[must_use]
    pub fn new(identity: super::Identity, each: Vec<OwnedObjects>) -> Self {
        Self { identity, each }
    }
}

/// Owned objects of one account and its role, in the order of their ids. `None` if there are more
/// than [`MOST_OWNED_OBJECTS`].
pub type OwnedObjects = Option<Vec<OwnedObject>>;
