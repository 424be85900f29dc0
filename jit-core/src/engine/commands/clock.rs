//! Acceptance of a clock that went back, or was away for long.

use crate::actor::Actor;
use crate::audit_event::{AuditEvent, EventKind};
use crate::engine::Jit;
use crate::engine::error::JitError;
use crate::engine::repository::unit_of_work::UnitOfWork;
use crate::policy::Action;
use crate::store::ClockState;

impl Jit {
    /// Returns the state of the store's clock.
    ///
    /// # Errors
    /// [`JitError::Store`] if the store cannot be reached.
    pub async fn clock(&self) -> Result<ClockState, JitError> {
        Ok(self.core.store.clock_state().await?)
    }

    /// Accepts the wall clock as it is: new grants go on. The store's time still does not run
    /// backwards (law 10).
    ///
    /// # Errors
    /// [`JitError::NotAllowed`] if no `[[may]]` rule allows it.
    #[tracing::instrument(skip_all, fields(tenant = %self.tenant))]
    pub async fn accept_clock(&self, actor: &Actor) -> Result<(), JitError> {
        let settings = self.acting(actor).await?.settings;
        self.core.permit(&settings, actor, Action::Clock, None, None).await?;
        let state = self.core.store.clock_state().await?;
        self.core.store.accept_clock().await?;
        let now = self.core.store.now().await?;
        let mut unit_of_work = UnitOfWork::new(&self.core, &self.tenant, &settings, Some(actor), now);
        let audit_event = AuditEvent::new(EventKind::ClockAccepted);
        unit_of_work.audit(match state {
            ClockState::Doubtful { mark, wall } => audit_event.with("mark", mark).with("wall", wall),
            ClockState::Stepped { by } => audit_event.with("stepped_seconds", by),
            ClockState::Good => audit_event,
        });
        unit_of_work.commit().await?;
        Ok(())
    }
}
