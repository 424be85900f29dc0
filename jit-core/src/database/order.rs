//! Orders that the engine gives to a database.

use super::seen::Membership;
use crate::approval::Witness;
use crate::clock::Time;
use crate::handling::{Activation, MembershipScope, Prepared, Sessions, Stance};
use crate::id::AccessId;

/// Order to grant a membership. Only a satisfied approval makes one (law 1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantOrder {
    access: AccessId,
    membership: Membership,
    scope: MembershipScope,
    not_after: Time,
    account_members: Stance,
    can_grant: Stance,
    activation: Activation,
}

impl GrantOrder {
    /// Makes an order on behalf of the access whose approval the witness proves.
    ///
    /// `not_after` is a time of the server's own clock, UTC. After it the server itself refuses the
    /// order.
    #[must_use]
    pub fn new(
        witness: &Witness,
        membership: Membership,
        scope: MembershipScope,
        not_after: Time,
        account_members: Stance,
        can_grant: Stance,
    ) -> Self {
        let (access, activation) = (witness.access(), Activation::default());
        Self { access, membership, scope, not_after, account_members, can_grant, activation }
    }

    /// Returns the order with this activation instead of the default one.
    #[must_use]
    pub fn activated(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }

    /// Returns the access on whose behalf the membership is granted.
    #[must_use]
    pub fn access(&self) -> AccessId {
        self.access
    }

    /// Returns the account and the role.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// Returns the scope of the membership.
    #[must_use]
    pub fn scope(&self) -> MembershipScope {
        self.scope
    }

    /// Returns the time after which the server must refuse the order, by its own clock, UTC.
    #[must_use]
    pub fn not_after(&self) -> Time {
        self.not_after
    }

    /// Returns the stance on an account that has members of its own.
    #[must_use]
    pub fn account_members(&self) -> Stance {
        self.account_members
    }

    /// Returns the stance on a role that can create accounts or grant.
    #[must_use]
    pub fn can_grant(&self) -> Stance {
        self.can_grant
    }

    /// Returns the activation: it says if the role becomes a default role, on engines that have
    /// default roles.
    #[must_use]
    pub fn activation(&self) -> Activation {
        self.activation
    }
}

/// Order to revoke a membership, or to narrow it.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// Fate of a default role when an access ends.
#[derive(Debug, Clone, PartialEq, Eq)]
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
pub struct SettleOrder {
    /// Label of the earlier call ([`super::Call::label`]).
    pub label: String,
    /// Latest `not_after` of that call's orders (the server's clock, UTC).
    pub not_after: Time,
}
