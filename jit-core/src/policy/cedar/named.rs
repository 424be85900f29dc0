//! Policies of a text under their own names.

use std::collections::BTreeMap;

use cedar_policy::{ParseErrors, Policy, PolicyId, PolicySet};

use super::place;
use crate::id::RuleName;
use crate::policy::document::error::Findings;

/// Returns every policy under its `@id`, with its place; `None` if a policy has no `@id`.
pub(super) fn named(text: &str, findings: &mut Findings) -> Option<Vec<(usize, RuleName, Policy)>> {
    let set: PolicySet = match text.parse() {
        Ok(set) => set,
        Err(errors) => {
            let errors: &ParseErrors = &errors;
            for error in errors.iter() {
                let line = format!("this is not valid Cedar: {}", place::words(error));
                findings.problem(place::of(error).unwrap_or_default(), line);
            }
            return None;
        }
    };
    let before = findings.problems();
    let mut named = Vec::new();
    let mut seen: BTreeMap<RuleName, usize> = BTreeMap::new();
    for (number, at) in place::starts(text).into_iter().enumerate() {
        // Cedar numbers the policies that it reads in this way
        let Some(policy) = set.policy(&PolicyId::new(format!("policy{number}"))) else {
            findings.problem(at, "templates are not taken here: write a policy without `?principal` and `?resource`");
            continue;
        };
        let Some(id) = policy.annotation("id") else {
            findings.problem(at, "this policy has no name: add one, like `@id(\"change orders\")`");
            continue;
        };
        let name = match RuleName::new(id) {
            Ok(name) => name,
            Err(invalid) => {
                findings.problem(at, invalid.to_string());
                continue;
            }
        };
        if seen.insert(name.clone(), at).is_some() {
            findings.problem(at, format!("two policies have `@id(\"{name}\")`: rename one"));
        }
        let policy = policy.new_id(PolicyId::new(name.as_str()));
        named.push((at, name, policy));
    }
    let all = named.len() == set.num_of_policies();
    if !all && findings.problems() == before {
        findings.problem(0, "not every policy of this text could be told from the others");
    }
    (findings.problems() == before).then_some(named)
}
