//! What an access leaves behind: what is there at its end and was not at its beginning.

use std::collections::BTreeSet;

use crate::access::Access;
use crate::database::Thing;
use crate::database::adapter::name_for;
use crate::policy::{LeftBehind, Stance};

/// As many are named at most.
const MOST_NAMED: usize = 100;

/// What was there before, as short as it can be kept.
#[must_use]
pub fn marks(things: &[Thing]) -> BTreeSet<String> {
    things.iter().map(mark).collect()
}

fn mark(thing: &Thing) -> String {
    let mut mark = name_for(&[&thing.id]);
    mark.truncate(16);
    mark
}

/// What was not there before, for people to read.
#[must_use]
pub fn left_behind(before: &BTreeSet<String>, now: &[Thing]) -> Vec<String> {
    let mut news: Vec<String> =
        now.iter().filter(|thing| !before.contains(&mark(thing))).map(|thing| thing.what.clone()).collect();
    if let Some(more) = news.len().checked_sub(MOST_NAMED).filter(|more| *more > 0) {
        news.truncate(MOST_NAMED);
        news.push(format!("and {more} more"));
    }
    news
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
