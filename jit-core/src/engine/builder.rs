//! Builders of an engine and of its tenants.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Jit;
use super::contain::{self, Rules};
use super::core::{Core, Limits};
use super::error::JitError;
use super::pump::Pump;
use super::tasks::Tasks;
use super::tenant::Tenant;
use crate::alike::{Known, is_disguise};
use crate::approver::Approver;
use crate::audit::{AuditSink, SigningKey};
use crate::clock::{Entropy, SystemEntropy};
use crate::database::Database;
use crate::directory::Directory;
use crate::hex::random_hex;
use crate::id::{ApproverName, FactorName, NodeId, NotifierName, StoreId, TargetName, TenantId};
use crate::mfa::Factor;
use crate::notify::Notifier;
use crate::policy::Policy;
use crate::store::{Store, StoreError, identity};

/// Builder of an engine. Settings that name no tenant are those of tenant `default`.
///
/// ```no_run
/// use std::path::Path;
/// use std::sync::Arc;
///
/// use jit_core::audit::SigningKey;
/// use jit_core::clock::SystemEntropy;
/// use jit_core::database::Database;
/// use jit_core::notify::TracingNotifier;
/// use jit_core::{Jit, JsonLines, MemoryStore, PolicyDocument, SystemClock};
///
/// # type Failure = Box<dyn std::error::Error + Send + Sync>;
/// # async fn start(orders: impl Database) -> Result<(), Failure> {
/// let key = Path::new("/var/lib/jit/log.key");
/// let jit = Jit::builder()
///     .store(MemoryStore::new(Arc::new(SystemClock))) // a service takes one that lasts
///     .policy(PolicyDocument::load("/etc/jit/policy.toml")?)
///     .database("orders-prod", orders)
///     .notifier("log", TracingNotifier)
///     .link("https://access.example.com/{id}")
///     .signing_key(SigningKey::load_or_create(key, "orders", &SystemEntropy)?)
///     .audit_sink(JsonLines::append("/var/log/jit/audit.jsonl")?)
///     .build()
///     .await?;
/// let pump = jit.start(); // grants, revokes and delivers, until it is stopped
/// # pump.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Builder {
    store: Option<Arc<dyn Store>>,
    entropy: Option<Arc<dyn Entropy>>,
    node: Option<NodeId>,
    pub(super) tasks: Tasks,
    pub(super) limits: Limits,
    main: TenantBuilder,
    tenants: Vec<(TenantId, TenantBuilder)>,
    /// True if a second store was given.
    two_stores: bool,
}

/// Configuration of one tenant.
///
/// ```
/// use std::sync::Arc;
///
/// use jit_core::notify::TracingNotifier;
/// use jit_core::{Jit, MemoryStore, PolicyDocument, SystemClock, TenantBuilder, TenantId};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// # let (shop_rules, bank_rules) = ("version = 1", "version = 1");
/// let shop = TenantBuilder::default().policy(PolicyDocument::parse(shop_rules, "shop.toml")?);
/// let bank = TenantBuilder::default()
///     .policy(PolicyDocument::parse(bank_rules, "bank.toml")?)
///     .notifier("log", TracingNotifier);
/// let jit = Jit::builder()
///     .store(MemoryStore::new(Arc::new(SystemClock)))
///     .tenant("shop".parse()?, shop)
///     .tenant("bank".parse()?, bank)
///     .build()
///     .await?;
/// let shop = jit.tenant(&"shop".parse()?)?; // its commands see nothing of `bank`
/// # assert_eq!(shop.tenant_id(), &TenantId::new("shop")?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct TenantBuilder {
    policy: Option<Arc<dyn Policy>>,
    directory: Option<Arc<dyn Directory>>,
    databases: Vec<(String, Arc<dyn Database>)>,
    notifiers: Vec<(String, Arc<dyn Notifier>)>,
    approvers: Vec<(String, Arc<dyn Approver>)>,
    factors: Vec<(String, Arc<dyn Factor>)>,
    link: Option<String>,
    sinks: Vec<Arc<dyn AuditSink>>,
    key: Option<Arc<SigningKey>>,
}

