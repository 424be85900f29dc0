//! Terms of several permits together.

use std::borrow::Cow;

use super::rule::Rule;
use crate::id::RuleName;
use crate::model::approval::{Handling, Limits, Stage, ways};
use crate::policy::document::terms::Terms;

/// Combines the terms of the permits, which are in the order of their names. The strictest limits
/// of all apply.
///
/// # Errors
/// A message, if the permits cannot be met together.
pub(super) fn together<'r>(permits: &[&'r Rule]) -> Result<Cow<'r, Terms>, String> {
    let mut parts = permits.iter().filter_map(|permit| permit.terms.as_ref().map(|terms| (*permit, terms)));
    let Some((first, terms)) = parts.next() else { return Err("no policy names a plan".to_owned()) };
    let mut all = Cow::Borrowed(terms);
    for (permit, terms) in parts {
        let differing = differing(&all.plan.handling, &terms.plan.handling);
        if !differing.is_empty() {
            let (one, other) = (said(first), said(permit));
            let differing = differing.join("`, `");
            return Err(format!("{one} and {other} both permit it and differ in `{differing}`: they have to agree"));
        }
        add(all.to_mut(), terms);
    }
    if let Cow::Owned(all) = &mut all {
        let names: Vec<&str> = permits.iter().map(|permit| permit.name.as_str()).collect();
        let names = names.join(" + ");
        let name = RuleName::new(names.as_str());
        all.plan.rule = name.map_err(|_| format!("too many policies permit it to list all their names: {names}"))?;
        ways(&all.plan.stages).map_err(|why| format!("the stages of {names} together: {why}"))?;
    }
    Ok(all)
}

fn said(permit: &Rule) -> String {
    format!("policy `{}` (plan `{}`)", permit.name, permit.plan)
}

fn add(all: &mut Terms, more: &Terms) {
    all.reason = all.reason.max(more.reason);
    all.tickets.extend(more.tickets.iter().cloned());
    let (limits, other) = (&mut all.plan.limits, &more.plan.limits);
    *limits = Limits {
        max: limits.max.min(other.max),
        max_total: limits.max_total.min(other.max_total),
        decide_by: limits.decide_by.min(other.decide_by),
        start_within: limits.start_within.min(other.start_within),
        grant_within: limits.grant_within.min(other.grant_within),
    };
    // a stage that one plan has twice is meant to be met twice
    let mut met: Vec<Option<&Stage>> = Vec::new();
    let had = all.plan.stages.clone();
    met.extend(had.iter().map(Some));
    for stage in &more.plan.stages {
        match met.iter_mut().find(|had| **had == Some(stage)) {
            Some(had) => *had = None,
            None => all.plan.stages.push(stage.clone()),
        }
    }
    // a plan that names no notifier means every one of them
    if all.plan.notify.is_empty() || more.plan.notify.is_empty() {
        all.plan.notify.clear();
    } else {
        all.plan.notify.extend(more.plan.notify.iter().cloned());
    }
}

/// Returns the keys of the document in which the two differ.
fn differing(one: &Handling, other: &Handling) -> Vec<&'static str> {
    let Handling { sessions, set_role, account_members, prepared, can_grant, activation, dead_mans_switch, leftovers } =
        one;
    let differs = [
        ("sessions", *sessions != other.sessions),
        ("set_role", *set_role != other.set_role),
        ("account_members", *account_members != other.account_members),
        ("prepared", *prepared != other.prepared),
        ("can_grant", *can_grant != other.can_grant),
        ("activation", *activation != other.activation),
        ("dead_mans_switch", *dead_mans_switch != other.dead_mans_switch),
        ("leftovers", *leftovers != other.leftovers),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}
