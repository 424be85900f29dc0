//! Records of accesses, holdings and targets: how they are read, and how they are changed.

pub(super) mod apply;
pub(super) mod attempt;
pub(crate) mod records;
pub(super) mod unit_of_work;

use self::records::{RoleOwner, TargetRecord, access_key, body, body_or_default, role_owner_key, target_key};
use super::core::Core;
use super::error::JitError;
use crate::audit_event::{AuditEvent, EventKind};
use crate::clock::Time;
use crate::id::{AccessId, Account, RealmId, RoleName, TargetName, TenantId};
use crate::model::access::Access;
use crate::model::holding::Holding;
use crate::store::{Kind, PageQuery, Record, RecordKey, StoreError};

/// Access as it was read.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Loaded {
    pub(in crate::engine) access: Access,
    pub(in crate::engine) version: u64,
    /// Findings for the log why the record is not believed. The access is then the rest of it, and
    /// it is ending.
    pub(in crate::engine) damage: Vec<AuditEvent>,
}

impl Core {
    /// Loads an access of this tenant; another tenant's is not found (law 13).
    pub(in crate::engine) async fn load(&self, tenant: &TenantId, id: AccessId, now: Time) -> Result<Loaded, JitError> {
        let record = self.store.read(&access_key(tenant, id)).await?.ok_or_else(|| JitError::no_access(id))?;
        Ok(loaded(&record, now)?)
    }

    /// Returns the accesses through this target that are live, or to be granted, in another realm
    /// than this one.
    pub(in crate::engine) async fn elsewhere(
        &self,
        tenant: &TenantId,
        target: &TargetName,
        realm: &RealmId,
    ) -> Result<Vec<Access>, StoreError> {
        let through =
            |access: &Access| access.realm().is_some_and(|was| was != realm) && access.request().target == *target;
        self.open_where(tenant, through).await
    }

    /// Returns the open accesses that satisfy the predicate.
    pub(in crate::engine) async fn open_where(
        &self,
        tenant: &TenantId,
        wanted: impl Fn(&Access) -> bool + Send,
    ) -> Result<Vec<Access>, StoreError> {
        let mut open = Vec::new();
        let mut after = None;
        loop {
            let label = Some(("open".to_owned(), "yes".to_owned()));
            let ask = PageQuery { tenant: tenant.clone(), kind: Kind::Access, label, after, limit: 1_024 };
            let page = self.store.page(&ask).await?;
            let now = self.store.now().await?;
            for record in &page {
                match loaded(record, now).map(|loaded| loaded.access) {
                    Ok(access) if wanted(&access) => open.push(access),
                    Ok(_) => {}
                    Err(error) => {
                        tracing::error!(%error, "an access cannot be read and is skipped: reconcile the target")
                    }
                }
            }
            after = page.last().map(|record| record.at.key.clone());
            if after.is_none() {
                return Ok(open);
            }
        }
    }

    /// Returns all live accesses of the account in the realm.
    pub(in crate::engine) async fn live_of(
        &self,
        tenant: &TenantId,
        realm: &RealmId,
        account: &Account,
    ) -> Result<Vec<Access>, StoreError> {
        let key = RecordKey::new(tenant, Kind::Holding, Holding::key(realm, account));
        let Some(record) = self.store.read(&key).await? else { return Ok(Vec::new()) };
        let holding: Holding = body(&record)?;
        let keys: Vec<RecordKey> = holding.live.iter().map(|id| access_key(tenant, *id)).collect();
        let now: Time = self.store.now().await?;
        let read = self.store.read_all(&keys).await?;
        // the pump ends damaged accesses; they do not stand in the way of asking
        Ok(read.iter().flatten().filter_map(|record| loaded(record, now).ok()).map(|loaded| loaded.access).collect())
    }

    /// Returns the realm that the target is known by, if there is one.
    pub(in crate::engine) async fn realm_of(
        &self,
        tenant: &TenantId,
        target: &TargetName,
    ) -> Result<Option<RealmId>, StoreError> {
        let known: TargetRecord = body_or_default(self.store.read(&target_key(tenant, target)).await?.as_ref())?;
        Ok(known.realm)
    }

    /// Checks whether the role of the realm belongs to this tenant, or to nobody yet.
    pub(in crate::engine) async fn owns(
        &self,
        tenant: &TenantId,
        realm: &RealmId,
        role: &RoleName,
    ) -> Result<bool, StoreError> {
        let owner = self.store.read(&role_owner_key(realm, role)).await?;
        let owner: Option<RoleOwner> = owner.as_ref().map(body).transpose()?;
        Ok(owner.is_none_or(|owner| owner.tenant == *tenant))
    }
}

/// Decodes the access of a record. If the record is damaged, returns the rest of it so that it can
/// be ended.
pub(in crate::engine) fn loaded(record: &Record, now: Time) -> Result<Loaded, StoreError> {
    let version = record.version;
    let damaged = match Access::from_bytes(&record.body, now) {
        Ok(access) => return Ok(Loaded { access, version, damage: Vec::new() }),
        Err(damaged) => damaged,
    };
    match damaged.ending {
        Some(ending) => {
            let finding =
                AuditEvent::new(EventKind::Finding).with("why", format!("its record is damaged: {}", damaged.why));
            Ok(Loaded { access: ending.access, version, damage: vec![finding, ending.audit_event] })
        }
        None => {
            Err(StoreError::Damaged { kind: record.at.kind.as_str(), key: record.at.key.clone(), why: damaged.why })
        }
    }
}
