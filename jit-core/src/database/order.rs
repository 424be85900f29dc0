//! Order to grant a membership.

use crate::catalog::Membership;
use crate::clock::Time;
use crate::handling::{Activation, MembershipScope, Stance};
use crate::id::AccessId;
use crate::model::approval::Witness;

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
    /// order. An account with members and a role that can grant are refused, unless told otherwise.
    #[must_use]
    pub fn new(witness: &Witness, membership: Membership, scope: MembershipScope, not_after: Time) -> Self {
        let (account_members, can_grant) = (Stance::Refused, Stance::Refused);
        let (access, activation) = (witness.access(), Activation::default());
        Self { access, membership, scope, not_after, account_members, can_grant, activation }
    }

    /// Returns the order with this stance on an account that has members of its own.
    #[must_use]
    pub fn with_account_members(self, account_members: Stance) -> Self {
        Self { account_members, ..self }
    }

    /// Returns the order with this stance on a role that can create accounts or grant.
    #[must_use]
    pub fn with_can_grant(self, can_grant: Stance) -> Self {
        Self { can_grant, ..self }
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
