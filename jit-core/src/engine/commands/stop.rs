//! Emergency stop and resume.

use super::super::Jit;
use super::super::ask::Scope;
use super::super::core::TRIES;
use super::super::error::JitError;
use super::super::ledger::Ledger;
use super::super::records::{Stop, Stops, body_or_default, put, stops_key};
use crate::approval::Actor;
use crate::fact::{Fact, What};
use crate::id::TargetName;
use crate::policy::Action;
use crate::store::{Lane, Schedule, StoreError};

impl Jit {
    /// Ends everything in the scope, pending, scheduled and live, and refuses what is new until [`Jit::resume`]. The stop is in force
    /// when this returns; ending what lives is the pump's work and begins at once.
    ///
    /// # Errors
    /// [`JitError::NotAllowed`] where no `[[may]]` rule allows it; only one for all targets allows stopping a principal or everything.
    pub async fn stop(&self, actor: &Actor, scope: Scope, reason: &str) -> Result<(), JitError> {
        let settings = self.settings_for(actor)?;
        self.core.permit(&settings, actor, Action::Stop, about(&scope), None).await?;
        for _ in 0..TRIES {
            let key = stops_key(&self.tenant);
            let record = self.core.store.read(&key).await?;
            let mut stops: Stops = body_or_default(record.as_ref())?;
            let now = self.core.store.now().await?;
            stops.stops.retain(|stop| stop.scope != scope);
            let (by, reason) = (actor.principal.clone(), reason.to_owned());
            let fact = Fact::new(What::Stopped).with("scope", scope.to_string()).with("reason", reason.as_str());
            stops.stops.push(Stop { scope: scope.clone(), by, reason, at: now, lifted: false });
            let sweep = Schedule { lane: Lane::desk(), due: now, serial: format!("stops:{}", self.tenant) };
            let mut ledger = Ledger::new(&self.core, &self.tenant, &settings, Some(actor), now);
            ledger.change.writes.push(put(key, record.as_ref(), &stops, Some(sweep))?);
            ledger.fact(fact);
            match ledger.commit().await {
                Err(StoreError::Conflict { .. }) => {}
                other => return Ok(other.map(|_| ())?),
            }
        }
        Err(JitError::Busy)
    }

    /// Lifts the stop of this very scope. What it ended stays ended.
    ///
    /// # Errors
    /// [`JitError::NotFound`] where there is no such stop, [`JitError::NotAllowed`] where no `[[may]]` rule allows it.
    pub async fn resume(&self, actor: &Actor, scope: Scope) -> Result<(), JitError> {
        let settings = self.settings_for(actor)?;
        self.core.permit(&settings, actor, Action::Resume, about(&scope), None).await?;
        for _ in 0..TRIES {
            let key = stops_key(&self.tenant);
            let record = self.core.store.read(&key).await?;
            let mut stops: Stops = body_or_default(record.as_ref())?;
            let in_force = |stop: &&mut Stop| !stop.lifted && stop.scope == scope;
            let Some(stop) = stops.stops.iter_mut().find(in_force) else {
                let in_force = stops.stops.iter().filter(|stop| !stop.lifted);
                let known: Vec<String> = in_force.map(|stop| stop.scope.to_string()).collect();
                let hint = match known.as_slice() {
                    [] => ": none is in force".to_owned(),
                    known => format!(": in force are {}", known.join(", ")),
                };
                let error = JitError::NotFound { what: "stop of", name: scope.to_string(), hint };
                return self.core.refuse(&settings, actor, None, error).await;
            };
            stop.lifted = true;
            let now = self.core.store.now().await?;
            let schedule = record.as_ref().and_then(|record| record.schedule.clone());
            if schedule.is_none() {
                stops = stops.swept();
            }
            let mut ledger = Ledger::new(&self.core, &self.tenant, &settings, Some(actor), now);
            ledger.change.writes.push(put(key, record.as_ref(), &stops, schedule)?);
            ledger.fact(Fact::new(What::Resumed).with("scope", scope.to_string()));
            match ledger.commit().await {
                Err(StoreError::Conflict { .. }) => {}
                other => return Ok(other.map(|_| ())?),
            }
        }
        Err(JitError::Busy)
    }
}

/// The target that has to be allowed for it; none: all of them.
fn about(scope: &Scope) -> Option<&TargetName> {
    match scope {
        Scope::Target(target) => Some(target),
        Scope::All | Scope::Principal(_) => None,
    }
}
