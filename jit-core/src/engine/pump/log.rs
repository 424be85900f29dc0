//! Upkeep of the log: numbers for its entries, checkpoints and sinks. Also delivers the outbox.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Pump;
use crate::audit::{self, AuditSink};
use crate::clock::span;
use crate::engine::tenant::Tenant;
use crate::id::TenantId;
use crate::notify::{DeliveryRequest, deliver_due};
use crate::store::{Lane, StoreError};

/// Interval at which entries get their numbers: it must not exceed one second.
const EVERY: Duration = Duration::from_millis(500);
/// Interval at which a checkpoint is signed while entries arrive.
pub(in crate::engine) const CHECKPOINT_EVERY: TimeDelta = TimeDelta::seconds(60);
/// Number of notices that one step delivers.
const NOTICES: usize = 64;
/// Number of entries that a sink gets at a time.
const SINK_BATCH: usize = 1_024;
/// Time for which the log waits for its sinks in one step. Entries must get their numbers every
/// second.
const SINKS_HAVE: Duration = Duration::from_millis(250);
/// Time for which the log waits for its sinks at the end of a pass, and when the pump stops.
pub(in crate::engine) const SINKS_HAVE_LAST: Duration = Duration::from_secs(3);

/// Sinks that are being fed, and the last error of each.
#[derive(Debug, Default)]
pub(super) struct Sinks {
    busy: BTreeSet<(TenantId, String)>,
    troubles: BTreeMap<(TenantId, String), Option<String>>,
}

/// Guard: the sink is being fed as long as this lives.
struct Feeding {
    lanes: Arc<Pump>,
    at: (TenantId, String),
}

impl Feeding {
    fn begin(lanes: Arc<Pump>, at: (TenantId, String)) -> Option<Self> {
        let begun = lanes.sinks.lock().unwrap_or_else(PoisonError::into_inner).busy.insert(at.clone());
        begun.then_some(Self { lanes, at })
    }
}

impl Drop for Feeding {
    fn drop(&mut self) {
        self.lanes.sinks.lock().unwrap_or_else(PoisonError::into_inner).busy.remove(&self.at);
    }
}

impl Pump {
    /// Keeps the log until stopped.
    pub(super) async fn keep_log(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        while !*stopped.borrow() {
            if let Err(error) = self.write_log(CHECKPOINT_EVERY, SINKS_HAVE).await {
                tracing::error!(%error, "the log cannot be written; trying again");
            }
            // In order, here and wherever else the engine selects: with a random order a simulated
            // history would not be repeatable.
            tokio::select! {
                biased;
                _ = stopped.changed() => {}
                () = self.core.tasks.pause(EVERY) => {}
            }
        }
    }

    /// Keeps the log once more at the end, and signs what there is.
    pub(super) async fn close_log(self: &Arc<Self>) {
        if let Err(error) = self.write_log(TimeDelta::zero(), SINKS_HAVE_LAST).await {
            tracing::error!(%error, "the log could not be brought up to date at the end: the next start does it");
        }
    }

