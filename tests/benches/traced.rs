//! A store and a database that note when each of their calls began and ended, and an engine on
//! them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;
use async_trait::async_trait;
use jit_core::clock::Time;
use jit_core::database::{
    ArmOrder, Armed, Call, Capabilities, Check, Continuity, Database, DatabaseError, Disarmed, GrantOrder, Granted,
    Holders, Identity, Membership, NameError, Observation, OfTheBroker, Owned, RevokeOrder, RevokeReport, SettleOrder,
    StoreMarks,
};
use jit_core::engine::Jit;
use jit_core::id::{Account, RoleName, TenantId};
use jit_core::store::{
    Change, Claim, ClaimRequest, Claimed, ClockState, Committed, Lane, PageQuery, Pulse, Record, RecordKey,
    SqliteStore, Store, StoreError, StoredEntry,
};
use jit_tests::proxy::Proxy;
use jit_tests::server::Cluster;
use jit_tests::servers::RunningPostgres;

use crate::bed::builder;
use crate::server::database_of;

/// An engine whose calls are noted, and whose round trips to the database a proxy counts.
#[derive(Debug)]
pub struct Traced {
    pub jit: Jit,
    pub notes: Notes,
    proxy: Proxy,
    _folder: tempfile::TempDir,
}

/// Totals of a traced engine at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Round trips to the database.
    pub round_trips: f64,
    /// Syncs of the store.
    pub store_syncs: f64,
}

impl Traced {
    /// Makes an engine on a SqliteStore, whose target `pg` is the server.
    pub async fn make(server: &Cluster) -> Result<Self> {
        let (folder, notes) = (tempfile::tempdir()?, Notes::new());
        let store = TracedStore { inner: SqliteStore::open(folder.path().join("jit.db"))?, notes: notes.clone() };
        let proxy = Proxy::before(server.running().port).await?;
        let through = RunningPostgres { port: proxy.port(), ..server.running().clone() };
        let database = TracedDatabase { inner: database_of(&through)?, notes: notes.clone() };
        let jit = builder(store)?.database("pg", database).build().await?;
        Ok(Self { jit, notes, proxy, _folder: folder })
    }

    pub fn counts(&self) -> Counts {
        let syncs = self.notes.synced.lock().unwrap().len();
        Counts { round_trips: self.proxy.round_trips() as f64, store_syncs: syncs as f64 }
    }
}

/// One call, or one step of whoever drives the engine.
#[derive(Debug, Clone)]
pub struct Span {
    pub what: String,
    pub began: Duration,
    pub took: Duration,
}

/// Notes of all calls since the last [`Notes::take`].
#[derive(Debug, Clone)]
pub struct Notes {
    start: Instant,
    spans: Arc<Mutex<Vec<Span>>>,
    /// Times of the store's commits. Changes that went to the disk together have the same time.
    synced: Arc<Mutex<BTreeSet<Time>>>,
}

impl Notes {
    pub fn new() -> Self {
        Self { start: Instant::now(), spans: Arc::default(), synced: Arc::default() }
    }

    pub fn take(&self) -> Vec<Span> {
        let mut spans = std::mem::take(&mut *self.spans.lock().unwrap());
        spans.sort_by_key(|span| span.began);
        spans
    }

    pub async fn note<T>(&self, what: impl Into<String>, call: impl Future<Output = T>) -> T {
        let began = self.start.elapsed();
        let done = call.await;
        let took = self.start.elapsed().saturating_sub(began);
        self.spans.lock().unwrap().push(Span { what: what.into(), began, took });
        done
    }
}

/// A store that notes its calls.
#[derive(Debug)]
pub struct TracedStore<S> {
    pub inner: S,
    pub notes: Notes,
}

