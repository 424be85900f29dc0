//! Commands to approve, deny and confirm.

use crate::actor::Actor;
use crate::engine::Jit;
use crate::engine::access_request::About;
use crate::engine::error::JitError;
use crate::engine::repository::apply::Beside;
use crate::engine::repository::attempt::until_committed;
use crate::engine::rules::stops::{InForce, StopsNow};
use crate::engine::tenant::Tenant;
use crate::engine::view::AccessView;
use crate::model::access::Event;
use crate::model::approval::{Approval, Confirmation, Decision, DecisionRefused, InPlaceOf, Verdict};
use crate::store::Write;

impl Jit {
    /// Approves a request, or the pending extension. The actor decides for themselves, or in the
    /// place of somebody who is away and delegated to them.
    ///
    /// Pass the view that the person saw: the yes counts for the question that it shows, and for
    /// nothing else (law 19).
    ///
    /// # Errors
    /// [`JitError::Refused`] if the decision does not count (laws 8 and 19),
    /// [`JitError::FactorRefused`] if the second factor does not; both are logged.
    /// [`JitError::NotFound`].
    pub async fn approve(
        &self,
        actor: &Actor,
        about: impl Into<About> + Send,
        note: &str,
    ) -> Result<AccessView, JitError> {
        self.decide(actor, about.into(), Verdict::Approve, note).await
    }

    /// Denies a request, which ends it, or the pending extension. It needs no second factor.
    ///
    /// # Errors
    /// As [`Jit::approve`].
    pub async fn deny(
        &self,
        actor: &Actor,
        about: impl Into<About> + Send,
        note: &str,
    ) -> Result<AccessView, JitError> {
        self.decide(actor, about.into(), Verdict::Deny, note).await
    }

    /// Proves by a second factor that the actor is the person who asked, where policy demands that.
    ///
    /// # Errors
    /// [`JitError::FactorRefused`] if it proves nothing, [`JitError::Refused`] if no proof is
    /// expected of the actor; [`JitError::NotFound`].
    #[tracing::instrument(skip_all, fields(tenant = %self.tenant, access = tracing::field::Empty))]
    pub async fn confirm(&self, actor: &Actor, about: impl Into<About> + Send) -> Result<AccessView, JitError> {
        let mut about = about.into();
        tracing::Span::current().record("access", tracing::field::display(about.access));
        until_committed!(async {
            let InForce { settings, guards, .. } = self.acting(actor).await?;
            let loaded = self.load(&settings, actor, about.access).await?;
            let access = &loaded.access;
            let question = about.question.map_or_else(|| access.question_confirmed(&actor.principal), Ok);
            let meant = question.and_then(|question| Ok((question, access.confirms(question, &actor.principal)?)));
            let now = self.core.store.now().await?;
            let (question, proof) = match meant {
                Ok((question, mfa)) => (question, self.core.prove(&settings, actor, access, &mfa, now).await?),
                Err(why) => return self.core.refuse(&settings, actor, Some(access), JitError::Refused(why)).await,
            };
            about.question = Some(question);
            let (by, proven) = (actor.principal.clone(), proof.proven);
            let event = Event::Confirm(Confirmation { question, by, at: now, proven });
            let beside = Beside { writes: proof.writes, guards, ..Beside::default() };
            self.try_on(actor, &settings, &loaded, event, beside).await
        })
    }

    #[tracing::instrument(skip_all, fields(tenant = %self.tenant, access = %about.access))]
    async fn decide(&self, actor: &Actor, about: About, verdict: Verdict, note: &str) -> Result<AccessView, JitError> {
        let mut about = about;
        until_committed!(async {
            let InForce { settings, stops, mut guards } = self.acting(actor).await?;
            self.words(&settings, actor, "note", note).await?;
            let loaded = self.load(&settings, actor, about.access).await?;
            let question = match about.question {
                Some(question) => question,
                None => {
                    let human = settings.human(&actor.principal).await?;
                    match loaded.access.question_meant(&actor.principal, &human, verdict) {
                        Ok(question) => question,
                        Err(why) => {
                            return self.core.refuse(&settings, actor, Some(&loaded.access), why.into()).await;
                        }
                    }
                }
            };
            // whatever changes meanwhile, this is the question that was meant
            about.question = Some(question);
            let approval = loaded.access.decidable();
            let now = self.core.store.now().await?;
            let own = Decision {
                question,
                by: actor.principal.clone(),
                verdict,
                at: now,
                note: note.to_owned(),
                evidence: actor.evidence.clone(),
                snapshot: settings.snapshot_or_stranger(&actor.principal, approval).await?,
                proven: None,
                in_place_of: None,
            };
            let (mut decision, instead) = self.as_whom(&settings, &stops, approval, own).await?;
            guards.extend(instead);
            let mut writes = Vec::new();
            if let Err(DecisionRefused::FactorNeeded(mfa)) = approval.decide(decision.clone())
                && actor.response.is_some()
            {
                let proof = self.core.prove(&settings, actor, &loaded.access, &mfa, now).await?;
                (decision.proven, writes) = (Some(proof.proven), proof.writes);
            }
            let beside = Beside { writes, guards, ..Beside::default() };
            self.try_on(actor, &settings, &loaded, Event::Decide(decision), beside).await
        })
    }

    /// Returns the decision as it counts. It is the actor's own, or that of somebody who is away if
    /// the actor is not asked in person. The latter comes with a guard of the delegation as it was
    /// read.
    async fn as_whom(
        &self,
        settings: &Tenant,
        stops: &StopsNow,
        approval: &Approval,
        own: Decision,
    ) -> Result<(Decision, Option<Write>), JitError> {
        let asked = |decision: &Decision| {
            let judged = approval.decide(decision.clone());
            !matches!(judged, Err(DecisionRefused::NotEntitled | DecisionRefused::NotYet))
        };
        // a name that the directory does not know stands in for nobody, whatever was delegated to
        // it
        if asked(&own) || !settings.directory.knows(&own.by).await? {
            return Ok((own, None));
        }
        for (who, guard) in self.core.delegators(&self.tenant, &own.by, own.at).await? {
            if stops.of_person(settings, &who).await?.is_some() {
                continue;
            }
            let snapshot = settings.snapshot_or_stranger(&who, approval).await?;
            let instead = Decision { in_place_of: Some(InPlaceOf { who, snapshot }), ..own.clone() };
            if matches!(approval.decide(instead.clone()), Ok(_) | Err(DecisionRefused::FactorNeeded(_))) {
                return Ok((instead, Some(guard)));
            }
        }
        Ok((own, None))
    }
}
