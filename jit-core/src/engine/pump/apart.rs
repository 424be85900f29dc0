//! Work that goes on beside its lane, and accounts served apart because their calls hung. Neither
//! delays anybody else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::task::JoinHandle;

use crate::store::Lane;

/// Number of batches and slow passes of one lane that may go on beside it. With so many its server
/// has problems, and the lane waits.
pub(super) const MOST: usize = 8;

/// Batches and passes that go on beside their lanes.
#[derive(Debug, Default)]
pub(super) struct Apart(Mutex<BTreeMap<Lane, Vec<JoinHandle<()>>>>);

impl Apart {
    /// Checks whether fewer than `most` go on beside the lane.
    pub(super) fn has_room(&self, lane: &Lane, most: usize) -> bool {
        let mut all = self.lock();
        let Some(passes) = all.get_mut(lane) else { return true };
        passes.retain(|pass| !pass.is_finished());
        passes.len() < most
    }

    /// Lets it go on beside its lane.
    pub(super) fn take(&self, lane: &Lane, pass: JoinHandle<()>) {
        self.lock().entry(lane.clone()).or_default().push(pass);
    }

    /// Waits until none is left.
    pub(super) async fn finished(&self) {
        loop {
            let Some((_, passes)) = self.lock().pop_first() else { return };
            for pass in passes {
                // a pass reports its own outcome
                let _ = pass.await;
            }
        }
    }

    /// Breaks off the passes that are left.
    pub(super) fn abort(&self) {
        self.lock().values().flatten().for_each(JoinHandle::abort);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Lane, Vec<JoinHandle<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Accounts, by their serial keys, whose calls hung. Each is served in a pass of its own until one
/// of its passes is answered.
#[derive(Debug, Default)]
pub(super) struct Suspects(Mutex<BTreeSet<String>>);

impl Suspects {
    pub(super) fn has(&self, serial: &str) -> bool {
        self.lock().contains(serial)
    }

    pub(super) fn add(&self, serials: impl Iterator<Item = String>) {
        self.lock().extend(serials);
    }

    pub(super) fn clear<'s>(&self, serials: impl Iterator<Item = &'s str>) {
        let mut all = self.lock();
        for serial in serials {
            all.remove(serial);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
