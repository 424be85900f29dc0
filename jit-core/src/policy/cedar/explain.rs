//! Explanation of a question: what each policy said to it.

use cedar_policy::PolicySet;

use super::CedarPolicy;
use super::ask::{CedarRequest, Side};
use super::judge::satisfied;
use super::rule::Rule;
use super::scope::could_be_about;
use super::together::together;
use crate::policy::document::terms::demands;
use crate::policy::{Explained, Question};

/// Explains every policy about requests for roles, in the order of the text.
pub(super) fn explain(policy: &CedarPolicy, question: &Question<'_>) -> Vec<Explained> {
    let ruling = policy.permits(question).map_err(|no| no.why).and_then(|permits| {
        let terms = together(&permits)?;
        Ok(match terms.excess(question, terms.plan.limits.max) {
            Some(excess) => format!("denied: {excess}"),
            None => demands(&terms.plan),
        })
    });
    let rules = policy.order.iter().filter_map(|name| policy.rules.get(name));
    let of_request = rules.filter(|rule| rule.actions.request);
    let explained = of_request.map(|rule| {
        let (decided, why) = said(policy, rule, question, &ruling);
        Explained { rule: rule.name.clone(), decided, why }
    });
    explained.collect()
}

fn said(policy: &CedarPolicy, rule: &Rule, question: &Question<'_>, ruling: &Result<String, String>) -> (bool, String) {
    if question.break_glass {
        return (false, "Cedar policy gives nothing in an emergency".to_owned());
    }
    let (role, target) = (policy.names.role(question.target, question.role), policy.names.target(question.target));
    if !could_be_about(&rule.policy, &role, &target, &policy.names) {
        let (role, target) = (question.role, question.target);
        return (false, format!("it is not about role `{role}` on target `{target}`"));
    }
    let alone = |side| {
        let set = PolicySet::from_policies([rule.policy.clone()]).unwrap_or_default();
        let answer = satisfied(&CedarRequest::of(question, side, &policy.names), &set, &policy.authorizer);
        answer.map(|permits| !permits.is_empty())
    };
    let for_another = question.grantee.principal != question.requester.principal && !rule.speaks_of_grantee;
    let asked = alone(Side::Requester);
    let got = for_another.then(|| alone(Side::Grantee));
    match (asked, got) {
        (Err(no), _) | (_, Some(Err(no))) => (true, no.why),
        _ if !rule.permits() => (false, "it does not forbid this".to_owned()),
        (Ok(true), None | Some(Ok(true))) => match ruling {
            Ok(all) => (true, all.clone()),
            Err(why) => (false, format!("it permits this, and yet it is denied: {why}")),
        },
        (Ok(true), Some(Ok(false))) => {
            let grantee = &question.grantee.principal;
            (
                false,
                format!(
                    "it permits this to `{}` and not to `{grantee}`, who would get the role",
                    question.requester.principal
                ),
            )
        }
        (Ok(false), _) => (false, "its scope or its conditions are not met".to_owned()),
    }
}
