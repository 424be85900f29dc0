//! Verification of second factors: each is used once, and wrong ones are counted.

use super::core::Core;
use super::error::JitError;
use super::repository::attempt::{Attempt, until_committed};
use super::repository::records::{OnceRecord, factor_key, once_key, put, put_bytes};
use super::repository::unit_of_work::UnitOfWork;
use super::tenant::Tenant;
use crate::actor::Actor;
use crate::audit_event::{AuditEvent, EventKind};
use crate::clock::Time;
use crate::id::FactorName;
use crate::mfa::{Challenge, FactorError, Once, Response};
use crate::model::access::Access;
use crate::model::approval::{Mfa, Proven};
use crate::names::join;
use crate::store::{Lane, Record, RecordKey, Schedule, StoreError, Write};

/// Second factor that was verified, and the writes to commit with what it proves.
#[derive(Debug)]
pub(super) struct Proof {
    pub(super) proven: Proven,
    pub(super) writes: Vec<Write>,
}

impl Core {
    /// Verifies the actor's second factor for this access. A wrong one is counted and logged.
    pub(super) async fn prove(
        &self,
        settings: &Tenant,
        actor: &Actor,
        access: &Access,
        mfa: &Mfa,
        now: Time,
    ) -> Result<Proof, JitError> {
        let Some(response) = &actor.response else {
            return Err(JitError::FactorRefused { why: format!("{} is needed", mfa.describe()) });
        };
        if let Some(demanded) = mfa.factor.as_ref().filter(|demanded| **demanded != response.factor) {
            let why = format!("`{demanded}` is needed, and this is `{}`", response.factor);
            return self.refuse(settings, actor, Some(access), JitError::FactorRefused { why }).await;
        }
        self.judge(settings, actor, response, Some(access), now).await
    }

    /// Judges a response that is about an access or sets the factor up.
    pub(super) async fn judge(
        &self,
        settings: &Tenant,
        actor: &Actor,
        response: &Response,
        access: Option<&Access>,
        now: Time,
    ) -> Result<Proof, JitError> {
        let name = &response.factor;
        let factor = settings.factors.get(name).ok_or_else(|| no_factor(settings, name))?;
        let key = factor_key(&actor.tenant, name, &actor.principal);
        until_committed!(async {
            let record = self.store.read(&key).await?;
            let nonce = access.map(Access::nonce).unwrap_or_default();
            let challenge = Challenge {
                tenant: &actor.tenant,
                who: &actor.principal,
                access: access.map(Access::id),
                nonce: &nonce,
                now,
                kept: record.as_ref().map(|record| record.body.as_slice()),
            };
            let error = match factor.verify(&challenge, &response.secret).await {
                Ok(verified) => {
                    let once = verified.once.as_ref().map(|once| (once_key(&actor.tenant, name, &once.key), once));
                    if !self.is_used(once.as_ref().map(|(key, _)| key)).await? {
                        let keep =
                            verified.keep.as_ref().map(|keep| put_bytes(key.clone(), record.as_ref(), keep.clone()));
                        let once = once.map(|(key, once)| use_up(key, once)).transpose()?;
                        let writes = keep.into_iter().chain(once).collect();
                        return Ok(Attempt::Done(Proof { proven: verified.proven(name), writes }));
                    }
                    FactorError::wrong("it was used already")
                }
                Err(error) => error,
            };
            match self.factor_refused(settings, actor, access, name, record.as_ref(), &error).await? {
                Attempt::Done(refused) => Err(refused),
                Attempt::Overtaken => Ok(Attempt::Overtaken),
            }
        })
    }

    async fn is_used(&self, once: Option<&RecordKey>) -> Result<bool, StoreError> {
        match once {
            Some(key) => Ok(self.store.read(key).await?.is_some()),
            None => Ok(false),
        }
    }

    /// Counts and logs a response that proved nothing, and returns the refusal.
    async fn factor_refused(
        &self,
        settings: &Tenant,
        actor: &Actor,
        access: Option<&Access>,
        name: &FactorName,
        record: Option<&Record>,
        error: &FactorError,
    ) -> Result<Attempt<JitError>, JitError> {
        let why = error.to_string();
        let audit_event = |what| AuditEvent::new(what).with("factor", name.as_str()).with("why", why.as_str());
        let mut audit_events = vec![audit_event(EventKind::FactorRefused)];
        let mut writes = Vec::new();
        if let FactorError::Wrong { keep, locked_until, .. } = error {
            let key = factor_key(&actor.tenant, name, &actor.principal);
            writes.extend(keep.as_ref().map(|keep| put_bytes(key, record, keep.clone())));
            audit_events.extend(locked_until.map(|until| audit_event(EventKind::FactorLocked).with("until", until)));
        }
        let now = self.store.now().await?;
        let mut unit_of_work = UnitOfWork::new(self, &actor.tenant, settings, Some(actor), now);
        match access {
            Some(access) => unit_of_work.about(access, &audit_events)?,
            None => audit_events.into_iter().for_each(|audit_event| unit_of_work.audit(audit_event)),
        }
        unit_of_work.change.writes.extend(writes);
        Ok(unit_of_work.attempt().await?.map(|()| JitError::FactorRefused { why }))
    }
}

/// Marks a factor's response as used.
fn use_up(key: RecordKey, once: &Once) -> Result<Write, StoreError> {
    let serial = format!("once:{}", join([key.tenant.as_str(), key.key.as_str()]));
    let schedule = Schedule { lane: Lane::desk(), due: once.until, serial };
    put(key, None, &OnceRecord { until: once.until }, Some(schedule))
}

pub(super) fn no_factor(settings: &Tenant, name: &FactorName) -> JitError {
    let known: Vec<String> = settings.factors.keys().map(|known| format!("`{known}`")).collect();
    let hint = match known.as_slice() {
        [] => "none is configured".to_owned(),
        known => format!("configured are {}", known.join(", ")),
    };
    JitError::NotFound { what: "second factor", name: name.to_string(), hint }
}
