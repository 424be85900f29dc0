//! Questions to Cedar. Every answer that is not a complete yes counts as a no.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{AuthorizationError, Authorizer, Decision, PolicyId, PolicySet};

use super::ask::{CedarRequest, Side};
use super::names::Names;
use super::rule::Rule;
use super::scope::{could_be_about, scoped_role};
use crate::id::{RoleName, RuleName, TargetName};
use crate::policy::Question;

/// Denial by Cedar, with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct No {
    /// Policy that caused the denial.
    pub(super) rule: Option<RuleName>,
    pub(super) why: String,
}

/// Policies that could be about one role. All others are out of scope, so they neither decide nor
/// fail.
#[derive(Debug, Clone, Default)]
pub(super) struct Slice {
    /// Policies that are asked about the requester.
    asked: PolicySet,
    /// Policies that are also asked about the grantee, because they do not speak of the grantee
    /// themselves.
    got: PolicySet,
}

/// Makes the slices of every role that some policy gives.
pub(super) fn slices(rules: &[Rule], names: &Names) -> Result<BTreeMap<TargetName, BTreeMap<RoleName, Slice>>, String> {
    let mut slices: BTreeMap<TargetName, BTreeMap<RoleName, Slice>> = BTreeMap::new();
    let mut by_role: BTreeMap<String, Vec<&Rule>> = BTreeMap::new();
    let mut general = Vec::new();
    for rule in rules.iter().filter(|rule| rule.actions.request) {
        match scoped_role(&rule.policy, names) {
            Some(role) => by_role.entry(role.id().unescaped().to_owned()).or_default().push(rule),
            None => general.push(rule),
        }
    }
    for (target, role) in rules.iter().flat_map(|rule| &rule.roles) {
        let of_target = slices.entry(target.clone()).or_default();
        if of_target.contains_key(role) {
            continue;
        }
        let (uid, above) = (names.role(target, role), names.target(target));
        let mut slice = Slice::default();
        let own = by_role.get(uid.id().unescaped()).into_iter().flatten();
        for rule in own.chain(&general).filter(|rule| could_be_about(&rule.policy, &uid, &above, names)) {
            slice.add(rule)?;
        }
        of_target.insert(role.clone(), slice);
    }
    Ok(slices)
}

impl Slice {
    fn add(&mut self, rule: &Rule) -> Result<(), String> {
        self.asked.add(rule.policy.clone()).map_err(|error| error.to_string())?;
        match rule.speaks_of_grantee {
            true => Ok(()),
            false => self.got.add(rule.policy.clone()).map_err(|error| error.to_string()),
        }
    }

    /// Returns the permits that are satisfied for the requester. A permit that does not speak of
    /// the grantee has to be satisfied for the grantee too.
    pub(super) fn permits(
        &self,
        question: &Question<'_>,
        authorizer: &Authorizer,
        names: &Names,
    ) -> Result<BTreeSet<String>, No> {
        let mut permits = satisfied(&CedarRequest::of(question, Side::Requester, names), &self.asked, authorizer)?;
        if question.grantee.principal != question.requester.principal {
            let got = satisfied(&CedarRequest::of(question, Side::Grantee, names), &self.got, authorizer)?;
            permits.retain(|id| got.contains(id) || self.got.policy(&PolicyId::new(id)).is_none());
        }
        Ok(permits)
    }
}

/// Returns the permits that are satisfied, if no policy failed and none forbids.
pub(super) fn satisfied(
    asked: &Result<CedarRequest, String>,
    policies: &PolicySet,
    authorizer: &Authorizer,
) -> Result<BTreeSet<String>, No> {
    let asked = match asked {
        Ok(asked) => asked,
        Err(why) => return Err(No { rule: None, why: format!("Cedar cannot be asked this: {why}") }),
    };
    let response = authorizer.is_authorized(&asked.request, policies, &asked.entities);
    let mut errors: Vec<(String, String)> = response.diagnostics().errors().map(erred).collect();
    errors.sort();
    if let Some((first, _)) = errors.first() {
        let rule = RuleName::new(first.as_str()).ok();
        let why: Vec<&str> = errors.iter().map(|(_, why)| why.as_str()).collect();
        return Err(No { rule, why: format!("{}: a policy with an error denies", why.join("; ")) });
    }
    let reasons: BTreeSet<String> =
        response.diagnostics().reason().map(|id| AsRef::<str>::as_ref(id).to_owned()).collect();
    if response.decision() == Decision::Allow {
        return Ok(reasons);
    }
    match reasons.first() {
        None => Ok(BTreeSet::new()),
        Some(first) => {
            let names: Vec<String> = reasons.iter().map(|name| format!("`{name}`")).collect();
            let why = match names.as_slice() {
                [name] => format!("policy {name} forbids it"),
                names => format!("policies {} forbid it", names.join(", ")),
            };
            Err(No { rule: RuleName::new(first.as_str()).ok(), why })
        }
    }
}

fn erred(error: &AuthorizationError) -> (String, String) {
    let AuthorizationError::PolicyEvaluationError(inner) = error;
    (AsRef::<str>::as_ref(inner.policy_id()).to_owned(), error.to_string())
}
