//! One Cedar policy, and the facts about it that need no question to Cedar.

use std::collections::BTreeSet;

use cedar_policy::{Effect, Policy};

use super::scope::Actions;
use crate::id::{Group, RoleName, RuleName, TargetName};
use crate::policy::document::terms::Terms;

/// A policy of the text.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    /// Its `@id`, which is its name for Cedar too.
    pub(super) name: RuleName,
    pub(super) policy: Policy,
    /// Groups that the policy names.
    pub(super) groups: BTreeSet<Group>,
    pub(super) actions: Actions,
    /// True if the policy itself says who may get the role.
    pub(super) speaks_of_grantee: bool,
    /// Roles that the policy gives, if it permits `request`.
    pub(super) roles: BTreeSet<(TargetName, RoleName)>,
    /// Terms of these roles.
    pub(super) terms: Option<Terms>,
    /// Name of its `@plan`.
    pub(super) plan: String,
}

impl Rule {
    pub(super) fn permits(&self) -> bool {
        self.policy.effect() == Effect::Permit
    }
}
