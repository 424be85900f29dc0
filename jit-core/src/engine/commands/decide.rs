//! Approving and denying.

use super::super::Jit;
use super::super::core::TRIES;
use super::super::error::JitError;
use super::super::view::AccessView;
use crate::access::Event;
use crate::approval::{Actor, Decision, Verdict};
use crate::directory::DirectoryError;
use crate::id::AccessId;

impl Jit {
    /// Says yes to a request, or to the extension that waits.
    ///
    /// # Errors
    /// [`JitError::Refused`] where the decision does not count (law 8), which is in the log; [`JitError::NotFound`].
    pub async fn approve(&self, actor: &Actor, id: AccessId, note: &str) -> Result<AccessView, JitError> {
        self.decide(actor, id, Verdict::Approve, note).await
    }

    /// Says no to a request, or to the extension that waits. It ends the request.
    ///
    /// # Errors
    /// As [`Jit::approve`].
    pub async fn deny(&self, actor: &Actor, id: AccessId, note: &str) -> Result<AccessView, JitError> {
        self.decide(actor, id, Verdict::Deny, note).await
    }

    async fn decide(&self, actor: &Actor, id: AccessId, verdict: Verdict, note: &str) -> Result<AccessView, JitError> {
        let settings = self.settings_for(actor)?;
        for _ in 0..TRIES {
            let loaded = self.load(&settings, actor, id).await?;
            let access = &loaded.access;
            let approval = access.extension().map_or_else(|| access.approval(), |extension| &extension.approval);
            let parties = approval.parties();
            let snapshot = match settings.snapshot(&actor.principal, parties, &approval.plan().groups()).await {
                // whom the directory does not know is in no group and nobody's manager
                Err(DirectoryError::Unknown { .. }) => crate::approval::Snapshot {
                    human: actor.principal.clone(),
                    requester: parties.requester.clone(),
                    receiver: parties.receiver.clone(),
                    groups: std::collections::BTreeSet::new(),
                    manages_requester: false,
                    manages_receiver: false,
                },
                other => other?,
            };
            let event = Event::Decide(Decision {
                by: actor.principal.clone(),
                verdict,
                at: self.core.store.now().await?,
                note: note.to_owned(),
                evidence: actor.evidence.clone(),
                snapshot,
            });
            if let Some(view) = self.try_on(actor, &settings, &loaded, event).await? {
                return Ok(view);
            }
        }
        Err(JitError::Busy)
    }
}
