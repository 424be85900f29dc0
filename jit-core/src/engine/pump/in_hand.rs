//! Register of work in progress, so that a pump that has to stop can report it and give it back.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::store::Claim;

/// Register of work in progress.
#[derive(Debug, Default)]
pub(super) struct InHand(Mutex<Hands>);

#[derive(Debug, Default)]
struct Hands {
    next: u64,
    all: BTreeMap<u64, Hand>,
}

#[derive(Debug)]
struct Hand {
    what: String,
    claims: Vec<Claim>,
    /// True if a call was sent to a database. It may still be running, so nobody else may begin
    /// before the claims run out.
    sent: bool,
}

impl InHand {
    /// Counts these claims as work in progress, as long as the returned guard lives.
    pub(super) fn take(&self, what: impl Into<String>, claims: Vec<Claim>) -> Held<'_> {
        let mut hands = self.lock();
        let id = hands.next;
        hands.next = id.wrapping_add(1);
        hands.all.insert(id, Hand { what: what.into(), claims, sent: false });
        Held { all: self, id }
    }

    /// Returns the work in progress, and those of its claims that can be given back.
    pub(super) fn unfinished(&self) -> (Vec<String>, Vec<Claim>) {
        let hands = self.lock();
        let what = hands.all.values().map(|hand| hand.what.clone()).collect();
        let claims = hands.all.values().filter(|hand| !hand.sent).flat_map(|hand| hand.claims.iter().cloned());
        (what, claims.collect())
    }

    fn lock(&self) -> MutexGuard<'_, Hands> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Claims of work in progress.
#[derive(Debug)]
pub(super) struct Held<'h> {
    all: &'h InHand,
    id: u64,
}

impl Held<'_> {
    /// Notes that a call is being sent to a database from now on.
    pub(super) fn sending(&self) {
        if let Some(hand) = self.all.lock().all.get_mut(&self.id) {
            hand.sent = true;
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.all.lock().all.remove(&self.id);
    }
}
