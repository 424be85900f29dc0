//! The embedded store: one SQLite file, which several processes may share.
//!
//! One thread writes, and commits all waiting changes in one transaction. Two threads read. One
//! watches for commits of other processes and moves the write-ahead log into the file.

mod apply;
mod claims;
mod error;
mod meta;
mod open;
mod read;
mod readers;
mod shared;
mod sql;
#[cfg(test)]
mod tests;
mod watcher;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::params;

use self::read::rows;
use self::readers::Readers;
use self::shared::Shared;
use self::watcher::Watcher;
use self::writer::Writer;
use super::waiting::wait;
use super::{
    Change, Claim, ClaimRequest, Claimed, ClockState, Committed, Lane, PageQuery, Pulse, Record, RecordKey, Store,
    StoreError, StoredEntry,
};
use crate::clock::{Clock, SystemClock, Time};
use crate::id::TenantId;

/// A [`Store`] in one SQLite file (with `-wal` and `-shm` beside it while it is open).
///
/// The file is made for its owner alone (mode 0600). Every commit is synced to the disk. Claims are
/// not: they need not survive a crash of the machine. Dropping the store finishes what was begun
/// and closes the file.
pub struct SqliteStore {
    shared: Arc<Shared>,
    // Dropped in this order: readers before the writer, so that the last to close can tidy up.
    readers: Readers,
    watcher: Watcher,
    writer: Writer,
}

impl SqliteStore {
    /// Opens the store in this file on the machine's clock. If there is no file, makes it.
    ///
    /// # Errors
    /// [`StoreError::Newer`] for a file of a newer version, which is left as it is;
    /// [`StoreError::ReadOnly`], [`StoreError::Full`] and [`StoreError::Unavailable`] as they say.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(path, Arc::new(SystemClock))
    }

    /// Opens the store in this file on this clock. If there is no file, makes it.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub fn open_with(path: impl AsRef<Path>, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let place = open::place(path.as_ref())?;
        open::prepare(&place)?;
        let mut conn = open::writer(&place)?;
        open::migrate(&place, &mut conn)?;
        let (time, pulse) = open::start_time(&place, &mut conn, Arc::clone(&clock))?;
        let shared = Arc::new(Shared::new(place, clock, time, pulse));
        let watcher = Watcher::start(&shared)?;
        let readers = Readers::start(&shared)?;
        let writer = Writer::start(&shared, conn, watcher.bell())?;
        Ok(Self { shared, readers, watcher, writer })
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.shared.place.path()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn now(&self) -> Result<Time, StoreError> {
        Ok(self.shared.now())
    }

    async fn wait(&self, seen: Pulse, until: Time) -> Result<(), StoreError> {
        let _watching = self.watcher.watch();
        wait(self.shared.clock.as_ref(), || self.shared.now(), self.shared.pulse.subscribe(), seen, until).await;
        Ok(())
    }

    async fn pulse(&self) -> Result<Pulse, StoreError> {
        Ok(*self.shared.pulse.borrow())
    }

    async fn commit(&self, change: Change) -> Result<Committed, StoreError> {
        change.check()?;
        self.writer.commit(change).await
    }

    async fn claim(&self, ask: &ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        self.writer.claim(ask.clone()).await
    }

    async fn unclaim(&self, claims: &[Claim]) -> Result<(), StoreError> {
        if claims.is_empty() {
            return Ok(());
        }
        self.writer.unclaim(claims.to_vec()).await
    }

    async fn lanes(&self) -> Result<Vec<(Lane, Time)>, StoreError> {
        self.readers.look(read::lanes).await
    }

    async fn upcoming(&self, lane: &Lane, until: Time, limit: usize) -> Result<Vec<Record>, StoreError> {
        let (lane, now) = (lane.clone(), self.shared.now());
        self.readers.look(move |place, conn| read::upcoming(place, conn, &lane, now, until, limit)).await
    }

    async fn read(&self, at: &RecordKey) -> Result<Option<Record>, StoreError> {
        let at = at.clone();
        self.readers.look(move |place, conn| read::record(place, conn, &at)).await
    }

    async fn read_all(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let keys = keys.to_vec();
        self.readers.look(move |place, conn| read::records(place, conn, &keys)).await
    }

    async fn page(&self, ask: &PageQuery) -> Result<Vec<Record>, StoreError> {
        let ask = ask.clone();
        self.readers.look(move |place, conn| read::page(place, conn, &ask)).await
    }

    async fn entries(&self, tenant: &TenantId, from: u64, limit: usize) -> Result<Vec<StoredEntry>, StoreError> {
        let Ok(from) = i64::try_from(from) else { return Ok(Vec::new()) };
        let tenant = tenant.clone();
        let look = self.readers.look(move |place, conn| {
            read::entries(place, conn, sql::ENTRIES, params![tenant.as_str(), from, rows(limit)])
        });
        look.await
    }

    async fn unnumbered(&self, tenant: &TenantId, limit: usize) -> Result<Vec<StoredEntry>, StoreError> {
        let tenant = tenant.clone();
        let look = self.readers.look(move |place, conn| {
            read::entries(place, conn, sql::UNNUMBERED, params![tenant.as_str(), rows(limit)])
        });
        look.await
    }

    async fn entries_about(
        &self,
        tenant: &TenantId,
        subject: &str,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, StoreError> {
        let (tenant, subject) = (tenant.clone(), subject.to_owned());
        let look = self.readers.look(move |place, conn| {
            read::entries(place, conn, sql::ENTRIES_ABOUT, params![tenant.as_str(), subject, rows(limit)])
        });
        look.await
    }

    async fn accept_clock(&self) -> Result<(), StoreError> {
        self.writer.accept_clock().await
    }

    async fn clock_state(&self) -> Result<ClockState, StoreError> {
        // Anything that another process accepted or doubted a moment ago counts.
        let shared = Arc::clone(&self.shared);
        self.readers.look(move |place, conn| shared.refresh(conn).map_err(|error| place.error(error))).await?;
        Ok(self.shared.time().state())
    }
}
