//! Unit of work: one store change that holds records, log entries and notices together (law 9).

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::TimeDelta;

use crate::actor::Actor;
use crate::audit::EntryContext;
use crate::audit_event::{AuditEvent, Detail, EventKind};
use crate::clock::{Time, after};
use crate::engine::core::Core;
use crate::engine::events::EngineEvent;
use crate::engine::notices::{fields, notifiers};
use crate::engine::repository::attempt::Attempt;
use crate::engine::repository::records::{ReviewRecord, put, review_key, write_access, write_holding};
use crate::engine::tenant::Tenant;
use crate::engine::view::AccessView;
use crate::hex::random_hex;
use crate::id::{ApproverName, TenantId};
use crate::model::access::Access;
use crate::model::holding::Holding;
use crate::notify::Notice;
use crate::store::{Change, Expect, Lane, NewEntry, Schedule, StoreError};

/// Change in the making, and the events to publish once it is committed.
#[derive(Debug)]
pub(in crate::engine) struct UnitOfWork<'c> {
    core: &'c Core,
    tenant: &'c TenantId,
    settings: &'c Tenant,
    actor: Option<&'c Actor>,
    now: Time,
    pub(in crate::engine) change: Change,
    told: Vec<EngineEvent>,
    /// Number of audit events so far that had notices.
    noticed: i64,
}

impl<'c> UnitOfWork<'c> {
    pub(in crate::engine) fn new(
        core: &'c Core,
        tenant: &'c TenantId,
        settings: &'c Tenant,
        actor: Option<&'c Actor>,
        now: Time,
    ) -> Self {
        Self { core, tenant, settings, actor, now, change: Change::default(), told: Vec::new(), noticed: 0 }
    }

    /// Adds the access as it is now, with the log entries and notices of what happened to it.
    pub(in crate::engine) fn access(
        &mut self,
        access: &Access,
        expect: Expect,
        audit_events: &[AuditEvent],
    ) -> Result<(), StoreError> {
        self.change.writes.push(write_access(access, expect)?);
        self.about(access, audit_events)
    }

    /// Adds only the log entries and notices about the access, not the access itself.
    pub(in crate::engine) fn about(&mut self, access: &Access, audit_events: &[AuditEvent]) -> Result<(), StoreError> {
        let common = common(access);
        for audit_event in audit_events {
            self.ask_outside(access, audit_event)?;
            self.enter(Some(access), common.clone(), audit_event);
            self.notices(Some(access), audit_event)?;
            self.told.push(EngineEvent {
                tenant: self.tenant.clone(),
                audit_event: audit_event.clone(),
                at: self.now,
                access: Some(AccessView::of(access, self.now)),
            });
        }
        Ok(())
    }

    /// Adds a log entry that is about no access.
    pub(in crate::engine) fn audit(&mut self, audit_event: AuditEvent) {
        self.enter(None, BTreeMap::new(), &audit_event);
        self.told.push(EngineEvent { tenant: self.tenant.clone(), audit_event, at: self.now, access: None });
    }

    /// Adds the holding as it is now, due at this time. A new holding that holds nothing is not
    /// written.
    pub(in crate::engine) fn holding(
        &mut self,
        holding: &Holding,
        expect: Expect,
        due: Option<Time>,
    ) -> Result<(), StoreError> {
        self.change.writes.extend(write_holding(holding, expect, due)?);
        Ok(())
    }

    /// Commits the change and publishes its events.
    pub(in crate::engine) async fn commit(mut self) -> Result<Time, StoreError> {
        let told = std::mem::take(&mut self.told);
        for about_none in told.iter().filter(|told| told.access.is_none()) {
            self.notices(None, &about_none.audit_event)?;
        }
        if told.is_empty() {
            return Ok(self.core.store.commit(self.change).await?.at);
        }
        let (store, events, change) = (Arc::clone(&self.core.store), Arc::clone(&self.core.events), self.change);
        // in a task of its own: the caller may be dropped once the change is committed, and its
        // events are published all the same
        let committed = self.core.tasks.spawn(async move {
            let committed = store.commit(change).await?;
            for happened in told {
                tell(&happened);
                events.tell(happened);
            }
            Ok::<_, StoreError>(committed.at)
        });
        committed.await.unwrap_or_else(|error| {
            Err(StoreError::OutcomeUnknown { why: "the commit was interrupted".to_owned(), source: Some(error.into()) })
        })
    }

