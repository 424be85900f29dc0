//! Putting an engine together.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Jit;
use super::core::{Core, Tenant};
use super::error::JitError;
use super::pump::Lanes;
use super::tasks::Tasks;
use crate::approver::Approver;
use crate::audit::{AuditSink, SigningKey};
use crate::clock::{Entropy, SystemEntropy};
use crate::database::Database;
use crate::directory::Directory;
use crate::hex::random_hex;
use crate::id::{ApproverName, FactorName, NodeId, TargetName, TenantId};
use crate::mfa::Factor;
use crate::notify::Notifier;
use crate::policy::Policy;
use crate::store::Store;

/// Puts an engine together. What concerns one tenant without naming it concerns tenant `default`.
#[derive(Debug, Default)]
pub struct Builder {
    store: Option<Arc<dyn Store>>,
    entropy: Option<Arc<dyn Entropy>>,
    node: Option<NodeId>,
    pub(super) tasks: Tasks,
    main: TenantBuilder,
    tenants: BTreeMap<TenantId, TenantBuilder>,
}

/// What is configured for one tenant.
#[derive(Debug, Default)]
pub struct TenantBuilder {
    policy: Option<Arc<dyn Policy>>,
    directory: Option<Arc<dyn Directory>>,
    databases: BTreeMap<String, Arc<dyn Database>>,
    notifiers: BTreeMap<String, Arc<dyn Notifier>>,
    approvers: BTreeMap<String, Arc<dyn Approver>>,
    factors: BTreeMap<String, Arc<dyn Factor>>,
    link: Option<String>,
    sinks: Vec<Arc<dyn AuditSink>>,
    key: Option<Arc<SigningKey>>,
}

impl TenantBuilder {
    /// Who may ask for what.
    #[must_use]
    pub fn policy(self, policy: impl Policy) -> Self {
        Self { policy: Some(Arc::new(policy)), ..self }
    }

    /// Where people are looked up, where not in the policy document.
    #[must_use]
    pub fn directory(self, directory: impl Directory) -> Self {
        Self { directory: Some(Arc::new(directory)), ..self }
    }

    /// A database, under the name by which people ask for its roles. It may be down.
    #[must_use]
    pub fn database(mut self, name: impl Into<String>, database: impl Database) -> Self {
        self.databases.insert(name.into(), Arc::new(database));
        self
    }

    /// A receiver of notices.
    #[must_use]
    pub fn notifier(mut self, name: impl Into<String>, notifier: impl Notifier) -> Self {
        self.notifiers.insert(name.into(), Arc::new(notifier));
        self
    }

    /// An outside system that decides, under the name by which policy asks for it.
    #[must_use]
    pub fn approver(mut self, name: impl Into<String>, approver: impl Approver) -> Self {
        self.approvers.insert(name.into(), Arc::new(approver));
        self
    }

    /// A kind of second factor, under the name that policy and people have for it (`totp`).
    #[must_use]
    pub fn factor(mut self, name: impl Into<String>, factor: impl Factor) -> Self {
        self.factors.insert(name.into(), Arc::new(factor));
        self
    }

    /// Where people decide: `{id}` in it stands for the access. Notices carry it as their link.
    #[must_use]
    pub fn link(self, link: impl Into<String>) -> Self {
        Self { link: Some(link.into()), ..self }
    }

    /// A place that gets every entry of the log, in order, at least once.
    #[must_use]
    pub fn audit_sink(mut self, sink: impl AuditSink) -> Self {
        self.sinks.push(Arc::new(sink));
        self
    }

    /// The key that signs the log's checkpoints. Without one the log is kept and chained, and nobody outside can check it.
    #[must_use]
    pub fn signing_key(self, key: SigningKey) -> Self {
        Self { key: Some(Arc::new(key)), ..self }
    }

    fn build(self, id: &TenantId) -> Result<Tenant, JitError> {
        let policy =
            self.policy.ok_or_else(|| JitError::invalid(format!("tenant `{id}` has no policy: give it one")))?;
        let directory_changes = self.directory.is_some();
        let directory = self.directory.or_else(|| policy.directory()).ok_or_else(|| {
            JitError::invalid(format!("tenant `{id}` has no directory, and its policy brings none: give it one"))
        })?;
        let mut databases = BTreeMap::new();
        for (name, database) in self.databases {
            databases.insert(TargetName::new(name)?, database);
        }
        let mut approvers = BTreeMap::new();
        for (name, approver) in self.approvers {
            approvers.insert(ApproverName::new(name)?, approver);
        }
        let mut factors = BTreeMap::new();
        for (name, factor) in self.factors {
            factors.insert(FactorName::new(name)?, factor);
        }
        let (notifiers, link, sinks, key) = (self.notifiers, self.link, self.sinks, self.key);
        let tenant =
            Tenant { policy, directory, directory_changes, databases, notifiers, approvers, factors, link, sinks, key };
        tenant.brings(&*tenant.policy)?;
        Ok(tenant)
    }
}

