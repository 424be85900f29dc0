//! State that the parts of one open store share: its connections, its time, its pulse.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use jit_core::clock::{Clock as _, SystemClock, Time, after, span, to_std};
use jit_core::internal::adapter::Pool;
use jit_core::store::{Pulse, StoreError};
use tokio::sync::watch;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::error::{failed, unreachable};
use super::rows::get;
use super::sql;
use crate::connect::Line;

/// Parameter with its type. A statement with all its types needs no round trip before it, and
/// leaves nothing in the connection.
pub(super) type Parameter<'p> = (&'p (dyn ToSql + Sync), Type);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) pool: Pool<Line>,
    /// Name of this open store, unique among all.
    pub(super) instance: String,
    pub(super) pulse: watch::Sender<Pulse>,
    /// Latest time that any caller was told here; microseconds since 1970, UTC.
    told: AtomicI64,
    /// Number of commits of each other store that this one knows of.
    known: Mutex<BTreeMap<String, i64>>,
    /// Time of the store at an instant of this machine's clock.
    reckoned: Mutex<(Duration, Time)>,
}

impl Shared {
    pub(super) fn new(pool: Pool<Line>, instance: String) -> Self {
        Self {
            pool,
            instance,
            pulse: watch::Sender::default(),
            told: AtomicI64::new(0),
            known: Mutex::default(),
            reckoned: Mutex::new((SystemClock.elapsed(), DateTime::UNIX_EPOCH)),
        }
    }

    /// Asks within the configured limit. A statement that failed leaves nothing behind.
    pub(super) async fn ask(&self, statement: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, StoreError> {
        let limit = self.pool.call_limit();
        let lease = self.pool.lend(limit).await.map_err(unreachable)?;
        match tokio::time::timeout(limit, lease.client.query_typed(statement, parameters)).await {
            Ok(Ok(rows)) => {
                lease.give_back(true);
                Ok(rows)
            }
            Ok(Err(error)) => {
                // A standby, or a server that stopped: the next connection may reach another.
                if error.as_db_error().is_some() && error.code().is_none_or(|code| code.code() != "25006") {
                    lease.give_back(true);
                }
                Err(failed(error))
            }
            Err(_) => Err(StoreError::Unavailable {
                why: format!("the store's server did not answer within {} s", limit.as_secs_f32()),
                source: None,
            }),
        }
    }

    /// Asks for one row.
    pub(super) async fn ask_one(&self, statement: &str, parameters: &[Parameter<'_>]) -> Result<Row, StoreError> {
        let rows = self.ask(statement, parameters).await?;
        rows.into_iter().next().ok_or_else(|| StoreError::Unavailable {
            why: "the store's server gave no answer".to_owned(),
            source: None,
        })
    }

    pub(super) async fn now(&self) -> Result<Time, StoreError> {
        let row = self.ask_one(sql::TIME, &[(&self.told(), Type::TIMESTAMPTZ)]).await?;
        Ok(self.tell(get(&row, "time")?))
    }

    /// Returns the latest time that was told.
    pub(super) fn told(&self) -> Time {
        DateTime::from_timestamp_micros(self.told.load(Ordering::Relaxed)).unwrap_or(DateTime::UNIX_EPOCH)
    }

    /// Remembers a time of the store. Returns the time that a caller may be told.
    pub(super) fn tell(&self, time: Time) -> Time {
        let before = self.told.fetch_max(time.timestamp_micros(), Ordering::Relaxed);
        *self.reckoned.lock().unwrap_or_else(PoisonError::into_inner) = (SystemClock.elapsed(), time);
        time.max(DateTime::from_timestamp_micros(before).unwrap_or(DateTime::UNIX_EPOCH))
    }

    /// Returns the duration until this time, reckoned from the last answer of the server.
    pub(super) fn until(&self, time: Time) -> Duration {
        let (at, was) = *self.reckoned.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = TimeDelta::from_std(SystemClock.elapsed().saturating_sub(at)).unwrap_or(TimeDelta::MAX);
        to_std(span(after(was, passed), time))
    }

    /// Records the number of commits of another node. Returns true if it is higher than the known
    /// one.
    pub(super) fn heard(&self, instance: &str, pulse: i64) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get_mut(instance) {
            Some(before) if *before >= pulse => false,
            Some(before) => {
                *before = pulse;
                true
            }
            None => {
                known.insert(instance.to_owned(), pulse);
                true
            }
        }
    }

    /// Announces that something was committed.
    pub(super) fn beat(&self) {
        self.pulse.send_modify(|pulse| pulse.0 = pulse.0.wrapping_add(1));
    }
}
