//! Groups, managers, people and accounts, as the document states them.

use std::collections::{BTreeMap, BTreeSet};

use super::error::Findings;
use super::read::{Found, Section, shown, text, texts};
use super::who::principal;
use crate::directory::ListedDirectory;
use crate::id::{Account, Group, Principal, TargetName};

impl ListedDirectory {
    pub(super) fn read(document: &Section<'_>, findings: &mut Findings) -> Self {
        let mut directory = Self::default();
        if elsewhere(document, findings) {
            let lists = ["groups", "people", "managers", "accounts"];
            for found in lists.into_iter().filter_map(|key| document.find(key)) {
                let line =
                    "with `directory = \"elsewhere\"` people stand in the directory that is configured: remove this";
                findings.problem(found.span().start, line);
            }
            return Self::elsewhere();
        }
        if let Some(section) = document.find("groups").and_then(|found| Section::of(found, "groups", findings)) {
            directory.read_groups(&section, findings);
        }
        if let Some(section) = document.find("people").and_then(|found| Section::of(found, "people", findings)) {
            directory.read_people(&section, findings);
        }
        if let Some(section) = document.find("managers").and_then(|found| Section::of(found, "managers", findings)) {
            directory.read_managers(&section, findings);
        }
        if let Some(section) = document.find("accounts").and_then(|found| Section::of(found, "accounts", findings)) {
            directory.read_accounts(&section, findings);
        }
        directory
    }

    fn read_groups(&mut self, section: &Section<'_>, findings: &mut Findings) {
        for (at, name, value) in section.entries() {
            let members = read_names(value, name, findings);
            match Group::new(name) {
                Ok(group) => {
                    self.groups.insert(group, members.into_iter().map(|(_, member)| member).collect());
                }
                Err(invalid) => findings.problem(at, invalid.to_string()),
            }
        }
    }

    fn read_people(&mut self, section: &Section<'_>, findings: &mut Findings) {
        for (at, name, value) in section.entries() {
            let aliases = read_names(value, name, findings);
            let Some(human) = principal(name, at, findings) else { continue };
            self.named.insert(human.clone());
            for (at, alias) in aliases {
                if section.find(alias.as_str()).is_some() {
                    let line = if alias == human {
                        format!("`{alias}` is an alias of itself: remove it")
                    } else {
                        format!(
                            "`{alias}` is a human of `[people]` and cannot be an alias of `{human}` too: keep one of them"
                        )
                    };
                    findings.problem(at, line);
                } else if let Some(other) = self.humans.insert(alias.clone(), human.clone()) {
                    findings.problem(
                        at,
                        format!("`{alias}` is an alias of `{other}` already: a name belongs to one human"),
                    );
                }
            }
        }
    }

    fn read_managers(&mut self, section: &Section<'_>, findings: &mut Findings) {
        let mut places = BTreeMap::new();
        for (at, name, value) in section.entries() {
            let manager = text(value, name, findings).and_then(|name| principal(name, value.span().start, findings));
            let (Some(who), Some(manager)) = (principal(name, at, findings), manager) else { continue };
            places.insert(who.clone(), at);
            self.managers.insert(who, manager);
        }
        let mut reported: BTreeSet<&Principal> = BTreeSet::new();
        for (who, at) in &places {
            let Some(way) = self.loop_from(who) else { continue };
            if way.iter().any(|human| reported.contains(human)) {
                continue;
            }
            let names: Vec<String> = way.iter().map(|human| format!("`{human}`")).collect();
            let line = match names.as_slice() {
                [_] => format!("`{who}` is their own manager: name somebody else"),
                _ => format!("managers go round in a loop ({}): somebody has to have none", names.join(", ")),
            };
            findings.problem(*at, line);
            reported.extend(way);
        }
    }

    /// Follows the managers from this name upwards. If the way comes back to the same human,
    /// returns the humans of that loop.
    fn loop_from<'d>(&'d self, who: &'d Principal) -> Option<Vec<&'d Principal>> {
        let start = self.human(who);
        let mut way = vec![start];
        let mut next = self.managers.get(who)?;
        loop {
            let human = self.human(next);
            if human == start {
                return Some(way);
            }
            if way.contains(&human) {
                return None;
            }
            way.push(human);
            next = self.manager(next)?;
        }
    }

    fn read_accounts(&mut self, section: &Section<'_>, findings: &mut Findings) {
        for (at, name, value) in section.entries() {
            let Some(accounts) = Section::of(value, "accounts.TARGET", findings) else { continue };
            if name.contains('*') {
                let name = shown(name);
                findings
                    .problem(at, format!("`accounts.{name}` has to name one target exactly: patterns stand in rules"));
                continue;
            }
            let target = match TargetName::new(name) {
                Ok(target) => target,
                Err(invalid) => {
                    findings.problem(at, invalid.to_string());
                    continue;
                }
            };
            let accounts = self.read_target_accounts(&accounts, findings);
            self.accounts.insert(target, accounts);
        }
    }

    fn read_target_accounts(&self, section: &Section<'_>, findings: &mut Findings) -> BTreeMap<Principal, Account> {
        let mut accounts = BTreeMap::new();
        let mut owners: BTreeMap<Account, Principal> = BTreeMap::new();
        for (at, name, value) in section.entries() {
            let account = text(value, name, findings).map(Account::new);
            let Some(who) = principal(name, at, findings) else { continue };
            match account {
                Some(Ok(account)) => {
                    let other = owners.insert(account.clone(), self.human(&who).clone());
                    if let Some(other) = other.filter(|other| other != self.human(&who)) {
                        let line = format!(
                            "`{who}` and `{other}` share the account `{account}`: a role given to one is had by both"
                        );
                        findings.warning(at, None, line);
                    }
                    accounts.insert(who, account);
                }
                Some(Err(invalid)) => findings.problem(value.span().start, invalid.to_string()),
                None => {}
            }
        }
        accounts
    }
}

/// Checks whether people are kept in another directory than the document.
fn elsewhere(document: &Section<'_>, findings: &mut Findings) -> bool {
    document.choice("directory", &[("document", false), ("elsewhere", true)], findings).unwrap_or_default()
}

fn read_names(value: Found<'_>, key: &str, findings: &mut Findings) -> Vec<(usize, Principal)> {
    let names = texts(value, &shown(key), findings).unwrap_or_default();
    names.into_iter().filter_map(|(at, name)| principal(name, at, findings).map(|name| (at, name))).collect()
}
