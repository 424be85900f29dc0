//! Lasting reasons why a database applies no order.

use crate::id::{Account, RoleName, StoreId};

/// Reason why an order can never be applied as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejection {
    /// The account does not exist.
    NoSuchAccount,
    /// The role does not exist.
    NoSuchRole,
    /// The broker lacks a privilege.
    PrivilegeMissing,
    /// The account has members of its own, and the rule does not accept that.
    AccountHasMembers,
    /// The role can create accounts or grant, and the rule does not accept that.
    RoleCanGrant,
    /// The database has no dead man's switch, and the rule requires one.
    NoDeadMansSwitch,
    /// Another store that works with the same broker accounts for the membership.
    AnotherStore,
    /// The server refuses for another lasting reason.
    Other,
}

impl Rejection {
    /// Returns the name that the log uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSuchAccount => "no such account",
            Self::NoSuchRole => "no such role",
            Self::PrivilegeMissing => "privilege missing",
            Self::AccountHasMembers => "account has members",
            Self::RoleCanGrant => "role can grant",
            Self::NoDeadMansSwitch => "no dead man's switch",
            Self::AnotherStore => "another store",
            Self::Other => "other",
        }
    }
}

/// Says for people that another store accounts for a membership.
pub(crate) fn anothers(account: &Account, role: &RoleName, store: &StoreId) -> String {
    format!(
        "`{account}` holds `{role}` through another store (`{store}`) that works with the same broker: a broker belongs to one store, so end it \
         there, and give this store a broker of its own"
    )
}
