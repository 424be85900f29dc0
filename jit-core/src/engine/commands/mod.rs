//! What people can do, a file each.

mod callback;
mod cancel;
mod clock;
pub(super) mod confirm;
mod decide;
mod delegate;
mod extend;
mod factor;
mod look;
mod policy;
mod reconcile;
mod release;
mod request;
mod review;
mod revoke;
mod stop;
mod target;
mod until;

pub use reconcile::{Drift, Reconcile};
pub use target::TargetReport;

use super::Jit;
use super::apply::{Applied, Beside, Loaded};
use super::core::Tenant;
use super::error::JitError;
use super::view::AccessView;
use crate::access::{Access, Event};
use crate::approval::{Actor, Parties};
use crate::id::AccessId;
use crate::store::Write;
use crate::text::{LONGEST_NOTE, taken};

impl Jit {
    /// The actor's tenant has to be this handle's (law 13).
    fn settings_for(&self, actor: &Actor) -> Result<std::sync::Arc<Tenant>, JitError> {
        if actor.tenant != self.tenant {
            return Err(JitError::NotFound {
                what: "tenant",
                name: actor.tenant.to_string(),
                hint: ": the actor belongs to another tenant than this handle".to_owned(),
            });
        }
        self.core.tenant(&self.tenant)
    }

    /// The same for whatever a stopped person may not do: everything but giving back what they have.
    async fn acting(&self, actor: &Actor) -> Result<std::sync::Arc<Tenant>, JitError> {
        let settings = self.settings_for(actor)?;
        match self.core.not_stopped(&settings, &self.tenant, &actor.principal).await {
            Err(error @ JitError::NotAllowed { .. }) => self.core.refuse(&settings, actor, None, error).await,
            other => other.map(|()| settings),
        }
    }

    /// A text that the actor gives: one that cannot be taken is refused, which is in the log.
    async fn words(&self, settings: &Tenant, actor: &Actor, what: &'static str, text: &str) -> Result<(), JitError> {
        match taken(what, text, LONGEST_NOTE) {
            Ok(_) => Ok(()),
            Err(error) => self.core.refuse(settings, actor, None, error.into()).await,
        }
    }

    /// The access that the actor wants to do something with; that there is none is in the log.
    async fn load(&self, settings: &Tenant, actor: &Actor, id: AccessId) -> Result<Loaded, JitError> {
        let now = self.core.store.now().await?;
        match self.core.load(&self.tenant, id, now).await {
            Err(error @ JitError::NotFound { .. }) => self.core.refuse(settings, actor, None, error).await,
            other => other,
        }
    }

    /// What the event makes of it; `None` where somebody else was in the way and it has to be read and judged again.
    async fn try_on(
        &self,
        actor: &Actor,
        settings: &Tenant,
        loaded: &Loaded,
        event: Event,
    ) -> Result<Option<AccessView>, JitError> {
        self.try_with(actor, settings, loaded, event, Vec::new()).await
    }

    /// The same with more in its commit.
    async fn try_with(
        &self,
        actor: &Actor,
        settings: &Tenant,
        loaded: &Loaded,
        event: Event,
        writes: Vec<Write>,
    ) -> Result<Option<AccessView>, JitError> {
        let beside = Beside { writes, ..Beside::default() };
        match self.core.apply(settings, Some(actor), loaded, event, beside).await {
            Ok(Applied::Done(view)) => Ok(Some(*view)),
            Ok(Applied::Conflict) => Ok(None),
            Err(error @ JitError::TargetRefused { .. }) => {
                self.core.refuse(settings, actor, Some(&loaded.access), error).await
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether the actor asked for it or gets it.
fn is_party(actor: &Actor, access: &Access) -> bool {
    let Parties { requester, receiver } = &access.request().parties;
    actor.principal == *requester || actor.principal == *receiver
}
