//! Scope of a policy: its actions and resources.

use cedar_policy::{ActionConstraint, EntityUid, Policy, ResourceConstraint};

use super::names::Names;

/// Actions that a policy is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Actions {
    /// True if it is about requests for a role.
    pub(super) request: bool,
    /// True if it is about any other action.
    pub(super) others: bool,
}

/// Returns the actions of the scope.
pub(super) fn actions(policy: &Policy, names: &Names) -> Actions {
    match policy.action_constraint() {
        ActionConstraint::Any => Actions { request: true, others: true },
        ActionConstraint::Eq(action) => Actions { request: action == names.request, others: action != names.request },
        ActionConstraint::In(actions) => Actions {
            request: actions.contains(&names.request),
            others: actions.iter().any(|action| *action != names.request),
        },
    }
}

/// Returns the one role that the scope names. Nothing stands below a role, so `in` is `==` for it.
pub(super) fn scoped_role(policy: &Policy, names: &Names) -> Option<EntityUid> {
    match policy.resource_constraint() {
        ResourceConstraint::Any | ResourceConstraint::Is(_) => None,
        ResourceConstraint::Eq(uid) | ResourceConstraint::In(uid) | ResourceConstraint::IsIn(_, uid) => {
            (*uid.type_name() == names.role).then_some(uid)
        }
    }
}

/// Checks whether a request for this role on this target could be in the scope.
pub(super) fn could_be_about(policy: &Policy, role: &EntityUid, target: &EntityUid, names: &Names) -> bool {
    let within = |uid: &EntityUid| uid == role || uid == target || *uid == names.tenant;
    match policy.resource_constraint() {
        ResourceConstraint::Any => true,
        ResourceConstraint::Eq(uid) => uid == *role,
        ResourceConstraint::In(uid) => within(&uid),
        ResourceConstraint::Is(of) => of == names.role,
        ResourceConstraint::IsIn(of, uid) => of == names.role && within(&uid),
    }
}
