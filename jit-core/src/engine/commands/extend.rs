//! Requests for more time.

use chrono::TimeDelta;

use super::is_party;
use crate::actor::Actor;
use crate::engine::Jit;
use crate::engine::error::JitError;
use crate::engine::repository::apply::Beside;
use crate::engine::repository::attempt::until_committed;
use crate::engine::rules::stops::InForce;
use crate::engine::view::AccessView;
use crate::id::{AccessId, QuestionId};
use crate::model::access::{Event, Extend};
use crate::policy::Ruling;

impl Jit {
    /// Requests more time in the open window. It takes a new decision under policy as it is now.
    /// The sum stays under `max_total`.
    ///
    /// # Errors
    /// [`JitError::Denied`] if policy says no, [`JitError::Refused`] if the window is not open or
    /// would become too long, [`JitError::NotAllowed`] to all but its requester and grantee.
    #[tracing::instrument(skip_all, fields(tenant = %self.tenant, access = %id))]
    pub async fn extend(
        &self,
        actor: &Actor,
        id: AccessId,
        longer: TimeDelta,
        reason: &str,
    ) -> Result<AccessView, JitError> {
        until_committed!(async {
            let InForce { settings, stops, guards } = self.acting(actor).await?;
            self.words(&settings, actor, "reason", reason).await?;
            let loaded = self.load(&settings, actor, id).await?;
            let access = &loaded.access;
            if !is_party(actor, access) {
                let error = JitError::NotAllowed {
                    who: actor.principal.to_string(),
                    what: "extend it".to_owned(),
                    hint: "who asked for it or gets it may".to_owned(),
                };
                return self.core.refuse(&settings, actor, Some(access), error).await;
            }
            let now = self.core.store.now().await?;
            let request = access.request().for_more(longer, reason, now);
            if let Some(stop) = stops.meets(&settings, &request, access.realm()).await? {
                return self.core.refuse(&settings, actor, Some(access), stop.refusal()).await;
            }
            let event = match self.core.ruling(&settings, &self.tenant, &request, None).await? {
                Ruling::Planned(plan) => {
                    let by = actor.principal.clone();
                    let question = QuestionId::fresh(&*self.core.entropy);
                    Event::Extend(Extend { question, by, longer, reason: reason.to_owned(), plan })
                }
                Ruling::Denied { rule, reason, .. } => {
                    let error = JitError::Denied { reason, rule };
                    return self.core.refuse(&settings, actor, Some(access), error).await;
                }
            };
            let beside = Beside { guards, ..Beside::default() };
            self.try_on(actor, &settings, &loaded, event, beside).await
        })
    }
}
