//! Commands on targets: add and remove, write off, confirm a changed realm, check the broker.

use std::sync::Arc;

use crate::actor::Actor;
use crate::alike::refusal;
use crate::audit_event::{AuditEvent, EventKind};
use crate::database::adapter::finding;
use crate::database::{Capabilities, Check, Database, Identity, Severity, StoreMarks};
use crate::engine::Jit;
use crate::engine::access_request::Filter;
use crate::engine::contain;
use crate::engine::error::JitError;
use crate::engine::repository::attempt::until_committed;
use crate::engine::repository::records::{TargetRecord, body_or_default, put, target_key};
use crate::engine::repository::unit_of_work::UnitOfWork;
use crate::engine::rules::servers::SHOWS_WITHIN;
use crate::engine::tenant::Tenant;
use crate::id::{RoleName, TargetName};
use crate::model::access::Event;
use crate::policy::Action;
use crate::store::Schedule;

/// Name of a check that fails where roles cannot be made usable at once.
const DEFAULT_ROLE: &str = "default-role";

/// Result of a look at a target.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TargetReport {
    /// Server that answered.
    pub identity: Identity,
    /// Capabilities of the server.
    pub capabilities: Capabilities,
    /// Problems of the broker's account there, each with the statement that fixes it.
    pub checks: Vec<Check>,
}

impl Jit {
    /// Adds a target in this process, or replaces the one of this name. It may be down: the pump
    /// contacts it.
    ///
    /// # Errors
    /// [`JitError::Invalid`] if its name could be mistaken for another target's;
    /// [`JitError::Store`] if the store cannot be written.
    #[tracing::instrument(skip_all, fields(tenant = %self.tenant, target = %name))]
    pub async fn put_target(&self, name: TargetName, database: Arc<dyn Database>) -> Result<(), JitError> {
        if let Some(like) = self.core.tenant(&self.tenant)?.target_like(&name) {
            return Err(JitError::invalid(refusal("target", name.as_str(), like.as_str())));
        }
        let target = name.clone();
        let contained = contain::database(database, &self.core.tasks, self.core.own.as_ref());
        self.core.reconfigure(&self.tenant, |tenant| {
            tenant.databases.insert(target, contained);
        })?;
        self.lanes.registered(&self.tenant, &name);
        Ok(self.core.contact_now(&self.tenant, &name).await?)
    }

    /// Removes a target from this process. What is live there stays due. It becomes overdue until
    /// another node, or a target of the same name, ends it.
    ///
    /// # Errors
    /// [`JitError::NotFound`] if there is no such target.
    pub fn remove_target(&self, name: &TargetName) -> Result<(), JitError> {
        self.core.tenant(&self.tenant)?.database(name)?;
        self.core.reconfigure(&self.tenant, |tenant| {
            tenant.databases.remove(name);
        })
    }

    /// Returns the targets of this process.
    ///
    /// # Errors
    /// [`JitError::NotFound`] if the tenant is not configured.
    pub fn targets(&self) -> Result<Vec<TargetName>, JitError> {
        Ok(self.core.tenant(&self.tenant)?.databases.keys().cloned().collect())
    }

    /// Asks the target for its identity, and checks whether the broker can do its work there for
    /// all roles that policy makes requestable.
    ///
    /// # Errors
    /// [`JitError::Database`] if the target does not answer.
    pub async fn check_target(&self, name: &TargetName) -> Result<TargetReport, JitError> {
        let settings = self.core.tenant(&self.tenant)?;
        let database = settings.database(name)?;
        let roles = requestable(&settings, name, database).await?;
        let identity = database.identify().await?;
        let mut checks = self.identity_checks(name, database, &identity).await?;
        let capabilities = database.capabilities().await?;
        checks.extend(database.check(&roles).await?);
        checks.extend(database.stores().await?.iter().map(another_store));
        if settings.policy.activates(name).await? {
            // what a rule needs is more than a danger
            for check in checks.iter_mut().filter(|check| check.about.what == DEFAULT_ROLE) {
                check.severity = Severity::Refusal;
            }
        }
        Ok(TargetReport { identity, capabilities, checks })
    }

    /// Returns one script that sets the target up, or fixes it, for all roles that policy makes
    /// requestable. A DBA runs it with the engine's own client and puts the password of a new
    /// broker in front of it: see [`Database::set_up`]. The target need not answer.
    ///
    /// # Errors
    /// [`JitError::NotFound`] if there is no such target, [`JitError::Database`] if its kind has no
    /// such script.
    pub async fn set_up_target(&self, name: &TargetName) -> Result<String, JitError> {
        let settings = self.core.tenant(&self.tenant)?;
        let database = settings.database(name)?;
        let roles = requestable(&settings, name, database).await?;
        Ok(database.set_up(&roles).await?)
    }

    /// Checks whether the server is the one that the target is known by.
    async fn identity_checks(
        &self,
        name: &TargetName,
        database: &Arc<dyn Database>,
        found: &Identity,
    ) -> Result<Vec<Check>, JitError> {
        let known: TargetRecord =
            body_or_default(self.core.store.read(&target_key(&self.tenant, name)).await?.as_ref())?;
        let other = match &known.realm {
            Some(realm) if *realm != found.realm => Some(format!(
                "it was `{realm}` and answers as `{}`: put the URL right, or confirm it (`Jit::confirm_target`, or `jit target confirm {name}`)",
                found.realm
            )),
            _ => match self.core.who_answers(&self.tenant, name, database, found).await?.refused() {
                Some(why) => Some(why.to_owned()),
                None => self.core.runs_elsewhere(&self.tenant, name, found, true).await?,
            },
        };
        let finding = |message| finding(Severity::Refusal, ("realm", Some(name.to_string())), message, None);
        Ok(other.map(finding).into_iter().collect())
    }

