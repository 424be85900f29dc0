//! Whether people who said yes can meet what is required, each of them once.
//!
//! It is a maximum bipartite matching (Kuhn's algorithm) of the people needed with the people who decided, tried for every
//! way in which `any` requirements can be met.

use std::collections::BTreeSet;

use super::decision::Decision;
use super::people::Snapshot;
use super::plan::{MOST_WAYS, Need, Requirement, Stage, Subject, TooManyWays, Who};
use crate::id::Principal;

/// How many of the needed people are there, in the best way, and how many that way needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Matched {
    pub(super) found: usize,
    pub(super) needed: usize,
}

impl Matched {
    pub(super) fn is_met(self) -> bool {
        self.found >= self.needed
    }
}

/// Whether what the directory says of this person makes him one whom the need names.
pub(super) fn entitled(who: &Who, name: &Principal, snapshot: &Snapshot) -> bool {
    if snapshot.is_party() {
        return false;
    }
    match who {
        Who::Group(group) => snapshot.groups.contains(group),
        Who::ManagerOf(Subject::Requester) => snapshot.manages_requester,
        Who::ManagerOf(Subject::Receiver) => snapshot.manages_receiver,
        Who::Person(person) => name == person,
    }
}

/// Every way in which all requirements of the stages can be met together.
pub(crate) fn ways(stages: &[Stage]) -> Result<Vec<Vec<Need>>, TooManyWays> {
    let mut all: Vec<Vec<Need>> = vec![Vec::new()];
    let numbered = stages.iter().enumerate().flat_map(|(stage, asks)| asks.people.iter().map(move |one| (stage, one)));
    for (stage, requirement) in numbered {
        let options = Requirement::ways(requirement)?;
        let mut next = Vec::new();
        for begun in &all {
            for option in &options {
                let mut way = begun.clone();
                way.extend(option.iter().map(|who| Need { stage, who: who.clone() }));
                if way.len() > MOST_WAYS || next.len() >= MOST_WAYS {
                    return Err(TooManyWays);
                }
                next.push(way);
            }
        }
        all = next;
    }
    Ok(all)
}

/// The best match over all ways with so many people: one that is met, else the one with the fewest people missing.
pub(super) fn best(ways: &[Vec<Need>], people: usize, fits: &dyn Fn(&Need, usize) -> bool) -> Matched {
    let mut best = Matched { found: 0, needed: usize::MAX };
    for way in ways {
        let matched = {
            let fits = |need: usize, person: usize| way.get(need).is_some_and(|need| fits(need, person));
            Matched { found: matching(way.len(), people, &fits), needed: way.len() }
        };
        if matched.is_met() {
            return matched;
        }
        if matched.needed.saturating_sub(matched.found) < best.needed.saturating_sub(best.found) {
            best = matched;
        }
    }
    best
}

/// Decisions of one human, each of them together: who shares a human, directly or through others, counts once (law 8).
pub(super) fn by_human<'d>(decisions: impl IntoIterator<Item = &'d Decision>) -> Vec<Vec<&'d Decision>> {
    let mut people: Vec<(BTreeSet<&Principal>, Vec<&Decision>)> = Vec::new();
    for decision in decisions {
        let mut humans: BTreeSet<&Principal> = decision.humans().collect();
        let mut theirs = Vec::new();
        people.retain_mut(|(others, earlier)| {
            let apart = humans.is_disjoint(others);
            if !apart {
                humans.append(others);
                theirs.append(earlier);
            }
            apart
        });
        theirs.push(decision);
        people.push((humans, theirs));
    }
    people.into_iter().map(|(_, theirs)| theirs).collect()
}

/// The size of a maximum matching of needs with people, each person for one need at most.
pub(crate) fn matching(needs: usize, people: usize, fits: &dyn Fn(usize, usize) -> bool) -> usize {
    let mut taken_by: Vec<Option<usize>> = vec![None; people];
    let mut found = 0_usize;
    for need in 0..needs {
        let mut tried = vec![false; people];
        if place(need, fits, &mut taken_by, &mut tried) {
            found = found.saturating_add(1);
        }
    }
    found
}

/// Finds somebody for the need, moving others to other needs where that helps.
fn place(need: usize, fits: &dyn Fn(usize, usize) -> bool, taken_by: &mut [Option<usize>], tried: &mut [bool]) -> bool {
    for person in 0..tried.len() {
        if tried.get(person).copied().unwrap_or(true) || !fits(need, person) {
            continue;
        }
        if let Some(mark) = tried.get_mut(person) {
            *mark = true;
        }
        let holder = taken_by.get(person).copied().flatten();
        if holder.is_none_or(|other| place(other, fits, taken_by, tried)) {
            if let Some(slot) = taken_by.get_mut(person) {
                *slot = Some(need);
            }
            return true;
        }
    }
    false
}
