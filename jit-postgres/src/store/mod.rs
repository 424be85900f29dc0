//! Store for many nodes: one PostgreSQL database, which any number of processes share.
//!
//! Every change is one call of a function in the database. No transaction waits for a node, so a
//! node that is paused or cut off holds nothing up.
//!
//! The store runs three tasks. One commits, and groups the changes that wait. One listens for what
//! other nodes commit. One asks now and then, in case nothing can be heard. All statements stand in
//! `sql.rs` and `schema.sql`, for review.

mod config;
mod error;
mod migrate;
mod rows;
mod shared;
mod sql;
mod watch;
mod wire;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jit_core::clock::{Entropy as _, SystemEntropy, Time};
use jit_core::id::TenantId;
use jit_core::internal::adapter::{ConfigError, Pool};
use jit_core::store::{
    Change, Claim, ClaimRequest, Claimed, ClockState, Committed, Lane, PageQuery, Pulse, Record, RecordKey, Store,
    StoreError, StoredEntry,
};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

pub use self::config::StoreConfig;
pub use self::migrate::StoreUsers;
use self::rows::{get, limit, seconds};
use self::shared::Shared;
use self::watch::Watch;
use self::writer::Writer;
use crate::connect::Connector;

/// Longest sleep at once. A timer does not count the time a machine was suspended; the store's time
/// does.
const NAP: Duration = Duration::from_secs(1);

/// [`Store`] in a PostgreSQL database (15 or later), for any number of nodes.
///
/// Its time is its server's time. It is never earlier than any time that was committed, or that
/// this very store gave. If the server's clock is set back, it may be earlier than a time that only
/// another store was told a moment before, by up to [`StoreConfig::poll_every`].
///
/// A commit is durable as far as the server's own settings go (`synchronous_commit` is at least
/// `on`). Claims need not survive a crash. Behind a pooler in transaction mode everything works
/// except listening. [`StoreConfig::listen`] leads around the pooler.
///
/// Dropping it finishes what was begun.
#[derive(Debug)]
pub struct PostgresStore {
    shared: Arc<Shared>,
    writer: Writer,
    _watches: Vec<Watch>,
}

impl PostgresStore {
    /// Opens the store. Makes it if there is none and this user may.
    ///
    /// # Errors
    /// [`StoreError::Newer`] for a store of a newer version, which is left as it is;
    /// [`StoreError::Unavailable`] and its like.
    pub async fn open(config: StoreConfig) -> Result<Self, StoreError> {
        let pool = Pool::new(Connector::new(config.server).map_err(unusable)?);
        migrate::bring_forward(pool.connector()).await?;
        let listening = config.listen.map(Connector::new).transpose().map_err(unusable)?;
        let shared = Arc::new(Shared::new(pool, fresh_instance()));
        let row = shared.ask_one(sql::ENTER, &[(&shared.instance, Type::TEXT)]).await?;
        shared.tell(get(&row, "enter")?);
        let mut watches = vec![watch::poll(&shared, config.poll_every)];
        if let Some(connector) = listening {
            watches.push(watch::listen(&shared, connector).await);
        }
        Ok(Self { writer: Writer::start(&shared), shared, _watches: watches })
    }

    /// Makes the store, or brings an older one forward, as its owner. Allows these roles to use it.
    /// Call this once, before the nodes start, if they log in with fewer rights than the owner.
    ///
    /// # Errors
    /// As [`PostgresStore::open`]; a role that does not exist.
    pub async fn migrate(config: &StoreConfig, users: &StoreUsers) -> Result<(), StoreError> {
        let connector = Connector::new(config.server.clone()).map_err(unusable)?;
        migrate::allow(&connector, users).await
    }

