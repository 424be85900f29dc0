//! Queues of due work.

use serde::{Deserialize, Serialize};

use crate::id::{ApproverName, RealmId, TargetName, TenantId};
use crate::names::{join, split};

/// Queue of due work that can stall alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lane(String);

impl Lane {
    /// Returns the lane of all work that needs no database.
    #[must_use]
    pub fn desk() -> Self {
        Self("desk".to_owned())
    }

    /// Returns the lane of the work in one realm.
    #[must_use]
    pub fn realm(realm: &RealmId) -> Self {
        Self(format!("realm:{realm}"))
    }

    /// Returns the lane of a target whose realm is not known yet.
    #[must_use]
    pub fn contact(tenant: &TenantId, target: &TargetName) -> Self {
        Self(format!("contact:{}", join([tenant.as_str(), target.as_str()])))
    }

    /// Returns the lane of the notices to one notifier.
    #[must_use]
    pub fn outbox(tenant: &TenantId, notifier_name: &str) -> Self {
        Self(format!("outbox:{}", join([tenant.as_str(), notifier_name])))
    }

    /// Returns the lane of the questions to one outside system.
    #[must_use]
    pub fn outside(tenant: &TenantId, approver: &ApproverName) -> Self {
        Self(format!("outside:{}", join([tenant.as_str(), approver.as_str()])))
    }

    /// Returns the tenant and the outside system whose questions this lane holds, if it is such a
    /// lane.
    #[must_use]
    pub fn outside_of(&self) -> Option<(&str, &str)> {
        let [tenant, approver] = split(self.0.strip_prefix("outside:")?)?;
        Some((tenant, approver))
    }

    /// Checks whether this is the lane of a realm.
    #[must_use]
    pub fn is_realm(&self) -> bool {
        self.0.starts_with("realm:")
    }

    /// Returns the tenant and the notifier whose notices this lane holds, if it is an outbox.
    #[must_use]
    pub fn outbox_of(&self) -> Option<(&str, &str)> {
        let [tenant, notifier_name] = split(self.0.strip_prefix("outbox:")?)?;
        Some((tenant, notifier_name))
    }

    /// Takes the text of a store's own column.
    #[must_use]
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// Returns the text that a store keeps.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