impl Builder {
    /// Where everything is kept.
    #[must_use]
    pub fn store(self, store: impl Store) -> Self {
        self.shared_store(Arc::new(store))
    }

    /// Where everything is kept, shared with others.
    #[must_use]
    pub fn shared_store(self, store: Arc<dyn Store>) -> Self {
        Self { store: Some(store), ..self }
    }

    /// Randomness from elsewhere than the operating system.
    #[must_use]
    pub fn entropy(self, entropy: impl Entropy) -> Self {
        Self { entropy: Some(Arc::new(entropy)), ..self }
    }

    /// The name of this process among others that share the store; a random one where none is given. At most 16 ASCII characters.
    #[must_use]
    pub fn node(self, node: NodeId) -> Self {
        Self { node: Some(node), ..self }
    }

    /// Who may ask for what.
    #[must_use]
    pub fn policy(self, policy: impl Policy) -> Self {
        Self { main: self.main.policy(policy), ..self }
    }

    /// Where people are looked up, where not in the policy document.
    #[must_use]
    pub fn directory(self, directory: impl Directory) -> Self {
        Self { main: self.main.directory(directory), ..self }
    }

    /// A database, under the name by which people ask for its roles. It may be down.
    #[must_use]
    pub fn database(self, name: impl Into<String>, database: impl Database) -> Self {
        Self { main: self.main.database(name, database), ..self }
    }

    /// A receiver of notices.
    #[must_use]
    pub fn notifier(self, name: impl Into<String>, notifier: impl Notifier) -> Self {
        Self { main: self.main.notifier(name, notifier), ..self }
    }

    /// An outside system that decides, under the name by which policy asks for it.
    #[must_use]
    pub fn approver(self, name: impl Into<String>, approver: impl Approver) -> Self {
        Self { main: self.main.approver(name, approver), ..self }
    }

    /// A kind of second factor, under the name that policy and people have for it (`totp`).
    #[must_use]
    pub fn factor(self, name: impl Into<String>, factor: impl Factor) -> Self {
        Self { main: self.main.factor(name, factor), ..self }
    }

    /// Where people decide: `{id}` in it stands for the access. Notices carry it as their link.
    #[must_use]
    pub fn link(self, link: impl Into<String>) -> Self {
        Self { main: self.main.link(link), ..self }
    }

    /// A place that gets every entry of the log, in order, at least once.
    #[must_use]
    pub fn audit_sink(self, sink: impl AuditSink) -> Self {
        Self { main: self.main.audit_sink(sink), ..self }
    }

    /// The key that signs the log's checkpoints.
    #[must_use]
    pub fn signing_key(self, key: SigningKey) -> Self {
        Self { main: self.main.signing_key(key), ..self }
    }

    /// Another tenant than `default`.
    #[must_use]
    pub fn tenant(mut self, id: TenantId, tenant: TenantBuilder) -> Self {
        self.tenants.insert(id, tenant);
        self
    }

    /// The handle for tenant `default`, or for the only one there is. Databases are not contacted yet.
    ///
    /// # Errors
    /// [`JitError::Invalid`] where something is missing or cannot be meant, [`JitError::Store`] where the store cannot be used.
    pub async fn build(self) -> Result<Jit, JitError> {
        let store = self.store.ok_or_else(|| JitError::invalid("there is no store: give it one"))?;
        let entropy = self.entropy.unwrap_or_else(|| Arc::new(SystemEntropy));
        let node = match self.node {
            Some(node) if node.as_str().len() <= 16 && node.as_str().is_ascii() => node,
            Some(node) => {
                return Err(JitError::invalid(format!("node `{node}` has to be at most 16 ASCII characters long")));
            }
            None => random_node(&*entropy)?,
        };
        let mut tenants = BTreeMap::new();
        let mut all = self.tenants;
        if self.main.policy.is_some() || all.is_empty() {
            all.insert(TenantId::main(), self.main);
        }
        for (id, tenant) in all {
            if id == TenantId::everywhere() {
                return Err(JitError::invalid("no tenant can be called `*`"));
            }
            let tenant = tenant.build(&id)?;
            tenants.insert(id, Arc::new(tenant));
        }
        let first = tenants.keys().next().cloned().unwrap_or_else(TenantId::main);
        let tenant = if tenants.contains_key(&TenantId::main()) { TenantId::main() } else { first };
        let core = Arc::new(Core::new(store, entropy, node, self.tasks, tenants));
        for (id, settings) in core.tenants() {
            core.note_policy(&id, &settings).await?;
            for target in settings.databases.keys() {
                core.enrol(&id, target).await?;
            }
        }
        let lanes = Lanes::new(&core);
        Ok(Jit { core, lanes, tenant })
    }
}

fn random_node(entropy: &dyn Entropy) -> Result<NodeId, JitError> {
    Ok(NodeId::new(random_hex::<6>(entropy))?)
}
