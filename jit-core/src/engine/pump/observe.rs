//! Looks before anything is sent: that nothing of ours can still arrive, and what the database
//! holds.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::account_work::AccountWork;
use super::realm::{Pass, Stage};
use crate::clock::to_std;
use crate::database::{DatabaseError, Identity, Membership, Observation, SettleOrder};
use crate::id::AccessId;
use crate::model::access::Access;
use crate::model::grant::{Grant, Intent};
use crate::store::StoreError;

/// Order to look at a membership, and its purpose.
#[derive(Debug)]
pub(super) struct ObserveOrder {
    /// Place of the account's work in the pass.
    pub(super) place: usize,
    pub(super) membership: Membership,
    pub(super) purpose: Purpose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Grant(AccessId),
    Settled(AccessId),
    Look(AccessId),
}

impl Pass<'_> {
    /// Makes sure that no earlier statement of ours can still arrive (law 15).
    pub(super) async fn settle(&mut self) -> Result<(), DatabaseError> {
        let mut orders: BTreeMap<&str, SettleOrder> = BTreeMap::new();
        for intent in
            self.accounts.iter().flat_map(|work| work.accesses.values()).filter_map(|loaded| unsettled(&loaded.access))
        {
            let order = SettleOrder { label: intent.label.clone(), not_after: intent.not_after };
            let entry = orders.entry(&intent.label).or_insert(order);
            entry.not_after = entry.not_after.max(intent.not_after);
        }
        if orders.is_empty() {
            return Ok(());
        }
        let orders: Vec<SettleOrder> = orders.into_values().collect();
        // it may have to wait past the deadline of the earlier statement
        let limit = to_std(self.core.limits.call).saturating_mul(2);
        let settled = self.core.tasks.within(limit, self.database.settle(&orders)).await;
        let settled = settled.unwrap_or_else(|| {
            self.hung.store(true, Ordering::Relaxed);
            Err(DatabaseError::unreachable("an earlier statement could not be settled in time"))
        })?;
        self.same_server(&settled)
    }

    /// Collects the memberships to look at.
    pub(super) async fn observe_orders(&self) -> Result<Vec<ObserveOrder>, StoreError> {
        let now = self.core.store.now().await?;
        let mut orders = Vec::new();
        for (place, work) in self.accounts.iter().enumerate() {
            // look at what may have come back before something begins for which it would be a
            // standing membership
            for watch in work.holding.watched.iter().filter(|watch| watch.next <= now) {
                orders.push(ObserveOrder {
                    place,
                    membership: watch.membership.clone(),
                    purpose: Purpose::Look(watch.access),
                });
            }
            for loaded in work.accesses.values() {
                let access = &loaded.access;
                match access.grant() {
                    Some(Grant::Scheduled(_)) if self.stage == Stage::Ends => {}
                    Some(Grant::Scheduled(_)) if access.effect_due().is_some_and(|due| due <= now) => {
                        let request = access.request();
                        let (account, role) = (request.account.clone(), request.role.clone());
                        let membership = Membership { account, account_id: None, role, role_id: None };
                        orders.push(ObserveOrder { place, membership, purpose: Purpose::Grant(access.id()) });
                    }
                    Some(grant) if unsettled(access).is_some() => {
                        if let Some(membership) = grant.membership().cloned() {
                            orders.push(ObserveOrder { place, membership, purpose: Purpose::Settled(access.id()) });
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(orders)
    }

    /// Returns the accesses that begin a grant whose leftovers will be compared, each with its
    /// subject.
    pub(super) fn compared(&self, orders: &[ObserveOrder]) -> Vec<(AccessId, Membership)> {
        let compared = orders.iter().filter_map(|order| {
            let Purpose::Grant(id) = order.purpose else { return None };
            let loaded = self.accounts.get(order.place)?.accesses.get(&id)?;
            loaded.access.compares().then(|| (id, order.membership.clone()))
        });
        compared.collect()
    }

    pub(super) async fn observe(&self, memberships: &[Membership]) -> Result<Observation, DatabaseError> {
        let limit = to_std(self.core.limits.call);
        let observation = self.core.tasks.within(limit, self.database.observe(memberships)).await;
        let observation = observation.unwrap_or_else(|| {
            self.hung.store(true, Ordering::Relaxed);
            Err(DatabaseError::unreachable("the database did not answer in time when it was looked at"))
        })?;
        if observation.seen.len() != memberships.len() {
            return Err(DatabaseError::unreachable(
                "the adapter answered for another number of memberships than it was asked for",
            ));
        }
        self.same_server(&observation.identity)?;
        Ok(observation)
    }

    /// Checks that this answer came from the server that the pass is for. What another server says
    /// proves nothing (law 5). Every answer of a pass goes through here before anything counts as
    /// done.
    pub(super) fn same_server(&self, answered: &Identity) -> Result<(), DatabaseError> {
        if *answered != self.server {
            return Err(DatabaseError::another_server(&self.server, answered));
        }
        if let Some(work) = self.accounts.first() {
            self.core.last_seen.saw(&work.holding.tenant, answered);
        }
        Ok(())
    }
}

impl AccountWork {
    /// Checks whether a statement of an earlier pass may still arrive.
    pub(super) fn is_unsettled(&self) -> bool {
        self.live().into_iter().any(|access| unsettled(access).is_some())
    }
}

/// Returns the intent of an earlier pass whose statement may still arrive.
fn unsettled(access: &Access) -> Option<&Intent> {
    match access.grant()? {
        Grant::Granting(granting) => Some(&granting.intent),
        Grant::Revoking(revoking) => revoking.unsettled.as_ref(),
        _ => None,
    }
}
