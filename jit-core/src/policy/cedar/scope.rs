//! What a policy's scope says of actions and resources.

use cedar_policy::{ActionConstraint, EntityUid, Policy, ResourceConstraint};

use super::names::Names;

/// Which actions a policy is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Actions {
    /// Asking for a role.
    pub(super) request: bool,
    /// Any of the others.
    pub(super) others: bool,
}

/// The actions of the scope.
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

/// The one role that the scope names. Nothing stands below a role, so `in` is `==` for it.
pub(super) fn scoped_role(policy: &Policy, names: &Names) -> Option<EntityUid> {
    match policy.resource_constraint() {
        ResourceConstraint::Any | ResourceConstraint::Is(_) => None,
        ResourceConstraint::Eq(uid) | ResourceConstraint::In(uid) | ResourceConstraint::IsIn(_, uid) => {
            (*uid.type_name() == names.role).then_some(uid)
        }
    }
}

/// Whether a request for this role on this target could be in the scope.
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
