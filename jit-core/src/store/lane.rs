//! The queues of due work.

use serde::{Deserialize, Serialize};

use crate::id::{ApproverName, RealmId, TargetName, TenantId};
use crate::names::{join, split};

/// A queue of due work that can stall alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lane(String);

impl Lane {
    /// Everything that needs no database.
    #[must_use]
    pub fn desk() -> Self {
        Self("desk".to_owned())
    }

    /// Work in one realm.
    #[must_use]
    pub fn realm(realm: &RealmId) -> Self {
        Self(format!("realm:{realm}"))
    }

    /// A target whose realm is not known yet.
    #[must_use]
    pub fn contact(tenant: &TenantId, target: &TargetName) -> Self {
        Self(format!("contact:{}", join([tenant.as_str(), target.as_str()])))
    }

    /// A receiver of notices.
    #[must_use]
    pub fn outbox(tenant: &TenantId, receiver: &str) -> Self {
        Self(format!("outbox:{}", join([tenant.as_str(), receiver])))
    }

    /// What one outside system is asked.
    #[must_use]
    pub fn outside(tenant: &TenantId, approver: &ApproverName) -> Self {
        Self(format!("outside:{}", join([tenant.as_str(), approver.as_str()])))
    }

    /// Whose questions it holds, and for which outside system, where it is such.
    #[must_use]
    pub fn outside_of(&self) -> Option<(&str, &str)> {
        let [tenant, approver] = split(self.0.strip_prefix("outside:")?)?;
        Some((tenant, approver))
    }

    /// Whether it is the work of one realm.
    #[must_use]
    pub fn is_realm(&self) -> bool {
        self.0.starts_with("realm:")
    }

    /// Whose notices it holds, and for which receiver, where it is an outbox.
    #[must_use]
    pub fn outbox_of(&self) -> Option<(&str, &str)> {
        let [tenant, receiver] = split(self.0.strip_prefix("outbox:")?)?;
        Some((tenant, receiver))
    }

    /// From a store's own column.
    #[must_use]
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// As a store keeps it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
