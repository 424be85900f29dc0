//! Entities of the schema by their names.

use cedar_policy::{EntityId, EntityTypeName, EntityUid};

use crate::id::{Principal, RoleName, TargetName};
use crate::policy::Action;

/// What everything stands under.
const ALL: &str = "all";

/// The entity types of the schema, parsed once.
#[derive(Debug, Clone)]
pub(super) struct Names {
    pub(super) principal: EntityTypeName,
    pub(super) group: EntityTypeName,
    pub(super) target: EntityTypeName,
    pub(super) role: EntityTypeName,
    action: EntityTypeName,
    /// Everything.
    pub(super) tenant: EntityUid,
    /// The action of asking for a role.
    pub(super) request: EntityUid,
}

impl Names {
    /// None where this build of Cedar does not take them for names.
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

/// The target and the role that an id of a role names. A target has no `/` in its name, or two roles could have one id.
pub(super) fn split(id: &str) -> Option<(TargetName, RoleName)> {
    let (target, role) = id.split_once('/')?;
    Some((TargetName::new(target).ok()?, RoleName::new(role).ok()?))
}

fn uid(of: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(of.clone(), EntityId::new(id))
}
