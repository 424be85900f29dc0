//! What outlives a membership: objects that the account or the role came to own, and rights that were passed on.

use crate::id::{Account, RoleName};

/// More of it than this is not compared: who owns thousands of objects is no account of a person's.
pub const MOST_THINGS: usize = 1_000;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Thing {
    /// What tells it from all others on the server, also after it was renamed, where the engine has such.
    pub id: String,
    /// For people: `table public.copy_of_orders, owned by alice`.
    pub what: String,
    /// Changes when the thing is altered under the same id (a function's body, a right that became wider), where that counts.
    pub version: Option<String>,
    /// A membership, where this is none of theirs: of somebody else in the role, or of the account in another role. Engines whose accounts and roles
    /// have no lasting ids list these, the broker's own among them, or none at all where there are too many. An account or a role that is renamed
    /// shows as one that is gone and one that is new.
    pub membership: Option<(Account, RoleName)>,
}

/// What was seen of all subjects of a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// The server that showed it, as the very connection saw it.
    pub identity: super::Identity,
    /// One per subject, in their order.
    pub each: Vec<Belongings>,
}

/// What there is of one subject, in the order of the ids; none where it is more than [`MOST_THINGS`].
pub type Belongings = Option<Vec<Thing>>;
