//! State that all handles of one engine share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use chrono::TimeDelta;
use tokio::sync::Mutex;

use super::contain::Rules;
use super::error::JitError;
use super::events::Events;
use super::pump::apart::Suspects;
use super::pump::gate::Checked;
use super::pump::in_hand::InHand;
use super::tasks::Tasks;
use super::who::LastSeen;
use crate::alike::is_disguise;
use crate::approver::Approver;
use crate::audit::{AuditSink, SigningKey};
use crate::clock::Entropy;
use crate::database::Database;
use crate::directory::Directory;
use crate::id::{ApproverName, FactorName, NodeId, StoreId, TargetName, TenantId};
use crate::mfa::Factor;
use crate::notify::Notifier;
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
    /// Accounts, by their serial keys, for which something is ending without a claim (law 3's
    /// exception). Nothing is begun for them here meanwhile.
    pub(super) ending_ahead: std::sync::Mutex<BTreeSet<String>>,
    /// Accounts whose calls hung.
    pub(super) suspects: Suspects,
    /// Account work that is in progress.
    pub(super) in_hand: InHand,
    /// Roles of targets that were checked.
    pub(super) checked: Checked,
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

/// Configuration of one tenant.
#[derive(Debug, Clone)]
pub(super) struct Tenant {
    pub(super) policy: Rules,
    pub(super) directory: Arc<dyn Directory>,
    /// True if the directory is not the policy's own, so that it changes by itself.
    pub(super) directory_changes: bool,
    pub(super) databases: BTreeMap<TargetName, Arc<dyn Database>>,
    pub(super) notifiers: BTreeMap<String, Arc<dyn Notifier>>,
    pub(super) approvers: BTreeMap<ApproverName, Arc<dyn Approver>>,
    pub(super) factors: BTreeMap<FactorName, Arc<dyn Factor>>,
    pub(super) link: Option<String>,
    pub(super) sinks: Vec<Arc<dyn AuditSink>>,
    pub(super) key: Option<Arc<SigningKey>>,
}

impl Core {
    pub(super) fn new(
        store: Arc<dyn Store>,
        own: Option<StoreId>,
        entropy: Arc<dyn Entropy>,
        node: NodeId,
        tasks: Tasks,
        tenants: BTreeMap<TenantId, Arc<Tenant>>,
    ) -> Self {
        let limits = Limits::default();
        Self {
            store,
            own,
            entropy,
            node,
            tasks,
            events: Arc::default(),
            limits,
            noting: Mutex::new(()),
            ending_ahead: std::sync::Mutex::default(),
            suspects: Suspects::default(),
            in_hand: InHand::default(),
            checked: Checked::default(),
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
    JitError::NotFound { what: "tenant", name: tenant.to_string(), hint: ": it is not configured here".to_owned() }
}

impl Tenant {
    /// Checks that everything exists that the policy mentions by name. If something were missing,
    /// requests would wait for it until they lapse.
    pub(super) fn validate_rules(&self, policy: &Rules) -> Result<(), JitError> {
        let mentions = policy.mentions();
        let notifiers = mentions.notifiers.iter().map(|name| name.as_str());
        let notifier_name = notifiers.into_iter().find(|name| !self.notifiers.contains_key(*name));
        let approver = mentions.approvers.iter().find(|name| !self.approvers.contains_key(*name));
        let factor = mentions.factors.iter().find(|name| !self.factors.contains_key(*name));
        let missing = notifier_name.map(|name| ("notifier", name));
        let missing = missing.or(approver.map(|name| ("approver", name.as_str())));
        let missing = missing.or(factor.map(|name| ("second factor", name.as_str())));
        if let Some((what, name)) = missing {
            return Err(JitError::invalid(format!(
                "the policy names the {what} `{name}`, and there is none: configure it"
            )));
        }
        if mentions.any_factor && self.factors.is_empty() {
            return Err(JitError::invalid("the policy demands a second factor, and none is configured"));
        }
        Ok(())
    }

    /// Returns the configured target that this name could be mistaken for; none if the name itself
    /// is configured.
    pub(super) fn target_like(&self, target: &TargetName) -> Option<&TargetName> {
        if self.databases.contains_key(target) {
            return None;
        }
        self.databases.keys().find(|known| is_disguise(known.as_str(), target.as_str()))
    }

    /// Returns the database of this name.
    pub(super) fn database(&self, target: &TargetName) -> Result<&Arc<dyn Database>, JitError> {
        self.databases.get(target).ok_or_else(|| {
            let known: Vec<String> = self.databases.keys().map(|name| format!("`{name}`")).collect();
            let hint = match known.len() {
                0 => ": no target is configured".to_owned(),
                _ => format!(": configured are {}", known.join(", ")),
            };
            JitError::NotFound { what: "target", name: target.to_string(), hint }
        })
    }
}
