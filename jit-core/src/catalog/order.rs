//! Orders that end a membership.

use super::seen::Membership;
use crate::clock::Time;
use crate::handling::{Prepared, Sessions};
use crate::id::AccessId;

/// Order to revoke a membership, or to narrow it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RevokeOrder {
    /// Access on whose behalf it is revoked. If several end together, this is the first.
    pub access: AccessId,
    /// Account and role. Ids win over names if they are given, so that a renamed account is still
    /// found.
    pub membership: Membership,
    /// Extent: the whole membership, only the wider part, or nothing of it.
    pub how: RevokeHow,
    /// Handling of the account's sessions.
    pub sessions: Sessions,
    /// Handling of the account's prepared transactions.
    pub prepared: Prepared,
    /// Default role of the account afterwards, on engines that have default roles.
    pub default_role: DefaultRole,
}

impl RevokeOrder {
    /// Creates an order to remove the whole membership and end its sessions. Prepared
    /// transactions are reported, and default roles are left alone.
    #[must_use]
    pub fn new(access: AccessId, membership: Membership) -> Self {
        Self {
            access,
            membership,
            how: RevokeHow::Remove,
            sessions: Sessions::End,
            prepared: Prepared::Report,
            default_role: DefaultRole::Stays,
        }
    }

    /// Sets the extent.
    #[must_use]
    pub fn how(self, how: RevokeHow) -> Self {
        Self { how, ..self }
    }

    /// Sets the handling of the account's sessions.
    #[must_use]
    pub fn sessions(self, sessions: Sessions) -> Self {
        Self { sessions, ..self }
    }

    /// Sets the handling of the account's prepared transactions.
    #[must_use]
    pub fn prepared(self, prepared: Prepared) -> Self {
        Self { prepared, ..self }
    }

    /// Sets the fate of the default role.
    #[must_use]
    pub fn default_role(self, default_role: DefaultRole) -> Self {
        Self { default_role, ..self }
    }
}

/// Fate of a default role when an access ends.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "an adapter has to handle each: a new one must stop its build")]
pub enum DefaultRole {
    /// Default role stays: another access wants it, or we never made it a default role.
    Stays,
    /// Default role is taken away.
    Goes {
        /// Role that replaces it, if the engine has only one default role and this one is it now.
        /// It is the role of another access, or the one that was there before. `None`: no default
        /// role.
        back_to: Option<String>,
    },
}

/// Extent of a [`RevokeOrder`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "an adapter has to handle each: a new one must stop its build")]
pub enum RevokeHow {
    /// Whole membership that the broker granted.
    Remove,
    /// Only `SET ROLE`: a narrower access still needs the membership.
    Narrow,
    /// Nothing is taken from the catalog, because another access holds the same scope. Only
    /// sessions are ended, and the look is done.
    Nothing,
}

/// Order to make sure that nothing of this earlier call can still arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SettleOrder {
    /// Label of the earlier call ([`Call::label`](crate::database::Call::label)).
    pub label: String,
    /// Latest `not_after` of that call's orders (the server's clock, UTC).
    pub not_after: Time,
}

impl SettleOrder {
    /// Creates an order for the call of this label.
    #[must_use]
    pub fn new(label: impl Into<String>, not_after: Time) -> Self {
        Self { label: label.into(), not_after }
    }
}
