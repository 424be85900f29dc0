//! First contact: a target identifies its realm, and the requests that waited for that are placed
//! there.

use std::sync::Arc;

use chrono::TimeDelta;

use super::Pump;
use crate::audit_event::{AuditEvent, EventKind};
use crate::clock::after;
use crate::database::Identity;
use crate::engine::core::Core;
use crate::engine::repository::apply::Beside;
use crate::engine::repository::attempt::{ignore_conflict, only_store};
use crate::engine::repository::loaded;
use crate::engine::repository::records::{TargetRecord, body, body_or_default, put, target_key};
use crate::engine::repository::unit_of_work::UnitOfWork;
use crate::engine::rules::servers::Who;
use crate::id::{RealmId, TargetName, TenantId};
use crate::model::access::Event;
use crate::store::{Change, Claimed, Kind, Lane, PageQuery, Schedule, StoreError};

/// Time after its first contact until a target is asked again whether requests wait for it. One may
/// have been made meanwhile.
const AGAIN: TimeDelta = TimeDelta::seconds(2);

impl Core {
    /// Makes sure that the target is on record, and is contacted.
    pub(in crate::engine) async fn register_target(
        &self,
        tenant: &TenantId,
        target: &TargetName,
    ) -> Result<(), crate::engine::error::JitError> {
        let key = target_key(tenant, target);
        let record = self.store.read(&key).await?;
        let known: TargetRecord = body_or_default(record.as_ref())?;
        // a target that answered as another server may have been repaired
        if record.is_some() && known.stranger.is_none() && known.copy.is_none() {
            return Ok(());
        }
        Ok(self.contact_now(tenant, target).await?)
    }

    /// Makes sure that the target is contacted now, whatever is known of it.
    pub(in crate::engine) async fn contact_now(
        &self,
        tenant: &TenantId,
        target: &TargetName,
    ) -> Result<(), StoreError> {
        let key = target_key(tenant, target);
        let record = self.store.read(&key).await?;
        let known: TargetRecord = body_or_default(record.as_ref())?;
        let schedule = Schedule::contact(tenant, target, self.store.now().await?);
        let write = put(key, record.as_ref(), &known, Some(schedule))?;
        let change = Change { writes: vec![write], ..Change::default() };
        // whoever was in the way contacts it too, or has just done so
        ignore_conflict(self.store.commit(change).await.map(|committed| committed.at))
    }
}

/// Returns the audit event that another server answers under a target's name.
pub(super) fn another_realm(target: &TargetName, was: Option<&RealmId>, now: &RealmId) -> AuditEvent {
    AuditEvent::new(EventKind::TargetRefused)
        .with("target", target.as_str())
        .with("answers_as", now.as_str())
        .maybe("was", was.map(RealmId::as_str))
        .with("why", "another server answers under its name: put the URL right, or confirm it")
}

/// Returns the audit event that another server with the same identifier answers under a target's
/// name.
pub(super) fn a_copy(target: &TargetName, found: &Identity, why: &str) -> AuditEvent {
    AuditEvent::new(EventKind::TargetRefused)
        .with("target", target.as_str())
        .with("answers_as", found.realm.as_str())
        .with("incarnation", found.incarnation.as_str())
        .with("why", why)
}

