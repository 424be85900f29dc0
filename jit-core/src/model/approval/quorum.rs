//! Matching of the people who said yes with the requirements, each person once.
//!
//! It is a maximum bipartite matching (Kuhn's algorithm) of the needed people with the people who
//! decided. It is tried for every way to meet the `any` requirements.

use std::collections::BTreeSet;

use super::decision::Decision;
use super::people::Snapshot;
use super::plan::{MOST_WAYS, Need, Party, Requirement, Stage, TooManyWays, Who};
use crate::id::Principal;

/// Number of the needed people who are there, in the best way, and number that this way needs.
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

/// Checks whether the need names this person, by the directory's answer.
pub(super) fn entitled(who: &Who, name: &Principal, snapshot: &Snapshot) -> bool {
    if snapshot.is_party() {
        return false;
    }
    match who {
        Who::Group(group) => snapshot.groups.contains(group),
        Who::ManagerOf(Party::Requester) => snapshot.manages_requester,
        Who::ManagerOf(Party::Grantee) => snapshot.manages_grantee,
        Who::Person(person) => name == person,
    }
}

/// Returns all ways to meet the requirements of the stages together.
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

/// Returns the best match over all ways with this number of people. It is one that is met, else the
/// one with the fewest people missing.
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

/// Groups the decisions by human. Decisions that share a human, directly or through others, count
/// once (law 8).
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

/// Returns the size of a maximum matching of needs with people. Each person serves one need at
/// most.
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

/// Finds a person for the need, and moves others to other needs if that helps.
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
