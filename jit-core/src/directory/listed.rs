//! Lists of groups, managers, people and accounts: of a policy document, or of another directory's
//! answer.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde::Deserialize;

use super::{Directory, DirectoryError, Person};
use crate::alike::Known;
use crate::id::{Account, Group, Principal, TargetName};

/// A directory that consists of a few lists. It accepts every name: a name that is in no list has
/// no group and no manager. It knows only the names that are in a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListedDirectory {
    pub(crate) groups: BTreeMap<Group, BTreeSet<Principal>>,
    pub(crate) managers: BTreeMap<Principal, Principal>,
    /// Humans by alias.
    pub(crate) humans: BTreeMap<Principal, Principal>,
    pub(crate) accounts: BTreeMap<TargetName, BTreeMap<Principal, Account>>,
    /// Names that are in no list above and are known all the same: humans without aliases, and
    /// principals that the rules name.
    pub(crate) named: BTreeSet<Principal>,
    /// True if the lists are kept elsewhere, so that every group may exist.
    elsewhere: bool,
    /// All names above, as [`Self::settled`] found them.
    pub(crate) known: Known,
}

/// Lists in their JSON form.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lists {
    #[serde(default)]
    groups: BTreeMap<Group, BTreeSet<Principal>>,
    #[serde(default)]
    managers: BTreeMap<Principal, Principal>,
    /// Aliases of each human.
    #[serde(default)]
    people: BTreeMap<Principal, BTreeSet<Principal>>,
    #[serde(default)]
    accounts: BTreeMap<TargetName, BTreeMap<Principal, Account>>,
}

#[async_trait]
impl Directory for ListedDirectory {
    async fn revision(&self) -> Result<Option<String>, DirectoryError> {
        Ok(None)
    }

    fn answers_at_once(&self) -> bool {
        true
    }

    async fn person(&self, who: &Principal, groups: &BTreeSet<Group>) -> Result<Person, DirectoryError> {
        Ok(self.look_up(who, groups))
    }

    async fn account(&self, who: &Principal, target: &TargetName) -> Result<Option<String>, DirectoryError> {
        Ok(self.account_of(who, target))
    }

    async fn members(&self, group: &Group) -> Result<BTreeSet<Principal>, DirectoryError> {
        let unknown = || DirectoryError::Unknown { who: format!("group:{group}") };
        self.group(group).cloned().ok_or_else(unknown)
    }

    async fn knows(&self, who: &Principal) -> Result<bool, DirectoryError> {
        Ok(self.lists(who))
    }

    async fn principal_like(&self, who: &Principal) -> Result<Option<Principal>, DirectoryError> {
        Ok(self.known.like(who.as_str()).and_then(|known| Principal::new(known).ok()))
    }

    async fn account_like(&self, account: &str, target: &TargetName) -> Result<Option<String>, DirectoryError> {
        let known: Known =
            self.accounts.get(target).into_iter().flat_map(BTreeMap::values).map(Account::as_str).collect();
        Ok(known.like(account).map(str::to_owned))
    }
}

