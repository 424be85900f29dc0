//! Making sure that nothing of an earlier call can still arrive (law 15), as
//! [`Settling`] describes. A transaction of ours shows its label before
//! anything else. It checks its deadline around each statement that changes something.

use std::collections::BTreeSet;

use jit_core::clock::Time;
use jit_core::database::{DatabaseError, Identity};
use jit_core::internal::adapter::{Budget, ServerClock, Settling, UNTIL_GONE, not_ended};

use crate::connect::Connection;
use crate::error::reading;
use crate::observe::Backend;
use crate::sql;

impl Settling for Connection {
    fn clock(&self) -> &ServerClock {
        &self.server.clock
    }

    async fn identity(&mut self) -> Result<Identity, DatabaseError> {
        Ok(self.moment().await?.identity)
    }

    async fn now(&mut self) -> Result<Time, DatabaseError> {
        let row = self.client.query_typed_one(sql::NOW, &[]).await.map_err(reading)?;
        row.try_get(0).map_err(reading)
    }

    async fn end_labelled(&mut self, labels: &[&str]) -> Result<BTreeSet<String>, DatabaseError> {
        let broker = self.server.broker;
        let rows = self.client.query(sql::LABELLED, &[&labels, &broker]).await.map_err(reading)?;
        let mut found = BTreeSet::new();
        let mut backends = BTreeSet::new();
        for row in &rows {
            found.insert(row.try_get("label").map_err(reading)?);
            backends.insert(Backend { pid: row.try_get("pid").map_err(reading)?, user: broker });
        }
        if backends.is_empty() {
            return Ok(found);
        }
        let pids: Vec<i32> = backends.iter().map(|backend| backend.pid).collect();
        self.client.execute(sql::TERMINATE_OWN, &[&pids, &broker]).await.map_err(reading)?;
        if !self.until_gone(&backends, Budget::of(UNTIL_GONE)).await? {
            return Err(not_ended("processes", pids));
        }
        Ok(found)
    }
}