impl TenantBuilder {
    /// Sets the policy: who may request which roles.
    #[must_use]
    pub fn policy(self, policy: impl Policy) -> Self {
        Self { policy: Some(Arc::new(policy)), ..self }
    }

    /// Sets the directory of people, if it is not part of the policy document.
    #[must_use]
    pub fn directory(self, directory: impl Directory) -> Self {
        Self { directory: Some(Arc::new(directory)), ..self }
    }

    /// Adds a database under the name by which people request its roles. It may be down.
    #[must_use]
    pub fn database(mut self, name: impl Into<String>, database: impl Database) -> Self {
        self.databases.push((name.into(), Arc::new(database)));
        self
    }

    /// Adds a notifier under this name.
    #[must_use]
    pub fn notifier(mut self, name: impl Into<String>, notifier: impl Notifier) -> Self {
        self.notifiers.push((name.into(), Arc::new(notifier)));
        self
    }

    /// Adds an outside system that decides, under the name by which policy asks for it.
    #[must_use]
    pub fn approver(mut self, name: impl Into<String>, approver: impl Approver) -> Self {
        self.approvers.push((name.into(), Arc::new(approver)));
        self
    }

    /// Adds a kind of second factor, under the name that policy and people have for it (`totp`).
    #[must_use]
    pub fn factor(mut self, name: impl Into<String>, factor: impl Factor) -> Self {
        self.factors.push((name.into(), Arc::new(factor)));
        self
    }

    /// Sets the URL where people decide; `{id}` in it stands for the access, and
    /// `{question}` for the question that is pending. Notices carry it as their link.
    #[must_use]
    pub fn link(self, link: impl Into<String>) -> Self {
        Self { link: Some(link.into()), ..self }
    }

    /// Adds a sink that gets every log entry, in order, at least once.
    #[must_use]
    pub fn audit_sink(mut self, sink: impl AuditSink) -> Self {
        self.sinks.push(Arc::new(sink));
        self
    }

    /// Sets the key that signs the log's checkpoints. Without a key the log is kept and chained,
    /// but nobody outside can check it.
    #[must_use]
    pub fn signing_key(self, key: SigningKey) -> Self {
        Self { key: Some(Arc::new(key)), ..self }
    }

    /// Names one of the settings given here, for an error message; none if nothing is given.
    fn given(&self) -> Option<String> {
        let named = |what: &str, name: Option<&String>| name.map(|name| format!("{what} `{name}`"));
        named("the database", self.databases.first().map(|(name, _)| name))
            .or_else(|| named("the notifier", self.notifiers.first().map(|(name, _)| name)))
            .or_else(|| named("the approver", self.approvers.first().map(|(name, _)| name)))
            .or_else(|| named("the second factor", self.factors.first().map(|(name, _)| name)))
            .or_else(|| self.directory.as_ref().map(|_| "a directory".to_owned()))
            .or_else(|| (!self.sinks.is_empty()).then(|| "an audit sink".to_owned()))
            .or_else(|| self.key.as_ref().map(|_| "a signing key".to_owned()))
            .or_else(|| self.link.as_ref().map(|_| "a link".to_owned()))
    }

    async fn build(self, id: &TenantId, tasks: &Tasks, own: Option<&StoreId>) -> Result<Tenant, JitError> {
        let policy =
            self.policy.ok_or_else(|| JitError::invalid(format!("tenant `{id}` has no policy: give it one")))?;
        let policy = Rules::new(policy, tasks).await?;
        let directory_changes = self.directory.is_some();
        let given = self.directory.map(|directory| contain::directory(directory, tasks));
        let directory = given.or_else(|| policy.directory()).ok_or_else(|| {
            JitError::invalid(format!("tenant `{id}` has no directory, and its policy brings none: give it one"))
        })?;
        let (mut databases, mut approvers, mut factors) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (name, one) in once(id, "databases", self.databases)? {
            databases.insert(TargetName::new(name)?, contain::database(one, tasks, own));
        }
        for (name, one) in once(id, "approvers", self.approvers)? {
            approvers.insert(ApproverName::new(name)?, contain::approver(one, tasks));
        }
        for (name, one) in once(id, "second factors", self.factors)? {
            factors.insert(FactorName::new(name)?, contain::factor(one, tasks));
        }
        let notifiers = once(id, "notifiers", self.notifiers)?.into_iter();
        let notifiers = notifiers.map(|(name, one)| {
            let name = NotifierName::new(name)?;
            Ok((String::from(name), contain::notifier(one, tasks)))
        });
        let notifiers = notifiers.collect::<Result<_, JitError>>()?;
        let mut sinks: Vec<Arc<dyn AuditSink>> = Vec::new();
        for sink in self.sinks {
            let sink = contain::sink(sink, tasks)?;
            if sinks.iter().any(|other| other.name() == sink.name()) {
                return Err(twice(id, "audit sinks", sink.name()));
            }
            sinks.push(sink);
        }
        let (link, key) = (self.link, self.key);
        let tenant =
            Tenant { policy, directory, directory_changes, databases, notifiers, approvers, factors, link, sinks, key };
        tenant.validate_rules(&tenant.policy)?;
        Ok(tenant)
    }
}

