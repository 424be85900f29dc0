//! Leftovers of an access: what is there at its end and was not at its beginning.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::OwnedObject;
use crate::handling::{Leftovers, Stance};
use crate::id::{Account, RoleName};
use crate::model::access::Access;
use crate::names::name_for;

/// Highest number of leftovers that are named.
const MOST_NAMED: usize = 100;
/// Text after the name of an object that was there before and has changed.
const ALTERED: &str = ", altered";

/// Returns short marks of the objects that were there before.
#[must_use]
pub fn marks(things: &[OwnedObject]) -> BTreeSet<String> {
    things.iter().flat_map(|thing| [Some(mark(thing)), version_mark(thing)]).flatten().collect()
}

fn mark(thing: &OwnedObject) -> String {
    let mut mark = short(name_for(&[&thing.id]));
    if thing.membership.is_some() {
        // there may be hundreds of these
        mark.truncate(8);
    }
    mark
}

fn version_mark(thing: &OwnedObject) -> Option<String> {
    thing.version.as_ref().map(|version| short(name_for(&[&thing.id, version])))
}

fn short(mut mark: String) -> String {
    mark.truncate(16);
    mark
}

/// Returns the report about one object that is new or altered.
fn news(before: &BTreeSet<String>, thing: &OwnedObject) -> Option<String> {
    if !before.contains(&mark(thing)) {
        return Some(thing.what.clone());
    }
    let altered = version_mark(thing).is_some_and(|mark| !before.contains(&mark));
    altered.then(|| format!("{}{ALTERED}", thing.what))
}

/// Returns the objects that were not there before, or were altered since, for people to read.
#[must_use]
pub fn leftovers(before: &BTreeSet<String>, now: &[OwnedObject]) -> Vec<String> {
    let theirs = now.iter().filter(|thing| thing.membership.is_none());
    let mut news: Vec<String> = theirs.filter_map(|thing| news(before, thing)).collect();
    if let Some(more) = news.len().checked_sub(MOST_NAMED).filter(|more| *more > 0) {
        // rare kinds come first: no flood of one kind hides another
        let mut of_kind = BTreeMap::<String, usize>::new();
        for one in &news {
            let count = of_kind.entry(kind(one)).or_default();
            *count = count.saturating_add(1);
        }
        news.sort_by_key(|one| of_kind.get(&kind(one)).copied());
        news.truncate(MOST_NAMED);
        news.push(format!("and {more} more"));
    }
    news
}

/// Returns the kind of the object, which is the first word of an adapter's text (`table`, `right`),
/// with a mark if it was altered.
fn kind(what: &str) -> String {
    format!("{}{}", what.split(' ').next().unwrap_or_default(), if what.ends_with(ALTERED) { ALTERED } else { "" })
}

/// Returns memberships that were not there before: of others in the role, and of the account in
/// other roles.
///
/// If the account or the role is gone by name, one of these may be the same under another name.
/// Empty if memberships were not listed before, or are not listed now.
#[must_use]
pub fn appeared<'t>(before: &BTreeSet<String>, now: &'t [OwnedObject]) -> Vec<&'t (Account, RoleName)> {
    if !lists_memberships(before, now) {
        return Vec::new();
    }
    let new = now.iter().filter(|thing| !before.contains(&mark(thing)));
    new.filter_map(|thing| thing.membership.as_ref()).collect()
}

/// Checks whether memberships were listed, before and now. The broker's own is always among them.
#[must_use]
pub fn lists_memberships(before: &BTreeSet<String>, now: &[OwnedObject]) -> bool {
    now.iter().any(|thing| thing.membership.is_some() && before.contains(&mark(thing)))
}

impl Access {
    /// Checks whether the access compares its leftovers.
    #[must_use]
    pub fn compares(&self) -> bool {
        self.approval().plan().handling.leftovers == Leftovers::Report || self.must_compare()
    }

    /// Checks whether the role can make objects that outlive it. Then nothing is granted without
    /// the comparison.
    #[must_use]
    pub fn must_compare(&self) -> bool {
        self.approval().plan().handling.can_grant == Stance::Accepted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_altered_under_its_name_is_told_and_what_was_not_is_not() {
        let thing = |id: &str, version: Option<&str>| OwnedObject {
            id: id.to_owned(),
            what: format!("function {id}"),
            version: version.map(str::to_owned),
            membership: None,
        };
        let before = marks(&[thing("f", Some("1")), thing("g", Some("1")), thing("h", None)]);
        let now = [thing("f", Some("2")), thing("g", Some("1")), thing("h", None), thing("i", Some("1"))];
        assert_eq!(leftovers(&before, &now), ["function f, altered", "function i"]);
    }

    #[test]
    fn a_flood_of_one_kind_hides_nothing_of_another() {
        let thing = |what: String| OwnedObject { id: what.clone(), what, version: None, membership: None };
        let mut now: Vec<OwnedObject> = (0..200).map(|n| thing(format!("table own{n}"))).collect();
        now.push(thing("zright to letters".to_owned()));
        let told = leftovers(&BTreeSet::new(), &now);
        assert_eq!((told.len(), told.first().map(String::as_str)), (101, Some("zright to letters")));
    }
}
