//! Index that finds the first matching rule without asking every rule.

use std::collections::BTreeMap;

use super::rule::Rule;
use crate::id::RoleName;
use crate::policy::Question;

/// Rules by role, and within a role by exactly named target; numbers ascend in every list.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    by_role: BTreeMap<RoleName, Slot>,
}

#[derive(Debug, Clone, Default)]
struct Slot {
    exact: BTreeMap<String, Vec<usize>>,
    patterns: Vec<usize>,
}

impl Index {
    pub(super) fn of(rules: &[Rule]) -> Self {
        let mut index = Self::default();
        for (number, rule) in rules.iter().enumerate() {
            for role in &rule.roles {
                let slot = index.by_role.entry(role.clone()).or_default();
                let names: Option<Vec<&str>> = rule.targets.iter().map(super::glob::Glob::exact).collect();
                match names {
                    Some(names) => {
                        for name in names {
                            slot.exact.entry(name.to_owned()).or_default().push(number);
                        }
                    }
                    None => slot.patterns.push(number),
                }
            }
        }
        index
    }

    /// Returns the first matching rule, in the document's order.
    pub(super) fn first<'r>(&self, rules: &'r [Rule], question: &Question<'_>) -> Option<&'r Rule> {
        let slot = self.by_role.get(question.role)?;
        let rule = |number: &usize| rules.get(*number).map(|rule| (*number, rule));
        let exact = slot.exact.get(question.target.as_str()).map(Vec::as_slice).unwrap_or_default();
        let first = exact.iter().filter_map(rule).find(|(_, rule)| rule.has_people(question));
        let end = first.map_or(usize::MAX, |(number, _)| number);
        let earlier = slot.patterns.iter().take_while(|number| **number < end).filter_map(rule);
        let mut matching = earlier.filter(|(_, rule)| rule.has_target(question.target) && rule.has_people(question));
        matching.next().or(first).map(|(_, rule)| rule)
    }
}
