//! The parties of a request, and what the directory said about them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::id::{Group, Principal};

/// Requester and grantee of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Parties {
    /// Principal who asked for the role.
    pub requester: Principal,
    /// Principal who gets the role.
    #[serde(rename = "receiver")]
    pub grantee: Principal,
}

/// Directory's answer about one decider, at the time of the decision or when it was asked again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Snapshot {
    /// Human behind the decider (the first of their aliases).
    pub human: Principal,
    /// Human behind the requester.
    pub requester: Principal,
    /// Human behind the grantee.
    pub grantee: Principal,
    /// Groups that contain the decider's own name.
    pub groups: BTreeSet<Group>,
    /// True if the decider is the manager of the requester.
    pub manages_requester: bool,
    /// True if the decider is the manager of the grantee.
    pub manages_grantee: bool,
}

impl Snapshot {
    /// Checks whether the decider is the requester or the grantee, under whatever alias.
    #[must_use]
    pub fn is_party(&self) -> bool {
        self.human == self.requester || self.human == self.grantee
    }
}
