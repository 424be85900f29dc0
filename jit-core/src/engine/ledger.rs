//! Turning what the machines answered into one change of the store: records, entries and notices together (law 9).

use std::collections::BTreeMap;

use chrono::TimeDelta;

use super::core::{Core, Tenant};
use super::events::Happened;
use super::records::{write_access, write_holding};
use super::view::AccessView;
use crate::access::Access;
use crate::approval::Actor;
use crate::audit::EntryContext;
use crate::clock::{Time, after};
use crate::fact::{Detail, Fact, What};
use crate::holding::Holding;
use crate::id::TenantId;
use crate::notify::Notice;
use crate::store::{Change, Expect, NewEntry, StoreError};

/// One change in the making, and what will be told once it is committed.
#[derive(Debug)]
pub(super) struct Ledger<'c> {
    core: &'c Core,
    tenant: &'c TenantId,
    settings: &'c Tenant,
    actor: Option<&'c Actor>,
    now: Time,
    pub(super) change: Change,
    told: Vec<Happened>,
    /// How many facts had notices so far.
    noticed: i64,
}

impl<'c> Ledger<'c> {
    pub(super) fn new(
        core: &'c Core,
        tenant: &'c TenantId,
        settings: &'c Tenant,
        actor: Option<&'c Actor>,
        now: Time,
    ) -> Self {
        Self { core, tenant, settings, actor, now, change: Change::default(), told: Vec::new(), noticed: 0 }
    }

    /// The access as it is now, and the entries and notices of what happened to it.
    pub(super) fn access(&mut self, access: &Access, expect: Expect, facts: &[Fact]) -> Result<(), StoreError> {
        self.change.writes.push(write_access(access, expect)?);
        self.about(access, facts)
    }

    /// Only the entries and notices of what was tried on it.
    pub(super) fn about(&mut self, access: &Access, facts: &[Fact]) -> Result<(), StoreError> {
        let common = common(access);
        for fact in facts {
            self.enter(Some(access), common.clone(), fact);
            self.notices(access, fact)?;
            self.told.push(Happened {
                tenant: self.tenant.clone(),
                fact: fact.clone(),
                at: self.now,
                access: Some(AccessView::of(access, self.now)),
            });
        }
        Ok(())
    }

    /// An entry that is about no access.
    pub(super) fn fact(&mut self, fact: Fact) {
        self.enter(None, BTreeMap::new(), &fact);
        self.told.push(Happened { tenant: self.tenant.clone(), fact, at: self.now, access: None });
    }

    /// The holding as it is now, due then; one that holds nothing is deleted.
    pub(super) fn holding(&mut self, holding: &Holding, expect: Expect, due: Option<Time>) -> Result<(), StoreError> {
        self.change.writes.extend(write_holding(holding, expect, due)?);
        Ok(())
    }

    /// Commits it, and tells who listens.
    pub(super) async fn commit(self) -> Result<Time, StoreError> {
        let committed = self.core.store.commit(self.change).await?;
        for happened in self.told {
            tell(&happened);
            if let Some(view) = &happened.access {
                self.core.waiters.changed(view.id);
            }
            // nobody listening is no error
            let _ = self.core.happened.send(happened);
        }
        Ok(committed.at)
    }

    fn enter(&mut self, access: Option<&Access>, common: BTreeMap<String, Detail>, fact: &Fact) {
        let context = EntryContext {
            tenant: self.tenant,
            access: access.map(Access::id),
            actor: self.actor,
            node: &self.core.node,
            at: self.now,
            common,
        };
        let entry: NewEntry = context.entry(fact, &*self.core.entropy).to_store();
        self.change.entries.push(entry);
    }

    fn notices(&mut self, access: &Access, fact: &Fact) -> Result<(), StoreError> {
        if self.settings.notifiers.is_empty() || !is_told(fact.what) {
            return Ok(());
        }
        let request = access.request();
        let mut fields = BTreeMap::from([
            ("target".to_owned(), request.target.to_string()),
            ("role".to_owned(), request.role.to_string()),
            ("principal".to_owned(), request.parties.receiver.to_string()),
            ("state".to_owned(), access.state().to_owned()),
            ("reason".to_owned(), request.reason.clone()),
        ]);
        for (name, detail) in &fact.details {
            if let Detail::Text(text) = detail {
                fields.insert(name.clone(), text.clone());
            }
        }
        let notice = Notice::new(self.tenant.clone(), access.id(), fact.what, fields, self.now, &*self.core.entropy);
        for receiver in self.settings.notifiers.keys() {
            // of several notices of one commit a later one has a later time
            self.change.writes.push(notice.write(receiver, after(self.now, TimeDelta::microseconds(self.noticed)))?);
        }
        self.noticed = self.noticed.saturating_add(1);
        Ok(())
    }
}

/// What people are told of (DESIGN section 5: the outbox).
fn is_told(what: What) -> bool {
    matches!(
        what,
        What::Requested
            | What::Approved
            | What::Denied
            | What::Lapsed
            | What::Active
            | What::EndingSoon
            | What::Extended
            | What::Revoked
            | What::Failed
            | What::Overdue
            | What::Finding
            | What::Reappeared
            | What::Retired
    )
}

/// What every entry of the access repeats.
fn common(access: &Access) -> BTreeMap<String, Detail> {
    let request = access.request();
    let mut common: BTreeMap<String, Detail> = BTreeMap::from([
        ("target".to_owned(), request.target.as_str().into()),
        ("role".to_owned(), request.role.as_str().into()),
        ("account".to_owned(), request.account.as_str().into()),
        ("requester".to_owned(), request.parties.requester.as_str().into()),
        ("receiver".to_owned(), request.parties.receiver.as_str().into()),
        ("rule".to_owned(), access.approval().plan().rule.as_str().into()),
        ("policy".to_owned(), access.approval().plan().policy.as_str().into()),
    ]);
    if let Some(realm) = access.realm() {
        common.insert("realm".to_owned(), realm.as_str().into());
    }
    common
}

/// What operators see in the process's own log, beside the audit log.
fn tell(happened: &Happened) {
    let Happened { tenant, fact, access, .. } = happened;
    let (id, target, role, account) = match access {
        Some(view) => (view.id.to_string(), view.target.as_str(), view.role.as_str(), view.account.as_str()),
        None => (String::new(), "", "", ""),
    };
    let why = fact.text("why").unwrap_or_default();
    match fact.what {
        What::Overdue | What::Reappeared | What::TargetRefused => {
            tracing::error!(%tenant, access = %id, target, role, account, why, "{}", fact.what);
        }
        What::RevokeFailed | What::Finding | What::TargetLost | What::GrantDelayed | What::Retired => {
            tracing::warn!(%tenant, access = %id, target, role, account, why, "{}", fact.what);
        }
        _ => tracing::info!(%tenant, access = %id, target, role, account, why, "{}", fact.what),
    }
}
