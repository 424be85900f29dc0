//! Rules about actions that only some people may take (law 16).

use std::collections::BTreeSet;

use super::error::Findings;
use super::glob::Glob;
use super::read::{Section, near, quoted, shown};
use super::rule::read_targets;
use super::who::WhoList;
use crate::directory::ListedDirectory;
use crate::directory::Person;
use crate::id::{Group, Principal, TargetName};
use crate::policy::Action;

/// One `[[may]]` table.
#[derive(Debug, Clone)]
pub(super) struct May {
    actions: BTreeSet<Action>,
    who: WhoList,
    targets: Vec<Glob>,
}

impl May {
    /// Checks whether this table allows the action. An action on no target needs `*` in `targets`.
    pub(super) fn allows(&self, action: Action, who: &Person, target: Option<&TargetName>) -> bool {
        let has_target = |glob: &Glob| match target {
            Some(target) => glob.matches(target.as_str()),
            None => glob.text() == "*",
        };
        self.actions.contains(&action) && self.targets.iter().any(has_target) && self.who.has(who)
    }

    pub(super) fn targets(&self) -> &[Glob] {
        &self.targets
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.who.groups.iter()
    }

    /// Returns everybody whom the table names one by one.
    pub(super) fn names(&self) -> impl Iterator<Item = &Principal> {
        self.who.names.iter()
    }

    pub(super) fn read(section: &Section<'_>, directory: &ListedDirectory, findings: &mut Findings) -> Option<Self> {
        section.only(&["do", "who", "targets"], findings);
        let known: Vec<&str> = Action::ALL.into_iter().map(Action::as_str).collect();
        let mut actions = BTreeSet::new();
        for (at, word) in section.demand_texts("do", "[\"revoke\"]", findings).unwrap_or_default() {
            match Action::ALL.into_iter().find(|action| action.as_str() == word) {
                Some(action) => {
                    actions.insert(action);
                }
                None => {
                    let hint = match near(word, known.iter().copied()) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("known are {}", quoted(&known)),
                    };
                    findings.problem(at, format!("`{}` is not an action: {hint}", shown(word)));
                }
            }
        }
        let who = section
            .demand_texts("who", "[\"group:security\"]", findings)
            .map(|entries| WhoList::read(&entries, directory, findings));
        let targets = read_targets(section, findings);
        Some(Self { actions, who: who?, targets: targets? })
    }
}
