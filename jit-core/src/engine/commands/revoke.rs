//! Revocation of a role before its window closes.

use crate::actor::Actor;
use crate::engine::Jit;
use crate::engine::error::JitError;
use crate::engine::repository::apply::Beside;
use crate::engine::repository::attempt::until_committed;
use crate::engine::view::AccessView;
use crate::id::AccessId;
use crate::model::access::Event;
use crate::model::grant::Cause;
use crate::policy::Action;

impl Jit {
    /// Takes the role away before its window closes. The actor needs a `[[may]]` rule that allows
    /// `revoke` on the target.
    ///
    /// # Errors
    /// [`JitError::NotAllowed`] to others; [`JitError::Refused`] if there is nothing to take away.
    #[tracing::instrument(skip_all, fields(tenant = %self.tenant, access = %id))]
    pub async fn revoke(&self, actor: &Actor, id: AccessId, reason: &str) -> Result<AccessView, JitError> {
        let settings = self.acting(actor).await?.settings;
        self.words(&settings, actor, "reason", reason).await?;
        until_committed!(async {
            let loaded = self.load(&settings, actor, id).await?;
            let access = &loaded.access;
            let target = &access.request().target;
            self.core.permit(&settings, actor, Action::Revoke, Some(target), Some(access)).await?;
            let why = (!reason.is_empty()).then(|| reason.to_owned());
            let event = Event::End { cause: Cause::Revoked, by: Some(actor.principal.clone()), why };
            self.try_on(actor, &settings, &loaded, event, Beside::default()).await
        })
    }
}
