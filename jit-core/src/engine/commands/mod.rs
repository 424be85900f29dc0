//! Commands that people give, one file each.

mod callback;
mod cancel;
mod clock;
mod concerns;
pub(super) mod confirm;
mod decide;
mod delegate;
mod extend;
mod factor;
mod policy;
mod query;
mod reconcile;
mod release;
mod request;
mod review;
mod revoke;
mod stop;
mod target;
mod until;

pub use concerns::{Concerns, StopView};
pub use reconcile::{Drift, Reconcile};
pub use target::TargetReport;

use super::Jit;
use super::error::JitError;
use super::repository::Loaded;
use super::repository::apply::Beside;
use super::repository::attempt::Attempt;
use super::rules::stops::InForce;
use super::tenant::Tenant;
use super::view::AccessView;
use crate::actor::{Actor, Evidence};
use crate::id::AccessId;
use crate::model::access::{Access, Event};
use crate::model::approval::Parties;
use crate::text::{LONGEST_NOTE, taken};

/// Largest number of details in the evidence of an actor.
const MOST_DETAILS: usize = 32;

impl Jit {
    /// Returns the tenant's configuration. The actor's tenant has to be this handle's (law 13).
    fn settings_for(&self, actor: &Actor) -> Result<std::sync::Arc<Tenant>, JitError> {
        if actor.tenant != self.tenant {
            return Err(JitError::NotFound {
                what: "tenant",
                name: actor.tenant.to_string(),
                hint: "the actor belongs to another tenant than this handle".to_owned(),
            });
        }
        proves(&actor.evidence)?;
        self.core.tenant(&self.tenant)
    }

    /// Returns what is in force, for anything that a stopped person may not do. They may only give
    /// back what they have.
    ///
    /// If the outcome lasts or takes effect, commit it with the guards: the actor may be stopped
    /// meanwhile.
    async fn acting(&self, actor: &Actor) -> Result<InForce, JitError> {
        self.settings_for(actor)?;
        let in_force = self.core.in_force(&self.tenant).await?;
        let may_act = match in_force.not_stopped(&actor.principal).await {
            Ok(()) => in_force.settings.is_no_look_alike("principal", &actor.principal).await,
            stopped => stopped,
        };
        match may_act {
            Err(error @ (JitError::NotAllowed { .. } | JitError::Invalid { .. })) => {
                self.core.refuse(&in_force.settings, actor, None, error).await
            }
            other => other.map(|()| in_force),
        }
    }

    /// Checks a text that the actor gives. A text that is not acceptable is refused, and the
    /// refusal is logged.
    async fn words(&self, settings: &Tenant, actor: &Actor, what: &'static str, text: &str) -> Result<(), JitError> {
        match taken(what, text, LONGEST_NOTE) {
            Ok(_) => Ok(()),
            Err(error) => self.core.refuse(settings, actor, None, error.into()).await,
        }
    }

    /// Loads the access that the actor wants to act on. A missing access is logged.
    async fn load(&self, settings: &Tenant, actor: &Actor, id: AccessId) -> Result<Loaded, JitError> {
        let now = self.core.store.now().await?;
        match self.core.load(&self.tenant, id, now).await {
            Err(error @ JitError::NotFound { .. }) => self.core.refuse(settings, actor, None, error).await,
            other => other,
        }
    }

    /// Tries to apply the event to the access.
    async fn try_on(
        &self,
        actor: &Actor,
        settings: &Tenant,
        loaded: &Loaded,
        event: Event,
        beside: Beside,
    ) -> Result<Attempt<AccessView>, JitError> {
        match self.core.apply(settings, Some(actor), loaded, event, beside).await {
            Err(error @ JitError::TargetRefused { .. }) => {
                self.core.refuse(settings, actor, Some(&loaded.access), error).await
            }
            other => other,
        }
    }
}

/// Checks the evidence of the actor, which goes into every log entry of theirs: it must be short
/// and printable.
fn proves(evidence: &Evidence) -> Result<(), JitError> {
    let details = evidence.details.iter().flat_map(|(name, text)| [name, text]);
    for text in details.chain([&evidence.method]) {
        taken("evidence of the actor", text, LONGEST_NOTE)?;
    }
    match evidence.details.len() {
        0..=MOST_DETAILS => Ok(()),
        more => Err(JitError::invalid(format!(
            "the evidence of the actor has {more} details: give it at most {MOST_DETAILS}"
        ))),
    }
}

/// Checks whether the actor is the requester or the grantee.
fn is_party(actor: &Actor, access: &Access) -> bool {
    let Parties { requester, grantee } = &access.request().parties;
    actor.principal == *requester || actor.principal == *grantee
}
