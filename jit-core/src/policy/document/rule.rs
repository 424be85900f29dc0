//! One rule: how it is read, what it matches, and what it demands.

use chrono::TimeDelta;

use super::emergency::Emergency;
use super::error::Findings;
use super::glob::Glob;
use super::read::{Section, shown, text};
use super::terms::{Terms, demands};
use super::who::WhoList;
use crate::directory::ListedDirectory;
use crate::id::{Principal, RoleName, RuleName, TargetName};
use crate::model::approval::Plan;
use crate::policy::Question;

/// Keys of a rule besides those of its terms.
const OWN: [&str; 6] = ["name", "targets", "roles", "requesters", "grantees", "break_glass"];

/// A rule, ready for questions.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) targets: Vec<Glob>,
    pub(super) roles: Vec<RoleName>,
    pub(super) requesters: WhoList,
    grantees: Option<WhoList>,
    pub(super) emergency: Option<Emergency>,
    pub(super) terms: Terms,
}

impl Rule {
    pub(super) fn name(&self) -> &RuleName {
        &self.terms.plan.rule
    }

    /// Returns the people who may get the role: those of `grantees`, otherwise the requesters.
    pub(super) fn grantees(&self) -> &WhoList {
        self.grantees.as_ref().unwrap_or(&self.requesters)
    }

    /// Returns everybody whom the rule names one by one.
    pub(super) fn names(&self) -> impl Iterator<Item = &Principal> {
        let emergency = self.emergency.iter().flat_map(Emergency::people);
        let lists = [&self.requesters, self.grantees()].into_iter().chain(emergency);
        lists.flat_map(|list| &list.names).chain(self.terms.plan.named())
    }

    /// Checks whether the rule names grantees of its own.
    pub(super) fn names_grantees(&self) -> bool {
        self.grantees.is_some()
    }

    pub(super) fn has_target(&self, target: &TargetName) -> bool {
        self.targets.iter().any(|glob| glob.matches(target.as_str()))
    }

    pub(super) fn has_people(&self, question: &Question<'_>) -> bool {
        if question.break_glass {
            return self.emergency.as_ref().is_some_and(|emergency| emergency.allows(question));
        }
        self.requesters.has(question.requester) && self.grantees().has(question.grantee)
    }

    /// Returns the reason why the rule does not match; `None` if it matches.
    pub(super) fn mismatch(&self, question: &Question<'_>) -> Option<String> {
        let Question { target, role, requester, grantee, .. } = question;
        if !self.has_target(target) {
            let targets: Vec<String> = self.targets.iter().map(|glob| format!("`{}`", glob.text())).collect();
            return Some(format!("target `{target}` is not among {}", targets.join(", ")));
        }
        if !self.roles.contains(role) {
            let roles: Vec<String> = self.roles.iter().map(|role| format!("`{role}`")).collect();
            return Some(format!("role `{role}` is not among {}", roles.join(", ")));
        }
        if question.break_glass {
            let why = match &self.emergency {
                None => "it has no `break_glass`".to_owned(),
                Some(_) => {
                    format!("`{}` may not take the role in an emergency, or not for another", requester.principal)
                }
            };
            return (!self.has_people(question)).then_some(why);
        }
        if !self.requesters.has(requester) {
            return Some(format!("`{}` is not among its requesters", requester.principal));
        }
        if !self.grantees().has(grantee) {
            return Some(format!("`{}` is not among those who may get the role", grantee.principal));
        }
        None
    }

    /// Lists the limits that the question exceeds, and what would be accepted; `None` if it is
    /// within all limits.
    pub(super) fn excess(&self, question: &Question<'_>) -> Option<String> {
        self.terms.excess(question, self.longest(question))
    }

    /// Returns the plan that the question has to meet.
    pub(super) fn plan_for(&self, question: &Question<'_>) -> Plan {
        match self.emergency.as_ref().filter(|_| question.break_glass) {
            Some(emergency) => emergency.plan(&self.terms.plan, question),
            None => self.terms.plan.clone(),
        }
    }

    fn longest(&self, question: &Question<'_>) -> TimeDelta {
        let emergency = self.emergency.as_ref().filter(|_| question.break_glass);
        emergency.map_or(self.terms.plan.limits.max, Emergency::max)
    }

    /// Describes the demands of the rule, for people to read.
    pub(super) fn demands(&self, question: &Question<'_>) -> String {
        demands(&self.plan_for(question))
    }

    /// Reads one `[[rule]]`; `None` if it has a problem.
    pub(super) fn read(section: &Section<'_>, directory: &ListedDirectory, findings: &mut Findings) -> Option<Self> {
        let before = findings.problems();
        section.only(&[&OWN[..], &Terms::KEYS].concat(), findings);
        let name = section.demand("name", "\"read orders\"", findings).and_then(|found| {
            let name = RuleName::new(text(found, "name", findings)?);
            name.map_err(|invalid| findings.problem(found.span().start, invalid.to_string())).ok()
        });
        let targets = read_targets(section, findings);
        let roles = read_roles(section, findings);
        let requesters = section
            .demand_texts("requesters", "[\"group:payments\"]", findings)
            .map(|entries| WhoList::read(&entries, directory, findings));
        let grantees = section.find("grantees").and_then(|_| {
            let entries = section.demand_texts("grantees", "[\"group:payments\"]", findings)?;
            Some(WhoList::read(&entries, directory, findings))
        });
        let terms = Terms::read(section, name, directory, findings);
        let emergency = Emergency::read(section, directory, findings);
        if findings.problems() != before {
            return None;
        }
        Some(Self { targets: targets?, roles: roles?, requesters: requesters?, grantees, emergency, terms: terms? })
    }
}

/// Reads target patterns, of a rule or of `[[may]]`.
pub(super) fn read_targets(section: &Section<'_>, findings: &mut Findings) -> Option<Vec<Glob>> {
    let mut globs = Vec::new();
    for (at, pattern) in section.demand_texts("targets", "[\"orders-*\"]", findings)? {
        match TargetName::new(pattern) {
            Ok(pattern) => globs.push(Glob::new(pattern.as_str())),
            Err(invalid) => findings.problem(at, invalid.to_string()),
        }
    }
    Some(globs)
}

fn read_roles(section: &Section<'_>, findings: &mut Findings) -> Option<Vec<RoleName>> {
    let mut roles = Vec::new();
    for (at, name) in section.demand_texts("roles", "[\"orders_read\"]", findings)? {
        if name.contains('*') {
            let name = shown(name);
            let line =
                format!("`{name}` is a pattern, and roles are named exactly: reconciliation has to know each of them");
            findings.problem(at, line);
            continue;
        }
        match RoleName::new(name) {
            Ok(role) => roles.push(role),
            Err(invalid) => findings.problem(at, invalid.to_string()),
        }
    }
    Some(roles)
}