    /// Writes a target off and returns the number of accesses that were closed. What is live there
    /// is closed as `retired`, stays unverified for ever, and is no longer tried (law 4).
    ///
    /// If the target was since confirmed to be another server, only what is live on the old server
    /// is written off. The target then stays in use.
    ///
    /// # Errors
    /// [`JitError::NotAllowed`] if no `[[may]]` rule allows it.
    #[tracing::instrument(skip_all, fields(tenant = %self.tenant, target = %name))]
    pub async fn retire_target(&self, actor: &Actor, name: &TargetName) -> Result<usize, JitError> {
        let settings = self.acting(actor).await?.settings;
        self.core.permit(&settings, actor, Action::Retire, Some(name), None).await?;
        let lost = match self.core.realm_of(&self.tenant, name).await? {
            Some(realm) => self.core.elsewhere(&self.tenant, name, &realm).await?,
            None => Vec::new(),
        };
        if !lost.is_empty() {
            for access in &lost {
                let event = Event::Retire { by: actor.principal.clone() };
                self.core.change(&settings, &self.tenant, access.id(), event).await?;
            }
            return Ok(lost.len());
        }
        // a target that was never contacted is nothing to write off
        if self.core.store.read(&target_key(&self.tenant, name)).await?.is_none() {
            settings.database(name)?;
        }
        let now = self.core.store.now().await?;
        let audit_event = AuditEvent::new(EventKind::Retired).with("target", name.as_str());
        self.on_target(&settings, actor, name, audit_event, |record| record.retired = Some(now)).await?;
        let filter = Filter { target: Some(name.to_string()), open: true, ..Filter::default() };
        let mut closed = 0_usize;
        loop {
            let open = self.list(&filter, None, 256).await?;
            if open.is_empty() {
                return Ok(closed);
            }
            for view in open {
                let event = Event::Retire { by: actor.principal.clone() };
                self.core.change(&settings, &self.tenant, view.id, event).await?;
                closed = closed.saturating_add(1);
            }
        }
    }

    /// Confirms the target as it is now: another realm than before, or a target that was written
    /// off and is to be used again.
    ///
    /// What is live on the old server stays overdue until that server answers again or is written
    /// off. If the data is the same, see [`Self::confirm_same_data`].
    ///
    /// # Errors
    /// [`JitError::NotAllowed`] if no `[[may]]` rule allows it.
    #[tracing::instrument(skip_all, fields(tenant = %self.tenant, target = %name))]
    pub async fn confirm_target(&self, actor: &Actor, name: &TargetName) -> Result<(), JitError> {
        let settings = self.acting(actor).await?.settings;
        self.core.permit(&settings, actor, Action::Retire, Some(name), None).await?;
        let database = settings.database(name)?;
        let shown = self.core.tasks.within(SHOWS_WITHIN, database.identify()).await;
        let shown = shown.and_then(Result::ok).map(|shown| shown.realm);
        let known = self.core.realm_of(&self.tenant, name).await?;
        let audit_event = AuditEvent::new(EventKind::TargetConfirmed).with("target", name.as_str());
        let confirm = |record: &mut TargetRecord| *record = TargetRecord::default();
        self.on_target(&settings, actor, name, audit_event, confirm).await?;
        for realm in [known, shown].into_iter().flatten() {
            self.core.looked(&self.tenant, &realm).await?;
        }
        self.core.register_target(&self.tenant, name).await
    }

    /// Changes the stored record of a target.
    pub(super) async fn on_target(
        &self,
        settings: &Tenant,
        actor: &Actor,
        name: &TargetName,
        audit_event: AuditEvent,
        change: impl Fn(&mut TargetRecord) + Send,
    ) -> Result<(), JitError> {
        until_committed!(async {
            let key = target_key(&self.tenant, name);
            let record = self.core.store.read(&key).await?;
            let mut known: TargetRecord = body_or_default(record.as_ref())?;
            change(&mut known);
            let now = self.core.store.now().await?;
            // without a realm it is contacted anew; a target that is written off is not
            let is_contacted = known.realm.is_none() && known.retired.is_none();
            let schedule = is_contacted.then(|| Schedule::contact(&self.tenant, name, now));
            let mut unit_of_work = UnitOfWork::new(&self.core, &self.tenant, settings, Some(actor), now);
            unit_of_work.change.writes.push(put(key, record.as_ref(), &known, schedule)?);
            unit_of_work.audit(audit_event.clone());
            Ok(unit_of_work.attempt().await?)
        })
    }
}

/// Returns the roles that policy makes requestable on the target, as the engine spells them.
async fn requestable(
    settings: &Tenant,
    name: &TargetName,
    database: &Arc<dyn Database>,
) -> Result<Vec<RoleName>, JitError> {
    let roles = settings.policy.requestable(name).await?;
    roles.iter().map(|role| Ok(database.role(role.as_str())?)).collect()
}

/// Reports another store that works with the broker.
fn another_store(marks: &StoreMarks) -> Check {
    let StoreMarks { store, memberships } = marks;
    let message = format!(
        "another store (`{store}`) works with this broker, and accounts for memberships here ({memberships}): this store \
         neither grants nor ends nor reconciles them"
    );
    let remedy = "a broker belongs to one store: give the other store's configuration a login of its own (if that store is gone for good, \
                what it granted goes by the dead man's switch)";
    finding(Severity::Danger, ("another-store", Some(store.to_string())), message, Some(remedy.to_owned()))
}
