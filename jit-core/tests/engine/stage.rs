//! Common ground of the tests: the policy, servers, engines and people.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use jit_core::Actor;
use jit_core::clock::{Clock, SystemClock, Time};
use jit_core::database::Database;
use jit_core::engine::{AccessRequest, AccessView, Jit};
use jit_core::id::{Principal, TenantId};
use jit_core::policy::PolicyDocument;
use jit_core::store::*;
use jit_core::testkit::faulty::FaultyDatabase;
use jit_core::testkit::mock::{MockDatabase, MockServer, Profile};

pub const POLICY: &str = r#"
version = 1
[groups]
payments = ["alice", "dave", "mallory"]
dba = ["bob", "carol", "alice-dba"]
[people]
alice = ["alice-dba"]
[[may]]
do = ["revoke", "stop", "resume", "reconcile", "retire", "clock", "audit"]
who = ["frank"]
targets = ["*"]
[[rule]]
name = "read"
targets = ["pg*"]
roles = ["reader"]
requesters = ["*"]
max = "4h"
[[rule]]
name = "write"
targets = ["pg*"]
roles = ["writer"]
requesters = ["group:payments"]
max = "1h"
max_total = "2h"
start_within = "24h"
[[rule.stage]]
people = [{ group = "dba" }]
[[rule]]
name = "widely"
targets = ["wide"]
roles = ["reader"]
requesters = ["*"]
max = "4h"
set_role = "allowed"
"#;

pub const PATIENCE: Duration = Duration::from_secs(20);

pub type Faulty = Arc<FaultyDatabase<MockDatabase>>;

pub fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// Makes a server with the accounts and roles of the policy.
pub fn server(version: u32) -> MockServer {
    let server = MockServer::new(Profile::postgres(version), clock());
    for account in ["alice", "dave", "mallory", "bob"] {
        server.create_account(account).unwrap();
    }
    for role in ["reader", "writer"] {
        server.create_role(role).unwrap();
    }
    server
}

pub fn faulty(server: &MockServer) -> Faulty {
    Arc::new(FaultyDatabase::new(server.database(), clock()))
}

pub fn policy(text: &str) -> PolicyDocument {
    PolicyDocument::parse(text, "test").unwrap()
}

pub async fn engine(database: impl Database) -> Jit {
    engine_on(Arc::new(MemoryStore::new(clock())), database).await
}

pub async fn engine_on(store: Arc<dyn Store>, database: impl Database) -> Jit {
    let jit = Jit::builder().shared_store(store).policy(policy(POLICY)).database("pg", database).build().await.unwrap();
    // the first contact is made before the test begins
    jit.run_due().await.unwrap();
    jit
}

pub fn actor(name: &str) -> Actor {
    Actor::authenticated(TenantId::default(), Principal::new(name).unwrap(), "test")
}

pub fn ask(role: &str, millis: i64) -> AccessRequest {
    AccessRequest::new("pg", role, TimeDelta::milliseconds(millis)).because("a test needs it")
}

/// Requests an access, and waits until it is usable.
pub async fn usable(jit: &Jit, who: &str, role: &str, millis: i64) -> AccessView {
    let access = jit.request(&actor(who), ask(role, millis)).await.unwrap();
    jit.until_active(access.id(), PATIENCE).await.unwrap()
}

/// Returns the kinds of the access's log entries, in order.
pub async fn told(jit: &Jit, access: &AccessView) -> Vec<String> {
    let entries = jit.history(access.id(), 1_000).await.unwrap();
    entries.iter().map(|entry| field(&entry.body, "what")).collect()
}

pub fn field(body: &[u8], name: &str) -> String {
    let entry: serde_json::Value = serde_json::from_slice(body).unwrap();
    entry[name].as_str().unwrap_or_default().to_owned()
}

/// Counts the memberships of the role, without the broker's own.
pub fn held(server: &MockServer, role: &str) -> usize {
    server.members(role).unwrap().into_iter().filter(|row| row.member != "jit_broker").count()
}

/// A way in which foreign code goes wrong.
#[derive(Debug, Clone, Copy)]
pub enum Breaks {
    Away,
    Panics,
    Hangs,
}

impl Breaks {
    pub async fn go(self) {
        match self {
            Self::Away => {}
            Self::Panics => panic!("it is broken"),
            Self::Hangs => std::future::pending().await,
        }
    }
}

/// A store that counts the engine's commits about accesses, without those of the log's own work.
/// Claims and commits break as it is told.
#[derive(Debug, Default)]
pub struct Counting {
    pub inner: MemoryStore,
    pub commits: AtomicUsize,
    pub breaks: Mutex<Option<Breaks>>,
}

impl Counting {
    async fn holds(&self) -> Result<(), StoreError> {
        let breaks = *self.breaks.lock().unwrap();
        let Some(breaks) = breaks else { return Ok(()) };
        breaks.go().await;
        Err(StoreError::Unavailable { why: "it is away".to_owned(), source: None })
    }
}

#[async_trait]
impl Store for Counting {
    async fn now(&self) -> Result<Time, StoreError> {
        self.inner.now().await
    }
    async fn wait(&self, seen: Pulse, until: Time) -> Result<(), StoreError> {
        self.inner.wait(seen, until).await
    }
    async fn pulse(&self) -> Result<Pulse, StoreError> {
        self.inner.pulse().await
    }
    async fn commit(&self, change: Change) -> Result<Committed, StoreError> {
        self.holds().await?;
        if change.writes.iter().any(|write| matches!(write.at.kind, Kind::Access | Kind::Holding)) {
            self.commits.fetch_add(1, Ordering::SeqCst);
        }
        self.inner.commit(change).await
    }
    async fn claim(&self, ask: &ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        self.holds().await?;
        self.inner.claim(ask).await
    }
    async fn unclaim(&self, claims: &[Claim]) -> Result<(), StoreError> {
        self.inner.unclaim(claims).await
    }
    async fn lanes(&self) -> Result<Vec<(Lane, Time)>, StoreError> {
        self.inner.lanes().await
    }
    async fn upcoming(&self, lane: &Lane, until: Time, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.inner.upcoming(lane, until, limit).await
    }
    async fn read(&self, at: &RecordKey) -> Result<Option<Record>, StoreError> {
        self.inner.read(at).await
    }
    async fn read_all(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>, StoreError> {
        self.inner.read_all(keys).await
    }
    async fn page(&self, ask: &PageQuery) -> Result<Vec<Record>, StoreError> {
        self.inner.page(ask).await
    }
    async fn entries(&self, tenant: &TenantId, from: u64, limit: usize) -> Result<Vec<StoredEntry>, StoreError> {
        self.inner.entries(tenant, from, limit).await
    }
    async fn unnumbered(&self, tenant: &TenantId, limit: usize) -> Result<Vec<StoredEntry>, StoreError> {
        self.inner.unnumbered(tenant, limit).await
    }
    async fn entries_about(
        &self,
        tenant: &TenantId,
        membership: &str,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, StoreError> {
        self.inner.entries_about(tenant, membership, limit).await
    }
    async fn accept_clock(&self) -> Result<(), StoreError> {
        self.inner.accept_clock().await
    }
    async fn clock_state(&self) -> Result<ClockState, StoreError> {
        self.inner.clock_state().await
    }
}
