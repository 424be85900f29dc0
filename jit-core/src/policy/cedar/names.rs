//! Entities of the schema, by their names.

use cedar_policy::{EntityId, EntityTypeName, EntityUid};

use crate::id::{Principal, RoleName, TargetName};
use crate::policy::Action;

/// Id of the tenant that everything stands under.
const ALL: &str = "all";

/// Entity types of the schema, parsed once.
#[derive(Debug, Clone)]
pub(super) struct Names {
    pub(super) principal: EntityTypeName,
    pub(super) group: EntityTypeName,
    pub(super) target: EntityTypeName,
    pub(super) role: EntityTypeName,
    action: EntityTypeName,
    /// Tenant entity, the parent of every target.
    pub(super) tenant: EntityUid,
    /// Action of a request for a role.
    pub(super) request: EntityUid,
}

impl Names {
    /// Parses the names; `None` if this build of Cedar does not accept them.
    pub(super) fn new() -> Option<Self> {
        let parse = |name: &str| name.parse::<EntityTypeName>().ok();
        let (tenant, action) = (parse("Jit::Tenant")?, parse("Jit::Action")?);
        Some(Self {
            principal: parse("Jit::Principal")?,
            group: parse("Jit::Group")?,
            target: parse("Jit::Target")?,
            role: parse("Jit::Role")?,
            tenant: uid(&tenant, ALL),
            request: uid(&action, "request"),
            action,
        })
    }

    pub(super) fn principal(&self, name: &Principal) -> EntityUid {
        uid(&self.principal, name.as_str())
    }

    pub(super) fn group(&self, name: &str) -> EntityUid {
        uid(&self.group, name)
    }

    pub(super) fn target(&self, name: &TargetName) -> EntityUid {
        uid(&self.target, name.as_str())
    }

    pub(super) fn role(&self, target: &TargetName, role: &RoleName) -> EntityUid {
        uid(&self.role, &format!("{target}/{role}"))
    }

    pub(super) fn action(&self, action: Action) -> EntityUid {
        uid(&self.action, action.as_str())
    }
}

/// Splits the id of a role into target and role. A target has no `/` in its name, otherwise two
/// roles could have one id.
pub(super) fn split(id: &str) -> Option<(TargetName, RoleName)> {
    let (target, role) = id.split_once('/')?;
    Some((TargetName::new(target).ok()?, RoleName::new(role).ok()?))
}

fn uid(of: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(of.clone(), EntityId::new(id))
}
