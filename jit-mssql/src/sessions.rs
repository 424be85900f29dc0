//! Ending sessions, and making sure that they are gone.

use std::collections::BTreeSet;
use std::time::Duration;

use jit_core::database::{Call, DatabaseError, Membership};
use jit_core::internal::adapter::Budget;

use crate::connect::{Connection, Value};
use crate::error::reading;
use crate::observe::{Backend, parts};
use crate::row::Columns;
use crate::sql;

/// First and longest pause between two looks at sessions that are ending. Rolling a session's
/// transaction back can take as long as the transaction did.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

/// Number of sessions that end in one batch.
const AT_ONCE: usize = 500;

impl Connection {
    /// Returns the sessions of these accounts, without a look at the catalog, which may be locked.
    pub(crate) async fn sessions_by_id(
        &mut self,
        memberships: impl Iterator<Item = &Membership>,
    ) -> Result<BTreeSet<Backend>, DatabaseError> {
        let sids: BTreeSet<Vec<u8>> = memberships
            .map(|membership| parts(membership.account_id.as_ref()).1)
            .filter(|sid| !sid.is_empty())
            .collect();
        let sids: Vec<Value> = sids.into_iter().take(sql::ROWS).map(Value::Bytes).collect();
        if sids.is_empty() {
            return Ok(BTreeSet::new());
        }
        let results = self.run(&sql::sessions_of(sids.len()), sids).await.all().map_err(reading)?;
        let rows = results.first().map(Vec::as_slice).unwrap_or_default();
        rows.iter().map(|row| Ok(Backend { id: row.int("session_id")?, began: row.text("began")? })).collect()
    }

    /// Kills these sessions, all before waiting for any. Waits until they are gone or most of the
    /// call's time is used up. The look that follows sees those that stay.
    pub(crate) async fn end_sessions(
        &mut self,
        call: &Call,
        sessions: &BTreeSet<Backend>,
        budget: Budget,
    ) -> Result<(), DatabaseError> {
        let all: Vec<&Backend> = sessions.iter().collect();
        let mut failed = BTreeSet::new();
        for some in all.chunks(AT_ONCE) {
            failed.extend(self.kill(&call.label, some).await?);
        }
        let waits: BTreeSet<&Backend> = sessions.iter().filter(|backend| !failed.contains(&backend.id)).collect();
        if !waits.is_empty() {
            self.until_gone(&waits, budget).await?;
        }
        Ok(())
    }

    /// Kills these sessions. Returns those that could not be ended.
    pub(crate) async fn kill(&mut self, label: &str, sessions: &[&Backend]) -> Result<Vec<i32>, DatabaseError> {
        let ids: Vec<i32> = sessions.iter().map(|backend| backend.id).collect();
        let began = sessions.iter().map(|backend| Value::Text(backend.began.clone())).collect();
        let results = self.run(&sql::kill(label, &ids), began).await.all().map_err(reading)?;
        let mut failed = Vec::new();
        for row in results.first().map(Vec::as_slice).unwrap_or_default() {
            let (id, why) = (row.int("session_id")?, row.maybe_text("why")?.unwrap_or_default());
            tracing::warn!(
                session = id,
                why,
                "a session cannot be ended: the check of this target names what is missing"
            );
            failed.push(id);
        }
        Ok(failed)
    }

    /// Waits until none of these sessions is left, or most of the time is used up.
    pub(crate) async fn until_gone(
        &mut self,
        sessions: &BTreeSet<&Backend>,
        budget: Budget,
    ) -> Result<bool, DatabaseError> {
        let ids: Vec<i32> = sessions.iter().map(|backend| backend.id).collect();
        let text = sql::still_there(&ids);
        // Time that must be left for the look that follows.
        let floor = budget.patience().mul_f64(0.5);
        let mut pause = PAUSES.0;
        loop {
            let results = self.run(&text, Vec::new()).await.all().map_err(reading)?;
            let mut there = false;
            for row in results.first().map(Vec::as_slice).unwrap_or_default() {
                let backend = Backend { id: row.int("session_id")?, began: row.text("began")? };
                there = there || sessions.contains(&backend);
            }
            if !there {
                return Ok(true);
            }
            if budget.left() < floor {
                return Ok(false);
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(PAUSES.1);
        }
    }
}
