//! State that all handles of one engine share.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use chrono::TimeDelta;
use tokio::sync::Mutex;

use super::error::JitError;
use super::events::Events;
use super::rules::servers::LastSeen;
use super::tasks::Tasks;
use super::tenant::Tenant;
use crate::clock::Entropy;
use crate::id::{NodeId, StoreId, TenantId};
use crate::store::Store;

/// State that all handles of one engine share.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) store: Arc<dyn Store>,
    /// Id of the store, if it has one.
    pub(super) own: Option<StoreId>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) node: NodeId,
    pub(super) tasks: Tasks,
    pub(super) events: Arc<Events>,
    pub(super) limits: Limits,
    /// Lock held while the policy in force is recorded: the policy recorded last is the one in
    /// force.
    pub(super) noting: Mutex<()>,
    /// Log positions up to which servers were seen.
    pub(super) last_seen: LastSeen,
    tenants: RwLock<BTreeMap<TenantId, Arc<Tenant>>>,
}

/// Limits on time and batch size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Limit of one database call: its deadline by the server's clock and the client's timeout.
    pub(super) call: TimeDelta,
    /// Duration of a claim. It suffices for settling, looking and one call, and is short enough
    /// that the work of a dead node is not left for long.
    pub(super) claim: TimeDelta,
    /// Number of accounts that one pass over a realm takes.
    pub(super) batch: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { call: TimeDelta::seconds(4), claim: TimeDelta::seconds(10), batch: 1_024 }
    }
}

impl Core {
    pub(super) fn new(
        store: Arc<dyn Store>,
        own: Option<StoreId>,
        entropy: Arc<dyn Entropy>,
        node: NodeId,
        tasks: Tasks,
        limits: Limits,
        tenants: BTreeMap<TenantId, Arc<Tenant>>,
    ) -> Self {
        Self {
            store,
            own,
            entropy,
            node,
            tasks,
            events: Arc::default(),
            limits,
            noting: Mutex::new(()),
            last_seen: LastSeen::default(),
            tenants: RwLock::new(tenants),
        }
    }

    /// Returns the tenant's current configuration.
    pub(super) fn tenant(&self, tenant: &TenantId) -> Result<Arc<Tenant>, JitError> {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        tenants.get(tenant).cloned().ok_or_else(|| unknown(tenant))
    }

    /// Returns every configured tenant, ordered by name.
    pub(super) fn tenants(&self) -> Vec<(TenantId, Arc<Tenant>)> {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        tenants.iter().map(|(id, tenant)| (id.clone(), Arc::clone(tenant))).collect()
    }

    /// Counts the targets of all tenants here.
    pub(super) fn targets(&self) -> usize {
        self.tenants().iter().map(|(_, settings)| settings.databases.len()).fold(0, usize::saturating_add)
    }

    /// Changes the tenant's configuration.
    pub(super) fn reconfigure(&self, tenant: &TenantId, change: impl FnOnce(&mut Tenant)) -> Result<(), JitError> {
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        let settings = tenants.get_mut(tenant).ok_or_else(|| unknown(tenant))?;
        change(Arc::make_mut(settings));
        Ok(())
    }
}

fn unknown(tenant: &TenantId) -> JitError {
    JitError::NotFound { what: "tenant", name: tenant.to_string(), hint: "it is not configured here".to_owned() }
}
