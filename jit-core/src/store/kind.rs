//! Kinds of records that a store holds.

use serde::{Deserialize, Serialize};

/// Kind of a record. A later kind needs no new table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// One access to a role.
    Access,
    /// Holding: the roles that one account should have in one realm.
    Holding,
    /// Findings about a target at its last contact.
    Target,
    /// What is known of a realm's server.
    Realm,
    /// Owner of a role: the tenant that a role of a realm belongs to.
    RoleOwner,
    /// Emergency stops of a tenant.
    Stops,
    /// Key by which a repeated request is recognised.
    AskKey,
    /// A notice on its way.
    Notice,
    /// A finding that people should look at.
    Finding,
    /// Head of a tenant's log.
    LogHead,
    /// Tile of a tenant's log tree.
    LogTile,
    /// A signed checkpoint.
    Checkpoint,
    /// Cursor of a sink: how far it has come.
    SinkCursor,
    /// Question to an outside system.
    Review,
    /// Data that a second factor keeps about a person.
    Factor,
    /// Token or code that may be used once.
    Once,
    /// Delegation: who decides in whose place.
    Delegation,
    /// Setting of the tenant itself (policy hash last seen and the like).
    Setting,
}

impl Kind {
    /// List of every kind.
    pub const ALL: [Self; 18] = [
        Self::Access,
        Self::Holding,
        Self::Target,
        Self::Realm,
        Self::RoleOwner,
        Self::Stops,
        Self::AskKey,
        Self::Notice,
        Self::Finding,
        Self::LogHead,
        Self::LogTile,
        Self::Checkpoint,
        Self::SinkCursor,
        Self::Review,
        Self::Factor,
        Self::Once,
        Self::Delegation,
        Self::Setting,
    ];

    /// Returns the name under which a store keeps the kind.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Holding => "holding",
            Self::Target => "target",
            Self::Realm => "realm",
            Self::RoleOwner => "role-owner",
            Self::Stops => "stops",
            Self::AskKey => "ask-key",
            Self::Notice => "notice",
            Self::Finding => "finding",
            Self::LogHead => "log-head",
            Self::LogTile => "log-tile",
            Self::Checkpoint => "checkpoint",
            Self::SinkCursor => "sink-cursor",
            Self::Review => "review",
            Self::Factor => "factor",
            Self::Once => "once",
            Self::Delegation => "delegation",
            Self::Setting => "setting",
        }
    }

    /// Parses the text of a store's own column.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}