impl Builder {
    /// Sets the store that keeps all state.
    #[must_use]
    pub fn store(self, store: impl Store) -> Self {
        self.shared_store(Arc::new(store))
    }

    /// Sets the store that keeps all state and is shared with others.
    #[must_use]
    pub fn shared_store(self, store: Arc<dyn Store>) -> Self {
        Self { two_stores: self.store.is_some(), store: Some(store), ..self }
    }

    /// Sets a source of randomness in place of the operating system's.
    #[must_use]
    pub fn entropy(self, entropy: impl Entropy) -> Self {
        Self { entropy: Some(Arc::new(entropy)), ..self }
    }

    /// Sets the name of this process among others that share the store; it is random if none is
    /// given. At most 16 ASCII characters.
    #[must_use]
    pub fn node(self, node: NodeId) -> Self {
        Self { node: Some(node), ..self }
    }

    /// Sets the policy: who may request which roles.
    #[must_use]
    pub fn policy(self, policy: impl Policy) -> Self {
        Self { main: self.main.policy(policy), ..self }
    }

    /// Sets the directory of people, if it is not part of the policy document.
    #[must_use]
    pub fn directory(self, directory: impl Directory) -> Self {
        Self { main: self.main.directory(directory), ..self }
    }

    /// Adds a database under the name by which people request its roles. It may be down.
    #[must_use]
    pub fn database(self, name: impl Into<String>, database: impl Database) -> Self {
        Self { main: self.main.database(name, database), ..self }
    }

    /// Adds a notifier under this name.
    #[must_use]
    pub fn notifier(self, name: impl Into<String>, notifier: impl Notifier) -> Self {
        Self { main: self.main.notifier(name, notifier), ..self }
    }

    /// Adds an outside system that decides, under the name by which policy asks for it.
    #[must_use]
    pub fn approver(self, name: impl Into<String>, approver: impl Approver) -> Self {
        Self { main: self.main.approver(name, approver), ..self }
    }

    /// Adds a kind of second factor, under the name that policy and people have for it (`totp`).
    #[must_use]
    pub fn factor(self, name: impl Into<String>, factor: impl Factor) -> Self {
        Self { main: self.main.factor(name, factor), ..self }
    }

    /// Sets the URL where people decide; `{id}` in it stands for the access, and
    /// `{question}` for the question that is pending. Notices carry it as their link.
    #[must_use]
    pub fn link(self, link: impl Into<String>) -> Self {
        Self { main: self.main.link(link), ..self }
    }

    /// Adds a sink that gets every log entry, in order, at least once.
    #[must_use]
    pub fn audit_sink(self, sink: impl AuditSink) -> Self {
        Self { main: self.main.audit_sink(sink), ..self }
    }

    /// Sets the key that signs the log's checkpoints.
    #[must_use]
    pub fn signing_key(self, key: SigningKey) -> Self {
        Self { main: self.main.signing_key(key), ..self }
    }

    /// Adds a tenant other than `default`.
    #[must_use]
    pub fn tenant(mut self, id: TenantId, tenant: TenantBuilder) -> Self {
        self.tenants.push((id, tenant));
        self
    }

