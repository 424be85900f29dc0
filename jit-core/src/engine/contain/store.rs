//! Containment of the store.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Caught, Failed};
use crate::clock::Time;
use crate::engine::tasks::Tasks;
use crate::id::TenantId;
use crate::store::{
    Change, Claim, ClaimRequest, Claimed, ClockState, Committed, Lane, PageQuery, Pulse, Record, RecordKey, Store,
    StoreError, StoredEntry,
};

/// Limit of one call of the store. The stores of this project give up earlier.
const WITHIN: Duration = Duration::from_secs(60);

/// Wraps the store.
pub(in crate::engine) fn store(inner: Arc<dyn Store>, tasks: &Tasks) -> Arc<dyn Store> {
    Arc::new(Contained { inner, calls: Caught::new(tasks) })
}

#[derive(Debug)]
struct Contained {
    inner: Arc<dyn Store>,
    calls: Caught,
}

impl Contained {
    async fn ask<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        self.calls.within(WITHIN, call).await.unwrap_or_else(|failed| Err(unavailable(&failed)))
    }
}

fn unavailable(failed: &Failed) -> StoreError {
    StoreError::Unavailable { why: failed.to_string(), source: None }
}

#[async_trait]
impl Store for Contained {
    async fn now(&self) -> Result<Time, StoreError> {
        self.ask(async { self.inner.now().await }).await
    }

    async fn wait(&self, seen: Pulse, until: Time) -> Result<(), StoreError> {
        // the store waits for as long as it was told to
        let waited = self.calls.within(Duration::MAX, async { self.inner.wait(seen, until).await }).await;
        waited.unwrap_or_else(|failed| Err(unavailable(&failed)))
    }

    async fn pulse(&self) -> Result<Pulse, StoreError> {
        self.ask(async { self.inner.pulse().await }).await
    }

    async fn commit(&self, change: Change) -> Result<Committed, StoreError> {
        let committed = self.calls.within(WITHIN, async { self.inner.commit(change).await }).await;
        // the change may have been committed
        committed.unwrap_or_else(|failed| Err(StoreError::OutcomeUnknown { why: failed.to_string(), source: None }))
    }

    async fn claim(&self, ask: &ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        self.ask(async { self.inner.claim(ask).await }).await
    }

    async fn unclaim(&self, claims: &[Claim]) -> Result<(), StoreError> {
        self.ask(async { self.inner.unclaim(claims).await }).await
    }

    async fn lanes(&self) -> Result<Vec<(Lane, Time)>, StoreError> {
        self.ask(async { self.inner.lanes().await }).await
    }

    async fn upcoming(&self, lane: &Lane, until: Time, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.ask(async { self.inner.upcoming(lane, until, limit).await }).await
    }

    async fn read(&self, at: &RecordKey) -> Result<Option<Record>, StoreError> {
        self.ask(async { self.inner.read(at).await }).await
    }

    async fn read_all(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>, StoreError> {
        let records = self.ask(async { self.inner.read_all(keys).await }).await?;
        if records.len() == keys.len() {
            return Ok(records);
        }
        let why = format!("it gave {} records for {} keys", records.len(), keys.len());
        Err(StoreError::Unavailable { why, source: None })
    }

    async fn page(&self, ask: &PageQuery) -> Result<Vec<Record>, StoreError> {
        self.ask(async { self.inner.page(ask).await }).await
    }

    async fn entries(&self, tenant: &TenantId, from: u64, limit: usize) -> Result<Vec<StoredEntry>, StoreError> {
        self.ask(async { self.inner.entries(tenant, from, limit).await }).await
    }

    async fn unnumbered(&self, tenant: &TenantId, limit: usize) -> Result<Vec<StoredEntry>, StoreError> {
        self.ask(async { self.inner.unnumbered(tenant, limit).await }).await
    }

    async fn entries_about(
        &self,
        tenant: &TenantId,
        membership: &str,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, StoreError> {
        self.ask(async { self.inner.entries_about(tenant, membership, limit).await }).await
    }

    async fn accept_clock(&self) -> Result<(), StoreError> {
        self.ask(async { self.inner.accept_clock().await }).await
    }

    async fn clock_state(&self) -> Result<ClockState, StoreError> {
        self.ask(async { self.inner.clock_state().await }).await
    }
}
