//! Reading of Cedar policies: the checks of Cedar itself, and the further checks here.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{Effect, EntityUid, Policy, PolicyId, PolicySet, Schema, ValidationMode, Validator};

use super::named::named;
use super::names::{Names, split};
use super::place;
use super::rule::Rule;
use super::scope::{actions, scoped_role};
use super::syntax::Syntax;
use crate::id::{Group, RoleName, RuleName, TargetName};
use crate::policy::CEILING;
use crate::policy::document::error::Findings;
use crate::policy::document::plans::Plans;
use crate::policy::document::read::{length, near, said, shown};
use crate::policy::document::terms::Terms;
use crate::policy::document::who::prefix;

const ANNOTATIONS: [&str; 3] = ["id", "plan", "max"];

/// Context that policies are read against.
pub(super) struct Reader<'r> {
    pub(super) plans: &'r Plans,
    pub(super) names: &'r Names,
    pub(super) schema: &'r str,
}

impl Reader<'_> {
    /// Reads the policies, in the order of the text.
    pub(super) fn read(&self, text: &str, findings: &mut Findings) -> Vec<Rule> {
        let Some(named) = named(text, findings) else { return Vec::new() };
        let before = findings.problems();
        self.validate(&named, findings);
        if findings.problems() != before {
            return Vec::new();
        }
        named.iter().filter_map(|(at, name, policy)| self.rule(*at, name, policy, findings)).collect()
    }

    fn validate(&self, named: &[(usize, RuleName, Policy)], findings: &mut Findings) {
        let places: BTreeMap<&str, usize> = named.iter().map(|(at, name, _)| (name.as_str(), *at)).collect();
        let at = |id: &PolicyId| places.get(AsRef::<str>::as_ref(id)).copied().unwrap_or_default();
        let set = PolicySet::from_policies(named.iter().map(|(_, _, policy)| policy.clone()));
        let (set, schema) = match (set, Schema::from_cedarschema_str(self.schema)) {
            (Ok(set), Ok((schema, _))) => (set, schema),
            (Err(error), _) => return findings.problem(0, place::words(&error)),
            (_, Err(error)) => return findings.problem(0, place::words(&error)),
        };
        let result = Validator::new(schema).validate(&set, ValidationMode::Strict);
        for error in result.validation_errors() {
            findings.problem(place::of(error).unwrap_or_else(|| at(error.policy_id())), place::words(error));
        }
        // a policy that can never apply, or looks like something else, was not meant so
        for warning in result.validation_warnings() {
            findings.problem(place::of(warning).unwrap_or_else(|| at(warning.policy_id())), place::words(warning));
        }
    }

    fn rule(&self, at: usize, name: &RuleName, policy: &Policy, findings: &mut Findings) -> Option<Rule> {
        let before = findings.problems();
        self.check_annotations(at, name, policy, findings);
        let groups = self.check_entities(at, name, policy, findings);
        let actions = actions(policy, self.names);
        let syntax = Syntax::of(policy)?;
        let permits = policy.effect() == Effect::Permit;
        let mut rule = Rule {
            name: name.clone(),
            policy: policy.clone(),
            groups,
            actions,
            speaks_of_grantee: syntax.speaks_of_grantee(),
            roles: BTreeSet::new(),
            terms: None,
            plan: policy.annotation("plan").unwrap_or_default().to_owned(),
        };
        let gives_roles = permits && actions.request;
        if gives_roles && actions.others {
            let line =
                format!("policy `{name}` permits `request` with other actions: permit it in a policy of its own");
            findings.problem(at, line);
        } else if gives_roles {
            rule.roles = roles(at, name, policy, &syntax, self.names, findings);
            rule.terms = self.terms(at, name, policy, findings);
        } else if let Some(annotation) = ["plan", "max"].into_iter().find(|key| policy.annotation(key).is_some()) {
            let line = format!("policy `{name}` has `@{annotation}`, which only a permit of `request` has: remove it");
            findings.problem(at, line);
        }
        (findings.problems() == before).then_some(rule)
    }

    fn check_annotations(&self, at: usize, name: &RuleName, policy: &Policy, findings: &mut Findings) {
        for (key, _) in policy.annotations().filter(|(key, _)| !ANNOTATIONS.contains(key)) {
            let hint = match near(key, ANNOTATIONS.into_iter()) {
                Some(near) => format!("did you mean `@{near}`?"),
                None => "known are `@id`, `@plan`, `@max`".to_owned(),
            };
            findings.problem(at, format!("unknown annotation `@{}` of policy `{name}`: {hint}", shown(key)));
        }
    }

    /// Returns the groups that the policy names. Each of them has to exist, and every role has to
    /// be valid.
    fn check_entities(&self, at: usize, name: &RuleName, policy: &Policy, findings: &mut Findings) -> BTreeSet<Group> {
        let mut groups = BTreeSet::new();
        for entity in policy.entity_literals() {
            let id: &str = entity.id().unescaped();
            if *entity.type_name() == self.names.group {
                groups.extend(self.group(at, name, id, findings));
            } else if *entity.type_name() == self.names.principal
                && let Some(prefix) = prefix(id)
            {
                let (id, prefix) = (shown(id), shown(prefix));
                let line = format!(
                    "`{id}` in policy `{name}` begins with an unknown prefix, `{prefix}:`: known are `Jit::Principal::\"NAME\"` and \
                     `Jit::Group::\"NAME\"`, both without one"
                );
                findings.problem(at, line);
            } else if *entity.type_name() == self.names.role && split(id).is_none() {
                let id = shown(id);
                findings.problem(at, format!("`{id}` in policy `{name}` is no role: write it `\"target/role\"`"));
            } else if *entity.type_name() == self.names.target && id.contains('/') {
                let id = shown(id);
                findings
                    .problem(at, format!("`{id}` in policy `{name}` is no target: here none has a `/` in its name"));
            }
        }
        groups
    }

    fn group(&self, at: usize, name: &RuleName, id: &str, findings: &mut Findings) -> Option<Group> {
        let directory = &self.plans.directory;
        let known = |group: &Group| directory.is_elsewhere() || directory.group(group).is_some();
        let group = Group::new(id).ok().filter(known);
        if group.is_none() {
            let hint = match near(id, directory.groups().map(Group::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "add it to `[groups]`".to_owned(),
            };
            findings.problem(at, format!("there is no group `{}` for policy `{name}`: {hint}", shown(id)));
        }
        group
    }

    /// Returns the terms of the policy's plan, under the policy's name and narrowed by its `@max`.
    fn terms(&self, at: usize, name: &RuleName, policy: &Policy, findings: &mut Findings) -> Option<Terms> {
        let Some(plan) = policy.annotation("plan") else {
            let line = format!("policy `{name}` permits `request` without a plan: add one, like `@plan(\"two dbas\")`");
            findings.problem(at, line);
            return None;
        };
        let found = RuleName::new(plan).ok().and_then(|plan| self.plans.named.get(&plan));
        let Some(found) = found else {
            let plans = self.plans.named.keys().map(RuleName::as_str);
            let hint = near(plan, plans).map_or_else(
                || format!("add `[plan.{}]` to the document", shown(&format!("{plan:?}"))),
                |near| format!("did you mean `{near}`?"),
            );
            findings.problem(at, format!("there is no plan `{}` for policy `{name}`: {hint}", shown(plan)));
            return None;
        };
        let mut terms = found.clone();
        terms.plan.rule = name.clone();
        let Some(max) = policy.annotation("max") else { return Some(terms) };
        let limits = &mut terms.plan.limits;
        match length(max, "@max", CEILING) {
            Ok(max) if max <= limits.max => {
                // a plan that leaves no room for extensions leaves none when it is narrowed either
                if limits.max_total == limits.max {
                    limits.max_total = max;
                }
                limits.max = max;
                Some(terms)
            }
            Ok(_) => {
                let (plan, most) = (shown(plan), said(limits.max));
                let line =
                    format!("`@max` of policy `{name}` is over that of plan `{plan}` (`{most}`): it only narrows");
                findings.problem(at, line);
                None
            }
            Err(wrong) => {
                findings.problem(at, format!("`@max` of policy `{name}`: {wrong}"));
                None
            }
        }
    }
}

/// Returns the roles that the permit gives: reconciliation has to know each of them.
fn roles(
    at: usize,
    name: &RuleName,
    policy: &Policy,
    syntax: &Syntax,
    names: &Names,
    findings: &mut Findings,
) -> BTreeSet<(TargetName, RoleName)> {
    let scoped = scoped_role(policy, names).map(|role: EntityUid| BTreeSet::from([role.id().unescaped().to_owned()]));
    let roles = scoped.or_else(|| syntax.roles()).unwrap_or_default();
    if roles.is_empty() {
        let line = format!(
            "policy `{name}` does not name the roles that it gives, and reconciliation has to know each of them: write \
             `resource == Jit::Role::\"target/role\"`, or `when {{ resource in [Jit::Role::\"target/role\"] }}` for several"
        );
        findings.problem(at, line);
    }
    roles.iter().filter_map(|id| split(id)).collect()
}
