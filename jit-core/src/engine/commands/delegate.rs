//! Delegation of decisions by a person who is away.

use chrono::TimeDelta;

use crate::actor::Actor;
use crate::audit_event::{AuditEvent, EventKind};
use crate::clock::{Time, after, span};
use crate::engine::Jit;
use crate::engine::error::JitError;
use crate::engine::repository::attempt::until_committed;
use crate::engine::repository::records::{
    Delegation, Delegations, body, delegated_label, delegation_key, encode, expect,
};
use crate::engine::repository::unit_of_work::UnitOfWork;
use crate::engine::rules::stops::InForce;
use crate::id::Principal;
use crate::store::{Write, Writing};

/// Longest time away. A person who is away for longer hands their work over for good.
const LONGEST: TimeDelta = TimeDelta::days(90);
/// Time for which a delegation that is over is kept. No request waits longer for its grant (30 days
/// to decide, 30 days ahead).
const KEPT: TimeDelta = TimeDelta::days(90);

impl Jit {
    /// Lets somebody else decide in the actor's place until this time. An earlier delegation ends
    /// now; what was decided under it counts. A delegation never lets people decide on what they
    /// requested or get themselves, and it is not passed on.
    ///
    /// # Errors
    /// [`JitError::Invalid`] if it ends in the past, ends after more than 90 days, or names the
    /// actor; [`JitError::NotFound`] if the directory does not know the delegate.
    #[tracing::instrument(skip_all, fields(tenant = %self.tenant))]
    pub async fn delegate(&self, actor: &Actor, to: &Principal, until: Time) -> Result<(), JitError> {
        let settings = self.acting(actor).await?.settings;
        let human = settings.person(&actor.principal).await?.human;
        if let Err(error @ JitError::Invalid { .. }) = settings.is_no_look_alike("principal", to).await {
            return self.core.refuse(&settings, actor, None, error).await;
        }
        if !settings.directory.knows(to).await? {
            let error = JitError::NotFound {
                what: "principal",
                name: to.to_string(),
                hint: "only a person whom the directory knows can decide for somebody else".to_owned(),
            };
            return self.core.refuse(&settings, actor, None, error).await;
        }
        let own = *to == actor.principal || settings.person(to).await?.human == human;
        let now = self.core.store.now().await?;
        let wrong = match () {
            () if own => Some("nobody delegates to themselves: name somebody else"),
            () if until <= now => Some("it would have ended already: name a time in the future"),
            () if span(now, until) > LONGEST => Some("it would last longer than 90 days: name an earlier time"),
            () => None,
        };
        if let Some(why) = wrong {
            return self.core.refuse(&settings, actor, None, JitError::invalid(why)).await;
        }
        let audit_event = AuditEvent::new(EventKind::Delegated).with("to", to.as_str()).with("until", until);
        let given = Delegation { to: to.clone(), since: now, until, taken_back: false };
        self.delegations(actor, audit_event, |earlier| {
            for one in earlier.iter_mut().filter(|one| one.until > now) {
                one.until = now;
            }
            earlier.push(given.clone());
            true
        })
        .await
    }

    /// Takes a delegation back. Decisions under it no longer count for anything that is not granted
    /// yet.
    ///
    /// # Errors
    /// [`JitError::NotFound`] if none is in force.
    #[tracing::instrument(skip_all, fields(tenant = %self.tenant))]
    pub async fn end_delegation(&self, actor: &Actor) -> Result<(), JitError> {
        let now = self.core.store.now().await?;
        self.delegations(actor, AuditEvent::new(EventKind::DelegationEnded), |earlier| {
            let mut in_force = earlier.iter_mut().filter(|one| one.until > now && !one.taken_back);
            in_force.next().map(|one| one.taken_back = true).is_some()
        })
        .await
    }

    /// Changes the actor's delegations; an error if there is nothing to change.
    async fn delegations(
        &self,
        actor: &Actor,
        audit_event: AuditEvent,
        change: impl Fn(&mut Vec<Delegation>) -> bool + Send,
    ) -> Result<(), JitError> {
        let at = delegation_key(&self.tenant, &actor.principal);
        until_committed!(async {
            let InForce { settings, guards, .. } = self.acting(actor).await?;
            let now = self.core.store.now().await?;
            let record = self.core.store.read(&at).await?;
            let earlier: Option<Delegations> = record.as_ref().map(body).transpose()?;
            let mut given = earlier.map(|earlier| earlier.given).unwrap_or_default();
            given.retain(|one| after(one.until, KEPT) > now);
            if !change(&mut given) {
                let (what, name) = ("delegation of", actor.principal.to_string());
                let error = JitError::NotFound { what, name, hint: "none is in force".to_owned() };
                return self.core.refuse(&settings, actor, None, error).await;
            }
            let labels = given.last().filter(|last| !last.taken_back).map(|last| delegated_label(&last.to));
            let body = encode(&at, serde_json::to_vec(&Delegations { of: actor.principal.clone(), given }))?;
            let what = Writing::Put { body, schedule: None, labels: labels.into_iter().collect() };
            let mut unit_of_work = UnitOfWork::new(&self.core, &self.tenant, &settings, Some(actor), now);
            unit_of_work.change.writes.extend(guards);
            unit_of_work.change.writes.push(Write { at: at.clone(), expect: expect(record.as_ref()), what });
            unit_of_work.audit(audit_event.clone());
            Ok(unit_of_work.attempt().await?)
        })
    }
}
