//! What kinds of records there are.

use serde::{Deserialize, Serialize};

/// The kinds of records. A later kind needs no new table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// One access.
    Access,
    /// What one account should hold in one realm.
    Holding,
    /// What a target was found to be.
    Target,
    /// What is known of a realm.
    Realm,
    /// Which tenant a role of a realm belongs to.
    RoleOwner,
    /// The emergency stops of a tenant.
    Stops,
    /// The key by which a repeated request is recognised.
    AskKey,
    /// A notice on its way.
    Notice,
    /// Something that people should look at.
    Finding,
    /// The head of a tenant's log.
    LogHead,
    /// A tile of a tenant's log tree.
    LogTile,
    /// A signed checkpoint.
    Checkpoint,
    /// How far a sink has come.
    SinkCursor,
    /// What an outside system is asked.
    Review,
    /// What a second factor keeps of a person.
    Factor,
    /// Something that may be used once.
    Once,
    /// Who decides in whose place.
    Delegation,
    /// What is stored about the tenant itself (policy hash last seen and the like).
    Setting,
}

impl Kind {
    /// Every kind.
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

    /// As a store keeps it.
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

    /// From a store's own column.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}
