//! Ending sessions, and making sure that they are gone.

use std::collections::BTreeSet;
use std::time::Duration;

use jit_core::database::{Call, DatabaseError};
use jit_core::internal::adapter::Budget;
use serde::{Deserialize, Serialize};
use tokio_postgres::SimpleQueryMessage;

use crate::block::Limits;
use crate::connect::Connection;
use crate::error;
use crate::observe::Backend;
use crate::sql;

#[derive(Debug, Serialize)]
struct SessionsQuestion {
    sessions: Vec<One>,
}

#[derive(Debug, Serialize)]
struct One {
    pid: i32,
    usesysid: u32,
}

/// Sessions that could not be signalled, as the block answers.
#[derive(Debug, Deserialize)]
struct Failure {
    i: Vec<i32>,
    #[serde(default)]
    why: Option<String>,
}

/// First and longest pause between two looks at sessions that are ending (a look takes about 0.4
/// ms).
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

impl Connection {
    /// Signals these sessions, all before waiting for any. Waits until they are gone or most of the
    /// call's time is used up. The look that follows sees those that stay.
    pub(crate) async fn end_sessions(
        &self,
        call: &Call,
        sessions: &BTreeSet<Backend>,
        budget: Budget,
    ) -> Result<(), DatabaseError> {
        let ones = sessions.iter().map(|backend| One { pid: backend.pid, usesysid: backend.user });
        let ask = serde_json::to_string(&SessionsQuestion { sessions: ones.collect() })
            .map_err(|error| DatabaseError::not_applied(error.to_string()))?;
        let limits = Limits::of(call, budget.patience(), budget);
        let failures = self.signal(limits, &ask).await?;
        for failure in &failures {
            let why = failure.why.as_deref().unwrap_or_default();
            tracing::warn!(
                pids = ?failure.i,
                why,
                "sessions cannot be ended: the check of this target names what is missing"
            );
        }
        let failed: usize = failures.iter().map(|failure| failure.i.len()).sum();
        if failed < sessions.len() {
            self.until_gone(sessions, budget).await?;
        }
        Ok(())
    }

    /// Runs the block that signals, in a transaction of its own. Returns what could not be
    /// signalled.
    async fn signal(&self, limits: Limits<'_>, ask: &str) -> Result<Vec<Failure>, DatabaseError> {
        let block = format!("{}; SELECT current_setting('jit.answer')", self.server.catalog.text(sql::TERMINATE));
        let ask = sql::ask(ask);
        let (begun, asked, done, committed) = tokio::join!(
            biased;
            self.begin(limits),
            self.client.batch_execute(&ask),
            self.client.simple_query(&block),
            self.client.batch_execute("COMMIT")
        );
        begun.map_err(|error| error::not_begun(&error))?;
        asked.map_err(error::reading)?;
        let messages = done.map_err(error::reading)?;
        committed.map_err(error::reading)?;
        let answer = messages.iter().rev().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.try_get(0).ok().flatten(),
            _ => None,
        });
        let answer = answer.and_then(|text| serde_json::from_str(text).ok());
        answer.ok_or_else(|| DatabaseError::not_applied("the server's answer could not be read"))
    }

    /// Waits until none of these sessions is left, or most of the time is used up.
    pub(crate) async fn until_gone(&self, sessions: &BTreeSet<Backend>, budget: Budget) -> Result<bool, DatabaseError> {
        let pids: Vec<i32> = sessions.iter().map(|backend| backend.pid).collect();
        let users: Vec<u32> = sessions.iter().map(|backend| backend.user).collect();
        let statement = self.prepared(&self.statements.still_there, || sql::STILL_THERE.to_owned()).await?;
        let enough = budget.patience();
        let mut pause = PAUSES.0;
        loop {
            let row = self.client.query_one(statement, &[&pids, &users]).await.map_err(error::reading)?;
            let there: i64 = row.try_get(0).map_err(error::reading)?;
            if there == 0 {
                return Ok(true);
            }
            if budget.left() < budget_floor(enough) {
                return Ok(false);
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(PAUSES.1);
        }
    }
}

/// Returns the time that the later look needs, a third of the call's time: half of the patience,
/// which is two thirds of it.
fn budget_floor(patience: Duration) -> Duration {
    patience.mul_f64(0.5)
}
