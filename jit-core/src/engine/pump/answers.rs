//! Identification of the server behind a target before it is sent anything, and the record of it.

use std::sync::Arc;
use std::time::Duration;

use super::Pump;
use super::contact::{a_copy, another_realm};
use crate::audit_event::{AuditEvent, EventKind};
use crate::database::{Database, DatabaseError, Identity};
use crate::engine::repository::attempt::{Attempt, ignore_conflict, retry};
use crate::engine::repository::records::{
    ARMED, RealmRecord, TargetRecord, WATCHED, body, body_or_default, expect, put, realm_key, schedule_of, target_key,
};
use crate::engine::repository::unit_of_work::UnitOfWork;
use crate::engine::rules::servers::Who;
use crate::engine::tenant::Tenant;
use crate::id::{RealmId, TargetName, TenantId};
use crate::model::holding::Holding;
use crate::store::{Change, Kind, Lane, PageQuery, Record, StoreError, Write, Writing};

/// Limit for a server to identify itself. The adapter limits its own connect; a program that gives
/// the password may take longer.
const IDENTIFY_WITHIN: Duration = Duration::from_secs(25);

/// Server that is verified as the known one.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    /// Incarnation of the server.
    pub(super) incarnation: String,
    /// Reason why nothing is granted there until an operator has looked, if there is one.
    pub(super) doubted: Option<String>,
}

impl Pump {
    /// Makes sure that the server answers and is the known one, before it is sent anything.
    pub(super) async fn ready(
        &self,
        lane: &Lane,
        tenant: &TenantId,
        settings: &Tenant,
        target: &TargetName,
        realm: &RealmId,
        database: &Arc<dyn Database>,
    ) -> Result<Result<Ready, DatabaseError>, StoreError> {
        if let Some(incarnation) = self.breaker(lane, |breaker| breaker.knows(tenant, target)) {
            let record = self.core.store.read(&realm_key(tenant, realm)).await?;
            let known: Option<RealmRecord> = record.as_ref().map(body).transpose()?;
            // another node may have learnt meanwhile that the realm has another server
            if known.as_ref().is_none_or(|known| known.incarnation == incarnation) {
                return Ok(Ok(Ready { incarnation, doubted: known.and_then(|known| known.doubted) }));
            }
        }
        let identity = match self.identify(database).await {
            Ok(identity) => identity,
            Err(error) => return Ok(Err(error)),
        };
        if identity.realm != *realm {
            self.stranger(tenant, settings, target, &identity).await?;
            let why = format!("target `{target}` is another server now (`{}`, was `{realm}`)", identity.realm);
            return Ok(Err(DatabaseError::unreachable(why)));
        }
        let doubted = match self.core.who_answers(tenant, target, database, &identity).await? {
            Who::TheRealms => None,
            Who::Doubted(why) => Some(why),
            Who::Another(why) => {
                self.copy(tenant, settings, target, &identity, Some(&why)).await?;
                return Ok(Err(DatabaseError::unreachable(format!(
                    "target `{target}` leads to another server: {why}"
                ))));
            }
        };
        self.copy(tenant, settings, target, &identity, None).await?;
        self.incarnation(tenant, settings, target, &identity).await?;
        let incarnation = identity.incarnation;
        self.breaker(lane, |breaker| breaker.identified(tenant, target, incarnation.clone()));
        Ok(Ok(Ready { incarnation, doubted }))
    }

    pub(super) async fn identify(&self, database: &Arc<dyn Database>) -> Result<Identity, DatabaseError> {
        let identity = self.core.tasks.within(IDENTIFY_WITHIN, database.identify()).await;
        identity.unwrap_or_else(|| Err(DatabaseError::unreachable("the database did not answer in time")))
    }

    /// Records that another realm answers under the target's name. It is refused until an operator
    /// confirms it.
    async fn stranger(
        &self,
        tenant: &TenantId,
        settings: &Tenant,
        target: &TargetName,
        identity: &Identity,
    ) -> Result<(), StoreError> {
        let record = self.core.store.read(&target_key(tenant, target)).await?;
        let known: TargetRecord = body_or_default(record.as_ref())?;
        // a realm that was confirmed is no stranger, although this work belongs elsewhere
        if known.stranger.as_ref() == Some(&identity.realm) || known.realm.as_ref() == Some(&identity.realm) {
            return Ok(());
        }
        let audit_event = another_realm(target, known.realm.as_ref(), &identity.realm);
        let next = TargetRecord { stranger: Some(identity.realm.clone()), ..known };
        self.remember((tenant, settings, target), record, &next, Some(audit_event)).await
    }

    /// Records that another server with the same identifier answers under the target's name, and
    /// why it is taken for one. Without a reason, records that this is over.
    async fn copy(
        &self,
        tenant: &TenantId,
        settings: &Tenant,
        target: &TargetName,
        identity: &Identity,
        why: Option<&str>,
    ) -> Result<(), StoreError> {
        let record = self.core.store.read(&target_key(tenant, target)).await?;
        let known: TargetRecord = body_or_default(record.as_ref())?;
        if known.copy.is_some() == why.is_some() {
            return Ok(());
        }
        let audit_event = why.map(|why| a_copy(target, identity, why));
        let next = TargetRecord { copy: why.map(str::to_owned), ..known };
        self.remember((tenant, settings, target), record, &next, audit_event).await
    }

