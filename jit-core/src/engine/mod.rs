//! The engine: what people can do, and the pump that makes it so.

mod apply;
mod ask;
mod builder;
mod commands;
mod contain;
mod core;
mod error;
mod events;
mod ledger;
mod notices;
mod people;
mod prove;
mod pump;
pub(crate) mod records;
#[cfg(any(test, feature = "testkit"))]
pub(crate) mod simulated;
mod stops;
mod tasks;
mod view;
mod who;

use std::sync::Arc;

pub use ask::{About, Ask, Filter, Scope};
pub use builder::{Builder, TenantBuilder};
pub use commands::{Concerns, Drift, Reconcile, StopView, TargetReport};
pub use error::JitError;
pub use events::Happened;
pub use pump::{PassReport, Pump, Stopped, Undone, Unserved};
pub use view::{AccessView, AnswerView, DecisionView, ReviewView};

use self::core::Core;
use crate::id::TenantId;
use crate::policy::Policy;
use crate::store::Store;

/// A handle of the engine for one tenant. Cheap to clone.
///
/// Every method is cancel-safe: the change is whole or absent, and work in a database is done by the pump, never in a caller's
/// future.
#[derive(Debug, Clone)]
pub struct Jit {
    core: Arc<Core>,
    lanes: Arc<pump::Lanes>,
    tenant: TenantId,
}

impl Jit {
    /// Begins to build an engine.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The handle for this tenant.
    ///
    /// # Errors
    /// [`JitError::NotFound`] where it is not configured.
    pub fn tenant(&self, tenant: &TenantId) -> Result<Self, JitError> {
        self.core.tenant(tenant)?;
        Ok(Self { tenant: tenant.clone(), ..self.clone() })
    }

    /// Which tenant this handle is for.
    #[must_use]
    pub fn tenant_id(&self) -> &TenantId {
        &self.tenant
    }

    /// The tenants that are configured here.
    #[must_use]
    pub fn tenants(&self) -> Vec<TenantId> {
        self.core.tenants().into_iter().map(|(tenant, _)| tenant).collect()
    }

    /// The store that everything is kept in.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.core.store
    }

    /// The policy in force in this process.
    ///
    /// # Errors
    /// [`JitError::NotFound`] where the tenant is not configured.
    pub fn policy(&self) -> Result<Arc<dyn Policy>, JitError> {
        Ok(Arc::clone(self.core.tenant(&self.tenant)?.policy.as_given()))
    }

    /// Runs the pump in the background until it is stopped.
    #[must_use]
    pub fn start(&self) -> Pump {
        Pump::start(&self.lanes)
    }

    /// Does everything that is due now, once: for cron and serverless. A server that does not answer is left for the next time.
    ///
    /// # Errors
    /// [`JitError::Store`] where the store cannot be used.
    pub async fn run_due(&self) -> Result<PassReport, JitError> {
        let lanes = Arc::clone(&self.lanes);
        let pass = self.core.tasks.spawn(async move {
            let report = lanes.run_due().await?;
            lanes.write_log(pump::CHECKPOINT_EVERY, pump::SINKS_HAVE_LAST).await?;
            Ok::<_, crate::store::StoreError>(report)
        });
        match pass.await {
            Ok(report) => Ok(report?),
            Err(error) => Err(JitError::invalid(format!("the pass ended badly: {error}"))),
        }
    }

    /// Numbers what has no number in the log yet, signs it and gives it to the sinks: what a pump does all the time. Where none runs it is called
    /// before a process ends, because an entry is proof against whoever can write the store from its signature on.
    ///
    /// # Errors
    /// [`JitError::Store`] where the store cannot be used.
    pub async fn keep_log(&self) -> Result<(), JitError> {
        let lanes = Arc::clone(&self.lanes);
        let kept = self
            .core
            .tasks
            .spawn(async move { lanes.write_log(chrono::TimeDelta::zero(), pump::SINKS_HAVE_LAST).await });
        match kept.await {
            Ok(kept) => Ok(kept?),
            Err(error) => Err(JitError::invalid(format!("the log could not be kept: {error}"))),
        }
    }

    /// What happens in this handle's tenant from now on, as far as this process does it. Who
    /// listens too slowly misses some and reads the log.
    #[must_use]
    pub fn events(&self) -> tokio::sync::broadcast::Receiver<Happened> {
        self.core.events.of(&self.tenant)
    }

    /// The same of all tenants of this process, for whoever operates it.
    #[must_use]
    pub fn events_of_all_tenants(&self) -> tokio::sync::broadcast::Receiver<Happened> {
        self.core.events.of_all()
    }
}
