//! Reviews of emergency accesses.

use crate::actor::Actor;
use crate::engine::Jit;
use crate::engine::error::JitError;
use crate::engine::repository::apply::Beside;
use crate::engine::repository::attempt::until_committed;
use crate::engine::rules::stops::InForce;
use crate::engine::view::AccessView;
use crate::id::AccessId;
use crate::model::access::Event;

impl Jit {
    /// Gives the review that an emergency owes. The people whom its rule names under `review_by`
    /// can give it, but never the person who took the role.
    ///
    /// # Errors
    /// [`JitError::Refused`] to others and if none is owed, which is logged; [`JitError::Invalid`]
    /// without a note; [`JitError::NotFound`].
    #[tracing::instrument(skip_all, fields(tenant = %self.tenant, access = %id))]
    pub async fn review(&self, actor: &Actor, id: AccessId, note: &str) -> Result<AccessView, JitError> {
        until_committed!(async {
            let InForce { settings, guards, .. } = self.acting(actor).await?;
            self.words(&settings, actor, "note", note).await?;
            if note.trim().is_empty() {
                let error = JitError::invalid("a review says what was found: give a note");
                return self.core.refuse(&settings, actor, None, error).await;
            }
            let loaded = self.load(&settings, actor, id).await?;
            let snapshot = settings.snapshot_or_stranger(&actor.principal, loaded.access.approval()).await?;
            let event = Event::Review { by: actor.principal.clone(), snapshot, note: note.trim().to_owned() };
            let beside = Beside { guards, ..Beside::default() };
            self.try_on(actor, &settings, &loaded, event, beside).await
        })
    }
}
