//! Keeping the log: numbers for its entries, checkpoints, sinks; and the outbox.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::watch;

use super::Lanes;
use crate::audit;
use crate::clock::span;
use crate::id::TenantId;
use crate::notify::{DeliverAsk, deliver_due};
use crate::store::{Lane, StoreError};

/// How often entries get their numbers (DESIGN section 7: at least every second).
const EVERY: Duration = Duration::from_millis(500);
/// How often a checkpoint is signed while entries arrive (DESIGN section 7).
pub(in crate::engine) const CHECKPOINT_EVERY: TimeDelta = TimeDelta::seconds(60);
/// How many notices one step delivers.
const NOTICES: usize = 64;
/// How many entries a sink gets at a time.
const SINK_BATCH: usize = 1_024;

impl Lanes {
    /// Keeps the log until stopped.
    pub(super) async fn keep_log(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        while !*stopped.borrow() {
            if let Err(error) = self.write_log(CHECKPOINT_EVERY).await {
                tracing::error!(%error, "the log cannot be kept; trying again");
            }
            // in order, here and wherever else the engine selects: by chance a simulated history would not be repeatable
            tokio::select! {
                biased;
                _ = stopped.changed() => {}
                () = self.core.tasks.pause(EVERY) => {}
            }
        }
    }

    /// Keeps the log once more at the end, and signs what there is.
    pub(super) async fn close_log(&self) {
        if let Err(error) = self.write_log(TimeDelta::zero()).await {
            tracing::error!(%error, "the log could not be brought up to date at the end: the next start does it");
        }
    }

    /// Numbers what has no number, signs it where the last checkpoint is so old, and gives it to the sinks.
    pub(in crate::engine) async fn write_log(&self, checkpoint_after: TimeDelta) -> Result<(), StoreError> {
        for (tenant, settings) in self.core.tenants() {
            let store = &*self.core.store;
            while audit::advance(store, &tenant, audit::BATCH).await?.more {}
            if let Some(key) = &settings.key
                && self.checkpoint_is_due(&tenant, checkpoint_after).await?
            {
                let now = store.now().await?;
                audit::checkpoint(store, &tenant, key, now).await?;
            }
            for sink in &settings.sinks {
                loop {
                    match audit::deliver_pending(store, &tenant, &**sink, SINK_BATCH).await {
                        Ok(delivered) if delivered.more => {}
                        Ok(_) => break,
                        Err(audit::DeliverError::Store(error)) => return Err(error),
                        Err(error) => {
                            // it lags and loses nothing: the next step tries again
                            tracing::warn!(%tenant, sink = sink.name(), %error, "a sink of the log did not take its entries");
                            break;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    async fn checkpoint_is_due(&self, tenant: &TenantId, after: TimeDelta) -> Result<bool, StoreError> {
        let store = &*self.core.store;
        let last = audit::latest_checkpoint(store, tenant).await?;
        let now = store.now().await?;
        Ok(last.is_none_or(|last| span(last.statement().at, now) >= after))
    }

    /// Delivers what waits in an outbox; how many notices were looked at.
    pub(super) async fn deliver(self: &Arc<Self>, lane: &Lane) -> Result<u64, StoreError> {
        let core = &self.core;
        let found = lane.outbox_of().and_then(|(tenant, receiver)| {
            let tenant = TenantId::new(tenant).ok()?;
            let notifier = Arc::clone(core.tenant(&tenant).ok()?.notifiers.get(receiver)?);
            Some((tenant, receiver, notifier))
        });
        let Some((tenant, receiver, notifier)) = found else {
            // its receiver is not registered here: another node may have it, or the next start
            let now = core.store.now().await?;
            let unserved =
                lane.outbox_of().and_then(|(tenant, name)| self.unserved_of(tenant, "receiver of notices", name));
            self.leave_to_others(lane, now, unserved.into_iter().collect());
            return Ok(0);
        };
        let ask = DeliverAsk { tenant: &tenant, receiver, node: &core.node, limit: NOTICES };
        let outbox = deliver_due(&*core.store, &*notifier, ask, &*core.entropy).await?;
        let seen = outbox.delivered.saturating_add(outbox.delayed).saturating_add(outbox.dropped);
        Ok(u64::try_from(seen).unwrap_or(u64::MAX))
    }
}
