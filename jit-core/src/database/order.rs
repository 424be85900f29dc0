//! What a database is told to do.

use serde::{Deserialize, Serialize};

use super::Identity;
use super::seen::Subject;
use crate::approval::Witness;
use crate::clock::Time;
use crate::id::AccessId;
use crate::policy::{Activation, Prepared, Sessions, Stance};

/// How far a membership reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Width {
    /// The role's privileges are inherited; `SET ROLE` is withheld where the engine can.
    Inherit,
    /// `SET ROLE` is allowed too.
    SetRole,
}

/// Give this membership. Only a satisfied approval makes one (law 1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantOrder {
    access: AccessId,
    subject: Subject,
    width: Width,
    not_after: Time,
    account_members: Stance,
    can_grant: Stance,
    activation: Activation,
}

impl GrantOrder {
    /// An order on behalf of the access whose approval the witness proves.
    ///
    /// `not_after` is a time of the server's own clock, UTC: after it the server itself refuses.
    #[must_use]
    pub fn new(
        witness: &Witness,
        subject: Subject,
        width: Width,
        not_after: Time,
        account_members: Stance,
        can_grant: Stance,
    ) -> Self {
        let (access, activation) = (witness.access(), Activation::default());
        Self { access, subject, width, not_after, account_members, can_grant, activation }
    }

    /// With this activation instead of the default one.
    #[must_use]
    pub fn activated(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }

    /// On whose behalf.
    #[must_use]
    pub fn access(&self) -> AccessId {
        self.access
    }

    /// What is given to whom.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// How wide.
    #[must_use]
    pub fn width(&self) -> Width {
        self.width
    }

    /// When the server must refuse it, by its own clock, UTC.
    #[must_use]
    pub fn not_after(&self) -> Time {
        self.not_after
    }

    /// Whether an account that has members of its own is accepted.
    #[must_use]
    pub fn account_members(&self) -> Stance {
        self.account_members
    }

    /// Whether a role that can create accounts or grant is accepted.
    #[must_use]
    pub fn can_grant(&self) -> Stance {
        self.can_grant
    }

    /// Whether it becomes a default role, where the engine has such.
    #[must_use]
    pub fn activation(&self) -> Activation {
        self.activation
    }
}

/// Take this membership, or narrow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokeOrder {
    /// On whose behalf (of several that end together: the first).
    pub access: AccessId,
    /// What is taken from whom. Ids, where given, win over names: a renamed account is still found.
    pub subject: Subject,
    /// All of it, or only the wider part.
    pub how: RevokeHow,
    /// Whether the account's sessions are ended.
    pub sessions: Sessions,
    /// What happens to the account's prepared transactions.
    pub prepared: Prepared,
    /// Whether it stays a default role of the account, where the engine has such.
    pub default_role: DefaultRole,
    /// Servers that showed it gone after an earlier try of this end: what came later there is left alone where it is still gone.
    pub gone: Vec<Gone>,
}

/// A server, or a replica of it, that showed that nothing is held there any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gone {
    /// Which one.
    pub server: Identity,
    /// Since when, by its own clock, UTC: a session that began later never had the role.
    pub at: Time,
}

/// What becomes of a default role when an access ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DefaultRole {
    /// Another access wants it to be one, or it never was one for us.
    Stays,
    /// It is one no more.
    Goes {
        /// The role that is put in its place, where an engine has one default role only and this one is it now: another access's, or
        /// the one that was there before. None: no default role.
        back_to: Option<String>,
    },
}

/// How much a [`RevokeOrder`] takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevokeHow {
    /// The membership that the broker granted.
    Remove,
    /// Only `SET ROLE`: a narrower access still needs the membership.
    Narrow,
    /// Nothing is taken from the catalog (another access holds it as wide); only sessions and the look.
    Nothing,
}

/// Make sure that nothing of this earlier call can still arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettleOrder {
    /// The earlier [`super::Call::label`].
    pub label: String,
    /// The latest `not_after` of its orders (the server's clock, UTC).
    pub not_after: Time,
}