    /// Builds the engine and returns the handle for tenant `default`, or else for the first tenant
    /// by name. Databases are not contacted yet.
    ///
    /// # Errors
    /// [`JitError::Invalid`] if a setting is missing or makes no sense, [`JitError::Store`] if the
    /// store cannot be used.
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
        if self.two_stores {
            return Err(JitError::invalid("two stores are given: give one"));
        }
        let store = contain::store(store, &self.tasks);
        let own = identity_of(&*store, &*entropy).await?;
        let mut all = BTreeMap::new();
        for (id, tenant) in self.tenants {
            if all.contains_key(&id) {
                return Err(JitError::invalid(format!("tenant `{id}` is given twice: give it once, with everything")));
            }
            all.insert(id, tenant);
        }
        let given = self.main.given();
        if self.main.policy.is_some() || all.is_empty() {
            let main = TenantId::default();
            if all.contains_key(&main) {
                let why = format!("tenant `{main}` is given twice: by itself, and by what is given without a tenant");
                return Err(JitError::invalid(why));
            }
            all.insert(main, self.main);
        } else if let Some(what) = given {
            return Err(JitError::invalid(format!(
                "{what} is given without a tenant, and tenant `default` has no policy: give it to one of the tenants"
            )));
        }
        let mut known = Known::default();
        for (id, tenant) in all {
            if id == TenantId::everywhere() {
                return Err(JitError::invalid("no tenant can be called `*`"));
            }
            if let Some(like) = known.like(id.as_str()).filter(|like| is_disguise(like, id.as_str())) {
                return Err(alike("tenants", like, id.as_str()));
            }
            known.add(id.as_str());
            let tenant = tenant.build(&id, &self.tasks, own.as_ref()).await?;
            tenants.insert(id, Arc::new(tenant));
        }
        let first = tenants.keys().next().cloned().unwrap_or_default();
        let tenant = if tenants.contains_key(&TenantId::default()) { TenantId::default() } else { first };
        let core = Arc::new(Core::new(store, own, entropy, node, self.tasks, self.limits, tenants));
        for (id, settings) in core.tenants() {
            core.note_policy(&id, &settings).await?;
            for target in settings.databases.keys() {
                core.register_target(&id, target).await?;
            }
        }
        let lanes = Pump::new(&core);
        Ok(Jit { core, lanes, tenant })
    }
}

/// Collects what was given by name; an error if a name was given twice.
fn once<T>(tenant: &TenantId, what: &str, given: Vec<(String, T)>) -> Result<BTreeMap<String, T>, JitError> {
    let (mut all, mut known) = (BTreeMap::new(), Known::default());
    for (name, one) in given {
        if all.contains_key(&name) {
            return Err(twice(tenant, what, &name));
        }
        if let Some(like) = known.like(&name).filter(|like| is_disguise(like, &name)) {
            return Err(alike(&format!("{what} of tenant `{tenant}`"), like, &name));
        }
        known.add(&name);
        all.insert(name, one);
    }
    Ok(all)
}

fn alike(what: &str, one: &str, other: &str) -> JitError {
    JitError::invalid(format!(
        "two of the {what} have names that could be taken for each other, `{one}` and `{other}`: rename one"
    ))
}

fn twice(tenant: &TenantId, what: &str, name: &str) -> JitError {
    JitError::invalid(format!("tenant `{tenant}` has two {what} of the name `{name}`: give each a name of its own"))
}

/// Returns the store's id. A store that has no id yet and cannot be written has none: ends do not
/// wait for that, and nothing can begin there anyway.
async fn identity_of(store: &dyn Store, entropy: &dyn Entropy) -> Result<Option<StoreId>, StoreError> {
    match identity(store, entropy).await {
        Err(error @ (StoreError::ReadOnly { .. } | StoreError::Full { .. })) => {
            tracing::warn!(%error, "the store has no id of its own yet: what it holds is not told from what other stores hold");
            Ok(None)
        }
        other => other.map(Some),
    }
}

fn random_node(entropy: &dyn Entropy) -> Result<NodeId, JitError> {
    Ok(NodeId::new(random_hex::<6>(entropy))?)
}
