//! One Cedar policy, and what is known of it without asking Cedar.

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
    /// The groups that it names.
    pub(super) groups: BTreeSet<Group>,
    pub(super) actions: Actions,
    /// Whether it says itself who may get the role.
    pub(super) speaks_of_receiver: bool,
    /// The roles that it gives, where it permits `request`.
    pub(super) roles: BTreeSet<(TargetName, RoleName)>,
    /// What that takes.
    pub(super) terms: Option<Terms>,
    /// Its `@plan`.
    pub(super) plan: String,
}

impl Rule {
    pub(super) fn permits(&self) -> bool {
        self.policy.effect() == Effect::Permit
    }
}