    /// Numbers the entries that have no number, and delivers them to the sinks. Signs a checkpoint
    /// if the last one is older than given. A failure for one tenant stops nothing for the others.
    pub(in crate::engine) async fn write_log(
        self: &Arc<Self>,
        checkpoint_after: TimeDelta,
        sinks_have: Duration,
    ) -> Result<(), StoreError> {
        let mut failed = None;
        let mut sinks = Vec::new();
        for (tenant, settings) in self.core.tenants() {
            if let Err(error) = self.number(&tenant, &settings, checkpoint_after).await {
                tracing::warn!(%tenant, %error, "the log of a tenant cannot be written now");
                failed = Some(error);
                continue;
            }
            sinks.extend(settings.sinks.iter().filter_map(|sink| self.feed(&tenant, sink)));
        }
        // a sink takes its time in a task of its own, and the log goes on
        let fed = futures_util::future::join_all(sinks);
        for fed in self.core.tasks.within(sinks_have, fed).await.into_iter().flatten() {
            match fed {
                Ok(Ok(())) => {}
                Ok(Err(error)) => failed = Some(error),
                Err(error) => tracing::error!(%error, "the task that feeds an audit sink failed"),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn number(
        &self,
        tenant: &TenantId,
        settings: &Tenant,
        checkpoint_after: TimeDelta,
    ) -> Result<(), StoreError> {
        let store = &*self.core.store;
        while audit::advance(store, tenant, audit::BATCH).await?.more {}
        if let Some(key) = &settings.key
            && self.checkpoint_is_due(tenant, checkpoint_after).await?
        {
            let now = store.now().await?;
            audit::checkpoint(store, tenant, key, now).await?;
        }
        Ok(())
    }

    /// Brings the sink up to date in a task of its own; none if such a task is running already.
    fn feed(
        self: &Arc<Self>,
        tenant: &TenantId,
        sink: &Arc<dyn AuditSink>,
    ) -> Option<JoinHandle<Result<(), StoreError>>> {
        let at = (tenant.clone(), sink.name().to_owned());
        let busy = Feeding::begin(Arc::clone(self), at)?;
        let sink = Arc::clone(sink);
        Some(self.core.tasks.spawn(async move {
            let (lanes, (tenant, name)) = (&busy.lanes, &busy.at);
            loop {
                match audit::deliver_pending(&*lanes.core.store, tenant, &*sink, SINK_BATCH).await {
                    Ok(delivered) if delivered.more => {}
                    Ok(_) => {
                        lanes.sink_trouble(&busy.at, None);
                        return Ok(());
                    }
                    Err(audit::DeliverError::Store(error)) => return Err(error),
                    Err(error) => {
                        // the sink lags and loses nothing: the next step tries again
                        let why = error.to_string();
                        if lanes.sink_trouble(&busy.at, Some(why)) {
                            tracing::warn!(%tenant, sink = name, %error, "an audit sink did not accept its entries; trying again");
                        }
                        return Ok(());
                    }
                }
            }
        }))
    }

    /// Stores the sink's last error. Returns true if it is new, so that it is reported once.
    fn sink_trouble(&self, at: &(TenantId, String), why: Option<String>) -> bool {
        let mut all = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        let last_error = all.troubles.entry(at.clone()).or_default();
        let news = why.is_some() && *last_error != why;
        *last_error = why;
        news
    }

    async fn checkpoint_is_due(&self, tenant: &TenantId, after: TimeDelta) -> Result<bool, StoreError> {
        let store = &*self.core.store;
        let last = audit::latest_checkpoint(store, tenant).await?;
        let now = store.now().await?;
        Ok(last.is_none_or(|last| span(last.statement().at, now) >= after))
    }

    /// Delivers the notices of an outbox, and returns how many were looked at.
    pub(super) async fn deliver(self: &Arc<Self>, lane: &Lane) -> Result<u64, StoreError> {
        let core = &self.core;
        let found = lane.outbox_of().and_then(|(tenant, notifier_name)| {
            let tenant = TenantId::new(tenant).ok()?;
            let notifier = Arc::clone(core.tenant(&tenant).ok()?.notifiers.get(notifier_name)?);
            Some((tenant, notifier_name, notifier))
        });
        let Some((tenant, notifier_name, notifier)) = found else {
            // its notifier is not registered here: another node may have it, or the next start
            let now = core.store.now().await?;
            let unserved = lane.outbox_of().and_then(|(tenant, name)| self.unserved_of(tenant, "notifier", name));
            self.leave_to_others(lane, now, unserved.into_iter().collect());
            return Ok(0);
        };
        let ask = DeliveryRequest { tenant: &tenant, notifier_name, node: &core.node, limit: NOTICES };
        let outbox = deliver_due(&*core.store, &*notifier, ask, &*core.entropy).await?;
        let seen = outbox.delivered.saturating_add(outbox.delayed).saturating_add(outbox.dropped);
        Ok(u64::try_from(seen).unwrap_or(u64::MAX))
    }
}
