//! A question in Cedar's terms: the request, and the few entities that it is about.

use std::collections::{HashMap, HashSet};

use cedar_policy::{Context, Entities, Entity, Request, RestrictedExpression};
use chrono::TimeDelta;

use super::names::Names;
use crate::directory::Person;
use crate::id::TargetName;
use crate::policy::{Action, Question};

/// Person who is put in the place of the principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The requester is the principal.
    Requester,
    /// The grantee is the principal, as if they had asked.
    Grantee,
}

/// Request for Cedar.
#[derive(Debug)]
pub(super) struct CedarRequest {
    pub(super) request: Request,
    pub(super) entities: Entities,
}

impl CedarRequest {
    /// Makes the question: may that person ask for that role?
    ///
    /// # Errors
    /// Cedar's message, if it does not accept the values of the question.
    pub(super) fn of(question: &Question<'_>, side: Side, names: &Names) -> Result<Self, String> {
        let who = match side {
            Side::Requester => question.requester,
            Side::Grantee => question.grantee,
        };
        let grantee = names.principal(&question.grantee.principal);
        let role = names.role(question.target, question.role);
        let mut pairs = vec![
            ("grantee".to_owned(), RestrictedExpression::new_entity_uid(grantee.clone())),
            ("receiver".to_owned(), RestrictedExpression::new_entity_uid(grantee)),
            ("duration".to_owned(), RestrictedExpression::new_long(seconds(question.duration))),
            ("reason".to_owned(), RestrictedExpression::new_string(question.reason.to_owned())),
            ("scheduled".to_owned(), RestrictedExpression::new_bool(question.start.is_some())),
            ("break_glass".to_owned(), RestrictedExpression::new_bool(question.break_glass)),
        ];
        let ticket = question.ticket.map(|ticket| RestrictedExpression::new_string(ticket.to_owned()));
        pairs.extend(ticket.map(|ticket| ("ticket".to_owned(), ticket)));
        let context = Context::from_pairs(pairs).map_err(|error| error.to_string())?;
        let above = HashSet::from([names.target(question.target), names.tenant.clone()]);
        let mut entities = vec![person(who, names)?, Entity::new_no_attrs(role.clone(), above)];
        if question.grantee.principal != who.principal {
            entities.push(person(question.grantee, names)?);
        }
        let request = Request::new(names.principal(&who.principal), names.request.clone(), role, context, None);
        Self::with(request.map_err(|error| error.to_string())?, entities)
    }

    /// Makes the question: may that person take that action?
    ///
    /// # Errors
    /// The same as [`Self::of`].
    pub(super) fn may(
        action: Action,
        who: &Person,
        target: Option<&TargetName>,
        names: &Names,
    ) -> Result<Self, String> {
        let mut entities = vec![person(who, names)?];
        let target = target.map(|target| names.target(target));
        let all = HashSet::from([names.tenant.clone()]);
        entities.extend(target.clone().map(|target| Entity::new_no_attrs(target, all)));
        let resource = target.unwrap_or_else(|| names.tenant.clone());
        let principal = names.principal(&who.principal);
        let request = Request::new(principal, names.action(action), resource, Context::empty(), None);
        Self::with(request.map_err(|error| error.to_string())?, entities)
    }

    fn with(request: Request, entities: Vec<Entity>) -> Result<Self, String> {
        let entities = Entities::from_entities(entities, None).map_err(|error| error.to_string())?;
        Ok(Self { request, entities })
    }
}

fn person(person: &Person, names: &Names) -> Result<Entity, String> {
    let human = RestrictedExpression::new_string(person.human.as_str().to_owned());
    let groups = person.groups.iter().map(|group| names.group(group.as_str())).collect();
    let attributes = HashMap::from([("human".to_owned(), human)]);
    Entity::new(names.principal(&person.principal), attributes, groups).map_err(|error| error.to_string())
}

/// Returns whole seconds, rounded up, so that a time slightly over a limit in Cedar is over it.
fn seconds(span: TimeDelta) -> i64 {
    let begun = span > TimeDelta::seconds(span.num_seconds());
    span.num_seconds().saturating_add(i64::from(begun))
}
