//! Change of the policy in force.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::audit_event::{AuditEvent, EventKind};
use crate::engine::Jit;
use crate::engine::contain::Rules;
use crate::engine::core::Core;
use crate::engine::error::JitError;
use crate::engine::repository::records::{PolicySeen, body_or_default, policy_key, put};
use crate::engine::repository::unit_of_work::UnitOfWork;
use crate::engine::tenant::Tenant;
use crate::hex::hex;
use crate::id::TenantId;
use crate::policy::Policy;
use crate::store::{Lane, Schedule, StoreError};

/// Longest revision of a directory that is kept as it is, in bytes.
const LONGEST_REVISION: usize = 256;

impl Jit {
    /// Puts another policy in force in this process, with the directory that it brings, if any. The
    /// pump rules again on what is pending. What is live and no longer allowed ends.
    ///
    /// # Errors
    /// [`JitError::Invalid`] if the policy names something that is not configured: the old one
    /// stays in force. [`JitError::Store`] if the change cannot be recorded; the new policy is in
    /// force all the same.
    #[tracing::instrument(skip_all, fields(tenant = %self.tenant))]
    pub async fn reload_policy(&self, policy: impl Policy) -> Result<(), JitError> {
        let policy = Rules::new(Arc::new(policy), &self.core.tasks).await?;
        self.core.tenant(&self.tenant)?.validate_rules(&policy)?;
        self.core.reconfigure(&self.tenant, |tenant| {
            if let Some(directory) = policy.directory().filter(|_| !tenant.directory_changes) {
                tenant.directory = directory;
            }
            tenant.policy = policy;
        })?;
        let _noting = self.core.noting.lock().await;
        // by now another call may have put its policy in force
        let settings = self.core.tenant(&self.tenant)?;
        Ok(self.core.note_policy(&self.tenant, &settings).await?)
    }
}

impl Core {
    /// Records which policy is in force. If it changed, this is logged and everything open is ruled
    /// on again.
    pub(in crate::engine) async fn note_policy(&self, tenant: &TenantId, settings: &Tenant) -> Result<(), StoreError> {
        let key = policy_key(tenant);
        let record = self.store.read(&key).await?;
        let known: PolicySeen = body_or_default(record.as_ref())?;
        let hash = settings.policy.hash().to_owned();
        if known.hash == hash {
            return Ok(());
        }
        let now = self.store.now().await?;
        let mut unit_of_work = UnitOfWork::new(self, tenant, settings, None, now);
        let was = (!known.hash.is_empty()).then_some(known.hash.as_str());
        unit_of_work.audit(AuditEvent::new(EventKind::PolicyChanged).with("policy", hash.as_str()).maybe("was", was));
        let sweep = was.map(|_| Schedule { lane: Lane::desk(), due: now, serial: format!("policy:{tenant}") });
        unit_of_work.change.writes.push(put(key, record.as_ref(), &PolicySeen { hash, ..known }, sweep)?);
        match unit_of_work.commit().await {
            // another process noticed it at the same time
            Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Records what the directory says. If it changed, this is logged and everything open is ruled
    /// on again.
    pub(in crate::engine) async fn note_directory(&self, tenant: &TenantId, settings: &Tenant) -> Result<(), JitError> {
        let Some(directory) = settings.directory.revision().await? else { return Ok(()) };
        // whatever form the directory's revision has, a short text is kept
        let directory = match directory.len() {
            0..=LONGEST_REVISION => directory,
            _ => hex(&Sha256::digest(directory.as_bytes())),
        };
        let key = policy_key(tenant);
        let record = self.store.read(&key).await?;
        let known: PolicySeen = body_or_default(record.as_ref())?;
        if known.directory.as_ref() == Some(&directory) {
            return Ok(());
        }
        let now = self.store.now().await?;
        let mut unit_of_work = UnitOfWork::new(self, tenant, settings, None, now);
        unit_of_work.audit(AuditEvent::new(EventKind::DirectoryChanged).with("directory", directory.as_str()));
        let sweep = Schedule { lane: Lane::desk(), due: now, serial: format!("policy:{tenant}") };
        let next = PolicySeen { directory: Some(directory), ..known };
        unit_of_work.change.writes.push(put(key, record.as_ref(), &next, Some(sweep))?);
        match unit_of_work.commit().await {
            Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
