//! A store whose entries were touched by somebody with access to its tables.

use std::sync::Arc;

use async_trait::async_trait;

use super::changed;
use crate::clock::{SystemEntropy, Time};
use crate::id::{EntryId, TenantId};
use crate::store::*;

/// Kind of tampering.
#[derive(Debug, Clone, Copy)]
pub(super) enum Touch {
    Change(u64),
    /// Entry was removed, and the others kept their numbers.
    Drop(u64),
    /// Entry was removed, and the others were numbered anew.
    DropAndCloseUp(u64),
    Swap(u64, u64),
    /// Entry was inserted before this number, and the others were numbered anew.
    Smuggle(u64),
    /// Everything from this number on was removed.
    Truncate(u64),
}

#[derive(Debug)]
pub(super) struct Touched {
    pub(super) store: Arc<dyn Store>,
    pub(super) touch: Touch,
}

impl Touched {
    async fn all(&self, tenant: &TenantId) -> Result<Vec<StoredEntry>, StoreError> {
        let mut entries = self.store.entries(tenant, 0, usize::MAX).await?;
        let mut renumber = true;
        match self.touch {
            Touch::Change(number) => {
                let entry = &mut entries[number as usize];
                entry.body = changed(&entry.body);
            }
            Touch::Drop(number) => {
                entries.remove(number as usize);
                renumber = false;
            }
            Touch::DropAndCloseUp(number) => drop(entries.remove(number as usize)),
            Touch::Swap(one, other) => entries.swap(one as usize, other as usize),
            Touch::Smuggle(number) => {
                let id = EntryId::fresh(Time::UNIX_EPOCH, &SystemEntropy);
                let body = format!("{{\"id\":\"{id}\",\"tenant\":\"{tenant}\"}}").into_bytes();
                entries.insert(number as usize, StoredEntry { id, number: None, body });
            }
            Touch::Truncate(number) => entries.truncate(number as usize),
        }
        if renumber {
            entries.iter_mut().zip(0..).for_each(|(entry, number)| entry.number = Some(number));
        }
        Ok(entries)
    }
}

#[async_trait]
impl Store for Touched {
    async fn now(&self) -> Result<Time, StoreError> {
        self.store.now().await
    }

    async fn wait(&self, seen: Pulse, until: Time) -> Result<(), StoreError> {
        self.store.wait(seen, until).await
    }

    async fn pulse(&self) -> Result<Pulse, StoreError> {
        self.store.pulse().await
    }

    async fn commit(&self, change: Change) -> Result<Committed, StoreError> {
        self.store.commit(change).await
    }

    async fn claim(&self, ask: &ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        self.store.claim(ask).await
    }

    async fn unclaim(&self, claims: &[Claim]) -> Result<(), StoreError> {
        self.store.unclaim(claims).await
    }

    async fn lanes(&self) -> Result<Vec<(Lane, Time)>, StoreError> {
        self.store.lanes().await
    }

    async fn upcoming(&self, lane: &Lane, until: Time, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.store.upcoming(lane, until, limit).await
    }

    async fn read(&self, at: &RecordKey) -> Result<Option<Record>, StoreError> {
        self.store.read(at).await
    }

    async fn read_all(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>, StoreError> {
        self.store.read_all(keys).await
    }

    async fn page(&self, ask: &PageQuery) -> Result<Vec<Record>, StoreError> {
        self.store.page(ask).await
    }

    async fn entries(&self, tenant: &TenantId, from: u64, limit: usize) -> Result<Vec<StoredEntry>, StoreError> {
        let entries = self.all(tenant).await?;
        Ok(entries.into_iter().filter(|entry| entry.number >= Some(from)).take(limit).collect())
    }

    async fn unnumbered(&self, tenant: &TenantId, limit: usize) -> Result<Vec<StoredEntry>, StoreError> {
        self.store.unnumbered(tenant, limit).await
    }

    async fn entries_about(
        &self,
        tenant: &TenantId,
        subject: &str,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, StoreError> {
        self.store.entries_about(tenant, subject, limit).await
    }

    async fn accept_clock(&self) -> Result<(), StoreError> {
        self.store.accept_clock().await
    }

    async fn clock_state(&self) -> Result<ClockState, StoreError> {
        self.store.clock_state().await
    }
}
