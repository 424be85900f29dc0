//! Emergency stop and resume.

use crate::actor::Actor;
use crate::alike::refusal;
use crate::audit_event::{AuditEvent, EventKind};
use crate::engine::Jit;
use crate::engine::access_request::Scope;
use crate::engine::error::JitError;
use crate::engine::repository::attempt::until_committed;
use crate::engine::repository::loaded;
use crate::engine::repository::records::{body_or_default, put, stops_key};
use crate::engine::repository::unit_of_work::UnitOfWork;
use crate::engine::rules::stops::{Stop, Stops, WHO_WITHIN};
use crate::engine::tenant::Tenant;
use crate::engine::view::AccessView;
use crate::id::{Principal, TargetName};
use crate::policy::Action;
use crate::store::{Kind, Lane, PageQuery, Record, Schedule};

impl Jit {
    /// Ends everything in the scope, whether pending, scheduled or live. Refuses new requests until
    /// [`Jit::resume`]. The stop is in force when this returns. The pump ends live accesses; it
    /// begins at once.
    ///
    /// # Errors
    /// [`JitError::NotAllowed`] if no `[[may]]` rule allows it. Stopping a principal or everything
    /// takes a rule for all targets.
    #[tracing::instrument(skip_all, fields(tenant = %self.tenant))]
    pub async fn stop(&self, actor: &Actor, scope: Scope, reason: &str) -> Result<(), JitError> {
        let settings = self.acting(actor).await?.settings;
        self.words(&settings, actor, "reason", reason).await?;
        self.core.permit(&settings, actor, Action::Stop, about(&scope), None).await?;
        // a stop of a name that nobody has would end nothing, and say that it is in force
        if let Err(error) = self.refuse_look_alike(&settings, &scope).await {
            return self.core.refuse(&settings, actor, None, error).await;
        }
        until_committed!(async {
            let key = stops_key(&self.tenant);
            let record = self.core.store.read(&key).await?;
            self.still_acting(&settings, actor, record.as_ref()).await?;
            let mut stops: Stops = body_or_default(record.as_ref())?;
            let now = self.core.store.now().await?;
            stops.stops.retain(|stop| stop.scope != scope);
            let (by, core) = (actor.principal.clone(), &self.core);
            let stop = core.new_stop(&settings, &self.tenant, scope.clone(), by, reason.to_owned(), now).await?;
            let audit_event =
                AuditEvent::new(EventKind::Stopped).with("scope", scope.to_string()).with("reason", reason);
            stops.stops.push(stop);
            let sweep = Schedule { lane: Lane::desk(), due: now, serial: format!("stops:{}", self.tenant) };
            let mut unit_of_work = UnitOfWork::new(&self.core, &self.tenant, &settings, Some(actor), now);
            unit_of_work.change.writes.push(put(key, record.as_ref(), &stops, Some(sweep))?);
            unit_of_work.audit(audit_event);
            Ok(unit_of_work.attempt().await?)
        })
    }

    /// Refuses the actor's command if these stops bind them.
    async fn still_acting(&self, settings: &Tenant, actor: &Actor, stops: Option<&Record>) -> Result<(), JitError> {
        let stops = self.core.stops_in(&self.tenant, stops).await?;
        match stops.of_person(settings, &actor.principal).await? {
            Some(stop) => self.core.refuse(settings, actor, None, stop.binds(&actor.principal)).await,
            None => Ok(()),
        }
    }

    /// Refuses the scope if its name is unknown and looks like a known one. A directory that is
    /// down does not prevent the stop.
    async fn refuse_look_alike(&self, settings: &Tenant, scope: &Scope) -> Result<(), JitError> {
        match scope {
            Scope::All => Ok(()),
            Scope::Principal(who) => {
                let checked = self.core.tasks.within(WHO_WITHIN, settings.is_no_look_alike("principal", who)).await;
                match checked {
                    Some(Err(error @ JitError::Invalid { .. })) => Err(error),
                    _ => Ok(()),
                }
            }
            Scope::Target(target) => match settings.target_like(target) {
                Some(like) => Err(JitError::invalid(refusal("target", target.as_str(), like.as_str()))),
                None => Ok(()),
            },
        }
    }

    /// Returns the open accesses that a stop of this scope ends or would end, under every name of
    /// the person or the target.
    ///
    /// # Errors
    /// [`JitError::Directory`] if the directory cannot say which names belong to the person.
    pub async fn stops_about(&self, scope: &Scope) -> Result<Vec<AccessView>, JitError> {
        let settings = self.core.tenant(&self.tenant)?;
        let now = self.core.store.now().await?;
        let (by, reason) = (Principal::new("nobody")?, String::new());
        let stop = self.core.new_stop(&settings, &self.tenant, scope.clone(), by, reason, now).await?;
        let stops = self.core.stops_now(&self.tenant, Stops { stops: vec![stop] }).await?;
        let (mut about, mut from) = (Vec::new(), None);
        loop {
            let label = Some(("open".to_owned(), "yes".to_owned()));
            let ask = PageQuery { tenant: self.tenant.clone(), kind: Kind::Access, label, after: from, limit: 512 };
            let page = self.core.store.page(&ask).await?;
            for loaded in page.iter().filter_map(|record| loaded(record, now).ok()) {
                if stops.ends(&settings, &loaded.access).await?.is_some() {
                    about.push(AccessView::of(&loaded.access, now));
                }
            }
            from = page.last().map(|record| record.at.key.clone());
            if from.is_none() {
                return Ok(about);
            }
        }
    }

    /// Lifts the stop of exactly this scope. What it ended stays ended.
    ///
    /// # Errors
    /// [`JitError::NotFound`] if there is no such stop, [`JitError::NotAllowed`] if no `[[may]]`
    /// rule allows it.
    #[tracing::instrument(skip_all, fields(tenant = %self.tenant))]
    pub async fn resume(&self, actor: &Actor, scope: Scope) -> Result<(), JitError> {
        let settings = self.acting(actor).await?.settings;
        self.core.permit(&settings, actor, Action::Resume, about(&scope), None).await?;
        until_committed!(async {
            let key = stops_key(&self.tenant);
            let record = self.core.store.read(&key).await?;
            // a person who was stopped meanwhile lifts nothing, least of all their own stop
            self.still_acting(&settings, actor, record.as_ref()).await?;
            let mut stops: Stops = body_or_default(record.as_ref())?;
            let in_force = |stop: &&mut Stop| !stop.lifted && stop.scope == scope;
            let Some(stop) = stops.stops.iter_mut().find(in_force) else {
                let in_force = stops.stops.iter().filter(|stop| !stop.lifted);
                let known: Vec<String> = in_force.map(|stop| stop.scope.to_string()).collect();
                let hint = match known.as_slice() {
                    [] => "none is in force".to_owned(),
                    known => format!("in force are {}", known.join(", ")),
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
            let mut unit_of_work = UnitOfWork::new(&self.core, &self.tenant, &settings, Some(actor), now);
            unit_of_work.change.writes.push(put(key, record.as_ref(), &stops, schedule)?);
            unit_of_work.audit(AuditEvent::new(EventKind::Resumed).with("scope", scope.to_string()));
            Ok(unit_of_work.attempt().await?)
        })
    }
}

/// Returns the target that the actor's rule must cover; none means all targets.
fn about(scope: &Scope) -> Option<&TargetName> {
    match scope {
        Scope::Target(target) => Some(target),
        Scope::All | Scope::Principal(_) => None,
    }
}
