//! Cancellation of a request.

use super::is_party;
use crate::actor::Actor;
use crate::engine::Jit;
use crate::engine::error::JitError;
use crate::engine::repository::apply::Beside;
use crate::engine::repository::attempt::until_committed;
use crate::engine::view::AccessView;
use crate::id::AccessId;
use crate::model::access::Event;

impl Jit {
    /// Cancels a request before its role is granted. Its requester and its grantee may do this.
    ///
    /// # Errors
    /// [`JitError::NotAllowed`] to others; [`JitError::Refused`] if it is granted or over already.
    #[tracing::instrument(skip_all, fields(tenant = %self.tenant, access = %id))]
    pub async fn cancel(&self, actor: &Actor, id: AccessId, why: &str) -> Result<AccessView, JitError> {
        let settings = self.settings_for(actor)?;
        self.words(&settings, actor, "reason", why).await?;
        until_committed!(async {
            let loaded = self.load(&settings, actor, id).await?;
            let access = &loaded.access;
            if !is_party(actor, access) {
                let error = JitError::NotAllowed {
                    who: actor.principal.to_string(),
                    what: "cancel it".to_owned(),
                    hint: "who asked for it or gets it may; others can deny it".to_owned(),
                };
                return self.core.refuse(&settings, actor, Some(access), error).await;
            }
            let why = if why.is_empty() { "taken back" } else { why };
            let event = Event::Cancel { by: actor.principal.clone(), why: why.to_owned() };
            self.try_on(actor, &settings, &loaded, event, Beside::default()).await
        })
    }
}
