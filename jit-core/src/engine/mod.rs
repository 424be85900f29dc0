//! The engine: the commands that people give, and the pump that carries them out.

mod access_request;
mod builder;
mod commands;
mod contain;
mod core;
mod error;
mod events;
mod factors;
mod notices;
mod pump;
pub(crate) mod repository;
mod rules;
#[cfg(feature = "testkit")]
pub(crate) mod simulated;
mod tasks;
mod tenant;
mod view;

use std::sync::Arc;

pub use access_request::{About, AccessRequest, Filter, Scope};
pub use builder::{Builder, TenantBuilder};
pub use commands::{Concerns, Drift, Reconcile, StopView, TargetReport};
pub use error::{ErrorClass, JitError};
pub use events::{EngineEvent, EventStream, MissedEvents};
pub use pump::{PassReport, PumpHandle, Stopped, Undone, Unserved};
pub use view::{AccessView, AnswerView, DecisionView, EvidenceView, ReviewView};

use self::core::Core;
use crate::id::TenantId;
use crate::policy::Policy;
use crate::store::Store;

/// Handle of the engine for one tenant. It is cheap to clone.
///
/// Every method is cancel-safe: a change is made completely or not at all.
///
/// The pump grants and revokes, never the caller's future. A request looks at the target itself,
/// for half a second a look; a target that does not answer is no obstacle. An extension moves the
/// dead man's switch. Commands of operators about a target (`check_target`, `confirm_target`,
/// `reconcile` and their like) ask the target and wait for it.
#[derive(Debug, Clone)]
pub struct Jit {
    core: Arc<Core>,
    lanes: Arc<pump::Pump>,
    tenant: TenantId,
}

impl Jit {
    /// Returns a builder for a new engine.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Returns a handle for this tenant.
    ///
    /// # Errors
    /// [`JitError::NotFound`] if the tenant is not configured.
    pub fn tenant(&self, tenant: &TenantId) -> Result<Self, JitError> {
        self.core.tenant(tenant)?;
        Ok(Self { tenant: tenant.clone(), ..self.clone() })
    }

    /// Returns the tenant that this handle serves.
    #[must_use]
    pub fn tenant_id(&self) -> &TenantId {
        &self.tenant
    }

    /// Returns the tenants that are configured in this process.
    #[must_use]
    pub fn tenants(&self) -> Vec<TenantId> {
        self.core.tenants().into_iter().map(|(tenant, _)| tenant).collect()
    }

    /// Returns the store that keeps all state.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.core.store
    }

    /// Returns the policy in force in this process.
    ///
    /// # Errors
    /// [`JitError::NotFound`] if the tenant is not configured.
    pub fn policy(&self) -> Result<Arc<dyn Policy>, JitError> {
        Ok(Arc::clone(self.core.tenant(&self.tenant)?.policy.as_given()))
    }

    /// Runs the pump in the background until it is stopped.
    #[must_use]
    pub fn start(&self) -> PumpHandle {
        PumpHandle::start(&self.lanes)
    }

    /// Does all work that is due now, once: for cron and serverless. Work on a server that does not
    /// answer is left for the next call.
    ///
    /// # Errors
    /// [`JitError::Store`] if the store cannot be used.
    pub async fn run_due(&self) -> Result<PassReport, JitError> {
        let lanes = Arc::clone(&self.lanes);
        let pass = self.core.tasks.spawn(async move {
            let report = lanes.run_due().await?;
            lanes.write_log(pump::CHECKPOINT_EVERY, pump::SINKS_HAVE_LAST).await?;
            Ok::<_, crate::store::StoreError>(report)
        });
        match pass.await {
            Ok(report) => Ok(report?),
            Err(error) => Err(JitError::internal("the pass", error)),
        }
    }

    /// Numbers and signs the log entries that have no number yet, and delivers them to the sinks.
    ///
    /// A running pump does this all the time. If none runs, call this before the process ends: an
    /// entry is tamper-proof against a writer of the store only once it is signed.
    ///
    /// # Errors
    /// [`JitError::Store`] if the store cannot be used.
    pub async fn keep_log(&self) -> Result<(), JitError> {
        let lanes = Arc::clone(&self.lanes);
        let kept = self
            .core
            .tasks
            .spawn(async move { lanes.write_log(chrono::TimeDelta::zero(), pump::SINKS_HAVE_LAST).await });
        match kept.await {
            Ok(kept) => Ok(kept?),
            Err(error) => Err(JitError::internal("writing the log", error)),
        }
    }

    /// Subscribes to the events of this tenant that this process causes from now on. A slow
    /// subscriber misses some events and has to read the log.
    ///
    /// ```
    /// # async fn watch(jit: &jit_core::Jit) {
    /// let mut events = jit.events();
    /// while let Some(event) = events.next().await {
    ///     match event {
    ///         Ok(event) => println!("{}: {}", event.at, event.audit_event.what),
    ///         Err(missed) => println!("{missed}"),
    ///     }
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn events(&self) -> EventStream {
        self.core.events.of(&self.tenant)
    }

    /// Subscribes to the events of all tenants of this process, for its operator.
    #[must_use]
    pub fn events_of_all_tenants(&self) -> EventStream {
        self.core.events.of_all()
    }
}
