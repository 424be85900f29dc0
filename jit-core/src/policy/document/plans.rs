//! Document of a policy whose rules are written elsewhere: people, and plans by name.

use std::collections::BTreeMap;

use super::error::Findings;
use super::read::{Section, shown};
use super::terms::Terms;
use super::who::WhoList;
use super::{check, open};
use crate::directory::ListedDirectory;
use crate::id::RuleName;

const KNOWN: [&str; 7] = ["version", "directory", "groups", "managers", "people", "accounts", "plan"];

/// People and named plans.
#[derive(Debug, Clone)]
pub(in crate::policy) struct Plans {
    pub(in crate::policy) directory: ListedDirectory,
    pub(in crate::policy) named: BTreeMap<RuleName, Terms>,
}

impl Plans {
    pub(in crate::policy) fn read(text: &str, findings: &mut Findings) -> Self {
        let mut named: BTreeMap<RuleName, Terms> = BTreeMap::new();
        let mut directory = open(text, &KNOWN, findings, |document, people, findings| {
            let plans = document.find("plan").and_then(|found| Section::of(found, "plan", findings));
            for (at, name, value) in plans.iter().flat_map(Section::entries) {
                let Some(section) = Section::of(value, Terms::OF_PLAN, findings) else { continue };
                let name = RuleName::new(name);
                if let Err(invalid) = &name {
                    findings.problem(at, format!("this cannot be the name of a plan: {invalid}"));
                }
                section.only(&Terms::KEYS, findings);
                let terms = Terms::read(&section, name.ok(), people.directory, findings);
                named.extend(terms.map(|terms| (terms.plan.rule.clone(), terms)));
            }
            // it is not known here who will ask: a plan is refused only if nobody at all could meet
            // it
            let anybody = WhoList { everybody: true, ..WhoList::default() };
            for terms in named.values().filter(|_| people.known) {
                let what = format!("plan `{}`", shown(terms.plan.rule.as_str()));
                check::stuck(&what, terms, (&anybody, None), people.directory, findings);
            }
        });
        directory.named.extend(named.values().flat_map(|terms| terms.plan.named()).cloned());
        let directory = directory.settled();
        check::alike(&directory, text, findings);
        Self { directory, named }
    }
}
