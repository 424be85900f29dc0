//! What an access leaves behind: what is there at its end and was not at its beginning.

use std::collections::{BTreeMap, BTreeSet};

use crate::access::Access;
use crate::database::Thing;
use crate::database::adapter::name_for;
use crate::id::{Account, RoleName};
use crate::policy::{LeftBehind, Stance};

/// As many are named at most.
const MOST_NAMED: usize = 100;
/// What is said of a thing that was there before, and is another now.
const ALTERED: &str = ", altered";

/// What was there before, as short as it can be kept.
#[must_use]
pub fn marks(things: &[Thing]) -> BTreeSet<String> {
    things.iter().flat_map(|thing| [Some(mark(thing)), version_mark(thing)]).flatten().collect()
}

fn mark(thing: &Thing) -> String {
    let mut mark = short(name_for(&[&thing.id]));
    if thing.membership.is_some() {
        // of these there may be hundreds
        mark.truncate(8);
    }
    mark
}

fn version_mark(thing: &Thing) -> Option<String> {
    thing.version.as_ref().map(|version| short(name_for(&[&thing.id, version])))
}

fn short(mut mark: String) -> String {
    mark.truncate(16);
    mark
}

/// What is new or altered of one thing.
fn news(before: &BTreeSet<String>, thing: &Thing) -> Option<String> {
    if !before.contains(&mark(thing)) {
        return Some(thing.what.clone());
    }
    let altered = version_mark(thing).is_some_and(|mark| !before.contains(&mark));
    altered.then(|| format!("{}{ALTERED}", thing.what))
}

/// What was not there before, or was altered since, for people to read.
#[must_use]
pub fn left_behind(before: &BTreeSet<String>, now: &[Thing]) -> Vec<String> {
    let theirs = now.iter().filter(|thing| thing.membership.is_none());
    let mut news: Vec<String> = theirs.filter_map(|thing| news(before, thing)).collect();
    if let Some(more) = news.len().checked_sub(MOST_NAMED).filter(|more| *more > 0) {
        // of what there is least comes first: no flood of one kind hides what there is of another
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

/// Of what kind it is, as adapters begin what they say of it (`table`, `right`), and whether it was altered.
fn kind(what: &str) -> String {
    format!("{}{}", what.split(' ').next().unwrap_or_default(), if what.ends_with(ALTERED) { ALTERED } else { "" })
}

/// Memberships that were not there before, of others in the role and of the account in other roles: where the account or the role is gone by name,
/// one of these may be the same under another name. None where they were not listed before, or are not now.
#[must_use]
pub fn appeared<'t>(before: &BTreeSet<String>, now: &'t [Thing]) -> Vec<&'t (Account, RoleName)> {
    if !lists_memberships(before, now) {
        return Vec::new();
    }
    let new = now.iter().filter(|thing| !before.contains(&mark(thing)));
    new.filter_map(|thing| thing.membership.as_ref()).collect()
}

/// Whether memberships were listed, before and now: the broker's own is always among them.
#[must_use]
pub fn lists_memberships(before: &BTreeSet<String>, now: &[Thing]) -> bool {
    now.iter().any(|thing| thing.membership.is_some() && before.contains(&mark(thing)))
}

impl Access {
    /// Whether it is looked at what it leaves behind.
    #[must_use]
    pub fn compares(&self) -> bool {
        self.approval().plan().handling.left_behind == LeftBehind::Report || self.must_compare()
    }

    /// Whether nothing is granted unless that can be done: its role can make what outlives it.
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
        let thing = |id: &str, version: Option<&str>| Thing {
            id: id.to_owned(),
            what: format!("function {id}"),
            version: version.map(str::to_owned),
            membership: None,
        };
        let before = marks(&[thing("f", Some("1")), thing("g", Some("1")), thing("h", None)]);
        let now = [thing("f", Some("2")), thing("g", Some("1")), thing("h", None), thing("i", Some("1"))];
        assert_eq!(left_behind(&before, &now), ["function f, altered", "function i"]);
    }

    #[test]
    fn a_flood_of_one_kind_hides_nothing_of_another() {
        let thing = |what: String| Thing { id: what.clone(), what, version: None, membership: None };
        let mut now: Vec<Thing> = (0..200).map(|n| thing(format!("table own{n}"))).collect();
        now.push(thing("zright to letters".to_owned()));
        let told = left_behind(&BTreeSet::new(), &now);
        assert_eq!((told.len(), told.first().map(String::as_str)), (101, Some("zright to letters")));
    }
}