    /// Stores what is known of the target now, and logs the event. The schedule of its contact
    /// stays.
    async fn remember(
        &self,
        (tenant, settings, target): (&TenantId, &Tenant, &TargetName),
        record: Option<Record>,
        next: &TargetRecord,
        audit_event: Option<AuditEvent>,
    ) -> Result<(), StoreError> {
        let now = self.core.store.now().await?;
        let mut unit_of_work = UnitOfWork::new(&self.core, tenant, settings, None, now);
        let schedule = record.as_ref().and_then(|record| record.schedule.clone());
        unit_of_work.change.writes.push(put(target_key(tenant, target), record.as_ref(), next, schedule)?);
        audit_event.into_iter().for_each(|audit_event| unit_of_work.audit(audit_event));
        ignore_conflict(unit_of_work.commit().await)
    }

    /// Stores the incarnation of the realm's server, unless another one was confirmed since it was
    /// judged. If it changed, everything that ended there is looked at again (law 5).
    pub(super) async fn incarnation(
        &self,
        tenant: &TenantId,
        settings: &Tenant,
        target: &TargetName,
        identity: &Identity,
    ) -> Result<(), StoreError> {
        let record = self.core.store.read(&realm_key(tenant, &identity.realm)).await?;
        let known: Option<RealmRecord> = record.as_ref().map(body).transpose()?;
        if known.is_some_and(|known| known.incarnation != identity.incarnation) {
            let Ok(database) = settings.database(target) else { return Ok(()) };
            // judged after this record was read, which is written only as it was read
            if let Who::Another(_) = self.core.who_answers(tenant, target, database, identity).await? {
                return Ok(());
            }
        }
        self.is_incarnation(tenant, settings, target, (record, identity)).await
    }

    /// Stores the incarnation whatever was known before, because an operator confirmed it.
    pub(in crate::engine) async fn confirmed(
        &self,
        tenant: &TenantId,
        settings: &Tenant,
        target: &TargetName,
        identity: &Identity,
    ) -> Result<(), StoreError> {
        let stored = retry!(async {
            let record = self.core.store.read(&realm_key(tenant, &identity.realm)).await?;
            let known: Option<RealmRecord> = record.as_ref().map(body).transpose()?;
            self.is_incarnation(tenant, settings, target, (record, identity)).await?;
            let is_stored = known.is_some_and(|known| known.incarnation == identity.incarnation);
            Ok(if is_stored { Attempt::Done(()) } else { Attempt::Overtaken })
        });
        stored.map(|_| ())
    }

    async fn is_incarnation(
        &self,
        tenant: &TenantId,
        settings: &Tenant,
        target: &TargetName,
        (record, identity): (Option<Record>, &Identity),
    ) -> Result<(), StoreError> {
        let key = realm_key(tenant, &identity.realm);
        let known: Option<RealmRecord> = record.as_ref().map(body).transpose()?;
        self.core.last_seen.saw(tenant, identity);
        if known.as_ref().is_some_and(|known| known.incarnation == identity.incarnation) {
            return self.core.keep_position(tenant, &identity.realm, false).await;
        }
        if known.is_some() {
            // before it is logged and stored: a crash in between only looks twice, and what is due
            // brings the next node here
            self.look_at_all(tenant, &identity.realm).await?;
        }
        let now = self.core.store.now().await?;
        let mut unit_of_work = UnitOfWork::new(&self.core, tenant, settings, None, now);
        if let Some(known) = &known {
            unit_of_work.audit(
                AuditEvent::new(EventKind::IncarnationChanged)
                    .with("target", target.as_str())
                    .with("realm", identity.realm.as_str())
                    .with("was", known.incarnation.as_str())
                    .with("incarnation", identity.incarnation.as_str()),
            );
        }
        let Identity { incarnation, position, .. } = identity.clone();
        let next = RealmRecord { incarnation, position, doubted: known.and_then(|known| known.doubted) };
        unit_of_work.change.writes.push(put(key, record.as_ref(), &next, None)?);
        ignore_conflict(unit_of_work.commit().await)
    }

    /// Makes due now every holding of the realm that is watched or has a dead man's switch: a
    /// restart may have ended the switch.
    async fn look_at_all(&self, tenant: &TenantId, realm: &RealmId) -> Result<(), StoreError> {
        for label in [WATCHED, ARMED] {
            self.look_at(tenant, label, realm).await?;
        }
        Ok(())
    }

    async fn look_at(&self, tenant: &TenantId, label: &str, realm: &RealmId) -> Result<(), StoreError> {
        let label = Some((label.to_owned(), realm.as_str().to_owned()));
        let mut after = None;
        loop {
            let ask =
                PageQuery { tenant: tenant.clone(), kind: Kind::Holding, label: label.clone(), after, limit: 512 };
            let page = self.core.store.page(&ask).await?;
            for record in &page {
                self.look_now(record.clone()).await?;
            }
            after = page.last().map(|record| record.at.key.clone());
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Makes the watches of one holding due now, even if others change it meanwhile.
    async fn look_now(&self, mut record: Record) -> Result<(), StoreError> {
        loop {
            let Ok(mut holding) = body::<Holding>(&record) else {
                tracing::error!(key = record.at.key, "a holding cannot be read: reconcile the target");
                return Ok(());
            };
            let now = self.core.store.now().await?;
            holding.look_now(now);
            let body = serde_json::to_vec(&holding).unwrap_or_else(|_| record.body.clone());
            let what = Writing::Put { body, schedule: Some(schedule_of(&holding, now)), labels: record.labels.clone() };
            let write = Write { at: record.at.clone(), expect: expect(Some(&record)), what };
            match self.core.store.commit(Change { writes: vec![write], ..Change::default() }).await {
                Err(StoreError::Conflict { .. }) => {}
                done => return done.map(|_| ()),
            }
            match self.core.store.read(&record.at).await? {
                Some(now) => record = now,
                None => return Ok(()),
            }
        }
    }
}
