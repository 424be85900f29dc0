//! Enrollment and removal of second factors.

use crate::actor::Actor;
use crate::audit_event::{AuditEvent, EventKind};
use crate::engine::Jit;
use crate::engine::error::JitError;
use crate::engine::factors::no_factor;
use crate::engine::repository::records::{factor_key, put_bytes};
use crate::engine::repository::unit_of_work::UnitOfWork;
use crate::engine::rules::stops::InForce;
use crate::id::{FactorName, Principal};
use crate::mfa::{Challenge, Enrollment};
use crate::policy::Action;
use crate::store::Write;

impl Jit {
    /// Begins to set up a second factor for the actor. It counts once they have given a first
    /// response by [`Jit::confirm_factor`].
    ///
    /// An actor who has one already must give a response of it (by [`Actor::responding`]), or
    /// somebody must remove it first.
    ///
    /// # Errors
    /// [`JitError::FactorRefused`], [`JitError::NotFound`] if there is no such factor;
    /// [`JitError::Invalid`] if the factor needs no set-up.
    #[tracing::instrument(skip_all, fields(tenant = %self.tenant))]
    pub async fn enroll_factor(&self, actor: &Actor, name: &FactorName) -> Result<Enrollment, JitError> {
        let InForce { settings, guards, .. } = self.acting(actor).await?;
        let factor = settings.factors.get(name).ok_or_else(|| no_factor(&settings, name))?;
        let key = factor_key(&self.tenant, name, &actor.principal);
        let record = self.core.store.read(&key).await?;
        let now = self.core.store.now().await?;
        let kept = record.as_ref().map(|record| record.body.as_slice());
        let who = Challenge { tenant: &self.tenant, who: &actor.principal, access: None, nonce: "", now, kept };
        let enrollment = match factor.enroll(&who, &*self.core.entropy) {
            None => {
                return Err(JitError::invalid(format!(
                    "second factor `{name}` needs no set-up: its provider does that"
                )));
            }
            Some(Err(crate::mfa::FactorError::Wrong { .. })) => {
                let Some(response) = actor.response.as_ref().filter(|response| response.factor == *name) else {
                    let why =
                        "it is set up already: give one of its codes to set it up again, or have it removed".to_owned();
                    return self.core.refuse(&settings, actor, None, JitError::FactorRefused { why }).await;
                };
                self.core.judge(&settings, actor, response, None, now).await?;
                let anew = Challenge { kept: None, ..who };
                let again = factor.enroll(&anew, &*self.core.entropy);
                again.ok_or_else(|| JitError::invalid("it needs no set-up"))?.map_err(refused)?
            }
            Some(other) => other.map_err(refused)?,
        };
        let mut unit_of_work = UnitOfWork::new(&self.core, &self.tenant, &settings, Some(actor), now);
        unit_of_work.change.writes.extend(guards);
        unit_of_work.change.writes.push(put_bytes(key, record.as_ref(), enrollment.keep.clone()));
        unit_of_work.audit(AuditEvent::new(EventKind::EnrollmentBegun).with("factor", name.as_str()));
        unit_of_work.commit().await?;
        Ok(enrollment)
    }

    /// Completes the setup of a second factor with a first response: from now on it counts.
    ///
    /// # Errors
    /// [`JitError::FactorRefused`] if the response is wrong.
    #[tracing::instrument(skip_all, fields(tenant = %self.tenant))]
    pub async fn confirm_factor(&self, actor: &Actor) -> Result<(), JitError> {
        let InForce { settings, guards, .. } = self.acting(actor).await?;
        let Some(response) = &actor.response else {
            return Err(JitError::FactorRefused { why: "no code was given".to_owned() });
        };
        let now = self.core.store.now().await?;
        let proof = self.core.judge(&settings, actor, response, None, now).await?;
        let mut unit_of_work = UnitOfWork::new(&self.core, &self.tenant, &settings, Some(actor), now);
        unit_of_work.change.writes.extend(guards);
        unit_of_work.change.writes.extend(proof.writes);
        unit_of_work.audit(AuditEvent::new(EventKind::Enrolled).with("factor", response.factor.as_str()));
        unit_of_work.commit().await?;
        Ok(())
    }

    /// Removes a person's second factor, for example when the device is lost. The actor needs a
    /// `[[may]]` rule that allows `mfa`.
    ///
    /// # Errors
    /// [`JitError::NotAllowed`] to others; [`JitError::NotFound`] if the person has none.
    #[tracing::instrument(skip_all, fields(tenant = %self.tenant))]
    pub async fn remove_factor(&self, actor: &Actor, name: &FactorName, of: &Principal) -> Result<(), JitError> {
        let InForce { settings, guards, .. } = self.acting(actor).await?;
        self.core.permit(&settings, actor, Action::Mfa, None, None).await?;
        let Some(record) = self.core.store.read(&factor_key(&self.tenant, name, of)).await? else {
            let error = JitError::NotFound { what: "second factor of", name: of.to_string(), hint: String::new() };
            return self.core.refuse(&settings, actor, None, error).await;
        };
        let now = self.core.store.now().await?;
        let mut unit_of_work = UnitOfWork::new(&self.core, &self.tenant, &settings, Some(actor), now);
        unit_of_work.change.writes.extend(guards);
        unit_of_work.change.writes.push(Write::deleting(&record));
        unit_of_work
            .audit(AuditEvent::new(EventKind::EnrollmentEnded).with("factor", name.as_str()).with("of", of.as_str()));
        unit_of_work.commit().await?;
        Ok(())
    }
}

fn refused(error: crate::mfa::FactorError) -> JitError {
    JitError::FactorRefused { why: error.to_string() }
}
