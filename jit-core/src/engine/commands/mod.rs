//! What people can do, a file each.

mod cancel;
mod clock;
mod decide;
mod extend;
mod look;
mod reconcile;
mod release;
mod request;
mod revoke;
mod stop;
mod target;
mod until;

pub use reconcile::{Drift, Reconcile};
pub use target::TargetReport;

use super::Jit;
use super::apply::{Applied, Beside, Loaded};
use super::core::{TRIES, Tenant};
use super::error::JitError;
use super::view::AccessView;
use crate::access::{Access, Event};
use crate::approval::{Actor, Parties};
use crate::id::AccessId;

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

    /// Loads the access and applies what `event` makes of it, until nobody else is in the way.
    async fn on_access<F>(
        &self,
        actor: &Actor,
        id: AccessId,
        settings: &Tenant,
        event: F,
    ) -> Result<AccessView, JitError>
    where
        F: AsyncFn(&Access) -> Result<Event, JitError> + Sync,
    {
        for _ in 0..TRIES {
            let now = self.core.store.now().await?;
            let loaded: Loaded = self.core.load(&self.tenant, id, now).await?;
            let event = event(&loaded.access).await?;
            match self.core.apply(settings, Some(actor), &loaded, event, Beside::default()).await? {
                Applied::Done(view) => return Ok(view),
                Applied::Conflict => {}
            }
        }
        Err(JitError::Busy)
    }
}

/// Whether the actor asked for it or gets it.
fn is_party(actor: &Actor, access: &Access) -> bool {
    let Parties { requester, receiver } = &access.request().parties;
    actor.principal == *requester || actor.principal == *receiver
}