    /// Commits the change, unless somebody else changed one of its records meanwhile.
    pub(in crate::engine) async fn attempt(self) -> Result<Attempt<()>, StoreError> {
        match self.commit().await {
            Ok(_) => Ok(Attempt::Done(())),
            Err(StoreError::Conflict { .. }) => Ok(Attempt::Overtaken),
            Err(error) => Err(error),
        }
    }

    fn enter(&mut self, access: Option<&Access>, common: BTreeMap<String, Detail>, audit_event: &AuditEvent) {
        let context = EntryContext {
            tenant: self.tenant,
            access: access.map(Access::id),
            actor: self.actor,
            node: &self.core.node,
            at: self.now,
            common,
        };
        let entry: NewEntry = context.entry(audit_event, &*self.core.entropy).to_store();
        self.change.entries.push(entry);
    }

    /// Adds the question to an outside system whose turn it is. Its token cannot be guessed; an
    /// answer may come by that token.
    fn ask_outside(&mut self, access: &Access, audit_event: &AuditEvent) -> Result<(), StoreError> {
        let asked = audit_event.text("approver").filter(|_| audit_event.what == EventKind::AskedOutside);
        let Some(approver) = asked.and_then(|name| ApproverName::new(name).ok()) else { return Ok(()) };
        let token = random_hex::<24>(&*self.core.entropy);
        let (lane, serial) = (Lane::outside(self.tenant, &approver), format!("review:{token}"));
        let asked = access.decidable().question();
        let question = ReviewRecord { access: access.id(), question: asked, approver, failures: 0, last_error: None };
        let schedule = Some(Schedule { lane, due: self.now, serial });
        self.change.writes.push(put(review_key(self.tenant, &token), None, &question, schedule)?);
        Ok(())
    }

    fn notices(&mut self, access: Option<&Access>, audit_event: &AuditEvent) -> Result<(), StoreError> {
        let notifiers = notifiers(self.settings, access, audit_event.what);
        if notifiers.is_empty() {
            return Ok(());
        }
        let fields = fields(self.settings, access, audit_event, self.actor);
        let mut notice = Notice::new(self.tenant.clone(), audit_event.what, self.now, &*self.core.entropy);
        (notice.access, notice.fields) = (access.map(Access::id), fields);
        for notifier in notifiers {
            // of several notices of one commit a later one has a later time
            self.change.writes.push(notice.write(notifier, after(self.now, TimeDelta::microseconds(self.noticed)))?);
        }
        self.noticed = self.noticed.saturating_add(1);
        Ok(())
    }
}

/// Returns the details that every log entry of the access repeats.
fn common(access: &Access) -> BTreeMap<String, Detail> {
    let request = access.request();
    let mut common: BTreeMap<String, Detail> = BTreeMap::from([
        ("target".to_owned(), request.target.as_str().into()),
        ("role".to_owned(), request.role.as_str().into()),
        ("account".to_owned(), request.account.as_str().into()),
        ("requester".to_owned(), request.parties.requester.as_str().into()),
        ("receiver".to_owned(), request.parties.grantee.as_str().into()),
        ("rule".to_owned(), access.approval().plan().rule.as_str().into()),
        ("policy".to_owned(), access.approval().plan().policy.as_str().into()),
    ]);
    if let Some(realm) = access.realm() {
        common.insert("realm".to_owned(), realm.as_str().into());
    }
    common
}

/// Writes the event to the process's own log for operators, beside the audit log.
fn tell(happened: &EngineEvent) {
    let EngineEvent { tenant, audit_event, access, .. } = happened;
    let (id, target, role, account) = match access {
        Some(view) => (view.id.to_string(), view.target.as_str(), view.role.as_str(), view.account.as_str()),
        None => (String::new(), "", "", ""),
    };
    let why = audit_event.text("why").unwrap_or_default();
    match audit_event.what {
        EventKind::Overdue
        | EventKind::PumpDied
        | EventKind::Reappeared
        | EventKind::TargetRefused
        | EventKind::BreakGlass
        | EventKind::ReviewOverdue => {
            tracing::error!(%tenant, access = %id, target, role, account, why, "{}", audit_event.what);
        }
        EventKind::RevokeFailed
        | EventKind::Finding
        | EventKind::TargetLost
        | EventKind::GrantDelayed
        | EventKind::Retired
        | EventKind::ApproverFailed
        | EventKind::FactorLocked => {
            tracing::warn!(%tenant, access = %id, target, role, account, why, "{}", audit_event.what);
        }
        _ => tracing::info!(%tenant, access = %id, target, role, account, why, "{}", audit_event.what),
    }
}
