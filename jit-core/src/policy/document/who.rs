//! Lists of people: `group:NAME`, `NAME`, `*`.

use std::collections::BTreeSet;

use super::error::Findings;
use super::read::{near, shown};
use crate::directory::ListedDirectory;
use crate::directory::Person;
use crate::id::{Group, Principal};
use crate::model::approval::Requirement;

/// People, by group or by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct WhoList {
    pub(super) everybody: bool,
    pub(super) groups: BTreeSet<Group>,
    pub(super) names: BTreeSet<Principal>,
}

impl WhoList {
    /// Reads the entries; a group has to be one of the document's groups.
    pub(super) fn read(entries: &[(usize, &str)], directory: &ListedDirectory, findings: &mut Findings) -> Self {
        let mut list = Self::default();
        for &(at, entry) in entries {
            if entry == "*" {
                list.everybody = true;
            } else if let Some(name) = entry.strip_prefix(GROUP) {
                list.groups.extend(known_group(name, at, directory, findings));
            } else if let Some(prefix) = prefix(entry) {
                let (entry, prefix) = (shown(entry), shown(prefix));
                let line = format!(
                    "`{entry}` begins with an unknown prefix, `{prefix}:`: known are `group:NAME`, `NAME` and `*`"
                );
                findings.problem(at, line);
            } else {
                list.names.extend(principal(entry, at, findings));
                if Group::new(entry).is_ok_and(|group| directory.group(&group).is_some()) && !directory.names(entry) {
                    let entry = shown(entry);
                    let line =
                        format!("`{entry}` is a person here and a group in `[groups]`: did you mean `group:{entry}`?");
                    findings.warning(at, None, line);
                }
            }
        }
        list
    }

    /// Checks whether the list has the person, by their own name or by a group that this name is
    /// in.
    pub(super) fn has(&self, person: &Person) -> bool {
        self.everybody
            || self.names.contains(&person.principal)
            || person.groups.iter().any(|group| self.groups.contains(group))
    }

    /// Checks whether the list can mean anybody at all.
    pub(super) fn means_somebody(&self, directory: &ListedDirectory) -> bool {
        let filled = |group| directory.group(group).is_some_and(|members| !members.is_empty());
        self.everybody || !self.names.is_empty() || self.groups.iter().any(filled)
    }

    /// Returns every principal of the document on the list; `None` stands for a person whom the
    /// document does not name.
    pub(super) fn principals<'d>(&'d self, directory: &'d ListedDirectory) -> BTreeSet<Option<&'d Principal>> {
        let members = self.groups.iter().filter_map(|group| directory.group(group)).flatten();
        let mut all: BTreeSet<Option<&Principal>> = members.chain(&self.names).map(Some).collect();
        if self.everybody {
            all.extend(directory.principals().into_iter().map(Some));
            all.insert(None);
        }
        all
    }

    /// Turns each entry into a requirement that one approval of that person or group would meet.
    pub(super) fn requirements(&self) -> Vec<Requirement> {
        let groups = self.groups.iter().map(|group| Requirement::Group { group: group.clone(), quorum: 1 });
        groups.chain(self.names.iter().cloned().map(Requirement::Person)).collect()
    }

    /// Returns the entries one by one.
    pub(super) fn entries(&self) -> Vec<Entry<'_>> {
        if self.everybody {
            return vec![Entry::Everybody];
        }
        self.groups.iter().map(Entry::Group).chain(self.names.iter().map(Entry::Name)).collect()
    }

    /// Checks whether everybody of the entry is on the list.
    pub(super) fn covers(&self, entry: Entry<'_>, directory: &ListedDirectory) -> bool {
        let has = |name: &Principal| {
            let in_group = |group| directory.group(group).is_some_and(|members| members.contains(name));
            self.names.contains(name) || self.groups.iter().any(in_group)
        };
        self.everybody
            || match entry {
                Entry::Everybody => false,
                Entry::Group(group) => {
                    self.groups.contains(group) || directory.group(group).is_some_and(|members| members.iter().all(has))
                }
                Entry::Name(name) => has(name),
            }
    }
}

/// One entry of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry<'d> {
    Everybody,
    Group(&'d Group),
    Name(&'d Principal),
}

/// Prefix of an entry that names a group.
const GROUP: &str = "group:";

/// Returns the text before the one colon of an entry: it should say what the rest is. Names of
/// people have no colon, or more than one (`system:serviceaccount:ci:bot`), or are addresses
/// (`spiffe://...`).
pub(in crate::policy) fn prefix(entry: &str) -> Option<&str> {
    let (prefix, rest) = entry.split_once(':')?;
    (!rest.contains(':') && !rest.starts_with("//")).then_some(prefix)
}

/// Reads a group where only a group can stand, with or without `group:` before it. A name of the
/// document may have a colon, too.
pub(super) fn group(entry: &str, at: usize, directory: &ListedDirectory, findings: &mut Findings) -> Option<Group> {
    let name = entry.strip_prefix(GROUP);
    let is_known = || Group::new(entry).is_ok_and(|group| directory.group(&group).is_some());
    if let Some(prefix) = prefix(entry).filter(|_| name.is_none() && !is_known()) {
        let (entry, prefix) = (shown(entry), shown(prefix));
        let line = format!("`{entry}` begins with an unknown prefix, `{prefix}:`: known are `group:NAME` and `NAME`");
        findings.problem(at, line);
        return None;
    }
    known_group(name.unwrap_or(entry), at, directory, findings)
}

/// Reads a group that the document has.
fn known_group(name: &str, at: usize, directory: &ListedDirectory, findings: &mut Findings) -> Option<Group> {
    let known = |group: &Group| directory.is_elsewhere() || directory.group(group).is_some();
    let group = Group::new(name).ok().filter(known);
    if group.is_none() {
        let hint = match near(name, directory.groups().map(Group::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "add it to `[groups]`".to_owned(),
        };
        findings.problem(at, format!("there is no group `{}`: {hint}", shown(name)));
    }
    group
}

/// Reads a principal's name that no list could take for something else.
pub(super) fn principal(name: &str, at: usize, findings: &mut Findings) -> Option<Principal> {
    if name == "*" || name.starts_with(GROUP) {
        let name = shown(name);
        findings.problem(at, format!("`{name}` is not the name of a person: only names can stand here, one by one"));
        return None;
    }
    if let Some(prefix) = prefix(name) {
        let (name, prefix) = (shown(name), shown(prefix));
        let line = format!("`{name}` begins with an unknown prefix, `{prefix}:`: a person stands here by name alone");
        findings.problem(at, line);
        return None;
    }
    match Principal::new(name) {
        Ok(principal) => Some(principal),
        Err(invalid) => {
            findings.problem(at, invalid.to_string());
            None
        }
    }
}