impl ListedDirectory {
    /// Reads a JSON object with these fields, all of them optional: `"groups": {"dba": ["bob"]}`,
    /// `"managers": {"alice": "bob"}`, `"people": {"erin": ["erin-admin"]}`,
    /// `"accounts": {"orders": {"alice": "alice_app"}}`. `people` has the aliases of each human.
    ///
    /// # Errors
    /// A message, if the text is something else, or a name is an alias of two humans, or of a human
    /// that is an alias itself.
    pub fn from_json(text: &[u8]) -> Result<Self, String> {
        // a JSON array would be read as the fields in their order
        if text.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            return Err("these are no lists of people: a JSON object is expected".to_owned());
        }
        let lists: Lists =
            serde_json::from_slice(text).map_err(|error| format!("these are no lists of people: {error}"))?;
        let mut humans = BTreeMap::new();
        for (human, aliases) in &lists.people {
            for alias in aliases {
                if lists.people.contains_key(alias) {
                    return Err(format!("`{alias}` is a human and cannot be an alias of `{human}` too"));
                }
                if let Some(other) = humans.insert(alias.clone(), human.clone()) {
                    return Err(format!(
                        "`{alias}` is an alias of `{other}` and of `{human}`: a name belongs to one human"
                    ));
                }
            }
        }
        let Lists { groups, managers, accounts, people } = lists;
        let named = people.into_keys().collect();
        Ok(Self { groups, managers, humans, accounts, named, ..Self::default() }.settled())
    }

    /// Makes a directory whose lists are kept elsewhere.
    pub(crate) fn elsewhere() -> Self {
        Self { elsewhere: true, ..Self::default() }
    }

    /// Completes the lists: from now on, everybody in them is known.
    pub(crate) fn settled(mut self) -> Self {
        self.known = self.principals().into_iter().chain(&self.named).map(Principal::as_str).collect();
        self
    }

    /// Checks whether the lists are kept elsewhere, so that nothing can be said about the members
    /// of a group.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.elsewhere
    }

    /// Looks the person up at once, with only those of their groups that are asked for. An alias
    /// has its own groups. It has the manager of its human, unless it has a manager itself.
    #[must_use]
    pub fn look_up(&self, who: &Principal, groups: &BTreeSet<Group>) -> Person {
        let has = |group: &&Group| self.group(group).is_some_and(|members| members.contains(who));
        Person {
            principal: who.clone(),
            human: self.human(who).clone(),
            groups: groups.iter().filter(has).cloned().collect(),
            manager: self.manager(who).cloned(),
        }
    }

    /// Returns the name of the principal's account on the target, if it is not the principal's own
    /// name.
    #[must_use]
    pub fn account_of(&self, who: &Principal, target: &TargetName) -> Option<String> {
        let account = self.accounts.get(target).and_then(|accounts| accounts.get(who));
        account.map(|account| account.as_str().to_owned())
    }

    /// Returns the human behind the name, which is the name itself if it is nobody's alias.
    pub(crate) fn human<'d>(&'d self, who: &'d Principal) -> &'d Principal {
        self.humans.get(who).unwrap_or(who)
    }

    pub(crate) fn manager(&self, who: &Principal) -> Option<&Principal> {
        self.managers.get(who).or_else(|| self.managers.get(self.human(who)))
    }

    pub(crate) fn group(&self, group: &Group) -> Option<&BTreeSet<Principal>> {
        self.groups.get(group)
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.keys()
    }

    /// Checks whether a list names this principal.
    pub(crate) fn lists(&self, who: &Principal) -> bool {
        self.known.has(who.as_str())
    }

    /// Returns all principals that the lists name.
    pub(crate) fn principals(&self) -> BTreeSet<&Principal> {
        let members = self.groups.values().flatten();
        let managers = self.managers.iter().flat_map(|(of, manager)| [of, manager]);
        let aliases = self.humans.iter().flat_map(|(alias, human)| [alias, human]);
        let accounts = self.accounts.values().flat_map(BTreeMap::keys);
        members.chain(managers).chain(aliases).chain(accounts).collect()
    }

    /// Checks whether the lists name a principal of this name.
    pub(crate) fn names(&self, name: &str) -> bool {
        self.principals().into_iter().any(|principal| principal.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_strictly() {
        let lists = br#"{"groups": {"dba": ["bob", "erin-admin"]}, "managers": {"erin": "bob"}, "people": {"erin": ["erin-admin"]},
            "accounts": {"orders": {"erin": "erin_app"}}}"#;
        let directory = ListedDirectory::from_json(lists).unwrap();
        let (erin, dba) = (Principal::new("erin-admin").unwrap(), Group::new("dba").unwrap());
        let person = directory.look_up(&erin, &[dba.clone()].into());
        assert_eq!(
            (person.human.as_str(), person.manager.unwrap().as_str(), person.groups),
            ("erin", "bob", [dba].into())
        );
        for wrong in [
            "[]",
            "{\"group\": {}}",
            "{\"groups\": {\"\": []}}",
            "{\"people\": {\"a\": [\"x\"], \"b\": [\"x\"]}}",
            "{\"people\": {\"a\": [\"b\"], \"b\": []}}",
        ] {
            assert!(ListedDirectory::from_json(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
