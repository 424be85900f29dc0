//! Work that is due and was not done: the leftovers of a pass, and of a pump that stops.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::{ELSEWHERE, Pump};
use crate::clock::{Time, after};
use crate::engine::repository::loaded;
use crate::engine::repository::records::{access_key, body};
use crate::engine::view::AccessView;
use crate::id::TenantId;
use crate::model::access::Access;
use crate::model::holding::{Holding, RETRY_LONGEST};
use crate::store::{Lane, StoreError};

/// Largest number of accounts of a realm that are looked at.
const MOST: usize = 1_024;

/// Work that is due and was not done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Undone {
    /// Accesses whose role should have ended and whose end is not verified.
    pub overdue: Vec<AccessView>,
    /// Other accesses whose database work failed and is retried. [`AccessView::last_error`] says
    /// why.
    pub failing: Vec<AccessView>,
    /// Work that is due and that this process cannot do.
    pub unserved: Vec<Unserved>,
}

impl Undone {
    /// Checks whether everything due was done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.overdue.is_empty() && self.failing.is_empty() && self.unserved.is_empty()
    }
}

/// Work that is due and that this process cannot do: what it needs is not configured here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Unserved {
    /// Tenant that owns the work.
    pub tenant: TenantId,
    /// Kind of what is not configured here: `target`, `notifier`, `approver`.
    pub what: &'static str,
    /// Name of what is missing.
    pub name: String,
}

impl Unserved {
    pub(super) fn new(tenant: &TenantId, what: &'static str, name: impl Into<String>) -> Self {
        Self { tenant: tenant.clone(), what, name: name.into() }
    }
}

impl Pump {
    /// Returns the work that is due and was not done, of the tenants that are configured here.
    pub(super) async fn undone(&self) -> Result<Undone, StoreError> {
        let store = &self.core.store;
        let now = store.now().await?;
        let mut undone = Undone::default();
        for (lane, due) in store.lanes().await? {
            if due <= now {
                undone.unserved.extend(self.unserved(&lane));
            }
            // what failed is tried again by then
            if lane.is_realm() && due <= after(now, RETRY_LONGEST) {
                self.failing(&lane, now, &mut undone).await?;
            }
        }
        undone.unserved.sort();
        undone.unserved.dedup();
        Ok(undone)
    }

    /// Returns the number of pumps that run in this process.
    pub(in crate::engine) fn pumps_here(&self) -> usize {
        self.pumps.load(Ordering::Relaxed)
    }

    /// Returns the reason why nothing moves, if the access's target does not answer.
    pub(in crate::engine) fn silent(&self, access: &Access) -> Option<String> {
        let target = &access.request().target;
        let lane = match access.realm() {
            Some(realm) => Lane::realm(realm),
            None => Lane::contact(access.tenant(), target),
        };
        let breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        let since = breakers.get(&lane)?.down_since()?;
        Some(format!("target `{target}` does not answer since {}", crate::audit_event::stamp(since)))
    }

    async fn failing(&self, lane: &Lane, now: Time, undone: &mut Undone) -> Result<(), StoreError> {
        let records = self.core.store.upcoming(lane, after(now, RETRY_LONGEST), MOST).await?;
        let holdings = records.iter().filter_map(|record| body::<Holding>(record).ok());
        let here = holdings.filter(|holding| self.core.tenant(&holding.tenant).is_ok());
        let keys: Vec<_> =
            here.flat_map(|holding| holding.live.into_iter().map(move |id| access_key(&holding.tenant, id))).collect();
        for record in self.core.store.read_all(&keys).await?.iter().flatten() {
            let Ok(loaded) = loaded(record, now) else { continue };
            let view = AccessView::of(&loaded.access, now);
            if view.overdue {
                undone.overdue.push(view);
            } else if view.last_error.is_some() {
                undone.failing.push(view);
            }
        }
        Ok(())
    }

    /// Returns the work of the lane that this process cannot do.
    fn unserved(&self, lane: &Lane) -> Vec<Unserved> {
        let elsewhere = self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner);
        elsewhere.get(lane).map(|left| left.unserved.clone()).unwrap_or_default()
    }

    /// Names what is not configured here, if its tenant is.
    pub(super) fn unserved_of(&self, tenant: &str, what: &'static str, name: &str) -> Option<Unserved> {
        let tenant = TenantId::new(tenant).ok().filter(|tenant| self.core.tenant(tenant).is_ok())?;
        Some(Unserved::new(&tenant, what, name))
    }

    /// Leaves a lane alone for a while, because this process cannot do its work.
    pub(super) fn leave_to_others(&self, lane: &Lane, now: Time, unserved: Vec<Unserved>) {
        let mut elsewhere = self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner);
        elsewhere.insert(lane.clone(), Elsewhere { until: after(now, ELSEWHERE), unserved });
    }

    pub(super) fn left_until(&self, lane: &Lane) -> Option<Time> {
        let elsewhere = self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner);
        elsewhere.get(lane).map(|left| left.until)
    }
}

/// Lane whose work this process cannot do.
#[derive(Debug)]
pub(super) struct Elsewhere {
    /// Time of the next look at it.
    until: Time,
    unserved: Vec<Unserved>,
}
