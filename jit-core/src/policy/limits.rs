//! Limits of the durations: whether a question keeps to them.

use chrono::TimeDelta;

use super::document::read::said;
use super::{Question, Ruling};
use crate::clock::{after, span};

/// Holds a ruling to its own limits: a plan for less than was asked becomes a denial.
///
/// A policy that someone else wrote can forget to compare the durations.
pub(crate) fn held(ruling: Ruling, question: &Question<'_>) -> Ruling {
    let Ruling::Planned(plan) = ruling else { return ruling };
    let over = duration(question, plan.limits.max).or_else(|| start(question, plan.limits.start_within));
    match over {
        Some(reason) => Ruling::Denied { rule: Some(plan.rule), reason, policy: plan.policy },
        None => Ruling::Planned(plan),
    }
}

/// Says what is wrong with the duration, and what would be accepted; `None` if nothing is.
pub(super) fn duration(question: &Question<'_>, longest: TimeDelta) -> Option<String> {
    let max = said(longest);
    if question.duration <= TimeDelta::zero() {
        return Some(format!("the duration has to be longer than zero: ask for up to `{max}`"));
    }
    let over = question.duration > longest;
    over.then(|| format!("`{}` is too long: ask for at most `{max}`", said(question.duration)))
}

/// Says what is wrong with the start, and what would be accepted; `None` if nothing is. `within` is
/// the longest time until a start.
pub(super) fn start(question: &Question<'_>, within: TimeDelta) -> Option<String> {
    let start = question.start?;
    if question.break_glass {
        return Some("an emergency has no scheduled start".to_owned());
    }
    if within.is_zero() {
        return Some("a scheduled start is not accepted here: ask without one when you need the role".to_owned());
    }
    if start < question.asked_at {
        return Some("the start lies in the past: ask for a later one, or without one".to_owned());
    }
    let latest = after(question.asked_at, within);
    let over = span(latest, start) > TimeDelta::zero();
    over.then(|| format!("the start lies too far ahead: ask for one within `{}` from now", said(within)))
}
