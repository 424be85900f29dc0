//! Whether people who said yes can meet what is required, each of them once.
//!
//! It is a maximum bipartite matching (Kuhn's algorithm) of the people needed with the people who decided, tried for every
//! way in which `any` requirements can be met.

use super::people::Decision;
use super::plan::{MOST_WAYS, Requirement, Stage, Subject, TooManyWays, Who};

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

/// Whether this person is one whom the need names.
pub(super) fn entitled(who: &Who, decision: &Decision) -> bool {
    let snapshot = &decision.snapshot;
    if snapshot.is_party() {
        return false;
    }
    match who {
        Who::Group(group) => snapshot.groups.contains(group),
        Who::ManagerOf(Subject::Requester) => snapshot.manages_requester,
        Who::ManagerOf(Subject::Receiver) => snapshot.manages_receiver,
        Who::Person(person) => decision.by == *person,
    }
}

/// Every way in which all requirements of the stages can be met together.
pub(crate) fn ways(stages: &[Stage]) -> Result<Vec<Vec<Who>>, TooManyWays> {
    let mut all: Vec<Vec<Who>> = vec![Vec::new()];
    for requirement in stages.iter().flat_map(|stage| &stage.people) {
        let options = Requirement::ways(requirement)?;
        let mut next = Vec::new();
        for begun in &all {
            for option in &options {
                let mut way = begun.clone();
                way.extend(option.iter().cloned());
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

/// The best match over all ways: one that is met, else the one with the fewest people missing.
pub(super) fn best(ways: &[Vec<Who>], yes: &[&Decision]) -> Matched {
    let mut best = Matched { found: 0, needed: usize::MAX };
    for way in ways {
        let matched = {
            let fits = |need: usize, person: usize| match (way.get(need), yes.get(person)) {
                (Some(who), Some(decision)) => entitled(who, decision),
                _ => false,
            };
            Matched { found: matching(way.len(), yes.len(), &fits), needed: way.len() }
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