impl Pump {
    /// Contacts the target, and returns true if it answered.
    pub(super) async fn contact(self: &Arc<Self>, lane: &Lane, claimed: Vec<Claimed>) -> Result<bool, StoreError> {
        let mut answered = true;
        for Claimed { record, claim } in claimed {
            let tenant = record.at.tenant.clone();
            let target = TargetName::new(record.at.key.clone());
            let now = self.core.store.now().await?;
            let here = self.core.tenant(&tenant).ok().zip(target.ok());
            let here = here.filter(|(settings, target)| settings.databases.contains_key(target));
            let Some((settings, target)) = here else {
                self.core.store.unclaim(&[claim]).await?;
                let unserved = self.unserved_of(record.at.tenant.as_str(), "target", &record.at.key);
                self.leave_to_others(lane, now, unserved.into_iter().collect());
                return Ok(false);
            };
            let Ok(database) = settings.database(&target) else { return Ok(false) };
            let known: TargetRecord = body(&record)?;
            let identity = match self.identify(database).await {
                Ok(identity) => identity,
                Err(error) => {
                    let why = error.with_causes();
                    if self.breaker(lane, |breaker| breaker.failed(now)) {
                        let audit_event =
                            AuditEvent::new(EventKind::TargetLost).with("target", target.as_str()).with("why", why);
                        self.tell(&tenant, &settings, audit_event).await?;
                    }
                    self.core.store.unclaim(&[claim]).await?;
                    answered = false;
                    continue;
                }
            };
            self.breaker(lane, super::breaker::Breaker::answered);
            let mut unit_of_work = UnitOfWork::new(&self.core, &tenant, &settings, None, now);
            let first = known.realm.is_none();
            let realm = known.realm.clone().unwrap_or_else(|| identity.realm.clone());
            let copy = match self.core.who_answers(&tenant, &target, database, &identity).await? {
                Who::Another(why) if identity.realm == realm => Some(why),
                // the record of a doubted realm says so
                Who::Another(_) | Who::Doubted(_) | Who::TheRealms => None,
            };
            if let Some(why) = copy.clone() {
                let audit_event = known.copy.is_none().then(|| a_copy(&target, &identity, &why));
                let next = TargetRecord { copy, ..known };
                unit_of_work.change.writes.push(put(record.at.clone(), Some(&record), &next, None)?);
                unit_of_work.change.release.push(claim);
                audit_event.into_iter().for_each(|audit_event| unit_of_work.audit(audit_event));
                ignore_conflict(unit_of_work.commit().await)?;
                continue;
            }
            // requests made before the realm was known did not have this record in hand: they are
            // looked for once more after it is
            let stranger = (identity.realm != realm).then(|| identity.realm.clone());
            let news = stranger.clone().filter(|_| stranger != known.stranger);
            let next = TargetRecord { realm: Some(realm.clone()), stranger, copy: None, ..known };
            let schedule = first.then(|| Schedule::contact(&tenant, &target, after(now, AGAIN)));
            unit_of_work.change.writes.push(put(record.at.clone(), Some(&record), &next, schedule)?);
            unit_of_work.change.release.push(claim);
            if first {
                let audit_event = AuditEvent::new(EventKind::TargetContacted)
                    .with("target", target.as_str())
                    .with("realm", realm.as_str())
                    .with("incarnation", identity.incarnation.as_str());
                unit_of_work.audit(audit_event);
            }
            if let Some(stranger) = news {
                unit_of_work.audit(another_realm(&target, Some(&realm), &stranger));
            }
            ignore_conflict(unit_of_work.commit().await)?;
            if identity.realm == realm {
                // whoever is contacted next is compared with this run of it
                self.incarnation(&tenant, &settings, &target, &identity).await?;
            }
            self.place_waiting(&tenant, &target).await?;
        }
        Ok(answered)
    }

    /// Places the accesses that waited for the target's realm.
    async fn place_waiting(&self, tenant: &TenantId, target: &TargetName) -> Result<(), StoreError> {
        let Some(record) = self.core.store.read(&target_key(tenant, target)).await? else { return Ok(()) };
        let known: TargetRecord = body(&record)?;
        let (Some(realm), Ok(settings)) = (known.realm, self.core.tenant(tenant)) else { return Ok(()) };
        let label = Some(("waits".to_owned(), target.to_string()));
        let mut from = None;
        loop {
            let ask =
                PageQuery { tenant: tenant.clone(), kind: Kind::Access, label: label.clone(), after: from, limit: 256 };
            let page = self.core.store.page(&ask).await?;
            for record in &page {
                let now = self.core.store.now().await?;
                let loaded = match loaded(record, now) {
                    Ok(loaded) => loaded,
                    Err(error) => {
                        tracing::error!(%error, "an access that waits for its target cannot be read and is skipped");
                        continue;
                    }
                };
                let event = Event::Placed(realm.clone());
                match self.core.apply(&settings, None, &loaded, event, Beside::default()).await {
                    Ok(_) => {}
                    Err(error) => only_store(error)?,
                }
            }
            from = page.last().map(|record| record.at.key.clone());
            if from.is_none() {
                return Ok(());
            }
        }
    }
}