    async fn entries_of(
        &self,
        statement: &str,
        parameters: &[shared::Parameter<'_>],
    ) -> Result<Vec<StoredEntry>, StoreError> {
        self.shared.ask(statement, parameters).await?.iter().map(rows::entry).collect()
    }
}

fn unusable(error: ConfigError) -> StoreError {
    StoreError::Unavailable { why: error.to_string(), source: Some(error.into()) }
}

fn fresh_instance() -> String {
    let mut bytes = [0; 12];
    SystemEntropy.fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[async_trait]
impl Store for PostgresStore {
    async fn now(&self) -> Result<Time, StoreError> {
        self.shared.now().await
    }

    async fn wait(&self, seen: Pulse, until: Time) -> Result<(), StoreError> {
        let mut pulse = self.shared.pulse.subscribe();
        while *pulse.borrow_and_update() == seen {
            let left = self.shared.until(until);
            // The time has come by this node's reckoning, but the server's time counts.
            if left.is_zero() && self.shared.now().await? >= until {
                return Ok(());
            }
            tokio::select! {
                changed = pulse.changed() => if changed.is_err() { return Ok(()) },
                () = tokio::time::sleep(left.clamp(Duration::from_micros(200), NAP)) => {}
            }
        }
        Ok(())
    }

    async fn pulse(&self) -> Result<Pulse, StoreError> {
        if !self.writer.is_alive() {
            return Err(StoreError::Unavailable { why: "the store was closed".to_owned(), source: None });
        }
        Ok(*self.shared.pulse.borrow())
    }

    async fn commit(&self, change: Change) -> Result<Committed, StoreError> {
        change.check()?;
        self.writer.commit(change).await
    }

    async fn claim(&self, ask: &ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        let (told, lane, node) = (self.shared.told(), ask.lane.as_str(), ask.node.as_str());
        let (most, how_long, since) = (limit(ask.limit), seconds(ask.how_long), ask.due_after.map(rows::kept));
        let parameters = [
            (&told as _, Type::TIMESTAMPTZ),
            (&lane as _, Type::TEXT),
            (&most as _, Type::INT8),
            (&how_long as _, Type::FLOAT8),
            (&node as _, Type::TEXT),
            (&since as _, Type::TIMESTAMPTZ),
        ];
        self.shared.ask(sql::CLAIM, &parameters).await?.iter().map(rows::claimed).collect()
    }

    async fn unclaim(&self, claims: &[Claim]) -> Result<(), StoreError> {
        if claims.is_empty() {
            return Ok(());
        }
        let serials: Vec<&str> = claims.iter().map(|claim| claim.serial.as_str()).collect();
        let fencings: Vec<i64> = claims.iter().map(|claim| claim.fencing.cast_signed()).collect();
        let parameters = [(&serials as _, Type::TEXT_ARRAY), (&fencings as _, Type::INT8_ARRAY)];
        self.shared.ask(sql::UNCLAIM, &parameters).await.map(|_| ())
    }

    async fn lanes(&self) -> Result<Vec<(Lane, Time)>, StoreError> {
        let rows = self.shared.ask(sql::LANES, &[(&self.shared.told(), Type::TIMESTAMPTZ)]).await?;
        rows.iter().map(|row| Ok((Lane::from_stored(get(row, "lane")?), get(row, "next")?))).collect()
    }

    async fn upcoming(&self, lane: &Lane, until: Time, most: usize) -> Result<Vec<Record>, StoreError> {
        let now = self.shared.now().await?;
        let (lane, until, most) = (lane.as_str(), rows::kept(until), limit(most));
        let parameters = [
            (&lane as _, Type::TEXT),
            (&now as _, Type::TIMESTAMPTZ),
            (&until as _, Type::TIMESTAMPTZ),
            (&most as _, Type::INT8),
        ];
        self.shared.ask(sql::UPCOMING, &parameters).await?.iter().map(rows::record).collect()
    }

    async fn read(&self, at: &RecordKey) -> Result<Option<Record>, StoreError> {
        Ok(self.read_all(std::slice::from_ref(at)).await?.pop().flatten())
    }

    async fn read_all(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let tenants: Vec<&str> = keys.iter().map(|at| at.tenant.as_str()).collect();
        let kinds: Vec<&str> = keys.iter().map(|at| at.kind.as_str()).collect();
        let names: Vec<&str> = keys.iter().map(|at| at.key.as_str()).collect();
        let parameters =
            [(&tenants as _, Type::TEXT_ARRAY), (&kinds as _, Type::TEXT_ARRAY), (&names as _, Type::TEXT_ARRAY)];
        let mut found: Vec<Option<Record>> = keys.iter().map(|_| None).collect();
        for row in &self.shared.ask(sql::READ, &parameters).await? {
            let place = get::<i64>(row, "n")?.checked_sub(1).and_then(|place| usize::try_from(place).ok());
            if let Some(place) = place.and_then(|place| found.get_mut(place)) {
                *place = Some(rows::record(row)?);
            }
        }
        Ok(found)
    }

    async fn page(&self, ask: &PageQuery) -> Result<Vec<Record>, StoreError> {
        let (tenant, kind, limit) = (ask.tenant.as_str(), ask.kind.as_str(), limit(ask.limit));
        let mut parameters: Vec<shared::Parameter<'_>> =
            vec![(&tenant, Type::TEXT), (&kind, Type::TEXT), (&ask.after, Type::TEXT), (&limit, Type::INT8)];
        let rows: Vec<Row> = match &ask.label {
            None => self.shared.ask(sql::PAGE, &parameters).await?,
            Some((name, value)) => {
                parameters.extend([(name as _, Type::TEXT), (value as _, Type::TEXT)]);
                self.shared.ask(sql::PAGE_LABEL, &parameters).await?
            }
        };
        rows.iter().map(rows::record).collect()
    }

    async fn entries(&self, tenant: &TenantId, from: u64, most: usize) -> Result<Vec<StoredEntry>, StoreError> {
        let Ok(from) = i64::try_from(from) else { return Ok(Vec::new()) };
        let parameters =
            [(&tenant.as_str() as _, Type::TEXT), (&from as _, Type::INT8), (&limit(most) as _, Type::INT8)];
        self.entries_of(sql::ENTRIES, &parameters).await
    }

    async fn unnumbered(&self, tenant: &TenantId, most: usize) -> Result<Vec<StoredEntry>, StoreError> {
        let parameters = [(&tenant.as_str() as _, Type::TEXT), (&limit(most) as _, Type::INT8)];
        self.entries_of(sql::UNNUMBERED, &parameters).await
    }

    async fn entries_about(
        &self,
        tenant: &TenantId,
        subject: &str,
        most: usize,
    ) -> Result<Vec<StoredEntry>, StoreError> {
        let parameters =
            [(&tenant.as_str() as _, Type::TEXT), (&subject as _, Type::TEXT), (&limit(most) as _, Type::INT8)];
        self.entries_of(sql::ENTRIES_ABOUT, &parameters).await
    }

    async fn accept_clock(&self) -> Result<(), StoreError> {
        self.shared.ask(sql::ACCEPT_CLOCK, &[(&self.shared.told(), Type::TIMESTAMPTZ)]).await.map(|_| ())
    }

    async fn clock_state(&self) -> Result<ClockState, StoreError> {
        let row = self.shared.ask_one(sql::DOUBT, &[]).await?;
        Ok(match (get(&row, "doubt_mark")?, get(&row, "doubt_wall")?) {
            (Some(mark), Some(wall)) => ClockState::Doubtful { mark, wall },
            _ => ClockState::Good,
        })
    }
}
