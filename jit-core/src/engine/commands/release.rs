//! Return of a role before its window closes.

use super::is_party;
use crate::actor::Actor;
use crate::engine::Jit;
use crate::engine::error::JitError;
use crate::engine::repository::apply::Beside;
use crate::engine::repository::attempt::until_committed;
use crate::engine::view::AccessView;
use crate::id::AccessId;
use crate::model::access::Event;
use crate::model::grant::Cause;

impl Jit {
    /// Gives the role back before its window closes. Its requester and its grantee may do this. An
    /// access that was not granted yet is cancelled.
    ///
    /// # Errors
    /// [`JitError::NotAllowed`] to others; [`JitError::Refused`] if the access has ended.
    #[tracing::instrument(skip_all, fields(tenant = %self.tenant, access = %id))]
    pub async fn release(&self, actor: &Actor, id: AccessId) -> Result<AccessView, JitError> {
        let settings = self.settings_for(actor)?;
        until_committed!(async {
            let loaded = self.load(&settings, actor, id).await?;
            let access = &loaded.access;
            if !is_party(actor, access) {
                let error = JitError::NotAllowed {
                    who: actor.principal.to_string(),
                    what: "release it".to_owned(),
                    hint: "who asked for it or gets it may; others can revoke it".to_owned(),
                };
                return self.core.refuse(&settings, actor, Some(access), error).await;
            }
            let event = Event::End { cause: Cause::Released, by: Some(actor.principal.clone()), why: None };
            self.try_on(actor, &settings, &loaded, event, Beside::default()).await
        })
    }
}