#[async_trait]
impl<S: Store> Store for TracedStore<S> {
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
        let what = format!("store: commit of {} records, {} entries", change.writes.len(), change.entries.len());
        let committed = self.notes.note(what, self.inner.commit(change)).await?;
        self.notes.synced.lock().unwrap().insert(committed.at);
        Ok(committed)
    }
    async fn claim(&self, ask: &ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        let what = format!("store: claim in {}", ask.lane.as_str());
        self.notes.note(what, self.inner.claim(ask)).await
    }
    async fn unclaim(&self, claims: &[Claim]) -> Result<(), StoreError> {
        self.notes.note("store: unclaim", self.inner.unclaim(claims)).await
    }
    async fn lanes(&self) -> Result<Vec<(Lane, Time)>, StoreError> {
        self.notes.note("store: lanes", self.inner.lanes()).await
    }
    async fn upcoming(&self, lane: &Lane, until: Time, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.notes.note("store: upcoming", self.inner.upcoming(lane, until, limit)).await
    }
    async fn read(&self, at: &RecordKey) -> Result<Option<Record>, StoreError> {
        self.notes.note(format!("store: read of {:?}", at.kind), self.inner.read(at)).await
    }
    async fn read_all(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>, StoreError> {
        let kinds: Vec<String> = keys.iter().map(|key| format!("{:?}", key.kind)).collect();
        self.notes.note(format!("store: read of {}", kinds.join(", ")), self.inner.read_all(keys)).await
    }
    async fn page(&self, ask: &PageQuery) -> Result<Vec<Record>, StoreError> {
        self.notes.note(format!("store: page of {:?}", ask.kind), self.inner.page(ask)).await
    }
    async fn entries(&self, tenant: &TenantId, from: u64, limit: usize) -> Result<Vec<StoredEntry>, StoreError> {
        self.notes.note("store: entries", self.inner.entries(tenant, from, limit)).await
    }
    async fn unnumbered(&self, tenant: &TenantId, limit: usize) -> Result<Vec<StoredEntry>, StoreError> {
        self.notes.note("store: unnumbered", self.inner.unnumbered(tenant, limit)).await
    }
    async fn entries_about(&self, t: &TenantId, subject: &str, limit: usize) -> Result<Vec<StoredEntry>, StoreError> {
        self.notes.note("store: entries about", self.inner.entries_about(t, subject, limit)).await
    }
    async fn accept_clock(&self) -> Result<(), StoreError> {
        self.inner.accept_clock().await
    }
    async fn clock_state(&self) -> Result<ClockState, StoreError> {
        self.inner.clock_state().await
    }
}

/// A database that notes its calls.
#[derive(Debug)]
pub struct TracedDatabase<D> {
    pub inner: D,
    pub notes: Notes,
}

#[async_trait]
impl<D: Database> Database for TracedDatabase<D> {
    fn account(&self, name: &str) -> Result<Account, NameError> {
        self.inner.account(name)
    }
    fn role(&self, name: &str) -> Result<RoleName, NameError> {
        self.inner.role(name)
    }
    async fn identify(&self) -> Result<Identity, DatabaseError> {
        self.notes.note("database: identify", self.inner.identify()).await
    }
    fn continues(&self, before: &Identity, now: &Identity) -> Continuity {
        self.inner.continues(before, now)
    }
    async fn capabilities(&self) -> Result<Capabilities, DatabaseError> {
        self.notes.note("database: capabilities", self.inner.capabilities()).await
    }
    async fn check(&self, roles: &[RoleName]) -> Result<Vec<Check>, DatabaseError> {
        self.notes.note("database: check", self.inner.check(roles)).await
    }
    async fn observe(&self, memberships: &[Membership]) -> Result<Observation, DatabaseError> {
        self.notes.note("database: observe", self.inner.observe(memberships)).await
    }
    async fn grant(&self, call: &Call, orders: &[GrantOrder]) -> Vec<Result<Granted, DatabaseError>> {
        self.notes.note(format!("database: grant {}", orders.len()), self.inner.grant(call, orders)).await
    }
    async fn revoke(&self, call: &Call, orders: &[RevokeOrder]) -> Vec<Result<RevokeReport, DatabaseError>> {
        self.notes.note(format!("database: revoke {}", orders.len()), self.inner.revoke(call, orders)).await
    }
    async fn settle(&self, orders: &[SettleOrder]) -> Result<Identity, DatabaseError> {
        self.notes.note("database: settle", self.inner.settle(orders)).await
    }
    async fn arm(&self, call: &Call, orders: &[ArmOrder]) -> Vec<Result<Armed, DatabaseError>> {
        self.notes.note(format!("database: arm {}", orders.len()), self.inner.arm(call, orders)).await
    }
    async fn disarm(&self, call: &Call, orders: &[Membership]) -> Vec<Result<Disarmed, DatabaseError>> {
        self.notes.note(format!("database: disarm {}", orders.len()), self.inner.disarm(call, orders)).await
    }
    async fn owned_objects(&self, memberships: &[Membership]) -> Result<Owned, DatabaseError> {
        self.notes.note("database: owned objects", self.inner.owned_objects(memberships)).await
    }
    async fn holders(&self, roles: &[RoleName]) -> Result<Holders, DatabaseError> {
        self.inner.holders(roles).await
    }
    async fn of_the_broker(&self) -> Result<OfTheBroker, DatabaseError> {
        self.inner.of_the_broker().await
    }
    async fn set_up(&self, roles: &[RoleName]) -> Result<String, DatabaseError> {
        self.inner.set_up(roles).await
    }
    async fn stores(&self) -> Result<Vec<StoreMarks>, DatabaseError> {
        self.inner.stores().await
    }
}
