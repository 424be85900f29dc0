//! Lanes whose work is being done, and those of them that have fallen behind.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Time;
use crate::store::Lane;

/// Lanes whose work is being done in a loop of its own.
///
/// A lane that has more to do than it could claim at once has fallen behind. Of each such lane, the
/// latest due time that it has claimed is known. What became due later does not wait for the rest:
/// after a mass expiry a new grant is active as soon as ever.
#[derive(Debug, Default)]
pub(super) struct Running(Mutex<BTreeMap<Lane, Option<Time>>>);

impl Running {
    /// Marks the lane as running. Returns false if it was already.
    pub(super) fn begin(&self, lane: &Lane) -> bool {
        let mut all = self.lock();
        let begins = !all.contains_key(lane);
        if begins {
            all.insert(lane.clone(), None);
        }
        begins
    }

    /// Marks the lane as idle.
    pub(super) fn end(&self, lane: &Lane) {
        self.lock().remove(lane);
    }

    /// Checks whether no lane is running.
    pub(super) fn is_idle(&self) -> bool {
        self.lock().is_empty()
    }

    /// Returns the latest due time that the running lane has claimed, if it has fallen behind.
    pub(super) fn behind(&self, lane: &Lane) -> Option<Time> {
        self.lock().get(lane).copied().flatten()
    }

    /// Notes that the running lane has claimed up to this due time and has more to do, or that it
    /// has not.
    pub(super) fn set_behind(&self, lane: &Lane, claimed: Option<Time>) {
        if let Some(behind) = self.lock().get_mut(lane) {
            *behind = claimed;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Lane, Option<Time>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
