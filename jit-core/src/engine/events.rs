//! What happens, as it happens, for those who watch.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, broadcast};

use super::view::AccessView;
use crate::clock::Time;
use crate::fact::Fact;
use crate::id::{AccessId, TenantId};

/// Something that happened. It was committed before it is told; who listens too slowly misses some and reads the log.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Happened {
    /// In which tenant.
    pub tenant: TenantId,
    /// What.
    pub fact: Fact,
    /// When, the store's time, UTC.
    pub at: Time,
    /// The access as it is now, where it is about one.
    pub access: Option<AccessView>,
}

/// How many events are kept for one who listens slowly.
const KEPT: usize = 1_024;

/// Whom it is told what happens in this process.
#[derive(Debug)]
pub(super) struct Events {
    /// Of all tenants.
    all: broadcast::Sender<Happened>,
    /// Of one tenant each.
    tenants: Mutex<BTreeMap<TenantId, broadcast::Sender<Happened>>>,
    pub(super) waiters: Waiters,
}

impl Default for Events {
    fn default() -> Self {
        Self { all: broadcast::Sender::new(KEPT), tenants: Mutex::default(), waiters: Waiters::default() }
    }
}

impl Events {
    /// Tells what was committed.
    pub(super) fn tell(&self, happened: Happened) {
        if let Some(view) = &happened.access {
            self.waiters.changed(view.id);
        }
        let tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        // nobody listening is no error
        if let Some(tenant) = tenants.get(&happened.tenant) {
            let _ = tenant.send(happened.clone());
        }
        let _ = self.all.send(happened);
    }

    /// What happens in all tenants from now on.
    pub(super) fn of_all(&self) -> broadcast::Receiver<Happened> {
        self.all.subscribe()
    }

    /// What happens in this tenant from now on.
    pub(super) fn of(&self, tenant: &TenantId) -> broadcast::Receiver<Happened> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.entry(tenant.clone()).or_insert_with(|| broadcast::Sender::new(KEPT)).subscribe()
    }
}

/// Who waits in this process for what becomes of which access: woken when it changes, and not by everything else that is committed.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    waiting: Mutex<BTreeMap<AccessId, Vec<Arc<Notify>>>>,
}

/// One that waits; dropping it ends that.
#[derive(Debug)]
pub(super) struct Waiter<'w> {
    all: &'w Waiters,
    id: AccessId,
    woken: Arc<Notify>,
}

impl Waiters {
    /// Whatever this process commits of the access from now on is told.
    pub(super) fn wait_for(&self, id: AccessId) -> Waiter<'_> {
        let woken = Arc::new(Notify::new());
        self.lock().entry(id).or_default().push(Arc::clone(&woken));
        Waiter { all: self, id, woken }
    }

    /// The access was changed, and that is committed.
    pub(super) fn changed(&self, id: AccessId) {
        for woken in self.lock().get(&id).into_iter().flatten() {
            woken.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AccessId, Vec<Arc<Notify>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter<'_> {
    /// Returns when the access was changed since the last return, or since this one waits.
    pub(super) async fn changed(&self) {
        self.woken.notified().await;
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut waiting = self.all.lock();
        if let Some(others) = waiting.get_mut(&self.id) {
            others.retain(|other| !Arc::ptr_eq(other, &self.woken));
            if others.is_empty() {
                waiting.remove(&self.id);
            }
        }
    }
}
